//! The Hugging Face image layout: a struct column `img` (or `image`) with the encoded
//! `bytes` and their `path`, an integer column `label`, and our optional column `row`.

use super::{DataError, Dataset, folder::decode_all, guard, thrift};
use ::parquet::basic::Type as PhysicalType;
use ::parquet::column::reader::get_typed_column_reader;
use ::parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// The still encoded pictures of a parquet file.
pub(super) struct EncodedRows {
    /// Picture files as stored.
    pub bytes: Vec<Vec<u8>>,
    /// Their paths, such as `truck/0998.jpg`; empty where the file has none.
    pub paths: Vec<String>,
    /// Labels, checked against the classes.
    pub labels: Vec<u32>,
    /// Row numbers: the column `row`, else the position.
    pub rows: Vec<u32>,
    /// Names of the classes.
    pub class_names: Vec<String>,
}

/// Reads and decodes a parquet file.
pub(super) fn load(path: &Path) -> Result<Dataset, DataError> {
    let encoded = read_encoded(path)?;
    let (images, [h, w, c]) = decode_all(path, &encoded.bytes)?;
    Ok(Dataset {
        images,
        labels: encoded.labels,
        rows: encoded.rows,
        class_names: encoded.class_names,
        h,
        w,
        c,
    })
}

/// Reads a parquet file without decoding its pictures.
pub(super) fn read_encoded(path: &Path) -> Result<EncodedRows, DataError> {
    let table = Table::open(path)?;
    let bytes: Vec<Vec<u8>> = table.byte_arrays(table.pictures()?)?;
    if bytes.is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    let labels = table.labels()?;
    let rows = match table.leaf(&["row"]) {
        Some(leaf) => row_numbers(path, &table.integers(leaf)?)?,
        None => (0..labels.len() as u32).collect(),
    };
    let paths = table.paths();
    let class_names = table
        .declared_classes()
        .unwrap_or_else(|| classes_from_paths(&paths, &labels));
    Ok(EncodedRows {
        labels: checked_labels(path, &labels, class_names.len())?,
        bytes,
        paths,
        rows,
        class_names,
    })
}

/// Most classes that are counted where nothing names them: more than a network gives logits.
const MAX_CLASSES: i64 = 1 << 16;

/// What a file says of its rows, the pictures left out.
pub(super) struct Labels {
    /// Labels of all rows, as they stand there.
    pub labels: Vec<i64>,
    /// Names of the classes, where the file declares them.
    pub declared: Option<Vec<String>>,
    /// Paths of the pictures, where it does not and has any.
    pub paths: Vec<String>,
}

/// Labels of all rows and names of the classes, without the pictures.
pub(super) fn read_labels(path: &Path) -> Result<Labels, DataError> {
    let table = Table::open(path)?;
    let declared = table.declared_classes();
    Ok(Labels {
        labels: table.labels()?,
        paths: match declared {
            Some(_) => Vec::new(),
            None => table.paths(),
        },
        declared,
    })
}

/// Calls of the crate `parquet`, whose panics are errors of the file.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    guard::guarded(work)
        .unwrap_or_else(|| Err(DataError::parquet(path, "the file contradicts itself")))
}

/// First byte and length of a column chunk; `None` where either is negative.
fn byte_range(column: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let data = column.data_page_offset();
    let start = column.dictionary_page_offset().unwrap_or(data);
    let length = column.compressed_size();
    Some((start.try_into().ok()?, length.try_into().ok()?))
}

/// A parquet file that is open.
pub(super) struct Table<'a> {
    path: &'a Path,
    reader: SerializedFileReader<File>,
}

impl<'a> Table<'a> {
    pub fn open(path: &'a Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        thrift::check_footer(path).map_err(|e| DataError::parquet(path, e))?;
        let open = || SerializedFileReader::new(file).map_err(|e| DataError::parquet(path, e));
        let reader = guarded(path, open)?;
        Ok(Self { path, reader })
    }

    /// Rows of each row group, together those of the file.
    pub fn group_rows(&self) -> Result<Vec<usize>, DataError> {
        let groups = self.reader.metadata().row_groups().iter();
        let rows: Vec<i64> = groups.map(|g| g.num_rows()).collect();
        let of_file = self.reader.metadata().file_metadata().num_rows();
        let sum = rows.iter().try_fold(0i64, |sum, n| sum.checked_add(*n));
        if sum != Some(of_file) || rows.iter().any(|n| *n < 0) {
            let reason = format!("its row groups do not have the {of_file} rows that it says");
            return Err(DataError::parquet(self.path, reason));
        }
        Ok(rows.into_iter().map(|n| n as usize).collect())
    }

