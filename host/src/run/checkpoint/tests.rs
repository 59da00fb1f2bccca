//! Failures at every step of a checkpoint, and damage found on opening.

use super::*;
use crate::run::Stage;

fn progress(step: usize) -> Progress {
    Progress {
        stage: Stage::Prune,
        step,
    }
}

fn save(
    checkpoints: &mut Checkpoints,
    step: usize,
    agent: &[u8],
    model: &[u8],
) -> Result<(), RunError> {
    let seconds = BTreeMap::from([("search".to_owned(), step as f64)]);
    let parts = [("agent", agent), ("model", model)];
    checkpoints.save(
        progress(step),
        (step as u64, 100 * step as u64),
        seconds,
        &parts,
    )
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_saved_is_read_back_and_unchanged_parts_keep_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(dir.path()).unwrap();
    assert!(checkpoints.latest().is_none());
    save(&mut checkpoints, 1, b"a1", b"weights").unwrap();
    save(&mut checkpoints, 2, b"a2", b"weights").unwrap();
    assert_eq!(
        files(dir.path()),
        ["agent-2.part", "manifest.json", "model-1.part"]
    );

    let again = Checkpoints::open(dir.path()).unwrap();
    let manifest = again.latest().unwrap();
    assert_eq!((manifest.progress, manifest.generation), (progress(2), 2));
    assert_eq!((manifest.log_lines, manifest.log_bytes), (2, 200));
    assert_eq!(manifest.seconds["search"], 2.0);
    assert_eq!(again.part("agent").unwrap(), b"a2");
    assert_eq!(again.part("model").unwrap(), b"weights");
    assert!(again.has("agent") && !again.has("replay"));
    assert!(matches!(again.part("replay"), Err(RunError::NoPart { .. })));
}

/// The process dies at each step in turn, a write half-way through: the next one finds the
/// checkpoint before or the new one, whole, and can go on.
#[test]
fn a_failure_at_any_step_leaves_a_whole_checkpoint() {
    let (old, new) = (vec![1u8; 1000], vec![2u8; 1000]);
    let mut steps = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints::open(dir.path()).unwrap();
        save(&mut checkpoints, 1, &old, &old).unwrap();
        fault::fail_after(Some(steps));
        let result = save(&mut checkpoints, 2, &new, &new);
        fault::fail_after(None);
        drop(checkpoints);

        let mut after = Checkpoints::open(dir.path()).unwrap();
        let step = after.latest().unwrap().progress.step;
        let want = if step == 1 { &old } else { &new };
        assert!(step == 1 || step == 2);
        assert_eq!(&after.part("agent").unwrap(), want, "died at step {steps}");
        assert_eq!(&after.part("model").unwrap(), want, "died at step {steps}");
        assert_eq!(files(dir.path()).len(), 3, "leftovers are removed");
        // The manifest's rename is the thirteenth step; before it the old one holds.
        assert_eq!(step, if steps < 13 { 1 } else { 2 }, "died at step {steps}");
        save(&mut after, 3, &new, &old).unwrap();
        assert_eq!(
            Checkpoints::open(dir.path())
                .unwrap()
                .part("model")
                .unwrap(),
            old
        );
        if result.is_ok() && steps > 20 {
            break;
        }
        steps += 1;
    }
}

#[test]
fn damage_is_found_on_opening() {
    let fresh = || {
        let dir = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints::open(dir.path()).unwrap();
        save(&mut checkpoints, 1, b"agent", b"weights").unwrap();
        dir
    };
    for file in ["manifest.json", "agent-1.part", "model-1.part"] {
        let dir = fresh();
        let path = dir.path().join(file);
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 4;
        for bad in [&flipped[..], &good[..good.len() / 2], &[]] {
            fs::write(&path, bad).unwrap();
            let error = Checkpoints::open(dir.path()).unwrap_err();
            assert!(matches!(error, RunError::Damaged { .. }), "{file}: {error}");
        }
        fs::write(&path, &good).unwrap();
        Checkpoints::open(dir.path()).unwrap();
    }
}

/// The last step of a checkpoint fails, the process lives on, and dies in its next checkpoint.
#[test]
fn a_failed_attempt_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(dir.path()).unwrap();
    save(&mut checkpoints, 1, b"a1", b"m1").unwrap();
    fault::fail_after(Some(13));
    save(&mut checkpoints, 2, b"a2", b"m2").unwrap_err();
    fault::fail_after(Some(9));
    save(&mut checkpoints, 3, b"a3", b"m3").unwrap_err();
    fault::fail_after(None);
    let after = Checkpoints::open(dir.path()).unwrap();
    assert_eq!(after.latest().unwrap().progress, progress(2));
    assert_eq!(after.part("agent").unwrap(), b"a2");
}
