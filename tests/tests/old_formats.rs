//! A stored sample of each file that outlives a version: read as it was, or refused by name.
//! Where one of these fails, a format has changed: it needs a new version, and that a sample.

use host::agent::{AgentKind, AgentState};
use host::board::LatencyTable;
use host::run::{Checkpoints, Progress, RunError, Stage, fingerprint};
use host::search::LayerCost;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tests::samples;

const PROGRESS: Progress = Progress {
    stage: Stage::Quantize,
    step: 7,
};

const COSTS: [(&str, LayerCost); 2] = [
    ("board build conv 32x32", LayerCost::Cycles(123_456)),
    (
        "board build conv 64x64",
        LayerCost::TooLarge {
            need: 200_000,
            limit: 100_000,
        },
    ),
];

/// A copy to work on: what is opened may be written to.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a sample").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("is copied");
    }
}

#[test]
fn a_checkpoint_of_format_1_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&samples().join("checkpoint-1"), folder.path());
    let checkpoints = Checkpoints::open(folder.path()).expect("is read");
    let manifest = checkpoints.latest().expect("there is one");
    assert_eq!((manifest.generation, manifest.progress), (1, PROGRESS));
    assert_eq!((manifest.log_lines, manifest.log_bytes), (3, 456));
    let agent = checkpoints.part("a").expect("is whole");
    let mut loaded = AgentState::from_bytes(&agent)
        .expect("is read")
        .load()
        .expect("fits");
    let mut fresh = AgentKind::Random.build(3, 2, 4, 9, 5);
    assert_eq!(
        loaded.act(&[0.0; 3]),
        fresh.act(&[0.0; 3]),
        "the same numbers come next"
    );
}

#[test]
fn a_checkpoint_of_another_format_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&samples().join("checkpoint-1"), folder.path());
    let path = folder.path().join("manifest.json");
    let text = fs::read_to_string(&path).expect("a manifest");
    let body = text.lines().next().expect("a line");
    let body = body.replace("\"format\":1", "\"format\":2");
    let check = fingerprint(body.as_bytes());
    fs::write(&path, format!("{body}\n{check}\n")).expect("is written");
    let error = Checkpoints::open(folder.path()).expect_err("from the future");
    assert!(matches!(error, RunError::Damaged { .. }));
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn a_latency_table_of_version_1_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("table.jsonl");
    fs::copy(samples().join("latency-table-v1.jsonl"), &path).expect("is copied");
    let table = LatencyTable::open(&path, false).expect("is read");
    assert_eq!(table.len(), COSTS.len());
    for (key, cost) in COSTS {
        assert_eq!(table.get(key), Some(cost));
    }
    // Its version stands in the name, so another version is another file.
    let name = LatencyTable::default_path();
    assert!(
        name.ends_with("latency-table-v1.jsonl"),
        "{}",
        name.display()
    );
}

#[test]
#[ignore = "writes the samples of the versions that there are now"]
fn write_samples() {
    let folder = samples().join("checkpoint-1");
    fs::create_dir_all(&folder).expect("a folder");
    let agent = AgentKind::Random
        .build(3, 2, 4, 9, 5)
        .save()
        .to_bytes()
        .expect("is encoded");
    let mut checkpoints = Checkpoints::open(&folder).expect("is new");
    let seconds = BTreeMap::from([("prune".to_owned(), 1.5)]);
    checkpoints
        .save(PROGRESS, (3, 456), seconds, &[("a", &agent)])
        .expect("is written");
    let path = samples().join("latency-table-v1.jsonl");
    let mut table = LatencyTable::open(&path, false).expect("is new");
    for (key, cost) in COSTS {
        table.put(key, cost).expect("is written");
    }
}
