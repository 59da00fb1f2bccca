//! A child process that never outlives the host.

use std::io;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A running program, killed when this is dropped and (on Linux) when the host dies in any
/// other way.
pub(super) struct Child {
    process: std::process::Child,
    pid: libc::pid_t,
    /// Ends the thread that started the program.
    release: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Child {
    /// Starts `command`.
    ///
    /// The kernel ties the child's life to the thread that started it, so a thread of its
    /// own does that and stays as long as the child.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        die_with_parent(&mut command);
        let (started, result) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let keeper = std::thread::Builder::new()
            .name("emulator keeper".into())
            .spawn(move || {
                // Where nobody takes the result, the owner is gone, and so is the need.
                let _ = started.send(command.spawn());
                // Returns when the owner drops its end.
                let _ = released.recv();
            })?;
        let process = result
            .recv()
            .map_err(|_| io::Error::other("the keeper thread ended"))??;
        let pid = process.id() as libc::pid_t;
        Ok(Self {
            process,
            pid,
            release: Some(release),
            keeper: Some(keeper),
        })
    }

    /// Whether the program has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Takes the program off the processor until [`resume`](Self::resume).
    pub(super) fn pause(&mut self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets the program run.
    pub(super) fn resume(&mut self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&mut self, signal: libc::c_int) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // SAFETY: a plain system call; the process has not been waited for, so the id
            // is still its own.
            unsafe { libc::kill(self.pid, signal) };
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left to wait for.
        let _ = self.process.kill();
        let _ = self.process.wait();
        drop(self.release.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl is safe to call between fork and exec; it allocates nothing.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_child_ends_with_its_owner_even_when_paused() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut child = Child::spawn(command).unwrap();
        let pid = child.pid;
        assert!(!child.has_ended());
        child.pause();
        drop(child);
        // SAFETY: signal 0 only asks whether the process exists.
        assert_eq!(unsafe { libc::kill(pid, 0) }, -1);
    }

    #[test]
    fn an_end_is_noticed_and_a_missing_program_reported() {
        let mut child = Child::spawn(Command::new("true")).unwrap();
        for _ in 0..500 {
            if child.has_ended() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(child.has_ended());
        child.resume();
        assert!(Child::spawn(Command::new("no-such-program-here")).is_err());
    }
}
