//! A long search takes no more memory at its end than at its start.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tests::fixture::Fixture;

/// Episodes of the search.
const EPISODES: usize = 1_000;
/// Episodes at its start and at its end whose memory is compared.
const PART: usize = 100;
/// Growth that is none: the agent remembers 100 episodes, which fill during the first part; the
/// timings' few bytes and the allocator's grain.
const GRAIN_KB: u64 = 2_048;

#[test]
#[ignore = "minutes"]
fn a_search_of_1000_episodes_leaves_memory_flat() {
    if !Path::new("/proc/self/status").is_file() {
        eprintln!("SKIPPED: no /proc to read the memory from");
        return;
    }
    let fixture = Fixture::new();
    let more = [
        "--prune-episodes",
        &EPISODES.to_string(),
        "--trial-steps",
        "1",
    ];
    let mut child = fixture
        .compress("long", &more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut seen: Vec<(usize, u64)> = Vec::new();
    loop {
        let log = fixture.all_runs("long").pop().map(|d| d.join("log.jsonl"));
        let text = log.and_then(|log| fs::read_to_string(log).ok());
        let episode = text.map_or(0, |text| text.lines().count());
        if let Some(memory) = resident(child.id()).filter(|_| episode > 0) {
            seen.push((episode, memory));
        }
        if let Some(status) = child.try_wait().expect("can be asked") {
            assert!(status.success(), "{status}");
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let most = |from: usize, to: usize| {
        let part = seen.iter().filter(|(e, _)| (from..to).contains(e));
        part.map(|(_, memory)| *memory)
            .max()
            .expect("was looked at")
    };
    let (first, last) = (most(1, PART), most(EPISODES - PART, EPISODES));
    println!("{first} kB in the first {PART} episodes, {last} kB in the last");
    assert!(last <= first + GRAIN_KB, "grew from {first} to {last} kB");
}

/// Resident memory of a process in kB.
fn resident(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
