//! Checkpoints of several parts that are whole or not there.
//!
//! Every part is a file of its own, written under a new name and synced; the manifest names the
//! files with their lengths and checksums and replaces the old manifest in one rename. Until
//! that rename the old manifest and all its files are in place; after it the files that it no
//! longer names are removed. A part that has not changed keeps its file, so that large weights
//! are not written anew each episode.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Progress, RunError,
    atomic::{fault, sync_parent, write_atomic, write_renamed},
    fingerprint,
};

/// Version of the manifest.
const FORMAT: u32 = 1;
/// Name of the manifest's file.
const MANIFEST: &str = "manifest.json";
/// What part files are called.
const EXTENSION: &str = "part";

/// One part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// Its file in the checkpoint's folder.
    pub file: String,
    /// Length.
    pub bytes: u64,
    /// [`fingerprint`] of its content.
    pub crc64: String,
}

/// What a checkpoint consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Counts checkpoints of the run, from 1.
    pub generation: u64,
    /// How far the run had come.
    pub progress: Progress,
    /// Lines of the log that belong to it.
    pub log_lines: u64,
    /// Bytes of the log that belong to it.
    pub log_bytes: u64,
    /// Seconds by part of the work.
    pub seconds: BTreeMap<String, f64>,
    /// Parts by name.
    pub parts: BTreeMap<String, PartEntry>,
}

/// The checkpoint folder of a run.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    latest: Option<Manifest>,
    /// Of the last attempt: a number is never used twice, so that no file of a manifest that
    /// may be on the disk is written over.
    generation: u64,
}

impl Checkpoints {
    /// Opens the folder `dir`, created if need be, with the latest whole checkpoint, if any.
    /// What an interrupted write has left is removed.
    ///
    /// # Errors
    /// [`RunError::Damaged`] if the manifest, or a part that it names, is not as it was written.
    pub fn open(dir: &Path) -> Result<Self, RunError> {
        fs::create_dir_all(dir).map_err(RunError::io("create", dir))?;
        let latest = read_manifest(&dir.join(MANIFEST))?;
        let checkpoints = Self {
            dir: dir.into(),
            generation: latest.as_ref().map_or(0, |m| m.generation),
            latest,
        };
        let names: Vec<String> = checkpoints
            .latest
            .iter()
            .flat_map(|m| m.parts.keys().cloned())
            .collect();
        for name in names {
            checkpoints.part(&name)?;
        }
        checkpoints.remove_unnamed();
        Ok(checkpoints)
    }

    /// The latest checkpoint.
    pub fn latest(&self) -> Option<&Manifest> {
        self.latest.as_ref()
    }

    /// Whether the latest checkpoint has a part of this name.
    pub fn has(&self, name: &str) -> bool {
        self.latest
            .as_ref()
            .is_some_and(|m| m.parts.contains_key(name))
    }

    /// Content of a part of the latest checkpoint.
    ///
    /// # Errors
    /// [`RunError::NoPart`], or [`RunError::Damaged`] where length or checksum differ.
    pub fn part(&self, name: &str) -> Result<Vec<u8>, RunError> {
        let entry = self.latest.as_ref().and_then(|m| m.parts.get(name));
        let entry = entry.ok_or_else(|| RunError::NoPart {
            path: self.dir.clone(),
            part: name.into(),
        })?;
        let path = self.dir.join(&entry.file);
        let bytes = fs::read(&path).map_err(RunError::io("read", &path))?;
        if bytes.len() as u64 != entry.bytes || fingerprint(&bytes) != entry.crc64 {
            return Err(RunError::Damaged {
                path,
                reason: "length or checksum is not the manifest's".into(),
            });
        }
        Ok(bytes)
    }

    /// Replaces the latest checkpoint by one of exactly these parts.
    ///
    /// # Errors
    /// [`RunError::Io`]; the checkpoint before is then still the latest, unless only the very
    /// last step failed, which makes the new one durable.
    ///
    /// # Panics
    /// If a name holds anything but letters, digits, `-` and `_`.
    pub fn save(
        &mut self,
        progress: Progress,
        (log_lines, log_bytes): (u64, u64),
        seconds: BTreeMap<String, f64>,
        parts: &[(&str, &[u8])],
    ) -> Result<(), RunError> {
        self.generation += 1;
        let generation = self.generation;
        let mut entries = BTreeMap::new();
        for (name, bytes) in parts {
            entries.insert((*name).to_owned(), self.store(name, bytes, generation)?);
        }
        sync_parent(&self.dir.join(MANIFEST))?;
        let manifest = Manifest {
            format: FORMAT,
            generation,
            progress,
            log_lines,
            log_bytes,
            seconds,
            parts: entries,
        };
        self.commit(manifest)?;
        self.remove_unnamed();
        Ok(())
    }

    /// Writes a part, or finds it unchanged.
    fn store(&self, name: &str, bytes: &[u8], generation: u64) -> Result<PartEntry, RunError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(name.chars().all(plain), "`{name}` is no name for a part");
        let crc64 = fingerprint(bytes);
        let before = self.latest.as_ref().and_then(|m| m.parts.get(name));
        if let Some(entry) = before.filter(|e| e.crc64 == crc64 && e.bytes == bytes.len() as u64) {
            return Ok(entry.clone());
        }
        let file = format!("{name}-{generation}.{EXTENSION}");
        write_renamed(&self.dir.join(&file), bytes)?;
        Ok(PartEntry {
            file,
            bytes: bytes.len() as u64,
            crc64,
        })
    }

    fn commit(&mut self, manifest: Manifest) -> Result<(), RunError> {
        let path = self.dir.join(MANIFEST);
        let body = serde_json::to_string(&manifest).map_err(|source| RunError::Encode {
            path: path.clone(),
            source,
        })?;
        let text = format!("{body}\n{}\n", fingerprint(body.as_bytes()));
        write_atomic(&path, text.as_bytes())?;
        self.latest = Some(manifest);
        Ok(())
    }

    /// Removes part files that the manifest does not name. One that stays costs only space, so
    /// failures are not the run's.
    fn remove_unnamed(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let named = |file: &str| {
            self.latest
                .as_ref()
                .is_some_and(|m| m.parts.values().any(|p| p.file == file))
        };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            let ours = file.ends_with(".part") || file.ends_with(".tmp");
            if ours && !named(&file) && fault::step(|| fs::remove_file(entry.path())).is_err() {
                return;
            }
        }
    }
}

/// The manifest at `path`: a line of JSON and a line with its checksum.
fn read_manifest(path: &Path) -> Result<Option<Manifest>, RunError> {
    if !path.exists() {
        return Ok(None);
    }
    let damaged = |reason: String| RunError::Damaged {
        path: path.into(),
        reason,
    };
    let text = fs::read(path).map_err(RunError::io("read", path))?;
    let text = String::from_utf8(text).map_err(|e| damaged(e.to_string()))?;
    let (body, check) = text
        .split_once('\n')
        .ok_or_else(|| damaged("it has no checksum".into()))?;
    if check.trim_end() != fingerprint(body.as_bytes()) {
        return Err(damaged("its checksum is wrong".into()));
    }
    let manifest: Manifest = serde_json::from_str(body).map_err(|e| damaged(e.to_string()))?;
    if manifest.format != FORMAT {
        let reason = format!("format {}, this program reads {FORMAT}", manifest.format);
        return Err(damaged(reason));
    }
    Ok(Some(manifest))
}

#[cfg(test)]
mod tests;
