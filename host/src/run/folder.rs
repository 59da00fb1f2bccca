//! Creating, resuming and writing to a run folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::atomic::temporary_of;
use super::{
    Checkpoints, EpisodeLog, EpisodeRecord, Identity, PartTimer, Progress, RunConfig, RunError,
    RunLock, files, write_atomic,
};

/// How many runs of one name a day can have.
const MAX_A_DAY: usize = 10_000;

/// A run that this process works on.
#[derive(Debug)]
pub struct RunFolder {
    dir: PathBuf,
    config: RunConfig,
    log: EpisodeLog,
    checkpoints: Checkpoints,
    _lock: RunLock,
}

impl RunFolder {
    /// Makes a new folder `<root>/<date>-<name>`, or with `-2`, `-3` and so on where that is
    /// taken, and writes `config` into it with its name, time and version filled in.
    ///
    /// # Errors
    /// [`RunError::Io`] where it cannot be made.
    pub fn create(root: &Path, name: &str, mut config: RunConfig) -> Result<Self, RunError> {
        let now = jiff::Zoned::now();
        let stem = format!("{}-{}", now.date(), plain(name));
        fs::create_dir_all(root).map_err(RunError::io("create", root))?;
        let (dir, run) = claim(root, &stem)?;
        let lock = RunLock::take(&dir)?;
        config.run = run;
        config.created = now.timestamp().to_string();
        config.version = env!("CARGO_PKG_VERSION").into();
        let folder = Self {
            log: EpisodeLog::open(&dir.join(files::LOG), 0, 0)?,
            checkpoints: Checkpoints::open(&dir.join(files::CHECKPOINT))?,
            config,
            dir,
            _lock: lock,
        };
        folder.write_json(files::CONFIG, &folder.config)?;
        Ok(folder)
    }

    /// Removes what a kill left in [`Self::create`] before there was a configuration, and so
    /// anything to lose; a folder with anything else in it stays as it is. What cannot be removed
    /// does no harm either.
    ///
    /// Call it where no other process can be making that run.
    pub fn discard_unbegun(dir: &Path) {
        let unfinished = temporary_of(&dir.join(files::CONFIG));
        let (log, checkpoint) = (dir.join(files::LOG), dir.join(files::CHECKPOINT));
        let left = [&unfinished, &dir.join(files::LOCK), &log, &checkpoint];
        let Ok(entries) = fs::read_dir(dir) else {
            return;
        };
        let others = entries.flatten().any(|e| !left.contains(&&e.path()));
        let has_episodes = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
        if others || has_episodes {
            return;
        }
        // A checkpoint goes only where it is empty.
        if checkpoint.exists() && fs::remove_dir(&checkpoint).is_err() {
            return;
        }
        for file in left {
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir(dir);
    }

    /// Opens the run in `dir` to continue it at its latest checkpoint, from the start where it
    /// has none: the log is cut back to there.
    ///
    /// # Errors
    /// [`RunError::NotARun`], [`RunError::InUse`], [`RunError::Damaged`] or [`RunError::Io`].
    pub fn resume(dir: &Path) -> Result<Self, RunError> {
        let config = Self::read_config(dir)?;
        let lock = RunLock::take(dir)?;
        let checkpoints = Checkpoints::open(&dir.join(files::CHECKPOINT))?;
        let (lines, bytes) = checkpoints
            .latest()
            .map_or((0, 0), |m| (m.log_lines, m.log_bytes));
        Ok(Self {
            log: EpisodeLog::open(&dir.join(files::LOG), lines, bytes)?,
            checkpoints,
            config,
            dir: dir.into(),
            _lock: lock,
        })
    }

    /// Refuses to continue with another model or configuration than the run was made from.
    /// Call it right after [`Self::resume`], before anything is written.
    ///
    /// # Errors
    /// [`RunError::OtherOrigin`] naming which of the two differs.
    pub fn check_identity(&self, given: &Identity) -> Result<(), RunError> {
        let own = &self.config.identity;
        let pairs = [
            ("model", &own.model, &given.model),
            ("configuration", &own.configuration, &given.configuration),
        ];
        match pairs
            .into_iter()
            .find(|(_, expected, found)| expected != found)
        {
            None => Ok(()),
            Some((what, expected, found)) => Err(RunError::OtherOrigin {
                run: self.dir.display().to_string(),
                what,
                expected: expected.clone(),
                found: found.clone(),
            }),
        }
    }

    /// `config.json` of the run in `dir`, without opening the run.
    ///
    /// # Errors
    /// [`RunError::NotARun`] where there is none, [`RunError::Damaged`] where it cannot be read.
    pub fn read_config(dir: &Path) -> Result<RunConfig, RunError> {
        read_json(dir, files::CONFIG)?.ok_or_else(|| RunError::NotARun { path: dir.into() })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of a file in the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// How far the latest checkpoint is; [`Progress::START`] where there is none.
    pub fn progress(&self) -> Progress {
        self.checkpoints
            .latest()
            .map_or(Progress::START, |m| m.progress)
    }

    /// A timer that has the seconds of the latest checkpoint.
    pub fn timer(&self) -> PartTimer {
        let seconds = self.checkpoints.latest().map(|m| m.seconds.clone());
        PartTimer::resume(seconds.unwrap_or_default())
    }

    /// The latest checkpoint's parts.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Appends an episode to the log. It counts once a checkpoint follows.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn log(&mut self, record: &EpisodeRecord) -> Result<(), RunError> {
        self.log.append(record)
    }

    /// Saves a checkpoint of exactly these parts, which belongs to the log as it is now.
    ///
    /// # Errors
    /// [`RunError::Io`]; the checkpoint before stays the latest.
    ///
    /// # Panics
    /// If a part's name holds anything but letters, digits, `-` and `_`.
    pub fn checkpoint(
        &mut self,
        progress: Progress,
        timer: &PartTimer,
        parts: &[(&str, &[u8])],
    ) -> Result<(), RunError> {
        self.log.sync()?;
        let position = self.log.position();
        self.checkpoints
            .save(progress, position, timer.seconds(), parts)
    }

    /// Writes a file of the run, atomically; returns its path.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn write(&self, file: &str, bytes: &[u8]) -> Result<PathBuf, RunError> {
        let path = self.path(file);
        write_atomic(&path, bytes)?;
        Ok(path)
    }

