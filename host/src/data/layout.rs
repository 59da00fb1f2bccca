//! Which layout a path holds, and how its pictures are split.

use super::folder::{self, file_name, sorted_entries};
use super::groups::Groups;
use super::stream::Place;
use super::{Crop, DataError, Dataset, Stream, cifar_bin, parquet};
use crate::nn::Rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of CIFAR-10's training set.
const CIFAR_TRAIN_ROWS: usize = 50_000;
/// First row of it that is used for validation.
const CIFAR_VALIDATION_START: u32 = 45_000;
/// In sets without a rule of their own, one row in this many is used for validation.
const VALIDATION_EVERY: u32 = 10;
/// Seed of the order of what lies sorted by class.
const MIXED_BY: u64 = 0;

/// Pictures by what they may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// For weights, fine-tuning, re-estimation of normalization, calibration.
    pub train: Dataset,
    /// For rewards and the choice between models.
    pub validation: Dataset,
    /// For the last measurement alone; `None` where the set has no test part.
    pub test: Option<Dataset>,
}

/// Loads the pictures at `path`: a folder with Hugging Face parquet files
/// (`train*.parquet`, optionally `validation*` and `test*`), with CIFAR-10 binary batches,
/// or with one sub-folder of pictures per class (optionally below `train`, `validation`
/// and `test`); or one parquet or binary file.
///
/// Where pictures lie sorted by class, as in class folders, the order of each part is random,
/// the same each time; row numbers stay those of the files.
///
/// Where there is no validation part, rows 45,000 to 49,999 of a training part of 50,000
/// rows are it; of any other, and of class folders, every tenth row.
///
/// # Errors
/// [`DataError`], naming the file and the row.
pub fn load(path: &Path) -> Result<Splits, DataError> {
    let parts = parts(path)?;
    let train = parts.layout.load(&parts.train, None)?;
    let classes = train.class_names.clone();
    let load_if = |files: &[PathBuf]| match files.is_empty() {
        true => Ok(None),
        false => parts.layout.load(files, Some(&classes)).map(Some),
    };
    let test = load_if(&parts.test)?;
    let (train, validation) = match load_if(&parts.validation)? {
        Some(validation) => (train, validation),
        None => split(&train, parts.layout),
    };
    let mixed = |part: Dataset| match mixed(&part.labels) {
        Some(order) => part.select(&order),
        None => part,
    };
    Ok(Splits {
        train: mixed(train),
        validation: mixed(validation),
        test: test.map(mixed),
    })
}

/// A random order, the same each time, for pictures that lie sorted by class: what takes the
/// first of a part has some of each class then. `None` where they are not sorted.
fn mixed(labels: &[u32]) -> Option<Vec<usize>> {
    if !labels.is_sorted() || labels.first() == labels.last() {
        return None;
    }
    let mut order: Vec<usize> = (0..labels.len()).collect();
    Rng::new(MIXED_BY).shuffle(&mut order);
    Some(order)
}

/// Pictures by what they may be used for, left on the disk.
#[derive(Clone, Debug)]
pub struct StreamSplits {
    /// As [`Splits::train`].
    pub train: Stream,
    /// As [`Splits::validation`].
    pub validation: Stream,
    /// As [`Splits::test`].
    pub test: Option<Stream>,
}

/// Opens the pictures at `path`, of any size, to be read as they are needed: folders of
/// classes or parquet files, laid out as for [`load`] (a folder `val` is a validation part
/// too). Parquet test parts without labels are left out.
///
/// # Errors
/// [`DataError`], naming the file and the row.
pub fn open(path: &Path, crop: Crop) -> Result<StreamSplits, DataError> {
    let parts = parts(path)?;
    let train = parts.layout.open(&parts.train, None, crop)?;
    let open_if = |files: &[PathBuf]| match files.is_empty() {
        true => Ok(None),
        false => parts
            .layout
            .open(files, Some(&train.class_names), crop)
            .map(Some),
    };
    let test = open_if(&parts.test).or_else(|error| match error {
        DataError::Label { label: -1, .. } => Ok(None),
        error => Err(error),
    })?;
    let mixed = |part: Stream| match mixed(&part.labels) {
        Some(order) => part.select(&order),
        None => part,
    };
    let test = test.map(mixed);
    if let Some(validation) = open_if(&parts.validation)? {
        return Ok(StreamSplits {
            train: mixed(train),
            validation: mixed(validation),
            test,
        });
    }
    let held_out = |i: &usize| train.picks[*i] % VALIDATION_EVERY == VALIDATION_EVERY - 1;
    let (validation, rest): (Vec<usize>, Vec<usize>) = (0..train.len()).partition(held_out);
    Ok(StreamSplits {
        validation: mixed(train.select(&validation)),
        train: mixed(train.select(&rest)),
        test,
    })
}

