//! `compress` from the command line on a network of seconds: what it prints and leaves.

use serde_json::Value;
use std::path::Path;
use tests::command::Ran;
use tests::fixture::write_model;
use tests::unbroken::{read, result_of, unbroken};

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap_or_else(|| panic!("{value}"));
    object.keys().map(String::as_str).collect()
}

#[test]
fn the_summary_has_the_documented_keys_and_is_true() {
    let run = unbroken();
    let summary = run.ran.json();
    let wanted = [
        "run",
        "board",
        "seed",
        "before",
        "after",
        "episodes",
        "timings_measured",
        "timings_cached",
        "seconds",
        "seconds_by_part",
        "report",
    ];
    assert_eq!(keys(&summary), wanted);
    let figures = [
        "accuracy_float",
        "accuracy_integer",
        "accuracy_board",
        "images_board",
        "parameters",
        "parameters_dense",
        "macs",
        "blob_bytes",
        "sram_bytes",
        "cycles",
        "ms",
    ];
    for which in ["before", "after"] {
        assert_eq!(keys(&summary[which]), figures);
    }
    let dir = run.fixture.run("runs");
    let blob = read(&dir.join("model.blob"));
    let parsed = shared::blob::Blob::new_checked(&blob).expect("a blob");
    assert_eq!(summary["after"]["blob_bytes"], blob.len());
    assert_eq!(
        summary["after"]["sram_bytes"],
        u64::from(parsed.header().arena_bytes)
    );
    assert_eq!(summary["after"]["images_board"], 2);
    assert_eq!(summary["episodes"], 8);
    assert_eq!(summary["timings_cached"], 0, "--fresh times anew");
    let stored: Value = serde_json::from_slice(&read(&dir.join("summary.json"))).expect("JSON");
    assert_eq!(stored, summary);
    assert!(dir.join("report.html").is_file());
    assert_eq!(run.ran.stdout.lines().count(), 1, "{}", run.ran.stdout);
}

#[test]
fn the_same_seed_gives_the_same_result_on_any_number_of_threads() {
    let run = unbroken();
    let mut again = run.fixture.compress("again", &["--json"]);
    let summary = Ran::new(again.env("RAYON_NUM_THREADS", "1")).json();
    assert_ne!(summary["timings_cached"], 0, "the table answers");
    assert_eq!(summary["timings_measured"], 0);
    let fixture = &run.fixture;
    assert_eq!(
        result_of(&fixture.run("again")),
        result_of(&fixture.run("runs"))
    );
}

#[test]
fn another_model_is_refused_on_resume_and_nothing_is_changed() {
    let run = unbroken();
    let fixture = &run.fixture;
    write_model(&fixture.path("other"), 2);
    let dir = fixture.run("runs");
    let before = result_of(&dir);
    let args = ["compress", "--resume", dir.to_str().expect("UTF-8")];
    let ran = Ran::new(fixture.host(&args).args(["--model", "other"]));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("made from another model"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("\n  try  "), "{}", ran.stderr);
    let ran = Ran::new(fixture.host(&args).args(["--seed", "7"]));
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("keeps its own settings"),
        "{}",
        ran.stderr
    );
    assert_eq!(result_of(&dir), before);
}

