//! Pictures that stay on the disk: read, decoded and cropped a batch at a time, so that memory
//! does not grow with the set but for an entry a picture.

use super::batch::cut_out;
use super::crop::Crop;
use super::groups::Groups;
use super::picture::decode_rgb;
use super::{Augment, DataError, Dataset, Normalization, Source, plain_batch};
use crate::nn::Rng;
use image::RgbImage;
use rayon::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// Where encoded pictures lie.
#[derive(Debug)]
pub(super) enum Place {
    /// One file each.
    Files(Vec<PathBuf>),
    /// Rows of parquet files.
    Groups(Groups),
}

/// A part of a set, streamed; pictures become squares of three channels.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(super) place: Arc<Place>,
    /// Which of the place's pictures belong to this part.
    pub(super) picks: Vec<u32>,
    /// Their labels.
    pub(super) labels: Vec<u32>,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// How pictures become squares.
    pub crop: Crop,
}

impl Stream {
    /// Number of pictures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.picks.len()
    }

    /// Whether there is no picture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// As [`Dataset::check_fits`]; labels are classes of this set.
    ///
    /// # Errors
    /// [`DataError::ModelInput`] or [`DataError::ModelClasses`].
    pub fn check_fits(&self, input: [usize; 3], classes: usize) -> Result<(), DataError> {
        let found = self.size();
        if found != input {
            return Err(DataError::ModelInput { found, input });
        }
        match self.labels.iter().position(|l| *l as usize >= classes) {
            None => Ok(()),
            Some(i) => Err(DataError::ModelClasses {
                row: self.picks[i],
                label: self.labels[i],
                classes,
            }),
        }
    }

    /// The part of these pictures.
    pub(super) fn select(&self, indices: &[usize]) -> Self {
        Self {
            picks: indices.iter().map(|&i| self.picks[i]).collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            ..self.clone()
        }
    }

    /// The centre crops of the pictures with these indices, in memory.
    ///
    /// # Errors
    /// [`DataError`], naming the file and the picture.
    ///
    /// # Panics
    /// Where an index is not below [`Stream::len`].
    pub fn dataset(&self, indices: &[usize]) -> Result<Dataset, DataError> {
        let crops = self.cropped(indices, |_, picture| self.crop.centre(picture))?;
        Ok(self.gathered(indices, crops, self.crop.side))
    }

    fn gathered(&self, indices: &[usize], crops: Vec<RgbImage>, side: usize) -> Dataset {
        Dataset {
            images: crops.into_iter().flat_map(RgbImage::into_raw).collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            rows: indices.iter().map(|&i| self.picks[i]).collect(),
            class_names: self.class_names.clone(),
            h: side,
            w: side,
            c: 3,
        }
    }

    /// Reads, decodes and crops, by all threads. Files are read by each thread, rows of parquet
    /// files before.
    fn cropped(
        &self,
        indices: &[usize],
        crop: impl Fn(usize, &RgbImage) -> RgbImage + Sync,
    ) -> Result<Vec<RgbImage>, DataError> {
        match &*self.place {
            Place::Files(files) => indices
                .par_iter()
                .enumerate()
                .map(|(n, &i)| {
                    let path = &files[self.picks[i] as usize];
                    let bytes = fs::read(path).map_err(DataError::io(path))?;
                    Ok(crop(n, &decode_rgb(path, 0, &bytes)?))
                })
                .collect(),
            Place::Groups(groups) => {
                // In the order of the file, so that each group is read once.
                let mut order: Vec<usize> = (0..indices.len()).collect();
                order.sort_by_key(|&n| self.picks[indices[n]]);
                let rows: Vec<u32> = order.iter().map(|&n| self.picks[indices[n]]).collect();
                let read = groups.read(&rows)?;
                let decoded = order.par_iter().zip(&read);
                let mut crops = decoded
                    .map(|(&n, (path, row, bytes))| {
                        Ok((n, crop(n, &decode_rgb(path, *row, bytes)?)))
                    })
                    .collect::<Result<Vec<_>, DataError>>()?;
                crops.sort_by_key(|(n, _)| *n);
                Ok(crops.into_iter().map(|(_, crop)| crop).collect())
            }
        }
    }
}

impl Source for Stream {
    fn size(&self) -> [usize; 3] {
        [self.crop.side, self.crop.side, 3]
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    fn part(&self, indices: &[usize]) -> Result<Dataset, DataError> {
        self.dataset(indices)
    }

    fn shuffle(&self, indices: &mut [usize], rng: &mut Rng) {
        match &*self.place {
            Place::Files(_) => rng.shuffle(indices),
            Place::Groups(groups) => groups.shuffle(indices, |i| self.picks[i], rng),
        }
    }

    fn plain(
        &self,
        indices: &[usize],
        normalization: &Normalization,
    ) -> Result<Vec<f32>, DataError> {
        let all: Vec<usize> = (0..indices.len()).collect();
        Ok(plain_batch(&self.dataset(indices)?, &all, normalization))
    }

    /// Random resized crops; `augment.pad` means nothing here.
    fn augmented(
        &self,
        indices: &[usize],
        normalization: &Normalization,
        augment: Augment,
        side: usize,
        rng: &mut Rng,
    ) -> Result<Vec<f32>, DataError> {
        // A generator each, so that the number of threads changes nothing.
        let rngs: Vec<Rng> = indices.iter().map(|_| rng.fork()).collect();
        let crops = self.cropped(indices, |n, picture| {
            Crop::random(picture, side, augment.flip, &mut rngs[n].clone())
        })?;
        let all: Vec<usize> = (0..indices.len()).collect();
        let gathered = self.gathered(indices, crops, side);
        let mut x = plain_batch(&gathered, &all, normalization);
        cut_out(&mut x, (indices.len(), side), augment.cutout, rng);
        Ok(x)
    }
}
