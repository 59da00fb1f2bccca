//! What can be wrong with a data set.

use std::path::PathBuf;

/// Errors of the loaders; each names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The path holds nothing that a loader knows.
    #[error(
        "no known data layout at {path}: expected `train*.parquet`, CIFAR-10 `data_batch_*.bin`, or one folder of pictures per class"
    )]
    UnknownLayout {
        /// Where was looked.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A label that no class has.
    #[error("label out of range: {label} at row {row} of {path}, which has {classes} classes")]
    Label {
        /// The file.
        path: PathBuf,
        /// Row in the file.
        row: usize,
        /// The label found.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// A file that ends in the middle of a record.
    #[error(
        "truncated file: {path} has {bytes} bytes, which is not a whole number of records of {record} bytes"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// Length of a record.
        record: usize,
    },
    /// A picture of another size than the first.
    #[error("picture {row} of {path} is {found:?} [h, w, c], the first one is {expected:?}")]
    ImageSize {
        /// The file or folder.
        path: PathBuf,
        /// Row in it.
        row: usize,
        /// Its `[h, w, c]`.
        found: [usize; 3],
        /// `[h, w, c]` of the first picture.
        expected: [usize; 3],
    },
    /// Pictures that are too large to be held whole, all of them.
    #[error("picture 0 of {path} has {w}x{h} pixels; sets of at most {most}x{most} are held whole")]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// Its width.
        w: usize,
        /// Its height.
        h: usize,
        /// The longest side.
        most: usize,
    },
    /// A picture with more pixels than are decoded.
    #[error("picture {row} of {path} has {w}x{h} pixels, more than {most}")]
    Pixels {
        /// The file or folder.
        path: PathBuf,
        /// Row in it.
        row: usize,
        /// Its width.
        w: usize,
        /// Its height.
        h: usize,
        /// The most pixels.
        most: usize,
    },
    /// A picture that does not decode.
    #[error("cannot decode picture {row} of {path}: {source}")]
    Decode {
        /// The file or folder.
        path: PathBuf,
        /// Row in it.
        row: usize,
        /// The decoder's reason.
        source: image::ImageError,
    },
    /// A JPEG that ends before its last scan does.
    #[error("picture {row} of {path} is cut short: a JPEG without its end")]
    CutShort {
        /// The file or folder.
        path: PathBuf,
        /// Row in it.
        row: usize,
    },
    /// A folder of pictures in a validation or test part that the training part has not.
    #[error("{path} is none of the {classes} classes of the training part")]
    Class {
        /// The folder.
        path: PathBuf,
        /// Classes that there are.
        classes: usize,
    },
    /// A layout whose pictures are all of one size, and all held in memory.
    #[error("{path} cannot be streamed: only class folders and parquet files can")]
    NotStreamed {
        /// The file.
        path: PathBuf,
    },
    /// A parquet file that is broken, or not of the Hugging Face image layout.
    #[error("bad parquet file {path}: {reason}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No picture at all.
    #[error("no pictures in {path}")]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// Pictures of another size than the model takes.
    #[error("pictures are {found:?} [h, w, c], the model takes {input:?}")]
    ModelInput {
        /// `[h, w, c]` of the pictures.
        found: [usize; 3],
        /// `[h, w, c]` of the model's input.
        input: [usize; 3],
    },
    /// More classes than the model has.
    #[error("label out of range: {label} at row {row}, the model has {classes} classes")]
    ModelClasses {
        /// Row of the picture.
        row: u32,
        /// Its label.
        label: u32,
        /// Classes of the model.
        classes: usize,
    },
}

impl DataError {
    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// The same of pictures that are files of their own: names the file instead of its folder and
    /// its place in it.
    pub(super) fn of_files(mut self, files: &[PathBuf]) -> Self {
        let at = match &mut self {
            Self::Decode { path, row, .. }
            | Self::CutShort { path, row }
            | Self::ImageSize { path, row, .. } => Some((path, row)),
            _ => None,
        };
        if let Some((path, row)) = at
            && let Some(file) = files.get(*row)
        {
            path.clone_from(file);
            *row = 0;
        }
        self
    }

    pub(super) fn parquet(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::Parquet {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
