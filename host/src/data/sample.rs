//! Small extracts of a parquet set that keep the pictures' bytes and their row numbers.

use super::DataError;
#[cfg(test)]
use super::Dataset;
use super::parquet::{EncodedRows, read_encoded};
use crate::nn::Rng;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The Hugging Face image layout with our column of row numbers.
const SCHEMA: &str = "message schema {
    OPTIONAL GROUP img { OPTIONAL BINARY bytes; OPTIONAL BINARY path (UTF8); }
    OPTIONAL INT64 label;
    OPTIONAL INT64 row;
}";

/// Writes `count` pictures of `source`, drawn class by class in equal numbers from the
/// rows `within`, to the parquet file `out`, in the order of their rows. The picture
/// files are copied as they are. Returns the rows taken.
///
/// # Errors
/// [`DataError`] where a file cannot be read or written, or a class has too few pictures.
pub fn write_sample(
    source: &Path,
    within: Range<usize>,
    count: usize,
    seed: u64,
    out: &Path,
) -> Result<Vec<u32>, DataError> {
    let all = read_encoded(source)?;
    let classes = all.class_names.len();
    let mut left = vec![count / classes; classes];
    left.iter_mut().take(count % classes).for_each(|n| *n += 1);
    let mut candidates: Vec<usize> = within.filter(|i| *i < all.labels.len()).collect();
    Rng::new(seed).shuffle(&mut candidates);
    candidates.retain(|i| {
        let left = &mut left[all.labels[*i] as usize];
        let take = *left > 0;
        *left -= usize::from(take);
        take
    });
    if let Some(class) = left.iter().position(|n| *n > 0) {
        let reason = format!(
            "{} pictures of `{}` are missing for a balanced sample of {count}",
            left[class], all.class_names[class]
        );
        return Err(DataError::parquet(source, reason));
    }
    candidates.sort_unstable();
    write_encoded(out, &pick(&all, &candidates))?;
    Ok(candidates.iter().map(|i| all.rows[*i]).collect())
}

fn pick(all: &EncodedRows, indices: &[usize]) -> EncodedRows {
    EncodedRows {
        bytes: indices.iter().map(|i| all.bytes[*i].clone()).collect(),
        paths: indices
            .iter()
            .filter_map(|i| all.paths.get(*i).cloned())
            .collect(),
        labels: indices.iter().map(|i| all.labels[*i]).collect(),
        rows: indices.iter().map(|i| all.rows[*i]).collect(),
        class_names: all.class_names.clone(),
    }
}

/// Writes encoded pictures in the Hugging Face layout. Paths may be empty.
pub(super) fn write_encoded(out: &Path, rows: &EncodedRows) -> Result<(), DataError> {
    write_in_groups(out, rows, rows.bytes.len())
}

/// The same in row groups of so many pictures.
pub(super) fn write_in_groups(
    out: &Path,
    rows: &EncodedRows,
    each: usize,
) -> Result<(), DataError> {
    write(out, rows, each.max(1)).map_err(|e| DataError::parquet(out, e))
}

fn write(out: &Path, rows: &EncodedRows, each: usize) -> ::parquet::errors::Result<()> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(File::create(out)?, schema, properties(rows))?;
    let all: Vec<usize> = (0..rows.bytes.len()).collect();
    for indices in all.chunks(each) {
        write_group(writer.next_row_group()?, &pick(rows, indices))?;
    }
    writer.close()?;
    Ok(())
}

fn write_group(mut group: Group<'_>, rows: &EncodedRows) -> ::parquet::errors::Result<()> {
    let binary = |b: &[u8]| ByteArray::from(b.to_vec());
    let bytes: Vec<ByteArray> = rows.bytes.iter().map(|b| binary(b)).collect();
    column::<ByteArrayType>(&mut group, &bytes, 2)?;
    match rows.paths.len() == rows.bytes.len() {
        true => {
            let paths: Vec<ByteArray> = rows.paths.iter().map(|p| binary(p.as_bytes())).collect();
            column::<ByteArrayType>(&mut group, &paths, 2)?;
        }
        false => nulls(&mut group, rows.bytes.len())?,
    }
    let integers = |v: &[u32]| v.iter().map(|x| i64::from(*x)).collect::<Vec<_>>();
    column::<Int64Type>(&mut group, &integers(&rows.labels), 1)?;
    column::<Int64Type>(&mut group, &integers(&rows.rows), 1)?;
    group.close()?;
    Ok(())
}

