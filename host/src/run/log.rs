//! `log.jsonl`: appended to once an episode, cut back to the checkpoint on resume.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    EpisodeRecord, RunError,
    atomic::{fault, write_all},
};

/// An open log.
#[derive(Debug)]
pub struct EpisodeLog {
    path: PathBuf,
    file: File,
    lines: u64,
    bytes: u64,
}

impl EpisodeLog {
    /// Opens the log at `path` with its first `bytes` bytes, which are `lines` lines, and cuts
    /// off what comes after: episodes that the checkpoint does not know, or half of a line.
    /// Creates it where it is not there and nothing is wanted of it.
    ///
    /// # Errors
    /// [`RunError::Damaged`] if the log is shorter than that, [`RunError::Io`] otherwise.
    pub fn open(path: &Path, lines: u64, bytes: u64) -> Result<Self, RunError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(RunError::io("open", path))?;
        let found = file.metadata().map_err(RunError::io("read", path))?.len();
        if found < bytes {
            return Err(RunError::Damaged {
                path: path.into(),
                reason: format!("{found} bytes, the checkpoint counts {bytes} ({lines} episodes)"),
            });
        }
        file.set_len(bytes)
            .map_err(RunError::io("truncate", path))?;
        file.seek(SeekFrom::End(0))
            .map_err(RunError::io("read", path))?;
        Ok(Self {
            path: path.into(),
            file,
            lines,
            bytes,
        })
    }

    /// Appends one episode.
    ///
    /// # Errors
    /// [`RunError::Io`]; half a line may then be in the file, which the next [`Self::open`] and
    /// [`Self::read`] leave out.
    pub fn append(&mut self, record: &EpisodeRecord) -> Result<(), RunError> {
        let mut line = serde_json::to_vec(record).map_err(|source| RunError::Encode {
            path: self.path.clone(),
            source,
        })?;
        line.push(b'\n');
        write_all(&mut self.file, &line).map_err(RunError::io("append to", &self.path))?;
        self.lines += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn sync(&self) -> Result<(), RunError> {
        fault::step(|| self.file.sync_data()).map_err(RunError::io("sync", &self.path))
    }

    /// Lines and bytes so far.
    pub fn position(&self) -> (u64, u64) {
        (self.lines, self.bytes)
    }

    /// All whole lines of the log at `path`; none where there is no log yet.
    ///
    /// # Errors
    /// [`RunError::Damaged`] naming the line that is no episode, [`RunError::Io`] otherwise.
    pub fn read(path: &Path) -> Result<Vec<EpisodeRecord>, RunError> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(path).map_err(RunError::io("read", path))?;
        // A line that lacks its end was being written when the process died.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().enumerate();
        lines
            .map(|(i, line)| {
                serde_json::from_str(line).map_err(|error| RunError::Damaged {
                    path: path.into(),
                    reason: format!("line {}: {error}", i + 1),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{reward::Costs, run::Stage};

    fn record(episode: usize) -> EpisodeRecord {
        EpisodeRecord {
            stage: Stage::Prune,
            episode,
            agent: "ddpg".into(),
            reward: 0.125 + episode as f64 / 4.0,
            accuracy: 0.8,
            likelihood: None,
            costs: Costs::default(),
            feasible: true,
            excess: 0.0,
            best: false,
            variant: None,
            cycles_error: None,
            images: None,
            actions: Vec::new(),
            seconds: 1.5,
            seconds_by_part: None,
        }
    }

    #[test]
    fn resuming_cuts_the_log_to_the_checkpoint_and_ends_like_an_unbroken_run() {
        let dir = tempfile::tempdir().unwrap();
        let (unbroken, broken) = (dir.path().join("a"), dir.path().join("b"));
        let mut log = EpisodeLog::open(&unbroken, 0, 0).unwrap();
        (0..5).for_each(|i| log.append(&record(i)).unwrap());

        let mut log = EpisodeLog::open(&broken, 0, 0).unwrap();
        (0..3).for_each(|i| log.append(&record(i)).unwrap());
        let (lines, bytes) = log.position();
        log.append(&record(3)).unwrap();
        fault::fail_after(Some(0));
        log.append(&record(4)).unwrap_err();
        fault::fail_after(None);
        assert_eq!(
            EpisodeLog::read(&broken).unwrap().len(),
            4,
            "the torn line is left out"
        );

        let mut log = EpisodeLog::open(&broken, lines, bytes).unwrap();
        (3..5).for_each(|i| log.append(&record(i)).unwrap());
        assert_eq!(fs::read(&broken).unwrap(), fs::read(&unbroken).unwrap());
        assert_eq!(EpisodeLog::read(&broken).unwrap()[4], record(4));
    }

    #[test]
    fn a_log_shorter_than_its_checkpoint_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        fs::write(&path, "{}\n").unwrap();
        let error = EpisodeLog::open(&path, 4, 100).unwrap_err();
        assert!(matches!(error, RunError::Damaged { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"{}\n", "and left as it is");
        let error = EpisodeLog::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
