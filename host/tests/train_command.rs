//! The `train` command, as a user types it.

use host::vgg::Vgg;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn train(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.arg("train").args(args);
    command
}

fn output(args: &[&str]) -> Output {
    train(args).output().expect("runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two classes of 8x8 pictures: dark and bright.
fn write_pictures(folder: &Path) {
    for (class, level) in [("dark", 40), ("light", 200)] {
        let class = folder.join(class);
        std::fs::create_dir_all(&class).expect("create");
        for i in 0..40u8 {
            let pixel =
                |x: u32, y: u32| image::Rgb([level + i % 7, level + x as u8, level + y as u8]);
            let picture = image::RgbImage::from_fn(8, 8, pixel);
            picture
                .save(class.join(format!("{i:02}.png")))
                .expect("save");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn trains_a_network_and_says_so_in_json() {
    let folder = tempfile::tempdir().expect("folder");
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    write_pictures(&data);
    let args = [
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--epochs",
        "20",
        // More steps than one an epoch: with so few, one seed in twenty has not settled.
        "--batch",
        "16",
        "--json",
    ];
    let run = output(&args);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let stdout = String::from_utf8_lossy(&run.stdout);
    let last = stdout.lines().last().expect("a line");
    let summary: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(summary["architecture"], "vgg-small");
    let accuracy = summary["validation_accuracy"].as_f64().expect("a number");
    assert!(accuracy > 0.9, "{accuracy}");
    let net = Vgg::load(&out, &candle_core::Device::Cpu).expect("loads");
    assert_eq!(net.config.num_classes, 2);
    assert_eq!(
        net.config.extra["validation_accuracy"].as_f64(),
        Some(accuracy)
    );
}

/// Two classes of pictures of all sizes, laid out as ImageNet is: dark and bright.
fn write_mixed_pictures(folder: &Path) {
    for (class, level) in [("n01", 40), ("n02", 200)] {
        for (part, count) in [("train", 24), ("val", 8)] {
            let class = folder.join(part).join(class);
            std::fs::create_dir_all(&class).expect("create");
            for i in 0..count {
                let pixel = |x: u32, y: u32| {
                    image::Rgb([level + (x % 9) as u8, level, level + (y % 7) as u8])
                };
                let picture = image::RgbImage::from_fn(17 + 3 * i, 40 - i, pixel);
                picture.save(class.join(format!("{i}.png"))).expect("save");
            }
        }
    }
}

const TINY: &str = r#"{"architecture": "tiny", "cfg": [8, "M", 8, "A"], "num_classes": 2,
    "input": [16, 16, 3], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
    "hidden": [8], "dropout": 0.2}"#;

#[test]
fn pictures_of_any_size_are_streamed_and_every_option_is_taken() {
    let folder = tempfile::tempdir().expect("folder");
    let [data, out, config] = ["data", "out", "config.json"].map(|name| folder.path().join(name));
    write_mixed_pictures(&data);
    std::fs::write(&config, TINY).expect("writes");
    let args = [
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--arch",
        text(&config),
        "--crop",
        "16",
        "--batch",
        "8",
        "--epochs",
        "12",
        "--warmup",
        "0.2",
        "--label-smoothing",
        "0.05",
        "--cutout",
        "4",
        "--ema",
        "0.9",
        "--json",
    ];
    let run = output(&args);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let stdout = String::from_utf8_lossy(&run.stdout);
    let last = stdout.lines().last().expect("a line");
    let summary: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let accuracy = summary["validation_accuracy"].as_f64().expect("a number");
    assert!(accuracy > 0.9, "{accuracy}");
    let settings = std::fs::read_to_string(out.join("train.json")).expect("reads");
    let settings: serde_json::Value = serde_json::from_str(&settings).expect("JSON");
    let training = &settings["training"];
    assert_eq!(
        (&training["batch"], &training["steps"]),
        (&8.into(), &72.into())
    );
    assert_eq!(training["ema"], 0.9);
    assert_eq!(training["augment"]["cutout"], 4);
}

#[test]
fn a_training_that_will_not_fit_is_refused_before_it_begins() {
    let folder = tempfile::tempdir().expect("folder");
    let [data, out, config] = ["data", "out", "config.json"].map(|name| folder.path().join(name));
    write_mixed_pictures(&data);
    // A map of 60,000x60,000 pixels a picture.
    std::fs::write(&config, TINY.replace("[16, 16, 3]", "[60000, 60000, 3]")).expect("writes");
    let args = [
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--arch",
        text(&config),
        "--crop",
        "60000",
    ];
    let run = output(&args);
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    let said = stderr(&run);
    assert!(
        said.contains("pictures at a time takes about") && said.contains("\n  try  "),
        "{said}"
    );
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "no {}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn interrupt(child: Child) -> Output {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-INT", &pid]).status();
    assert!(status.expect("kill runs").success());
    child.wait_with_output().expect("ends")
}

#[test]
#[cfg(unix)]
fn ctrl_c_says_how_to_resume_and_that_works() {
    let folder = tempfile::tempdir().expect("folder");
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    write_pictures(&data);
    let args = [
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--epochs",
        "1000000",
    ];
    let child = train(&args).stderr(Stdio::piped()).spawn().expect("starts");
    wait_for(&out.join("model.safetensors"));
    let stopped = interrupt(child);
    assert_eq!(stopped.status.code(), Some(130), "{}", stderr(&stopped));
    assert!(stderr(&stopped).contains("train --resume"));

    std::fs::remove_file(out.join("model.safetensors")).expect("remove");
    let resume = ["--resume", text(&out)];
    let child = train(&resume)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_for(&out.join("model.safetensors"));
    let stopped = interrupt(child);
    assert!(
        stderr(&stopped).contains("resumed at step"),
        "{}",
        stderr(&stopped)
    );
}

#[test]
fn bad_input_ends_with_code_2_and_a_reason() {
    let folder = tempfile::tempdir().expect("folder");
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    write_pictures(&data);
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).expect("create");
    let config = folder.path().join("config.json");
    let other = r#"{"architecture":"x","cfg":[8,"A"],"num_classes":1,"input":[8,8,3],
        "mean":[0.5,0.5,0.5],"std":[0.2,0.2,0.2]}"#;
    std::fs::write(&config, other).expect("write");
    let cases: [(&[&str], &str); 4] = [
        (
            &["--data", text(&empty), "--out", text(&out)],
            "no known data layout",
        ),
        (
            &[
                "--data",
                text(&data),
                "--out",
                text(&out),
                "--arch",
                "resnet",
            ],
            "no architecture `resnet`: try vgg-small",
        ),
        (
            &[
                "--data",
                text(&data),
                "--out",
                text(&out),
                "--arch",
                text(&config),
            ],
            "label out of range: 1",
        ),
        (&["--resume", text(&empty)], "no training to resume"),
    ];
    for (args, reason) in cases {
        let run = output(args);
        assert_eq!(run.status.code(), Some(2), "{args:?}");
        assert!(stderr(&run).contains(reason), "{}", stderr(&run));
        assert!(!out.exists());
    }
}
