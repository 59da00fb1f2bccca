//! `compress` on pictures of any size that stay on the disk.

use serde_json::Value;
use std::path::Path;
use tests::command::Ran;
use tests::fixture::Fixture;
use tests::unbroken::{read, result_of};

/// The fixture's pictures, each resized to a size of its own, in `any`.
fn resized(fixture: &Fixture) {
    for class in ["red", "green", "blue"] {
        let folder = fixture.path("any").join(class);
        std::fs::create_dir_all(&folder).expect("the disk takes it");
        let there = std::fs::read_dir(fixture.path("pictures").join(class)).expect("a folder");
        for (i, entry) in there.enumerate() {
            let path = entry.expect("an entry").path();
            let (w, h) = (9 + i as u32 % 5, 10 + i as u32 % 7);
            let filter = image::imageops::FilterType::Triangle;
            let picture = image::open(&path).expect("a picture");
            let picture = picture.resize_exact(w, h, filter).to_rgb8();
            let name = path.file_name().expect("a name");
            picture.save(folder.join(name)).expect("the disk takes it");
        }
    }
}

fn text(path: &Path) -> String {
    String::from_utf8(read(path)).expect("text")
}

#[test]
fn pictures_of_any_size_are_cropped_as_they_are_read() {
    let fixture = Fixture::new();
    resized(&fixture);
    // In memory they would have to be of one size.
    let ran = Ran::new(
        fixture
            .compress("whole", &["--json"])
            .args(["--data", "any"]),
    );
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("`--crop"), "{}", ran.stderr);
    assert!(fixture.all_runs("whole").is_empty());

    let stream = |runs: &str| {
        let more = ["--json", "--crop", "8", "--distill-views", "false"];
        Ran::new(&mut fixture.compress_on("any", runs, &more))
    };
    let summary = stream("streamed").json();
    assert_eq!(summary["after"]["images_board"], 2);
    let dir = fixture.run("streamed");
    let config: Value = serde_json::from_str(&text(&dir.join("config.json"))).expect("JSON");
    assert_eq!(config["dataset"], "any, cropped to 8");
    // Trained on random crops by as many threads as there are, and still the same each time.
    assert_eq!(stream("again").code, Some(0));
    assert_eq!(result_of(&fixture.run("again")), result_of(&dir));

    // What was stored of the run is enough to work on with it.
    let run = dir.to_str().expect("UTF-8");
    let more = |args: &[&str]| Ran::new(fixture.host(args).args(["--engine", "in-process"]));
    let further = more(&[
        "compress",
        "--from",
        run,
        "--finetune-epochs",
        "1",
        "--runs",
        "further",
    ]);
    assert_eq!(further.code, Some(0), "{}", further.stderr);
    let data = ["--data", "any", "--crop", "8", "--images", "6"];
    let verified = more(&[&["verify", run][..], &data].concat());
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    // Another size is another set.
    let verified = more(&["verify", run, "--data", "any", "--crop", "16"]);
    assert_eq!(verified.code, Some(2), "{}", verified.stderr);
}