fn properties(rows: &EncodedRows) -> Arc<WriterProperties> {
    let names = serde_json::json!({
        "info": { "features": { "label": { "names": rows.class_names, "_type": "ClassLabel" } } }
    });
    let metadata = KeyValue::new("huggingface".to_owned(), names.to_string());
    Arc::new(
        WriterProperties::builder()
            .set_compression(Compression::ZSTD(
                ZstdLevel::try_new(19).unwrap_or_default(),
            ))
            // JPEG files differ, but share their headers, which the compression finds;
            // statistics would only copy whole pictures into the footer.
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_key_value_metadata(Some(vec![metadata]))
            .build(),
    )
}

type Group<'a> = SerializedRowGroupWriter<'a, File>;

/// Writes the next column; each value is present at `level` definition levels.
fn column<T: DataType>(
    group: &mut Group<'_>,
    values: &[T::T],
    level: i16,
) -> ::parquet::errors::Result<()> {
    if let Some(mut column) = group.next_column()? {
        let levels = vec![level; values.len()];
        column
            .typed::<T>()
            .write_batch(values, Some(&levels), None)?;
        column.close()?;
    }
    Ok(())
}

/// Writes the next column, of byte arrays, with no value at all.
fn nulls(group: &mut Group<'_>, n: usize) -> ::parquet::errors::Result<()> {
    if let Some(mut column) = group.next_column()? {
        let levels = vec![1; n];
        column
            .typed::<ByteArrayType>()
            .write_batch(&[], Some(&levels), None)?;
        column.close()?;
    }
    Ok(())
}