/// What lies at `path`.
fn parts(path: &Path) -> Result<Parts, DataError> {
    let found = match path.is_file() {
        true => from_file(path),
        false => ["", "data", "plain_text", "cifar-10-batches-bin"]
            .iter()
            .map(|sub| path.join(sub))
            .filter(|folder| folder.is_dir())
            .find_map(|folder| from_folder(&folder)),
    };
    found.ok_or_else(|| DataError::UnknownLayout { path: path.into() })
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Parquet,
    CifarBinary,
    ClassFolders,
}

impl Layout {
    /// `classes` are those of the training part, where this is another one.
    fn load(self, files: &[PathBuf], classes: Option<&[String]>) -> Result<Dataset, DataError> {
        let load_one = |path: &Path| match self {
            Self::ClassFolders => folder::load(path, classes),
            Self::Parquet | Self::CifarBinary => of_classes(path, parquet::load(path)?, classes),
        };
        if self == Self::CifarBinary {
            return cifar_bin::load(files);
        }
        let mut all = load_one(&files[0])?;
        for file in &files[1..] {
            let next = load_one(file)?;
            let size = |d: &Dataset| [d.h, d.w, d.c];
            if size(&next) != size(&all) {
                return Err(DataError::ImageSize {
                    path: file.clone(),
                    row: 0,
                    found: size(&next),
                    expected: size(&all),
                });
            }
            all.append(next);
        }
        Ok(all)
    }

    fn open(
        self,
        files: &[PathBuf],
        classes: Option<&[String]>,
        crop: Crop,
    ) -> Result<Stream, DataError> {
        let (place, labels, class_names) = match self {
            Self::ClassFolders => {
                let listed = folder::list(&files[0], classes)?;
                (
                    Place::Files(listed.files),
                    listed.labels,
                    listed.class_names,
                )
            }
            Self::Parquet => {
                let (labels, class_names) = parquet_labels(files, classes)?;
                (Place::Groups(Groups::open(files)?), labels, class_names)
            }
            Self::CifarBinary => {
                let path = files[0].clone();
                return Err(DataError::NotStreamed { path });
            }
        };
        if labels.is_empty() {
            let path = files[0].clone();
            return Err(DataError::Empty { path });
        }
        Ok(Stream {
            place: Arc::new(place),
            picks: (0..labels.len() as u32).collect(),
            labels,
            class_names,
            crop,
        })
    }
}

/// Refuses labels that are none of `classes`, where those of the training part are known.
fn of_classes(
    path: &Path,
    part: Dataset,
    classes: Option<&[String]>,
) -> Result<Dataset, DataError> {
    let classes = classes.map_or(part.classes(), <[String]>::len);
    match part.labels.iter().position(|l| *l as usize >= classes) {
        None => Ok(part),
        Some(row) => Err(DataError::Label {
            path: path.into(),
            row,
            label: part.labels[row].into(),
            classes,
        }),
    }
}

