//! One process a run.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use super::{RunError, files};

/// A held lock. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock of the run in `dir`.
    ///
    /// # Errors
    /// [`RunError::InUse`] with the holder's process id if another process has it.
    pub fn take(dir: &Path) -> Result<Self, RunError> {
        let path = dir.join(files::LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(RunError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(dir, &mut file)),
            Err(TryLockError::Error(source)) => return Err(RunError::io("lock", &path)(source)),
        }
        let note = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())
        };
        note(&mut file).map_err(RunError::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

fn in_use(dir: &Path, file: &mut File) -> RunError {
    let mut pid = String::new();
    // The id is only for the message: without it the run is just as much in use.
    if file.read_to_string(&mut pid).is_err() || pid.trim().is_empty() {
        pid = "unknown".into();
    }
    RunError::InUse {
        run: dir.display().to_string(),
        pid: pid.trim().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name_and_the_next_is_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let held = RunLock::take(dir.path()).unwrap();
        let error = RunLock::take(dir.path()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(&std::process::id().to_string()),
            "{message}"
        );
        assert!(
            message.contains(&dir.path().display().to_string()),
            "{message}"
        );
        drop(held);
        RunLock::take(dir.path()).unwrap();
    }
}
