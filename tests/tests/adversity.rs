//! A full disk, a folder that cannot be written, Ctrl-C, a second process: each is told, and
//! the run goes on afterwards to the result that it would have had.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::command::Ran;
use tests::fixture::Fixture;
use tests::unbroken::{result_of, unbroken};

/// `compress --resume` of a run of the fixture.
fn resume(fixture: &Fixture, run: &Path) -> Command {
    let run = run.to_str().expect("UTF-8");
    let inputs = ["--model", "model", "--data", "pictures"];
    let mut command = fixture.host(&["compress", "--json", "--engine", "in-process"]);
    command.args(inputs).args(["--resume", run]);
    command
}

/// Goes on with a run to its end, which must be the unbroken one's.
fn ends_like_the_unbroken_one(fixture: &Fixture, run: &Path) {
    let ran = Ran::new(&mut resume(fixture, run));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(result_of(run), result_of(&fixture.run("runs")));
}

/// The same command under a shell's limits: `prepare` is run first.
fn under(command: &Command, prepare: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{prepare}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// Starts a command quietly.
fn start(command: &mut Command) -> Child {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::piped());
    quiet.spawn().expect("starts")
}

/// Waits until a run of the folder `runs` has a checkpoint of a search.
fn wait_for_a_checkpoint(fixture: &Fixture, runs: &str, child: &mut Child) -> PathBuf {
    let started = Instant::now();
    loop {
        if let Some(run) = fixture.all_runs(runs).first() {
            let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap_or_default();
            if log.lines().count() >= 2 {
                return run.clone();
            }
        }
        let ended = child.try_wait().expect("can be asked");
        assert!(ended.is_none(), "it ended first: {ended:?}");
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "no checkpoint"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal, such as `-INT`.
fn signal(child: &Child, which: &str) {
    let id = child.id().to_string();
    let kill = Command::new("kill").args([which, &id]).status();
    assert!(kill.expect("kill runs").success());
}

fn stderr_of(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().expect("has ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn a_disk_that_is_full_is_told_and_the_run_goes_on_when_it_is_not() {
    let fixture = &unbroken().fixture;
    let mut refusals = 0;
    // The largest file that may be written, in units of 512 bytes or of 1,024.
    for (i, most) in [0, 1, 2, 4, 8, 16].into_iter().enumerate() {
        let runs = format!("full-{i}");
        let command = fixture.compress(&runs, &["--json"]);
        let limit = format!("trap '' XFSZ; ulimit -f {most}");
        let ran = Ran::new(&mut under(&command, &limit));
        if ran.code == Some(0) {
            continue;
        }
        refusals += 1;
        assert_eq!(ran.code, Some(2), "{most}: {}", ran.stderr);
        let says = |part: &str| assert!(ran.stderr.contains(part), "{most}: {}", ran.stderr);
        says("error: ");
        says("File too large");
        says(&runs);
        says("try  free some disk space");
        assert!(!ran.stderr.contains("panicked"), "{most}: {}", ran.stderr);
        let all = fixture.all_runs(&runs);
        match all.first() {
            Some(run) if run.join("config.json").is_file() => {
                ends_like_the_unbroken_one(fixture, run);
            }
            // Nothing had begun yet.
            _ => {}
        }
    }
    assert!(refusals >= 3, "the limits were never met");
}

#[test]
fn a_run_folder_that_cannot_be_written_is_refused_by_name_and_left_alone() {
    let fixture = &unbroken().fixture;
    let mut child = start(&mut fixture.compress("locked", &["--json"]));
    let run = wait_for_a_checkpoint(fixture, "locked", &mut child);
    child.kill().expect("is killed");
    child.wait().expect("has ended");

    let set = |mode: u32| {
        for path in everything_in(&run) {
            let bits = if path.is_dir() { mode | 0o111 } else { mode };
            let permissions = std::fs::Permissions::from_mode(bits);
            std::fs::set_permissions(&path, permissions).expect("is ours");
        }
    };
    set(0o444);
    let before = contents(&run);
    let mut command = resume(fixture, &run);
    if is_root(&run) {
        // Root may write whatever the permissions say, unless that right is taken away.
        let Some(meek) = without_override(&command) else {
            eprintln!("SKIPPED: root without setpriv can write everywhere");
            set(0o644);
            return;
        };
        command = meek;
    }
    let ran = Ran::new(&mut command);
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    let name = run.file_name().expect("a name").to_string_lossy();
    assert!(ran.stderr.contains(&*name), "{}", ran.stderr);
    assert!(ran.stderr.contains("ermission denied"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  try  "), "{}", ran.stderr);
    assert_eq!(contents(&run), before);

    set(0o644);
    ends_like_the_unbroken_one(fixture, &run);
}

/// The same command as a root that permissions stop, where there is `setpriv`.
fn without_override(command: &Command) -> Option<Command> {
    const DROP: &str = "--bounding-set=-dac_override,-dac_read_search";
    let works = Command::new("setpriv").args([DROP, "true"]).status();
    if !works.is_ok_and(|status| status.success()) {
        return None;
    }
    let shell = under(command, ":");
    let mut setpriv = Command::new("setpriv");
    setpriv
        .arg(DROP)
        .arg(shell.get_program())
        .args(shell.get_args());
    for (name, value) in shell.get_envs() {
        setpriv.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = shell.get_current_dir() {
        setpriv.current_dir(folder);
    }
    Some(setpriv)
}

/// Whether permissions do not stop this process.
fn is_root(run: &Path) -> bool {
    std::fs::OpenOptions::new()
        .append(true)
        .open(run.join("config.json"))
        .is_ok()
}

fn everything_in(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(everything_in(&path));
        } else {
            all.push(path);
        }
    }
    all
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = everything_in(folder).into_iter().filter(|p| p.is_file());
    let mut all: Vec<_> = files
        .map(|p| (p.clone(), tests::unbroken::read(&p)))
        .collect();
    all.sort();
    all
}

#[test]
fn ctrl_c_saves_says_how_to_go_on_and_loses_nothing() {
    let fixture = &unbroken().fixture;
    let mut child = start(&mut fixture.compress("interrupted", &["--json"]));
    let run = wait_for_a_checkpoint(fixture, "interrupted", &mut child);
    signal(&child, "-INT");
    let (code, said) = stderr_of(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("--resume"), "{said}");
    ends_like_the_unbroken_one(fixture, &run);
}

#[test]
fn a_second_process_on_the_same_run_is_refused_and_the_first_is_not_disturbed() {
    let fixture = &unbroken().fixture;
    let mut child = start(&mut fixture.compress("shared", &["--json"]));
    let run = wait_for_a_checkpoint(fixture, "shared", &mut child);
    // Stopped, it cannot be done before the second has looked.
    signal(&child, "-STOP");
    let second = Ran::new(&mut resume(fixture, &run));
    signal(&child, "-CONT");
    assert_ne!(second.code, Some(0));
    let holder = format!("in use by process {}", child.id());
    assert!(second.stderr.contains(&holder), "{}", second.stderr);
    let (code, said) = stderr_of(child);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(result_of(&run), result_of(&fixture.run("runs")));
}

/// Checkpoints after every step, so that kills fall between and into them.
const OFTEN: [&str; 2] = ["--checkpoint-every", "1us"];
/// Kills of a training.
const KILLS: usize = 20;

#[test]
fn a_training_that_is_killed_again_and_again_gives_the_same_weights() {
    let fixture = Fixture::new();
    let train = |out: &str| {
        let mut command =
            fixture.host(&["train", "--data", "pictures", "--arch", "model/config.json"]);
        command.args([
            "--epochs", "6", "--batch", "16", "--seed", "3", "--out", out,
        ]);
        command.args(OFTEN);
        command
    };
    let started = Instant::now();
    let ran = Ran::new(&mut train("whole"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let took = started.elapsed();
    let weights = |out: &str| tests::unbroken::read(&fixture.path(out).join("model.safetensors"));

    let mut rng = shared::bench::Rng::new(took.as_nanos() as u32);
    let (mut kills, mut chain, mut ends) = (0, 0, 0);
    while kills < KILLS || ends == 0 {
        let out = format!("killed-{chain}");
        let mut command = if fixture.path(&out).join("train.json").is_file() {
            fixture.host(&[&["train", "--resume", &out], &OFTEN[..]].concat())
        } else {
            // Killed before it had written its settings: nothing was lost.
            let _ = std::fs::remove_dir_all(fixture.path(&out));
            train(&out)
        };
        let mut child = start(&mut command);
        if kills < KILLS {
            let share = f64::from(rng.below(900) + 50) / 1000.0;
            std::thread::sleep(took.mul_f64(share));
            if child.try_wait().expect("can be asked").is_none() {
                child.kill().expect("is killed");
                child.wait().expect("has ended");
                kills += 1;
                continue;
            }
        }
        let (code, said) = stderr_of(child);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(weights(&out), weights("whole"));
        (chain, ends) = (chain + 1, ends + 1);
    }
    println!("{kills} kills, {ends} trainings finished, each like the unbroken one");
}
