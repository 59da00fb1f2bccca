//! What people get wrong: each case ends with code 2, and says what, where and what to try.

use candle_core::{DType, Device, Tensor};
use host::lower::Bits;
use host::nn::{read_tensors, write_tensors};
use host::vgg::{Item, VggConfig};
use std::collections::HashMap;
use std::path::Path;
use tests::command::Ran;
use tests::fixture::{Fixture, config};
use tests::network;

/// Runs `host ARGS`, which must be refused without leaving a run; returns what was said.
fn refused(fixture: &Fixture, args: &[&str]) -> String {
    let ran = Ran::new(&mut fixture.host(args));
    assert_eq!(ran.code, Some(2), "{args:?}: {}{}", ran.stdout, ran.stderr);
    assert!(fixture.all_runs("runs").is_empty(), "{args:?} left a run");
    ran.stderr
}

/// The last message in `said`, which must say all of `parts` and something to try.
fn assert_says(said: &str, parts: &[&str]) {
    let start = said
        .rfind("error: ")
        .unwrap_or_else(|| panic!("no error in `{said}`"));
    let message = &said[start..];
    for part in parts {
        assert!(message.contains(part), "no `{part}` in:\n{message}");
    }
    assert!(
        message.contains("\n  try  "),
        "nothing to try in:\n{message}"
    );
    assert_eq!(message.matches("error:").count(), 1, "{message}");
}

fn write(path: &Path, bytes: &[u8]) {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::fs::write(path, bytes).expect("the disk takes it");
}

