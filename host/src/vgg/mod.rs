//! The VGG family: configuration, network, costs, import.
//!
//! `config` says what a network looks like (`json`: in a file), `network` holds its tensors and trains it
//! (`train`), `weights` reads PyTorch's safetensors under the names of `names`, `export` writes
//! them, `folded` is the network
//! at inference, with batch normalization folded into the convolutions.

mod average;
mod batches;
mod config;
mod error;
mod export;
mod folded;
mod infer;
mod json;
mod memory;
mod names;
mod network;
mod presets;
#[cfg(test)]
mod reference_tests;
mod schedule;
mod train;
mod weights;

pub use config::{Item, LayerKind, LayerShape, Pool, VggConfig};
pub use error::VggError;
pub use export::{Export, Precision};
pub use folded::{Folded, FoldedLayer, evaluate, quality, quality_of};
pub use names::Naming;
pub use network::{ConvLayer, LinearLayer, Vgg};
pub use schedule::{Stage, TrainConfig};
pub use train::{Distillation, Model, Progress, Teacher, TrainOutcome, Trainer};
pub use weights::model_files;
