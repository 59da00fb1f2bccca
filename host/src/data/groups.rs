//! Rows of parquet files, read a row group at a time; a few groups are kept.

use super::DataError;
use super::parquet::Table;
use crate::nn::Rng;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Row groups whose pictures are mixed with each other, and that are kept.
const WINDOW: usize = 8;

/// A picture's file, its row there and its bytes.
pub(super) type EncodedRow<'a> = (&'a Path, usize, Vec<u8>);
/// A group's number and its pictures.
type Kept = (usize, Arc<Vec<Vec<u8>>>);

/// Parquet files one behind the other.
#[derive(Debug)]
pub(super) struct Groups {
    files: Vec<PathBuf>,
    groups: Vec<Group>,
    kept: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Group {
    file: usize,
    /// Its number in the file.
    number: usize,
    /// Row of the set that it begins with.
    first: u32,
    /// Row of the file that it begins with.
    first_in_file: usize,
}

impl Groups {
    /// The row groups of these files; rows are numbered through all of them.
    ///
    /// # Errors
    /// [`DataError::Parquet`] where a file's groups have not the rows that it says it has, or
    /// all files together have more than `u32` counts.
    pub fn open(files: &[PathBuf]) -> Result<Self, DataError> {
        let (mut groups, mut first) = (Vec::new(), 0u32);
        for (file, path) in files.iter().enumerate() {
            let mut first_in_file = 0;
            for (number, rows) in Table::open(path)?.group_rows()?.into_iter().enumerate() {
                groups.push(Group {
                    file,
                    number,
                    first,
                    first_in_file,
                });
                let next = u32::try_from(rows).ok().and_then(|n| first.checked_add(n));
                first = next.ok_or_else(|| DataError::parquet(path, "more than 2^32 rows"))?;
                first_in_file += rows;
            }
        }
        Ok(Self {
            files: files.to_vec(),
            groups,
            kept: Mutex::new(VecDeque::new()),
        })
    }

    fn group_of(&self, row: u32) -> usize {
        self.groups.partition_point(|g| g.first <= row).max(1) - 1
    }

    /// The encoded pictures of these rows.
    pub fn read(&self, rows: &[u32]) -> Result<Vec<EncodedRow<'_>>, DataError> {
        rows.iter()
            .map(|&row| {
                let at = self.group_of(row);
                let group = &self.groups[at];
                let path = self.files[group.file].as_path();
                let offset = (row - group.first) as usize;
                let pictures = self.pictures(at)?;
                let bytes = pictures.get(offset).cloned().unwrap_or_default();
                Ok((path, group.first_in_file + offset, bytes))
            })
            .collect()
    }

    fn pictures(&self, at: usize) -> Result<Arc<Vec<Vec<u8>>>, DataError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = kept.iter().position(|(group, _)| *group == at) {
            // The group asked for last is the last to go.
            if let Some(found) = kept.remove(i) {
                kept.push_back(found.clone());
                return Ok(found.1);
            }
        }
        let group = &self.groups[at];
        let table = Table::open(&self.files[group.file])?;
        let pictures = Arc::new(table.pictures_of_group(group.number)?);
        if kept.len() >= WINDOW {
            kept.pop_front();
        }
        kept.push_back((at, pictures.clone()));
        Ok(pictures)
    }

    /// A random order that reads each group once: groups at random, and the pictures of
    /// [`WINDOW`] groups mixed.
    pub fn shuffle(&self, indices: &mut [usize], row: impl Fn(usize) -> u32, rng: &mut Rng) {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        rng.shuffle(&mut order);
        let mut rank = vec![0; order.len()];
        order.into_iter().enumerate().for_each(|(r, g)| rank[g] = r);
        let window = |i: &usize| rank[self.group_of(row(*i))] / WINDOW;
        indices.sort_by_key(|i| (window(i), *i));
        for together in indices.chunk_by_mut(|a, b| window(a) == window(b)) {
            rng.shuffle(together);
        }
    }
}
