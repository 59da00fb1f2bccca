//! A run that nothing happened to, to compare others with.

use crate::command::Ran;
use crate::fixture::Fixture;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One unbroken run, which all tests of a binary look at.
pub struct Unbroken {
    /// Where it lies, in the folder `runs`.
    pub fixture: Fixture,
    /// What it printed.
    pub ran: Ran,
    /// How long it took.
    pub took: Duration,
}

/// Makes it, once a process.
///
/// # Panics
/// Where `compress` fails.
pub fn unbroken() -> &'static Unbroken {
    static RUN: OnceLock<Unbroken> = OnceLock::new();
    RUN.get_or_init(|| {
        let fixture = Fixture::new();
        // Firmware and command are built by the first call, which is no part of the time.
        let warm = Ran::new(&mut fixture.compress("warm", &["--json"]));
        assert_eq!(warm.code, Some(0), "{}", warm.stderr);
        let started = Instant::now();
        let ran = Ran::new(&mut fixture.compress("runs", &["--json", "--fresh"]));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        Unbroken {
            took: started.elapsed(),
            fixture,
            ran,
        }
    })
}

/// A file's content.
///
/// # Panics
/// Where it cannot be read.
#[must_use]
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Policy and blob of a run: what must be identical.
#[must_use]
pub fn result_of(run: &Path) -> [Vec<u8>; 2] {
    ["policy.json", "model.blob"].map(|file| read(&run.join(file)))
}
