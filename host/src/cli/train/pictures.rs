//! Pictures in memory or on the disk, as `train` uses them.

use crate::data::{self, Crop, Dataset, Normalization, Source, Splits, Stream, StreamSplits};
use crate::vgg::{Folded, VggConfig, evaluate};
use anyhow::{Result, bail};
use std::path::Path;

/// Streamed pictures that are judged at a time.
const CHUNK: usize = 256;

/// What is trained on and judged by.
pub(super) enum Pictures {
    /// In memory, all of one size.
    Whole(Box<Splits>),
    /// On the disk, of any size.
    Streamed(Box<StreamSplits>),
}

impl Pictures {
    /// Loads the pictures, or opens them where they are to be cropped.
    pub fn load(path: &Path, crop: Option<Crop>) -> Result<Self, data::DataError> {
        Ok(match crop {
            None => Self::Whole(Box::new(data::load(path)?)),
            Some(crop) => Self::Streamed(Box::new(data::open(path, crop)?)),
        })
    }

    /// The training part.
    pub fn train(&self) -> &dyn Source {
        match self {
            Self::Whole(splits) => &splits.train,
            Self::Streamed(splits) => &splits.train,
        }
    }

    /// Pictures of the training part.
    pub fn train_len(&self) -> usize {
        match self {
            Self::Whole(splits) => splits.train.len(),
            Self::Streamed(splits) => splits.train.len(),
        }
    }

    /// Pictures of the validation part.
    pub fn validation_len(&self) -> usize {
        match self {
            Self::Whole(splits) => splits.validation.len(),
            Self::Streamed(splits) => splits.validation.len(),
        }
    }

    /// A preset fitted to the pictures, or a configuration file that must fit them.
    pub fn network(&self, arch: &str) -> Result<VggConfig> {
        if let Some(preset) = VggConfig::preset(arch) {
            let network = match self {
                Self::Whole(splits) => VggConfig {
                    num_classes: splits.train.classes(),
                    normalization: Normalization::measured(&splits.train),
                    input: splits.train.size(),
                    ..preset
                },
                Self::Streamed(splits) => VggConfig {
                    num_classes: splits.train.class_names.len(),
                    input: splits.train.size(),
                    ..preset
                },
            };
            network.validate()?;
            return Ok(network);
        }
        if !Path::new(arch).is_file() {
            let known = VggConfig::PRESETS.join(", ");
            bail!("no architecture `{arch}`: try {known}, or the path of a config.json");
        }
        let network = VggConfig::read(Path::new(arch))?;
        self.check_fits(&network)?;
        Ok(network)
    }

    /// Checks that the training part fits a network.
    pub fn check_fits(&self, network: &VggConfig) -> Result<(), data::DataError> {
        match self {
            Self::Whole(splits) => {
                let train = &splits.train;
                train.check_fits(network.input, network.num_classes)
            }
            Self::Streamed(splits) => splits.train.check_fits(network.input, network.num_classes),
        }
    }

    /// Accuracy on the first `n` validation pictures, and how many there were.
    pub fn validation_accuracy(&self, network: &Folded, n: usize) -> Result<(f64, usize)> {
        let images = self.validation_len().min(n);
        let accuracy = match self {
            Self::Whole(splits) => in_memory(network, &splits.validation, images),
            Self::Streamed(splits) => streamed(network, &splits.validation, images)?,
        };
        Ok((accuracy, images))
    }

    /// Accuracy on the test part, if there is one.
    pub fn test_accuracy(&self, network: &Folded) -> Result<Option<f64>> {
        Ok(match self {
            Self::Whole(splits) => {
                let test = splits.test.as_ref();
                test.map(|test| in_memory(network, test, test.len()))
            }
            Self::Streamed(splits) => {
                let test = splits.test.as_ref();
                test.map(|test| streamed(network, test, test.len()))
                    .transpose()?
            }
        })
    }
}

fn in_memory(network: &Folded, data: &Dataset, images: usize) -> f64 {
    let all: Vec<usize> = (0..images).collect();
    evaluate(network, data, &all)
}

fn streamed(network: &Folded, stream: &Stream, images: usize) -> Result<f64> {
    let all: Vec<usize> = (0..images).collect();
    let mut right = 0.0;
    for chunk in all.chunks(CHUNK) {
        let data = stream.dataset(chunk)?;
        right += in_memory(network, &data, chunk.len()) * chunk.len() as f64;
    }
    Ok(right / images.max(1) as f64)
}