#[test]
fn what_a_run_found_is_trained_further() {
    let run = unbroken();
    let fixture = &run.fixture;
    let dir = fixture.run("runs");
    let from = |more: &[&str]| {
        let mut command = fixture.host(&["compress", "--json", "--runs", "further", "--from"]);
        command
            .arg(&dir)
            .args(["--engine", "in-process"])
            .args(more);
        Ran::new(&mut command)
    };
    let ran = from(&["--prune-episodes", "3"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing is searched"), "{}", ran.stderr);
    assert!(fixture.all_runs("further").is_empty(), "nothing was begun");
    let ran = from(&["--finetune-epochs", "1"]);
    let summary = ran.json();
    let first = run.ran.json();
    for same in ["macs", "parameters_dense"] {
        assert_eq!(summary["after"][same], first["after"][same]);
    }
    let further = fixture.run("further");
    let text = |dir: &Path| String::from_utf8(read(&dir.join("log.jsonl"))).expect("text");
    assert_eq!(text(&further).lines().count(), text(&dir).lines().count());
    assert_ne!(result_of(&further)[1], result_of(&dir)[1], "it was trained");
    let mut unfinished = fixture.host(&["compress", "--from", "model"]);
    let ran = Ran::new(&mut unfinished);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
}

#[test]
fn what_a_run_leaves_can_be_verified_inspected_and_reported() {
    let run = unbroken();
    let dir = run.fixture.run("runs");
    let path = dir.to_str().expect("UTF-8");
    let board = tests::board();
    let verify = run
        .fixture
        .host(&[
            "verify",
            path,
            "--data",
            "pictures",
            "--images",
            "3",
            "--board",
            &board,
            "--engine",
            "in-process",
            "--json",
        ])
        .output()
        .expect("runs");
    let stdout = String::from_utf8_lossy(&verify.stdout);
    assert!(
        verify.status.success(),
        "{}",
        String::from_utf8_lossy(&verify.stderr)
    );
    let verified: Value = serde_json::from_str(stdout.trim()).expect("JSON");
    let wanted = [
        "images",
        "mismatched_logits",
        "accuracy_board",
        "accuracy_host",
        "arena_predicted",
        "arena_used",
        "cycles_mean",
    ];
    assert_eq!(keys(&verified), wanted);
    assert_eq!(
        (&verified["images"], &verified["mismatched_logits"]),
        (&3.into(), &0.into())
    );
    assert_eq!(verified["arena_used"], verified["arena_predicted"]);
    assert_eq!(verified["accuracy_board"], verified["accuracy_host"]);

    let inspected = Ran::new(&mut run.fixture.host(&["inspect", path, "--json"])).json();
    let summary = run.ran.json();
    for (total, after) in [
        ("blob_bytes", "blob_bytes"),
        ("arena_bytes", "sram_bytes"),
        ("macs", "macs"),
        ("parameters", "parameters"),
        ("cycles", "cycles"),
    ] {
        assert_eq!(
            inspected["total"][total], summary["after"][after],
            "{total}"
        );
    }
    let layers = inspected["layers"].as_array().expect("layers");
    let bytes: u64 = layers.iter().filter_map(|l| l["bytes"].as_u64()).sum();
    assert_eq!(
        bytes + 48,
        inspected["total"]["blob_bytes"].as_u64().expect("a number")
    );

    std::fs::remove_file(dir.join("report.html")).expect("removed");
    let reported = Ran::new(&mut run.fixture.host(&["report", path, "--json"])).json();
    let report = run
        .fixture
        .path(reported["report"].as_str().expect("a path"));
    assert!(String::from_utf8_lossy(&read(&report)).starts_with("<!DOCTYPE html>"));
}

#[test]
fn a_finished_run_gets_a_control_that_equals_one_trained_with_it() {
    let fixture = &unbroken().fixture;
    // The teacher's answers are kept; the dense network learns from them too.
    let with = ["--json", "--control", "--distill-views", "false"];
    let ran = Ran::new(&mut fixture.compress("controlled", &with));
    let summary = ran.json();
    let control = &summary["control"];
    // Four passes of one whole batch of 64 each.
    let passes = control["epochs"].as_f64().expect("a number");
    assert!((2.0..4.0).contains(&passes), "{control}");
    let run = fixture.run("controlled");
    let path = run.to_str().expect("UTF-8");
    assert!(run.join("teacher.safetensors").is_file());

    let refused = Ran::new(&mut fixture.host(&["control", path, "--epochs", "0"]));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    write_model(&fixture.path("not-it"), 3);
    let refused = Ran::new(&mut fixture.host(&["control", path, "--model", "not-it"]));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("another"), "{}", refused.stderr);

    let again = Ran::new(&mut fixture.host(&["control", path, "--json"])).json();
    assert_eq!(&again["control"], control);
    let short = Ran::new(&mut fixture.host(&["control", path, "--epochs", "1", "--json"])).json();
    assert_eq!(short["control"]["epochs"], passes / 4.0);
    let stored = read(&run.join("summary.json"));
    let stored: Value = serde_json::from_slice(&stored).expect("JSON");
    assert_eq!(stored, short);
    assert_eq!(stored["after"], summary["after"]);
    assert!(!run.join("control/control.safetensors").exists());
}

#[test]
fn the_fidelity_of_a_search_can_be_measured_and_goes_on_where_it_was() {
    let run = unbroken();
    let fixture = &run.fixture;
    let path = |dir: &Path| dir.to_str().expect("UTF-8").to_owned();
    let args = ["--model", "model", "--data", "pictures", "--json"];
    // Four episodes far from their budget leave nothing to rank.
    let few = path(&fixture.run("runs"));
    let ran = Ran::new(fixture.host(&["fidelity", &few]).args(args));
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("too few to rank"), "{}", ran.stderr);

    let before = run.ran.json()["before"]["ms"].as_f64().expect("a number");
    let budget = format!("{}us", (before * 600.0) as u64);
    let budgets = ["--max-latency", &budget, "--channel-step", "1"];
    let search = ["--agent", "random", "--prune-episodes", "50"];
    let more = [&budgets[..], &search[..]].concat();
    let ran = Ran::new(&mut fixture.compress("near", &more));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let near = path(&fixture.run("near"));
    // Policies are judged with the pictures that they were searched on, or not at all.
    let mut copy = std::process::Command::new("cp");
    copy.args(["-r", "pictures", "others"]);
    let copied = copy.current_dir(fixture.folder.path()).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let others = ["--model", "model", "--data", "others", "--json"];
    let ran = Ran::new(fixture.host(&["fidelity", &near]).args(others));
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("not on others"), "{}", ran.stderr);
    let fidelity = |cheap: &str| {
        let mut command = fixture.host(&["fidelity", &near, "--cheap", cheap]);
        Ran::new(command.args(args)).json()
    };
    let first = fidelity("1x8/8");
    let rows = first["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4);
    // None, where a thorough training leaves all policies with the same accuracy.
    let own = &rows[0]["tau"];
    assert!(own.is_null() || *own == 1.0, "{own}");
    assert!(first["policies"].as_u64().is_some_and(|n| n >= 3));
    let images: Vec<u64> = rows.iter().filter_map(|r| r["images"].as_u64()).collect();
    assert!(images[0] > images[1] && images[1] == images[2]);
    let kept = std::fs::read_to_string(Path::new(&near).join("fidelity.jsonl")).expect("kept");
    assert_eq!(fidelity("1x8/8"), first, "all was known");
    let again = std::fs::read_to_string(Path::new(&near).join("fidelity.jsonl")).expect("kept");
    assert_eq!(again, kept);
}
