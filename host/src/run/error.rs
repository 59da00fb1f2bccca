//! What can go wrong with a run folder.

use std::{io, path::PathBuf};

/// An error of the run folder; each names the run or the file.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file system refused something.
    #[error("run folder: cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no run there.
    #[error("run folder: {} is not a run (it has no config.json)", path.display())]
    NotARun {
        /// The path given.
        path: PathBuf,
    },
    /// A file of the run does not hold what it should.
    #[error("run folder: {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process works on the run.
    #[error("run {run} is in use by process {pid}")]
    InUse {
        /// Name of the run.
        run: String,
        /// Process id that the lock names, or `unknown`.
        pid: String,
    },
    /// The run was made from something else.
    #[error("run {run} was made from another {what} (it has {expected}, given was {found})")]
    OtherOrigin {
        /// Name of the run.
        run: String,
        /// `model` or `configuration`.
        what: &'static str,
        /// Fingerprint that the run has.
        expected: String,
        /// Fingerprint of what was given.
        found: String,
    },
    /// The checkpoint lacks a part that was asked for.
    #[error("checkpoint of {}: no part named `{part}`", path.display())]
    NoPart {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The part.
        part: String,
    },
    /// A value cannot be written as JSON.
    #[error("run folder: cannot write {}: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

impl RunError {
    /// Wraps an I/O error with what was tried and where.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// What to try, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotARun { .. } => {
                Some("`--resume runs/<date>-<name>`, a folder that `compress` has made".into())
            }
            Self::InUse { run, .. } => Some(format!(
                "wait for it or stop it, then `--resume` {run} again"
            )),
            Self::OtherOrigin { what, .. } => Some(format!(
                "resume with the {what} that the run was started with, or start a new run without `--resume`"
            )),
            Self::Damaged { .. } | Self::NoPart { .. } => {
                Some("start a new run without `--resume`; nothing else was changed".into())
            }
            Self::Io { source, .. } => disk_hint(source).map(str::to_owned),
            Self::Encode { .. } => None,
        }
    }
}

/// What to try where a disk refuses; nothing where it is not the disk.
pub fn disk_hint(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => Some(
            "free some disk space and go on, a run with `--resume`: what was saved before is whole",
        ),
        K::PermissionDenied | K::ReadOnlyFilesystem => {
            Some("give this user the right to it, or name another path")
        }
        _ => None,
    }
}
