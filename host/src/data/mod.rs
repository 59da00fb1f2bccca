//! Images and labels: loaders for three layouts, and augmentation.
//!
//! [`load`] finds out which layout a path holds (`cifar_bin`, `parquet`, `folder`) and
//! gives the same [`Splits`] for each; `batch` turns pictures into normalized tensors.
//! [`open`] leaves pictures of any size on the disk instead and gives [`StreamSplits`]
//! (`stream`, `groups` of parquet rows), which `crop` cuts to squares as they are read. A
//! training takes either as a [`Source`].

mod batch;
mod cifar_bin;
mod crop;
mod error;
mod folder;
mod groups;
mod guard;
mod layout;
mod parquet;
mod picture;
mod resize;
mod sample;
mod source;
mod stream;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
pub(crate) mod testing;
mod thrift;

pub use batch::{Augment, Normalization, augmented_batch, plain_batch};
pub use crop::Crop;
pub use error::DataError;
pub use layout::{Splits, StreamSplits, load, open};
pub use sample::write_sample;
pub use source::Source;
pub use stream::Stream;

/// Decoded pictures of one size, with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Pixels, `[n, h, w, c]`.
    pub images: Vec<u8>,
    /// Class of each picture, below `class_names.len()`.
    pub labels: Vec<u32>,
    /// Row number of each picture in the set that it was taken from.
    pub rows: Vec<u32>,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// Colour channels: 3 or 1.
    pub c: usize,
}

impl Dataset {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// Bytes of one picture.
    pub fn image_bytes(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Picture `i`, `[h, w, c]`.
    ///
    /// # Panics
    /// Where `i` is not below [`Dataset::len`].
    pub fn image(&self, i: usize) -> &[u8] {
        &self.images[i * self.image_bytes()..][..self.image_bytes()]
    }

    /// The pictures with these indices, in this order.
    ///
    /// # Panics
    /// Where an index is not below [`Dataset::len`].
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            images: indices
                .iter()
                .flat_map(|i| self.image(*i))
                .copied()
                .collect(),
            labels: indices.iter().map(|i| self.labels[*i]).collect(),
            rows: indices.iter().map(|i| self.rows[*i]).collect(),
            class_names: self.class_names.clone(),
            ..*self
        }
    }

    /// Checks that the pictures fit a model: `input` is `[h, w, c]`.
    ///
    /// # Errors
    /// [`DataError::ModelInput`] or [`DataError::ModelClasses`].
    pub fn check_fits(&self, input: [usize; 3], classes: usize) -> Result<(), DataError> {
        let found = [self.h, self.w, self.c];
        if found != input {
            return Err(DataError::ModelInput { found, input });
        }
        match self.labels.iter().position(|l| *l as usize >= classes) {
            None => Ok(()),
            Some(i) => Err(DataError::ModelClasses {
                row: self.rows[i],
                label: self.labels[i],
                classes,
            }),
        }
    }

    /// Appends `other`, numbering its rows on from ours. Files that lie sorted by class may each
    /// know of the classes up to their own.
    fn append(&mut self, other: Self) {
        let first = self.len() as u32;
        if other.classes() > self.classes() {
            self.class_names = other.class_names;
        }
        self.images.extend(other.images);
        self.labels.extend(other.labels);
        self.rows
            .extend(other.rows.iter().map(|r| first.saturating_add(*r)));
    }
}