/// Encodes pictures without loss (PNG) in the Hugging Face layout.
#[cfg(test)]
pub(super) fn encode_png(data: &Dataset) -> EncodedRows {
    let png = |i: usize| {
        let mut file = std::io::Cursor::new(Vec::new());
        let buffer = image::RgbImage::from_raw(data.w as u32, data.h as u32, data.image(i).into())
            .expect("pixels fit");
        buffer
            .write_to(&mut file, image::ImageFormat::Png)
            .expect("encodes");
        file.into_inner()
    };
    EncodedRows {
        bytes: (0..data.len()).map(png).collect(),
        paths: Vec::new(),
        labels: data.labels.clone(),
        rows: data.rows.clone(),
        class_names: data.class_names.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;
    use std::fs;

    /// Forty pictures of ten classes, with the classes' order the same in every layout.
    fn pictures() -> Dataset {
        let mut rng = Rng::new(4);
        let names = [
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
        Dataset {
            images: (0..40 * 3072).map(|_| rng.below(256) as u8).collect(),
            // Sorted by class, as an image folder gives them.
            labels: (0..40).map(|i| i / 4).collect(),
            rows: (0..40).collect(),
            class_names: names.map(str::to_owned).to_vec(),
            h: 32,
            w: 32,
            c: 3,
        }
    }

    fn write_batches(folder: &Path, data: &Dataset) {
        let mut bytes = Vec::new();
        for i in 0..data.len() {
            bytes.push(data.labels[i] as u8);
            for c in 0..3 {
                bytes.extend(data.image(i).iter().skip(c).step_by(3));
            }
        }
        let (first, second) = bytes.split_at(3073 * 15);
        fs::write(folder.join("data_batch_1.bin"), first).expect("write");
        fs::write(folder.join("data_batch_2.bin"), second).expect("write");
    }

    fn write_folders(folder: &Path, data: &Dataset, encoded: &EncodedRows) {
        for i in 0..data.len() {
            let class = folder.join(&data.class_names[data.labels[i] as usize]);
            fs::create_dir_all(&class).expect("create");
            fs::write(class.join(format!("{i:04}.png")), &encoded.bytes[i]).expect("write");
        }
    }

    #[test]
    fn all_layouts_give_the_same_pictures() {
        let data = pictures();
        let encoded = encode_png(&data);
        let root = tempfile::tempdir().expect("folder");
        let at = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir(&path).expect("create");
            path
        };
        let (binary, parquet, folders) = (at("binary"), at("parquet"), at("folders"));
        write_batches(&binary, &data);
        write_encoded(&parquet.join("train.parquet"), &encoded).expect("write");
        write_folders(&folders, &data, &encoded);
        let from_binary = load(&binary).expect("loads");
        let mut held_out = from_binary.validation.rows.clone();
        assert_ne!(held_out, [9, 19, 29, 39], "sorted by class, so mixed");
        held_out.sort_unstable();
        assert_eq!(held_out, [9, 19, 29, 39]);
        assert_eq!(from_binary.train.len(), 36);
        let row = from_binary.train.rows[10] as usize;
        assert_eq!(from_binary.train.image(10), data.image(row));
        assert_eq!(from_binary, load(&parquet).expect("loads"));
        assert_eq!(from_binary, load(&folders).expect("loads"));
    }

    #[test]
    fn a_sample_is_balanced_and_keeps_bytes_and_rows() {
        let data = pictures();
        let encoded = encode_png(&data);
        let root = tempfile::tempdir().expect("folder");
        let (source, out) = (
            root.path().join("all.parquet"),
            root.path().join("some.parquet"),
        );
        write_encoded(&source, &encoded).expect("write");
        let rows = write_sample(&source, 0..40, 20, 0, &out).expect("sample");
        let sample = read_encoded(&out).expect("read");
        assert_eq!(sample.rows, rows);
        for class in 0..10 {
            assert_eq!(sample.labels.iter().filter(|l| **l == class).count(), 2);
        }
        for (bytes, row) in sample.bytes.iter().zip(&rows) {
            assert_eq!(bytes, &encoded.bytes[*row as usize]);
        }
        assert!(write_sample(&source, 0..40, 41, 0, &out).is_err());
    }

    fn error_of(path: &Path) -> String {
        load(path).expect_err("must be refused").to_string()
    }

    #[test]
    fn bad_sets_are_refused_by_name() {
        let data = pictures();
        let root = tempfile::tempdir().expect("folder");
        assert!(error_of(root.path()).contains("no known data layout"));
        assert!(error_of(&root.path().join("nothing")).contains("no known data layout"));

        write_batches(root.path(), &data);
        let batch = root.path().join("data_batch_1.bin");
        let mut bytes = fs::read(&batch).expect("read");
        bytes[3073 * 2] = 10;
        fs::write(&batch, &bytes).expect("write");
        let message = error_of(root.path());
        assert!(
            message.contains("label out of range: 10 at row 2"),
            "{message}"
        );
        fs::write(&batch, &bytes[..3000]).expect("write");
        assert!(error_of(root.path()).contains("truncated file"));
    }

    #[test]
    fn bad_parquet_files_are_refused_by_name() {
        let data = pictures();
        let root = tempfile::tempdir().expect("folder");
        let file = root.path().join("train.parquet");
        let mut encoded = encode_png(&data);
        encoded.labels[7] = 12;
        write_encoded(&file, &encoded).expect("write");
        let message = error_of(root.path());
        assert!(
            message.contains("label out of range: 12 at row 7"),
            "{message}"
        );

        let mut encoded = encode_png(&data);
        let small = image::RgbImage::new(16, 32);
        let mut png = std::io::Cursor::new(Vec::new());
        small
            .write_to(&mut png, image::ImageFormat::Png)
            .expect("encodes");
        encoded.bytes[5] = png.into_inner();
        write_encoded(&file, &encoded).expect("write");
        let message = error_of(root.path());
        assert!(
            message.contains("picture 5") && message.contains("[32, 16, 3]"),
            "{message}"
        );

        encoded.bytes[5].truncate(20);
        write_encoded(&file, &encoded).expect("write");
        assert!(error_of(root.path()).contains("cannot decode picture 5"));

        let bytes = fs::read(&file).expect("read");
        fs::write(&file, &bytes[..bytes.len() / 2]).expect("write");
        assert!(error_of(root.path()).contains("bad parquet file"));
    }
}
