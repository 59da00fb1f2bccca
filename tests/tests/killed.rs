//! However often and wherever `compress` is killed, it comes to the same end.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::fixture::Fixture;
use tests::unbroken::{Unbroken, read, unbroken};

/// Stages as manifests name them, and as summaries do.
const STAGES: [(&str, &str); 6] = [
    ("prepare", "prepare"),
    ("prune", "prune"),
    ("finetune-pruned", "fine-tune pruned"),
    ("quantize", "quantize"),
    ("finetune-quantized", "fine-tune quantized"),
    ("finish", "finish"),
];

/// Longest that a run may take which nobody kills.
const PATIENCE: Duration = Duration::from_secs(600);

/// Kills that each stage sees, each at a random moment of it.
const KILLS: usize = 20;

#[test]
fn a_run_that_is_killed_20_times_in_each_stage_comes_to_the_same_end() {
    let run = unbroken();
    let expected = everything(&run.fixture.run("runs"));
    let mut killer = Killer::new(run);
    let mut finished = 0;
    while finished == 0 || killer.is_short() {
        let runs = format!("killed-{finished}");
        while !killer.go_on(&runs) {}
        let found = everything(&run.fixture.run(&runs));
        for (file, bytes) in &expected {
            assert!(found[file] == *bytes, "{file} differs in {runs}");
        }
        finished += 1;
    }
    println!(
        "kills by stage {:?}; {finished} runs finished, each like the unbroken one",
        killer.kills
    );
}

/// Everything that must be the same: policy, blob, weights of both stages, the log without
/// its times.
fn everything(run: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let files = [
        "policy.json",
        "model.blob",
        "pruned/model.safetensors",
        "model/model.safetensors",
        "model/quantization.json",
    ];
    let mut all: BTreeMap<_, _> = files.map(|file| (file, read(&run.join(file)))).into();
    let log = String::from_utf8(read(&run.join("log.jsonl"))).expect("text");
    let lines = log.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).expect("JSON");
        let object = record.as_object_mut().expect("an object");
        assert!(object.remove("seconds").is_some());
        object.remove("seconds_by_part");
        record.to_string()
    });
    all.insert(
        "log.jsonl",
        lines.collect::<Vec<_>>().join("\n").into_bytes(),
    );
    all
}

struct Killer<'a> {
    fixture: &'a Fixture,
    rng: shared::bench::Rng,
    /// Seconds of each stage of a run that nobody kills, and of what comes before the first.
    seconds: BTreeMap<&'static str, f64>,
    start_up: f64,
    kills: BTreeMap<&'static str, usize>,
}

impl<'a> Killer<'a> {
    fn new(run: &'a Unbroken) -> Self {
        let parts = run.ran.json()["seconds_by_part"].clone();
        let seconds = STAGES.map(|(stage, part)| (stage, parts[part].as_f64().expect(part)));
        let took = run.took.as_secs_f64();
        Self {
            fixture: &run.fixture,
            rng: shared::bench::Rng::new(run.took.as_nanos() as u32),
            start_up: took - seconds.iter().map(|(_, s)| s).sum::<f64>(),
            seconds: seconds.into(),
            kills: STAGES.map(|(stage, _)| (stage, 0)).into(),
        }
    }

    fn is_short(&self) -> bool {
        self.kills.values().any(|kills| *kills < KILLS)
    }

    /// Starts a run in the folder `runs`, or goes on with the one that is there; whether it
    /// came to its end, and was not killed.
    fn go_on(&mut self, runs: &str) -> bool {
        let mut child = self.command(runs).spawn().expect("starts");
        let started = Instant::now();
        let (mut at, mut deadline) = (None, None);
        loop {
            let now = self.stage(runs);
            if at != Some(now) {
                // The first stage that a process sees has its start before it.
                let start_up = if at.is_none() { self.start_up } else { 0.0 };
                deadline = self.moment(now, start_up);
                at = Some(now);
            }
            if child.try_wait().expect("can be asked").is_some() {
                check(child);
                return true;
            }
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                // SIGKILL: no handler, no clean-up.
                child.kill().expect("is killed");
                if child.wait().expect("has ended").success() {
                    return true;
                }
                // It may have come further meanwhile.
                *self.kills.entry(self.stage(runs)).or_default() += 1;
                return false;
            }
            assert!(started.elapsed() < PATIENCE, "it hangs");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A random moment of the stage that begins now; none where it has seen enough kills.
    fn moment(&mut self, stage: &str, start_up: f64) -> Option<Instant> {
        let short = self.kills.get(stage).is_some_and(|k| *k < KILLS);
        let share = f64::from(self.rng.below(1000)) / 1000.0;
        let seconds = share * (start_up + self.seconds.get(stage)?);
        short.then(|| Instant::now() + Duration::from_secs_f64(seconds.max(0.0)))
    }

    fn dir(&self, runs: &str) -> Option<PathBuf> {
        self.fixture.all_runs(runs).into_iter().next()
    }

    /// Where the latest checkpoint says that the run is.
    fn stage(&self, runs: &str) -> &'static str {
        let manifest = self.dir(runs).map(|d| d.join("checkpoint/manifest.json"));
        let text = manifest.and_then(|m| std::fs::read_to_string(m).ok());
        let Some(text) = text else {
            return STAGES[0].0;
        };
        // It starts as JSON; the checksum stands in a line of its own.
        let line = text.lines().next().unwrap_or_default();
        let manifest: Value = serde_json::from_str(line).expect("a manifest");
        let stage = manifest["progress"]["stage"].as_str().expect("a stage");
        let known = STAGES.iter().find(|(name, _)| *name == stage);
        known.map_or("done", |(name, _)| name)
    }

    fn command(&self, runs: &str) -> Command {
        let mut command = match self.dir(runs) {
            // Killed before it had written its configuration: nothing was lost, nothing is
            // there.
            Some(dir) if !dir.join("config.json").is_file() => {
                std::fs::remove_dir_all(dir).expect("removed");
                self.fixture.compress(runs, &["--json"])
            }
            Some(dir) => {
                let mut command = self.fixture.host(&["compress", "--json", "--resume"]);
                command.arg(dir).args(["--engine", "in-process"]);
                command.args(["--model", "model", "--data", "pictures"]);
                command
            }
            None => self.fixture.compress(runs, &["--json"]),
        };
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// A process that ended by itself has to have succeeded.
fn check(child: Child) {
    let output = child.wait_with_output().expect("has ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
