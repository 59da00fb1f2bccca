//! Files that are either the old one or the new one, whatever happens in between.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::RunError;

/// Writes `bytes` to `path` so that a reader, or the next process after a crash, finds either
/// the previous content or all of the new one: temporary file, fsync, rename, fsync of the
/// folder.
///
/// # Errors
/// [`RunError::Io`] at the step that failed; `path` is untouched unless that step was the last.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    write_renamed(path, bytes)?;
    sync_parent(path)
}

/// [`write_atomic`] without the folder's fsync, for several files that one fsync follows.
pub(super) fn write_renamed(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let temporary = temporary_of(path);
    let mut file =
        fault::step(|| File::create(&temporary)).map_err(RunError::io("create", &temporary))?;
    write_all(&mut file, bytes).map_err(RunError::io("write", &temporary))?;
    fault::step(|| file.sync_all()).map_err(RunError::io("sync", &temporary))?;
    drop(file);
    fault::step(|| fs::rename(&temporary, path)).map_err(RunError::io("rename", &temporary))
}

/// Makes renames and creations in `path`'s folder durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), RunError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fault::step(|| sync_dir(parent)).map_err(RunError::io("sync", parent))
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Elsewhere folders cannot be opened as files, and renames are journalled.
#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Writes everything; under test the write may stop half-way, as a crash makes it.
pub(super) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    if let Err(error) = fault::step(|| Ok(())) {
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(error);
    }
    file.write_all(bytes)
}

/// Where tests make the file system fail, as if the process had died there.
pub(super) mod fault {
    use std::io;

    /// Runs one step that touches the disk.
    #[cfg(not(test))]
    pub fn step<T>(action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        action()
    }

    #[cfg(test)]
    std::thread_local! {
        /// Steps left until this thread's disk fails; `None` never fails.
        static LEFT: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
    }

    /// Lets `steps` steps of this thread pass and fails all after them; `None` lets all pass.
    #[cfg(test)]
    pub fn fail_after(steps: Option<usize>) {
        LEFT.set(steps);
    }

    /// Runs one step that touches the disk, unless the disk has failed.
    #[cfg(test)]
    pub fn step<T>(action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match LEFT.get() {
            None => action(),
            Some(0) => Err(io::Error::other("injected fault")),
            Some(left) => {
                LEFT.set(Some(left - 1));
                action()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_at_any_step_leaves_old_or_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.bin");
        write_atomic(&path, b"old content").unwrap();
        let mut failures = 0;
        loop {
            fault::fail_after(Some(failures));
            let result = write_atomic(&path, b"the new content");
            fault::fail_after(None);
            let now = fs::read(&path).unwrap();
            if result.is_ok() {
                assert_eq!(now, b"the new content");
                break;
            }
            assert!(
                now == b"old content" || now == b"the new content",
                "{failures}"
            );
            // Only the folder's fsync comes after the rename.
            assert_eq!(now == b"the new content", failures == 4, "{failures}");
            failures += 1;
        }
        assert_eq!(
            failures, 5,
            "create, write, sync, rename, sync of the folder"
        );
    }
}