    /// The still encoded pictures of one row group.
    pub fn pictures_of_group(&self, group: usize) -> Result<Vec<Vec<u8>>, DataError> {
        let leaf = self.pictures()?;
        self.check_byte_array(leaf)?;
        let mut values = Vec::new();
        let rows = self.group::<ByteArrayType>(group, leaf, &mut values)?;
        self.check_no_nulls(leaf, rows, values.len())?;
        Ok(values.iter().map(|v| v.data().to_vec()).collect())
    }

    fn pictures(&self) -> Result<usize, DataError> {
        self.leaf(&["img.bytes", "image.bytes"])
            .ok_or_else(|| DataError::parquet(self.path, "no column `img.bytes` or `image.bytes`"))
    }

    /// Paths of the pictures; none where there is no such column, or it is damaged.
    fn paths(&self) -> Vec<String> {
        let leaf = self.leaf(&["img.path", "image.path"]);
        let paths = leaf.and_then(|leaf| self.byte_arrays(leaf).ok());
        let text = |p: &Vec<u8>| String::from_utf8_lossy(p).into_owned();
        paths.unwrap_or_default().iter().map(text).collect()
    }

    fn labels(&self) -> Result<Vec<i64>, DataError> {
        let leaf = self.leaf(&["label"]);
        let leaf = leaf.ok_or_else(|| DataError::parquet(self.path, "no column `label`"))?;
        self.integers(leaf)
    }

    fn leaf(&self, names: &[&str]) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        (0..schema.num_columns())
            .find(|i| names.contains(&schema.column(*i).path().string().as_str()))
    }

    fn physical_type(&self, leaf: usize) -> PhysicalType {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.column(leaf).physical_type()
    }

    fn wrong_type(&self, leaf: usize) -> DataError {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let column = schema.column(leaf);
        let reason = format!(
            "column `{}` has the type {}",
            column.path().string(),
            column.physical_type()
        );
        DataError::parquet(self.path, reason)
    }

    /// A whole column of the physical type `T`.
    fn column<T: DataType>(&self, leaf: usize) -> Result<Vec<T::T>, DataError> {
        let mut values = Vec::new();
        let mut rows = 0;
        for g in 0..self.reader.num_row_groups() {
            rows += self.group::<T>(g, leaf, &mut values)?;
        }
        self.check_no_nulls(leaf, rows, values.len())?;
        let expected = self.reader.metadata().file_metadata().num_rows();
        if i64::try_from(rows) != Ok(expected) {
            return Err(DataError::parquet(
                self.path,
                format!("column {leaf} has {rows} rows, the file says {expected}"),
            ));
        }
        Ok(values)
    }

    /// Appends one group's values of a column; gives its rows.
    fn group<T: DataType>(
        &self,
        group: usize,
        leaf: usize,
        values: &mut Vec<T::T>,
    ) -> Result<usize, DataError> {
        let columns = self.reader.metadata().row_group(group).columns();
        let (start, length) = columns
            .get(leaf)
            .and_then(byte_range)
            .ok_or_else(|| DataError::parquet(self.path, "a column chunk that is nowhere"))?;
        thrift::check_pages(self.path, start, length)
            .map_err(|e| DataError::parquet(self.path, e))?;
        guarded(self.path, || self.group_of::<T>(group, leaf, values))
    }

    fn group_of<T: DataType>(
        &self,
        group: usize,
        leaf: usize,
        values: &mut Vec<T::T>,
    ) -> Result<usize, DataError> {
        let fail = |e| DataError::parquet(self.path, e);
        let group = self.reader.get_row_group(group).map_err(fail)?;
        let column = group.get_column_reader(leaf).map_err(fail)?;
        let mut column = get_typed_column_reader::<T>(column);
        let (mut levels, mut rows) = (Vec::new(), 0);
        loop {
            levels.clear();
            let read = column.read_records(4096, Some(&mut levels), None, values);
            let (records, _, _) = read.map_err(fail)?;
            if records == 0 {
                return Ok(rows);
            }
            rows += records;
        }
    }

    fn check_no_nulls(&self, leaf: usize, rows: usize, values: usize) -> Result<(), DataError> {
        if values == rows {
            return Ok(());
        }
        let nulls = rows.saturating_sub(values);
        Err(DataError::parquet(
            self.path,
            format!("{nulls} of {rows} values of column {leaf} are null"),
        ))
    }

    fn check_byte_array(&self, leaf: usize) -> Result<(), DataError> {
        match self.physical_type(leaf) {
            PhysicalType::BYTE_ARRAY => Ok(()),
            _ => Err(self.wrong_type(leaf)),
        }
    }

    fn byte_arrays(&self, leaf: usize) -> Result<Vec<Vec<u8>>, DataError> {
        self.check_byte_array(leaf)?;
        let values = self.column::<ByteArrayType>(leaf)?;
        Ok(values.iter().map(|v| v.data().to_vec()).collect())
    }

    fn integers(&self, leaf: usize) -> Result<Vec<i64>, DataError> {
        match self.physical_type(leaf) {
            PhysicalType::INT64 => self.column::<Int64Type>(leaf),
            PhysicalType::INT32 => {
                let values = self.column::<Int32Type>(leaf)?;
                Ok(values.into_iter().map(i64::from).collect())
            }
            _ => Err(self.wrong_type(leaf)),
        }
    }

    /// Class names that the `datasets` library wrote into the file's metadata.
    fn declared_classes(&self) -> Option<Vec<String>> {
        let metadata = self.reader.metadata().file_metadata();
        let entry = metadata
            .key_value_metadata()?
            .iter()
            .find(|kv| kv.key == "huggingface")?;
        let value: serde_json::Value = serde_json::from_str(entry.value.as_deref()?).ok()?;
        let names = value.pointer("/info/features/label/names")?.as_array()?;
        names.iter().map(|n| Some(n.as_str()?.to_owned())).collect()
    }
}

