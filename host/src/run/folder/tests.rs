//! Names, locking, resuming and refusing.

use super::*;
use crate::{
    reward::Costs,
    run::{Stage, fingerprint, testing::config},
};

fn episode(folder: &mut RunFolder, i: usize) {
    let record = EpisodeRecord {
        stage: Stage::Prune,
        episode: i,
        agent: "random".into(),
        reward: i as f64,
        accuracy: 0.5,
        likelihood: None,
        costs: Costs::default(),
        feasible: false,
        excess: 0.1,
        best: false,
        variant: None,
        cycles_error: None,
        images: None,
        actions: Vec::new(),
        seconds: 0.0,
        seconds_by_part: None,
    };
    folder.log(&record).unwrap();
}

fn checkpoint(folder: &mut RunFolder, step: usize) {
    let progress = Progress {
        stage: Stage::Prune,
        step,
    };
    let mut timer = folder.timer();
    timer.time("search", || {
        std::thread::sleep(std::time::Duration::from_millis(2))
    });
    let agent = [step as u8; 10];
    folder
        .checkpoint(progress, &timer, &[("agent", &agent)])
        .unwrap();
}

#[test]
fn a_second_run_that_day_gets_a_number_and_names_are_plain() {
    let root = tempfile::tempdir().unwrap();
    let runs: Vec<RunFolder> = (0..3)
        .map(|_| RunFolder::create(root.path(), "vgg/../small", config()).unwrap())
        .collect();
    let first = runs[0].config().run.clone();
    assert!(first.ends_with("-vgg-..-small"), "{first}");
    assert_eq!(runs[1].config().run, format!("{first}-2"));
    assert_eq!(runs[2].config().run, format!("{first}-3"));
    for run in &runs {
        assert_eq!(run.dir().parent(), Some(root.path()));
        assert_eq!(&RunFolder::read_config(run.dir()).unwrap(), run.config());
    }
}

#[test]
fn a_run_resumes_at_its_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(root.path(), "vgg", config()).unwrap();
    let dir = run.dir().to_owned();
    assert_eq!(run.progress(), Progress::START);
    episode(&mut run, 0);
    checkpoint(&mut run, 1);
    episode(&mut run, 1);
    assert!(matches!(
        RunFolder::resume(&dir),
        Err(RunError::InUse { .. })
    ));
    drop(run);

    let mut run = RunFolder::resume(&dir).unwrap();
    assert_eq!(
        run.progress(),
        Progress {
            stage: Stage::Prune,
            step: 1
        }
    );
    assert_eq!(run.checkpoints().part("agent").unwrap(), [1; 10]);
    assert!(run.timer().seconds()["search"] >= 0.002);
    assert_eq!(
        EpisodeLog::read(&run.path(files::LOG)).unwrap().len(),
        1,
        "cut back"
    );
    episode(&mut run, 1);
    checkpoint(&mut run, 2);
    assert!(run.timer().seconds()["search"] >= 0.004);
    drop(run);
    let run = RunFolder::resume(&dir).unwrap();
    assert_eq!(EpisodeLog::read(&run.path(files::LOG)).unwrap().len(), 2);
}

#[test]
fn a_run_that_died_before_its_first_checkpoint_starts_over() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(root.path(), "vgg", config()).unwrap();
    let dir = run.dir().to_owned();
    episode(&mut run, 0);
    drop(run);
    let run = RunFolder::resume(&dir).unwrap();
    assert_eq!(run.progress(), Progress::START);
    assert!(EpisodeLog::read(&run.path(files::LOG)).unwrap().is_empty());
}

#[test]
fn another_model_or_configuration_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let run = RunFolder::create(root.path(), "vgg", config()).unwrap();
    let own = run.config().identity.clone();
    run.check_identity(&own).unwrap();
    let model = Identity {
        model: fingerprint(b"other"),
        ..own.clone()
    };
    let error = run.check_identity(&model).unwrap_err();
    assert!(error.to_string().contains("another model"), "{error}");
    assert!(error.hint().is_some());
    let configuration = Identity {
        configuration: fingerprint(b"other"),
        ..own
    };
    let error = run.check_identity(&configuration).unwrap_err();
    assert!(
        error.to_string().contains("another configuration"),
        "{error}"
    );
}

#[test]
fn what_is_no_run_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("nowhere");
    assert!(matches!(
        RunFolder::resume(&missing),
        Err(RunError::NotARun { .. })
    ));
    assert!(!missing.exists(), "and not made");
    fs::write(root.path().join(files::CONFIG), "{").unwrap();
    assert!(matches!(
        RunFolder::resume(root.path()),
        Err(RunError::Damaged { .. })
    ));
}

#[test]
fn what_a_kill_left_before_a_configuration_goes_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let begun = || {
        let run = RunFolder::create(root.path(), "begun", config()).unwrap();
        let dir = run.dir().to_owned();
        drop(run);
        fs::rename(dir.join(files::CONFIG), dir.join("config.json.tmp")).unwrap();
        dir
    };
    let dir = begun();
    assert!(dir.join(files::LOG).is_file() && dir.join(files::LOCK).is_file());
    RunFolder::discard_unbegun(&dir);
    assert!(!dir.exists());
    fs::create_dir(&dir).unwrap();
    RunFolder::discard_unbegun(&dir);
    assert!(!dir.exists(), "not even locked");

    // One that has a configuration, episodes, parts, or something foreign.
    let whole = |dir: &Path| fs::rename(dir.join("config.json.tmp"), dir.join(files::CONFIG));
    let episodes = |dir: &Path| fs::write(dir.join(files::LOG), "{}\n");
    let part = |dir: &Path| {
        fs::create_dir_all(dir.join(files::CHECKPOINT))?;
        fs::write(dir.join(files::CHECKPOINT).join("a-1.part"), "a")
    };
    let foreign = |dir: &Path| fs::write(dir.join("notes.txt"), "mine");
    type Keep = fn(&Path) -> io::Result<()>;
    let keepers: [Keep; 4] = [whole, episodes, part, foreign];
    for (i, keep) in keepers.into_iter().enumerate() {
        let dir = begun();
        keep(&dir).unwrap();
        let before = fs::read_dir(&dir).unwrap().count();
        RunFolder::discard_unbegun(&dir);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), before, "{i}");
    }
}