/// Labels of all rows of these files, and the classes: those of the training part, those that
/// the files declare, or as many as the largest label asks for.
fn parquet_labels(
    files: &[PathBuf],
    classes: Option<&[String]>,
) -> Result<(Vec<u32>, Vec<String>), DataError> {
    let mut read = Vec::with_capacity(files.len());
    for file in files {
        read.push(parquet::read_labels(file)?);
    }
    // Files that lie sorted by class may each know of the classes up to their own.
    let declared = read.iter().filter_map(|file| file.declared.clone());
    let declared = declared.max_by_key(Vec::len);
    let class_names = classes.map(<[String]>::to_vec).or(declared);
    let class_names = class_names.unwrap_or_else(|| {
        let all: Vec<i64> = read.iter().flat_map(|file| &file.labels).copied().collect();
        let paths: Vec<String> = read.iter().flat_map(|file| &file.paths).cloned().collect();
        // Files without paths would shift those of the others.
        let named = paths.len() == all.len();
        parquet::classes_from_paths(if named { &paths[..] } else { &[] }, &all)
    });
    let mut labels = Vec::new();
    for (file, read) in files.iter().zip(&read) {
        let of_file = parquet::checked_labels(file, &read.labels, class_names.len())?;
        labels.extend(of_file);
    }
    Ok((labels, class_names))
}

/// What was found: the files (or, for class folders, the folders) of each part.
struct Parts {
    layout: Layout,
    train: Vec<PathBuf>,
    validation: Vec<PathBuf>,
    test: Vec<PathBuf>,
}

fn from_file(path: &Path) -> Option<Parts> {
    let layout = match path.extension()?.to_str()? {
        "parquet" => Layout::Parquet,
        "bin" => Layout::CifarBinary,
        _ => return None,
    };
    Some(Parts {
        layout,
        train: vec![path.into()],
        validation: Vec::new(),
        test: Vec::new(),
    })
}

fn from_folder(path: &Path) -> Option<Parts> {
    let entries = sorted_entries(path).ok()?;
    let files = |prefix: &str, extension: &str| -> Vec<PathBuf> {
        let fits = |p: &&PathBuf| {
            p.is_file()
                && file_name(p).starts_with(prefix)
                && p.extension().is_some_and(|e| e == extension)
        };
        entries.iter().filter(fits).cloned().collect()
    };
    let folders = |name: &str| -> Vec<PathBuf> {
        let folder = path.join(name);
        match folder::is_class_folder(&folder) {
            true => vec![folder],
            false => Vec::new(),
        }
    };
    let either = |a: Vec<PathBuf>, b: Vec<PathBuf>| if a.is_empty() { b } else { a };
    let parts = |layout, train, validation, test| Parts {
        layout,
        train,
        validation,
        test,
    };
    let candidates = [
        parts(
            Layout::Parquet,
            files("train", "parquet"),
            files("val", "parquet"),
            files("test", "parquet"),
        ),
        parts(
            Layout::CifarBinary,
            files("data_batch", "bin"),
            Vec::new(),
            files("test_batch", "bin"),
        ),
        parts(
            Layout::ClassFolders,
            folders("train"),
            either(folders("validation"), folders("val")),
            folders("test"),
        ),
        parts(Layout::ClassFolders, folders(""), Vec::new(), Vec::new()),
    ];
    candidates.into_iter().find(|p| !p.train.is_empty())
}

/// Splits a training part that came without a validation part.
fn split(all: &Dataset, layout: Layout) -> (Dataset, Dataset) {
    let cifar = layout != Layout::ClassFolders && all.len() == CIFAR_TRAIN_ROWS;
    let held_out = |i: &usize| match cifar {
        true => all.rows[*i] >= CIFAR_VALIDATION_START,
        false => all.rows[*i] % VALIDATION_EVERY == VALIDATION_EVERY - 1,
    };
    let (validation, train): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(held_out);
    (all.select(&train), all.select(&validation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_sample_keeps_its_rows_and_splits() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/cifar10-sample");
        let splits = load(&path).expect("loads");
        let test = splits.test.expect("a test part");
        let parts = [
            (&splits.train, 3000, 0..45_000),
            (&splits.validation, 1000, 45_000..50_000),
            (&test, 1000, 0..10_000),
        ];
        for (part, count, rows) in parts {
            assert_eq!((part.len(), part.classes()), (count, 10));
            assert_eq!(part.class_names[9], "truck");
            assert!(part.rows.iter().all(|r| rows.contains(r)));
            assert!(part.rows.is_sorted_by(|a, b| a < b));
            for class in 0..10 {
                assert_eq!(
                    part.labels.iter().filter(|l| **l == class).count(),
                    count / 10
                );
            }
        }
    }
}