/// The folder in each path names the label's class; without paths the classes are
/// numbered up to the largest label.
pub(super) fn classes_from_paths(paths: &[String], labels: &[i64]) -> Vec<String> {
    let mut votes: BTreeMap<&str, BTreeMap<i64, usize>> = BTreeMap::new();
    for (path, label) in paths.iter().zip(labels) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            *votes.entry(folder).or_default().entry(*label).or_default() += 1;
        }
    }
    let mut names = vec![String::new(); votes.len()];
    for (folder, labels) in &votes {
        let label = labels.iter().max_by_key(|(_, n)| **n).map(|(l, _)| *l);
        if let Some(slot) = label.and_then(|l| names.get_mut(usize::try_from(l).ok()?)) {
            *slot = (*folder).to_owned();
        }
    }
    if !names.is_empty() && names.iter().all(|n| !n.is_empty()) {
        return names;
    }
    // A label that is no class is found when labels are checked.
    let last = labels.iter().max().map_or(-1, |m| *m);
    let classes = last.clamp(-1, MAX_CLASSES - 1) + 1;
    (0..classes).map(|i| format!("class {i}")).collect()
}

pub(super) fn checked_labels(
    path: &Path,
    labels: &[i64],
    classes: usize,
) -> Result<Vec<u32>, DataError> {
    let check = |(row, label): (usize, &i64)| match u32::try_from(*label) {
        Ok(l) if (l as usize) < classes => Ok(l),
        _ => Err(DataError::Label {
            path: path.into(),
            row,
            label: *label,
            classes,
        }),
    };
    labels.iter().enumerate().map(check).collect()
}

fn row_numbers(path: &Path, rows: &[i64]) -> Result<Vec<u32>, DataError> {
    rows.iter()
        .map(|r| {
            u32::try_from(*r)
                .map_err(|_| DataError::parquet(path, format!("row number {r} is out of range")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_any_size_makes_no_classes_of_its_own() {
        for label in [i64::MAX, i64::MIN, 1 << 40] {
            let labels = [0, label];
            let classes = classes_from_paths(&[], &labels).len();
            assert!(classes <= MAX_CLASSES as usize);
            let refused = checked_labels(Path::new("a"), &labels, classes);
            assert!(matches!(refused, Err(DataError::Label { row: 1, .. })));
        }
    }
}