    /// [`Self::write`] of a value as indented JSON.
    ///
    /// # Errors
    /// [`RunError::Encode`] or [`RunError::Io`].
    pub fn write_json(&self, file: &str, value: &impl Serialize) -> Result<PathBuf, RunError> {
        let mut text = serde_json::to_vec_pretty(value).map_err(|source| RunError::Encode {
            path: self.path(file),
            source,
        })?;
        text.push(b'\n');
        self.write(file, &text)
    }
}

/// A JSON file of the run in `dir`; `None` where it is not there.
///
/// # Errors
/// [`RunError::Damaged`] where it is not what it should be, [`RunError::Io`] otherwise.
pub(crate) fn read_json<T: DeserializeOwned>(
    dir: &Path,
    file: &str,
) -> Result<Option<T>, RunError> {
    let path = dir.join(file);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RunError::io("read", &path)(error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| RunError::Damaged {
            path,
            reason: error.to_string(),
        })
}

/// Creates the first free folder of `stem`, `stem-2`, `stem-3` …; two processes never get the
/// same one.
fn claim(root: &Path, stem: &str) -> Result<(PathBuf, String), RunError> {
    for count in 1..=MAX_A_DAY {
        let run = match count {
            1 => stem.to_owned(),
            _ => format!("{stem}-{count}"),
        };
        let dir = root.join(&run);
        match fs::create_dir(&dir) {
            Ok(()) => return Ok((dir, run)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(RunError::io("create", dir)(error)),
        }
    }
    let full = io::Error::from(io::ErrorKind::AlreadyExists);
    Err(RunError::io("create", root.join(stem))(full))
}

/// `name` with everything that does not belong into a folder's name replaced.
fn plain(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text: String = name
        .chars()
        .map(|c| if keep(c) { c } else { '-' })
        .collect();
    if text.is_empty() { "run".into() } else { text }
}

#[cfg(test)]
mod tests;
