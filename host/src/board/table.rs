//! The latency table: what was timed once is not timed again, in any run of this user.
//!
//! A file of lines, each a CRC-32 and a JSON record, that is only ever appended to: a
//! second process may do so at the same time, and a line that a crash tore is skipped.

use super::BoardError;
use crate::search::LayerCost;
use serde::{Deserialize, Serialize};
use shared::CRC32;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// File name; the number changes with the format.
const FILE_NAME: &str = "latency-table-v1.jsonl";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    cost: LayerCost,
}

/// Timings of layers by a key that says everything they depend on.
#[derive(Debug)]
pub struct LatencyTable {
    path: PathBuf,
    file: File,
    known: HashMap<String, LayerCost>,
}

impl LatencyTable {
    /// Opens the table at `path`, creating it and its folder. A `fresh` table knows nothing
    /// of what the file holds, but adds to it.
    ///
    /// # Errors
    /// [`BoardError::Table`] where the file cannot be read or created.
    pub fn open(path: &Path, fresh: bool) -> Result<Self, BoardError> {
        let error = |error| BoardError::Table {
            path: path.into(),
            error,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(error)?;
        }
        let known = match std::fs::read(path) {
            Ok(bytes) if !fresh => bytes
                .split(|&byte| byte == b'\n')
                .filter_map(parse)
                .collect(),
            Ok(_) => HashMap::new(),
            Err(e) if e.kind() == ErrorKind::NotFound => HashMap::new(),
            Err(e) => return Err(error(e)),
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(error)?;
        Ok(Self {
            path: path.into(),
            file,
            known,
        })
    }

    /// Where this user's table lies: in `PRESSBOARD_CACHE`, else in the user's cache folder
    /// (`XDG_CACHE_HOME` or `~/.cache`), else in the folder of temporary files.
    #[must_use]
    pub fn default_path() -> PathBuf {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let folder = variable("PRESSBOARD_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("pressboard")))
            .or_else(|| variable("HOME").map(|folder| folder.join(".cache/pressboard")));
        folder
            .unwrap_or_else(|| std::env::temp_dir().join("pressboard"))
            .join(FILE_NAME)
    }

    /// What is known of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<LayerCost> {
        self.known.get(key).copied()
    }

    /// Adds a timing, in memory and in the file.
    ///
    /// # Errors
    /// [`BoardError::Table`] where the file cannot be written.
    pub fn put(&mut self, key: &str, cost: LayerCost) -> Result<(), BoardError> {
        let error = |error: std::io::Error| BoardError::Table {
            path: self.path.clone(),
            error,
        };
        let record = serde_json::to_string(&Record {
            key: key.into(),
            cost,
        })
        .map_err(|e| error(e.into()))?;
        let crc = CRC32.checksum(record.as_bytes());
        // One write, so that two processes do not mix lines; the newline before it ends
        // whatever torn line may be there.
        let line = format!("\n{crc:08x} {record}\n");
        self.file.write_all(line.as_bytes()).map_err(error)?;
        self.known.insert(key.into(), cost);
        Ok(())
    }

    /// Number of timings known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no timing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Reads a line, if it is whole.
fn parse(line: &[u8]) -> Option<(String, LayerCost)> {
    let (crc, record) = line.split_at_checked(9)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?.strip_suffix(' ')?, 16).ok()?;
    if crc != CRC32.checksum(record) {
        return None;
    }
    let record: Record = serde_json::from_slice(record).ok()?;
    Some((record.key, record.cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache").join(FILE_NAME);
        (folder, path)
    }

    #[test]
    fn what_was_put_is_found_by_the_next_process() {
        let (_folder, path) = path();
        let mut table = LatencyTable::open(&path, false).unwrap();
        assert!(table.is_empty());
        table.put("a", LayerCost::Cycles(7)).unwrap();
        table
            .put("b", LayerCost::TooLarge { need: 9, limit: 8 })
            .unwrap();
        let table = LatencyTable::open(&path, false).unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!(table.get("a"), Some(LayerCost::Cycles(7)));
        assert_eq!(
            table.get("b"),
            Some(LayerCost::TooLarge { need: 9, limit: 8 })
        );
        assert_eq!(table.get("c"), None);
    }

    #[test]
    fn a_fresh_table_knows_nothing_and_loses_nothing() {
        let (_folder, path) = path();
        LatencyTable::open(&path, false)
            .unwrap()
            .put("a", LayerCost::Cycles(7))
            .unwrap();
        let mut fresh = LatencyTable::open(&path, true).unwrap();
        assert_eq!(fresh.get("a"), None);
        fresh.put("b", LayerCost::Cycles(8)).unwrap();
        assert_eq!(LatencyTable::open(&path, false).unwrap().len(), 2);
    }

    #[test]
    fn a_torn_line_is_skipped_at_every_length_and_what_follows_is_kept() {
        let (_folder, path) = path();
        LatencyTable::open(&path, false)
            .unwrap()
            .put("a", LayerCost::Cycles(7))
            .unwrap();
        let whole = std::fs::read(&path).unwrap();
        // The last byte is the newline, without which the line is whole all the same.
        for len in 0..whole.len() - 1 {
            std::fs::write(&path, &whole[..len]).unwrap();
            let mut table = LatencyTable::open(&path, false).unwrap();
            assert!(table.is_empty(), "{len} bytes");
            table.put("b", LayerCost::Cycles(8)).unwrap();
            let table = LatencyTable::open(&path, false).unwrap();
            assert_eq!(
                (table.len(), table.get("b")),
                (1, Some(LayerCost::Cycles(8)))
            );
        }
    }

    #[test]
    fn two_writers_do_not_disturb_each_other() {
        let (_folder, path) = path();
        let tables = [0, 1].map(|_| LatencyTable::open(&path, false).unwrap());
        std::thread::scope(|scope| {
            for (writer, mut table) in tables.into_iter().enumerate() {
                scope.spawn(move || {
                    for i in 0..200 {
                        table
                            .put(&format!("{writer}-{i}"), LayerCost::Cycles(i))
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(LatencyTable::open(&path, false).unwrap().len(), 400);
    }
}
