//! `compare` from the command line on a network of seconds: cells are kept, a comparison that
//! is killed goes on, and what is refused is said.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tests::command::Ran;
use tests::fixture::Fixture;

const CELLS: [&str; 4] = ["ddpg-0", "uniform-0", "greedy-0", "ddpg-1"];

fn arguments() -> [&'static str; 5] {
    [
        "--agents",
        "ddpg,uniform,greedy",
        "--seeds",
        "0,1",
        "--json",
    ]
}

/// The blob of the one run in a cell's folder.
fn blob(cell: &Path) -> Vec<u8> {
    let runs = std::fs::read_dir(cell).unwrap_or_else(|e| panic!("{}: {e}", cell.display()));
    let runs = runs.flatten().map(|e| e.path()).filter(|p| p.is_dir());
    let runs: Vec<_> = runs.collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    std::fs::read(runs[0].join("model.blob")).expect("a blob")
}

#[test]
fn a_comparison_that_is_killed_goes_on_to_the_same_cells() {
    let fixture = Fixture::new();
    let whole = Ran::new(&mut fixture.compare("whole", &arguments()));
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    let cells = whole.json()["cells"].as_array().expect("cells").clone();
    let names: Vec<String> = cells
        .iter()
        .map(|c| format!("{}-{}", c["agent"].as_str().expect("a name"), c["seed"]))
        .collect();
    assert_eq!(names, CELLS, "what needs no seed runs once");
    assert!(cells.iter().all(|c| c["accuracy"].is_f64()), "{cells:?}");

    for patience in [300, 900, 1500] {
        let mut child = fixture
            .compare("broken", &arguments())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(patience));
        // SIGKILL; where it has come to its end, there is nothing left to kill.
        let _ = child.kill();
        child.wait().expect("has ended");
    }
    let again = Ran::new(&mut fixture.compare("broken", &arguments()));
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    for cell in CELLS {
        let [a, b] = ["whole", "broken"].map(|out| blob(&fixture.path(out).join(cell)));
        assert_eq!(a, b, "{cell}");
    }

    let table = std::fs::read_to_string(fixture.path("broken").join("compare.md"));
    let table = table.expect("a table");
    assert!(
        table.contains("| ddpg | 2 |") && table.contains("| uniform | 1 |"),
        "{table}"
    );
    assert!(
        table.contains("| ddpg better by, points | seed 0 | seed 1 |"),
        "{table}"
    );
    let page = std::fs::read_to_string(fixture.path("broken").join("compare.html"));
    assert!(page.expect("a page").contains("Best reward against cost"));

    // Everything is there: nothing is run again, and other settings are refused.
    let before = blob(&fixture.path("broken").join("ddpg-0"));
    let mut other = fixture.compare("broken", &arguments());
    let other = Ran::new(other.args(["--trial-steps", "3"]));
    assert_eq!(other.code, Some(2), "{}", other.stderr);
    assert!(
        other.stderr.contains("made with other settings"),
        "{}",
        other.stderr
    );
    assert_eq!(blob(&fixture.path("broken").join("ddpg-0")), before);
}

#[test]
fn two_comparisons_share_a_folder() {
    let fixture = Fixture::new();
    let alone = Ran::new(&mut fixture.compare("alone", &arguments()));
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    let children = [(); 2].map(|()| {
        let mut command = fixture.compare("shared", &arguments());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("starts")
    });
    let (mut most, mut passed_over) = (0, false);
    for child in children {
        let ran = child.wait_with_output().expect("has ended");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{stderr}");
        let answer: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        let of = |key: &str| answer[key].as_array().expect("a list").len();
        assert_eq!(of("cells") + of("elsewhere"), CELLS.len(), "{answer}");
        most = most.max(of("cells"));
        passed_over |= stderr.contains("another process makes");
    }
    // Whoever came last has everything.
    assert_eq!(most, CELLS.len());
    assert!(passed_over, "they made no cells side by side");
    for cell in CELLS {
        let [a, b] = ["alone", "shared"].map(|out| blob(&fixture.path(out).join(cell)));
        assert_eq!(a, b, "{cell}");
    }
}

#[test]
fn an_agent_or_a_seed_alone_is_refused() {
    let fixture = Fixture::new();
    let ran = Ran::new(&mut fixture.compare("out", &["--agent", "ddpg"]));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--agents"), "{}", ran.stderr);
    assert!(!fixture.path("out").exists());
}
