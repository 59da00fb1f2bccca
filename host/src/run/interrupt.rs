//! Ctrl-C: finish the episode, save, say how to go on.
//!
//! The handler only raises a flag; searches and trainings look at it between episodes and
//! epochs, where a checkpoint has just been written. A second Ctrl-C ends the process at once,
//! which loses the episode at work and nothing else.

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// Exit code of a process that the user stopped, as shells expect it: 128 + SIGINT.
pub const EXIT_CODE: i32 = 130;

/// Installs the handler for Ctrl-C and termination, once a process. Returns whether it is
/// there; where it cannot be, signals end the process, which a run survives too.
pub fn install() -> bool {
    *INSTALLED.get_or_init(|| {
        ctrlc::set_handler(|| {
            if REQUESTED.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_CODE);
            }
            eprintln!("stopping after this episode (once more to stop now)");
        })
        .is_ok()
    })
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// What to print when a run stops: where it is and how to continue it.
pub fn how_to_resume(run: &Path) -> String {
    let run = run.display();
    format!("stopped; continue with  cargo run -p host -- compress --resume {run}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_run() {
        let text = how_to_resume(Path::new("runs/2026-01-31-vgg-small"));
        assert!(
            text.ends_with("compress --resume runs/2026-01-31-vgg-small"),
            "{text}"
        );
    }
}
