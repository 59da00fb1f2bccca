//! Where a training takes its pictures: from memory, or from a stream.

use super::{Augment, DataError, Dataset, Normalization, augmented_batch, plain_batch};
use crate::nn::Rng;

/// Pictures with labels, in batches.
pub trait Source: Sync + std::fmt::Debug {
    /// `[h, w, c]` of the pictures that it gives.
    fn size(&self) -> [usize; 3];

    /// Number of pictures.
    fn count(&self) -> usize;

    /// Class of picture `i`.
    ///
    /// # Panics
    /// Where there is no such picture.
    fn label(&self, i: usize) -> u32;

    /// The pictures with these indices as they are, in memory.
    ///
    /// # Errors
    /// Where a picture cannot be read.
    fn part(&self, indices: &[usize]) -> Result<Dataset, DataError>;

    /// Brings pictures into the random order of an epoch, as far as the source can read them in
    /// any order.
    fn shuffle(&self, indices: &mut [usize], rng: &mut Rng) {
        rng.shuffle(indices);
    }

    /// The pictures with these indices as they are, normalized: `[c, n, h, w]`.
    ///
    /// # Errors
    /// Where a picture cannot be read.
    fn plain(
        &self,
        indices: &[usize],
        normalization: &Normalization,
    ) -> Result<Vec<f32>, DataError>;

    /// The same changed at random, and `[c, n, side, side]` where `side` is not their height.
    ///
    /// # Errors
    /// Where a picture cannot be read.
    fn augmented(
        &self,
        indices: &[usize],
        normalization: &Normalization,
        augment: Augment,
        side: usize,
        rng: &mut Rng,
    ) -> Result<Vec<f32>, DataError>;
}

impl Source for Dataset {
    fn size(&self) -> [usize; 3] {
        [self.h, self.w, self.c]
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    fn part(&self, indices: &[usize]) -> Result<Dataset, DataError> {
        Ok(self.select(indices))
    }

    fn plain(
        &self,
        indices: &[usize],
        normalization: &Normalization,
    ) -> Result<Vec<f32>, DataError> {
        Ok(plain_batch(self, indices, normalization))
    }

    fn augmented(
        &self,
        indices: &[usize],
        normalization: &Normalization,
        augment: Augment,
        side: usize,
        rng: &mut Rng,
    ) -> Result<Vec<f32>, DataError> {
        Ok(augmented_batch(
            self,
            indices,
            normalization,
            augment,
            side,
            rng,
        ))
    }
}
