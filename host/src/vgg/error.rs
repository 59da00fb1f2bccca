//! What can be wrong with a network, its weights, or its training.

use crate::nn::StoreError;
use std::path::PathBuf;

/// Errors of the VGG family; each names the file, the tensor or the step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VggError {
    /// The configuration describes no network.
    #[error("configuration: {reason}")]
    Config {
        /// What is wrong.
        reason: String,
    },
    /// A configuration file that does not parse.
    #[error("cannot parse {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// Reading failed.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A tensor file could not be read or written.
    #[error("weights: {0}")]
    Store(#[from] StoreError),
    /// The weights lack a tensor that the configuration needs.
    #[error("weights: tensor `{tensor}` {expected:?} is missing in {path}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// The shape that it should have.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the configuration needs.
    #[error("weights: tensor `{tensor}` is {found:?}, the model needs {expected:?}, in {path}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the model needs.
        expected: Vec<usize>,
    },
    /// The configuration lists other layers than the tensors make.
    #[error(
        "weights: the configuration lists {configured}, the tensors of {path} make {found}; {first}"
    )]
    List {
        /// The file.
        path: PathBuf,
        /// The configured layers, as [`super::VggConfig::list`] writes them.
        configured: String,
        /// Those of the tensors; pooling after the last convolution leaves no trace there.
        found: String,
        /// The first tensor that does not fit.
        first: Box<VggError>,
    },
    /// NaN or infinite weights.
    #[error(
        "weights: tensor `{tensor}` has a value that is not finite at element {index}, in {path}"
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// The first such element.
        index: usize,
    },
    /// Training diverged.
    #[error(
        "training diverged: the loss is {loss:.2e} at step {step} (learning rate {lr:.2e}); {found}"
    )]
    Diverged {
        /// The step, counted from 0.
        step: usize,
        /// Its loss.
        loss: f64,
        /// Its learning rate.
        lr: f64,
        /// The layer that is the likely cause, and what is wrong with it.
        found: String,
    },
    /// A checkpoint of another training.
    #[error("checkpoint {path} does not fit: {reason}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A training that will not fit the memory.
    #[error(
        "training {batch} pictures at a time takes about {} MiB, {} MiB are available", need >> 20, available >> 20
    )]
    Memory {
        /// Pictures at a time.
        batch: usize,
        /// Bytes needed, about.
        need: u64,
        /// Bytes that there are.
        available: u64,
        /// The most pictures at a time that would fit.
        fits: Option<usize>,
    },
    /// A picture of the training could not be read.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// No picture to train on.
    #[error("there are no pictures to train on")]
    NoData,
    /// An operator failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