/// A copy of the fixture's model whose weights `change` has been at.
fn changed_model(fixture: &Fixture, name: &str, change: impl Fn(&mut HashMap<String, Tensor>)) {
    let stored = read_tensors(&fixture.path("model/model.safetensors")).expect("reads");
    let mut tensors = stored.tensors;
    change(&mut tensors);
    let folder = fixture.path(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::copy(
        fixture.path("model/config.json"),
        folder.join("config.json"),
    )
    .expect("copies");
    write_tensors(&folder.join("model.safetensors"), &tensors, stored.metadata).expect("writes");
}

#[test]
fn weights_that_cannot_be_used() {
    let fixture = Fixture::new();
    let compress = |model: &str| {
        refused(
            &fixture,
            &["compress", "--model", model, "--data", "pictures"],
        )
    };
    assert_says(&compress("nowhere.safetensors"), &["nowhere.safetensors"]);
    assert_says(&compress("nowhere"), &["nowhere"]);

    let whole = std::fs::read(fixture.path("model/model.safetensors")).expect("reads");
    std::fs::create_dir_all(fixture.path("cut")).expect("a folder");
    std::fs::copy(
        fixture.path("model/config.json"),
        fixture.path("cut/config.json"),
    )
    .expect("copies");
    for len in [0, 7, 100, whole.len() - 1] {
        write(&fixture.path("cut/model.safetensors"), &whole[..len]);
        assert_says(
            &compress("cut"),
            &["cut/model.safetensors", "not a complete"],
        );
    }

    changed_model(&fixture, "shape", |tensors| {
        let zeros = Tensor::zeros((16, 4, 3, 3), DType::F32, &Device::Cpu).expect("zeros");
        tensors.insert("features.4.weight".into(), zeros);
    });
    assert_says(
        &compress("shape"),
        &[
            "`features.4.weight` is [16, 4, 3, 3]",
            "needs [16, 8, 3, 3]",
            "\n  in   shape/model.safetensors",
        ],
    );

    changed_model(&fixture, "nan", |tensors| {
        let name = "features.0.weight";
        let mut values = tensors[name]
            .flatten_all()
            .and_then(|t| t.to_vec1::<f32>())
            .expect("f32");
        values[17] = f32::NAN;
        let tensor = Tensor::from_vec(values, (8, 3, 3, 3), &Device::Cpu).expect("a tensor");
        tensors.insert(name.into(), tensor);
    });
    assert_says(
        &compress("nan"),
        &[
            "`features.0.weight`",
            "not finite",
            "element 17",
            "nan/model.safetensors",
        ],
    );
}

#[test]
fn pictures_that_cannot_be_used() {
    let fixture = Fixture::new();
    let compress =
        |data: &str| refused(&fixture, &["compress", "--model", "model", "--data", data]);
    write(&fixture.path("unknown/notes.txt"), b"no pictures");
    assert_says(&compress("unknown"), &["no known data layout", "unknown"]);
    assert_says(&compress("nowhere"), &["nowhere"]);

    let mut record = vec![0; 3073];
    record[0] = 10;
    write(&fixture.path("labels/data_batch_1.bin"), &record);
    assert_says(
        &compress("labels"),
        &[
            "label out of range: 10",
            "row 0",
            "data_batch_1.bin",
            "10 classes",
        ],
    );
    write(&fixture.path("cut/data_batch_1.bin"), &record[..3000]);
    assert_says(&compress("cut"), &["truncated", "data_batch_1.bin", "3000"]);
    record[0] = 9;
    write(&fixture.path("size/data_batch_1.bin"), &record.repeat(20));
    assert_says(&compress("size"), &["[32, 32, 3]", "[8, 8, 3]"]);

    // What the crate panics at is an error like any other, and nothing else is printed.
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/found/parquet");
    let found = std::fs::read(found.join("length-beyond-a-page")).expect("found by fuzzing");
    write(&fixture.path("beyond/train.parquet"), &found);
    let said = compress("beyond");
    assert_says(&said, &["train.parquet", "contradicts itself"]);
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn blobs_that_cannot_be_used() {
    let fixture = Fixture::new();
    let net = network::random(&config(), Bits { w: 4, a: 8 }, 50, 1);
    let blob = network::blob(net, 50_000);
    let board = tests::board();
    let commands = |path: &str| {
        [
            refused(&fixture, &["inspect", path]),
            refused(
                &fixture,
                &["verify", path, "--data", "pictures", "--board", &board],
            ),
            refused(&fixture, &["flash", path, "--board", &board]),
        ]
    };
    for len in [0, 20, blob.len() / 2, blob.len() - 4] {
        write(&fixture.path("cut.blob"), &blob[..len]);
        for said in commands("cut.blob") {
            assert_says(
                &said,
                &["blob: the file ends too early", "at byte", "cut.blob"],
            );
        }
    }
    for at in [60, blob.len() / 2, blob.len() - 1] {
        let mut flipped = blob.clone();
        flipped[at] ^= 0x10;
        write(&fixture.path("flipped.blob"), &flipped);
        for said in commands("flipped.blob") {
            assert_says(&said, &["blob: damaged: the checksum", "flipped.blob"]);
        }
    }
    write(
        &fixture.path("text.blob"),
        b"this is no blob at all, but text that goes on",
    );
    for said in commands("text.blob") {
        assert_says(&said, &["this is no blob", "text.blob"]);
    }
    for said in commands("nowhere.blob") {
        assert_says(&said, &["cannot read", "nowhere.blob"]);
    }
}

#[test]
fn a_blob_too_large_for_the_board_is_refused_with_need_and_limit() {
    use Item::{AvgPool, Conv, MaxPool};
    let fixture = Fixture::new();
    let large = VggConfig {
        cfg: vec![Conv(16), MaxPool, Conv(256), Conv(480), AvgPool],
        ..config()
    };
    let net = network::random(&large, Bits { w: 8, a: 8 }, 100, 1);
    let blob = network::blob(net, 100_000);
    assert!(blob.len() > 917_504, "{}", blob.len());
    write(&fixture.path("large.blob"), &blob);
    let said = refused(
        &fixture,
        &["flash", "large.blob", "--board", &tests::board()],
    );
    assert_says(&said, &[&format!("{} bytes", blob.len()), "917504"]);
}

#[test]
fn boards_that_are_not_there() {
    let fixture = Fixture::new();
    let net = network::random(&config(), Bits { w: 4, a: 8 }, 50, 1);
    write(&fixture.path("model.blob"), &network::blob(net, 50_000));
    for command in ["flash", "verify"] {
        let said = refused(&fixture, &[command, "model.blob", "--board", "stm32f999"]);
        assert_says(&said, &["no board `stm32f999`", "virtual-stm32f405"]);
    }
    let args = ["compress", "--model", "model", "--data", "pictures"];
    let said = refused(&fixture, &[&args[..], &["--board", "stm32f999"]].concat());
    assert_says(&said, &["no board `stm32f999`", "virtual-stm32f405"]);
    if host::board::connected_probes().is_empty() {
        let said = refused(&fixture, &["flash", "model.blob", "--board", "stm32f405"]);
        assert_says(
            &said,
            &[
                "needs a debug probe",
                "none is connected",
                "virtual-stm32f405",
            ],
        );
    }
}

#[test]
fn budgets_that_cannot_be_met_name_the_nearest() {
    let fixture = Fixture::new();
    for (option, value, part) in [
        ("--max-latency", "1us", "latency"),
        ("--max-flash", "64B", "flash of 64 bytes"),
        ("--max-macs", "10", "10 MACs"),
    ] {
        let ran = Ran::new(&mut fixture.compress("runs", &[option, value]));
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert_says(&ran.stderr, &["the nearest has", "ms", part]);
        assert!(fixture.all_runs("runs").is_empty());
    }
}

#[test]
fn a_training_that_explodes_names_layer_and_step_and_keeps_what_was_saved() {
    let fixture = Fixture::new();
    let ran = Ran::new(&mut fixture.compress("runs", &["--finetune-lr", "1e30"]));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert_says(
        &ran.stderr,
        &[
            "training diverged",
            "at step",
            "layer ",
            "try",
            "--finetune-lr",
        ],
    );
    // The searches' results are there: the run goes on from its last checkpoint, to the same end.
    let run = fixture.run("runs");
    let run = run.to_str().expect("UTF-8");
    let again = Ran::new(&mut fixture.host(&["compress", "--resume", run]));
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert_says(&again.stderr, &["training diverged"]);
    assert!(again.stderr.contains("resumed at"), "{}", again.stderr);
}

#[test]
fn options_that_make_no_sense() {
    let fixture = Fixture::new();
    for (option, value, part) in [
        ("--w-widths", "9", "no width of 9 bits"),
        ("--a-widths", "3", "no width of 3 bits"),
        ("--arch", "resnet", "no architecture `resnet`"),
    ] {
        let args = ["compress", "--model", "model", "--data", "pictures"];
        let said = refused(&fixture, &[&args[..], &[option, value]].concat());
        assert_says(&said, &[part, &format!("\n  in   {option}")]);
    }
    for (choice, part) in [
        ("conv9=direct", "there is no layer conv9"),
        (
            "conv0=winograd4",
            "conv0 cannot be computed by the kernel winograd4",
        ),
    ] {
        let args = ["compress", "--model", "model", "--data", "pictures"];
        let said = refused(&fixture, &[&args[..], &["--kernel", choice]].concat());
        assert_says(&said, &[part]);
    }
    // What clap refuses has clap's form.
    for (option, value, part) in [
        ("--max-latency", "100", "write 100ms"),
        ("--max-flash", "much", "write 512KiB"),
        ("--kernel", "conv1=fast", "write LAYER=KERNEL"),
        ("--prune-episodes", "-1", "error:"),
        ("--no-such-option", "1", "error:"),
    ] {
        let said = refused(&fixture, &["compress", option, value]);
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn runs_that_cannot_be_resumed_or_looked_at() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path("empty")).expect("a folder");
    for command in [&["compress", "--resume", "empty"][..], &["report", "empty"]] {
        assert_says(&refused(&fixture, command), &["empty", "not a run"]);
    }
    assert_says(&refused(&fixture, &["inspect", "nowhere"]), &["nowhere"]);
}

#[test]
fn json_tells_errors_too() {
    let fixture = Fixture::new();
    let ran = Ran::new(&mut fixture.host(&["inspect", "nowhere.blob", "--json"]));
    let last = ran.stdout.lines().last().expect("a line");
    let value: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(value["in"], "nowhere.blob");
    assert!(
        value["error"]
            .as_str()
            .is_some_and(|e| e.contains("cannot read"))
    );
}
