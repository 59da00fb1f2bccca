//! The CIFAR-10 binary batches: records of a label byte and 3x32x32 pixels, a plane per
//! colour.

use super::{DataError, Dataset};
use std::fs;
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
const COLOURS: usize = 3;
const RECORD: usize = 1 + COLOURS * SIDE * SIDE;
/// The classes in the order of their labels, where no `batches.meta.txt` says otherwise.
const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// Loads batches one after the other.
pub(super) fn load(files: &[PathBuf]) -> Result<Dataset, DataError> {
    let class_names = class_names(files);
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        let bytes = fs::read(path).map_err(DataError::io(path))?;
        if bytes.is_empty() || bytes.len() % RECORD != 0 {
            return Err(DataError::Truncated {
                path: path.clone(),
                bytes: bytes.len(),
                record: RECORD,
            });
        }
        for (row, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= class_names.len() {
                return Err(DataError::Label {
                    path: path.clone(),
                    row,
                    label: record[0].into(),
                    classes: class_names.len(),
                });
            }
            labels.push(record[0].into());
            interleave(&record[1..], &mut images);
        }
    }
    Ok(Dataset {
        images,
        rows: (0..labels.len() as u32).collect(),
        labels,
        class_names,
        h: SIDE,
        w: SIDE,
        c: COLOURS,
    })
}

/// `[c, h, w]` to `[h, w, c]`.
fn interleave(planes: &[u8], pixels: &mut Vec<u8>) {
    let plane = SIDE * SIDE;
    pixels.extend((0..plane).flat_map(|i| (0..COLOURS).map(move |c| planes[c * plane + i])));
}

fn class_names(files: &[PathBuf]) -> Vec<String> {
    let meta = files
        .first()
        .and_then(|f| f.parent())
        .map(|folder: &Path| folder.join("batches.meta.txt"));
    let text = meta
        .and_then(|m| fs::read_to_string(m).ok())
        .unwrap_or_default();
    let names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    match names.is_empty() {
        true => CLASSES.map(str::to_owned).to_vec(),
        false => names,
    }
}
