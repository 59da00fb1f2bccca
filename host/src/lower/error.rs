//! What can keep a network from becoming a blob.

use shared::blob::BlobError;
use shared::spec::SpecError;

/// Why a network cannot be lowered.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// An accumulator or its shifted value could overflow 32 bits.
    #[error(
        "layer {layer}, output channel {channel}: the accumulator could reach {bound}, beyond what requantization allows ({limit})"
    )]
    AccumulatorRange {
        /// Name of the layer.
        layer: String,
        /// Output channel.
        channel: usize,
        /// Largest magnitude that the accumulator can reach, the bias included.
        bound: i64,
        /// Largest magnitude allowed.
        limit: i64,
    },
    /// A scale that no multiplier can express.
    #[error(
        "layer {layer}, output channel {channel}: the scale {scale:e} cannot be expressed by a multiplier"
    )]
    Scale {
        /// Name of the layer.
        layer: String,
        /// Output channel.
        channel: usize,
        /// `s_w · s_in / s_out`.
        scale: f64,
    },
    /// A weight or a bias is not a number.
    #[error("layer {layer}: {what} {index} is {value}")]
    NotFinite {
        /// Name of the layer.
        layer: String,
        /// `weight` or `bias`.
        what: &'static str,
        /// Index in the flattened tensor.
        index: usize,
        /// The value found.
        value: f32,
    },
    /// The layer cannot be described to the firmware.
    #[error("layer {layer} cannot be run by the firmware: {error:?}")]
    Spec {
        /// Name of the layer.
        layer: String,
        /// Why.
        error: SpecError,
    },
    /// The layer does not fit the board's SRAM with the smallest scratch.
    #[error(
        "layer {layer} needs {need} bytes of SRAM (input, output and the smallest scratch), the board has {limit}"
    )]
    Sram {
        /// Name of the layer.
        layer: String,
        /// Bytes needed.
        need: u64,
        /// Bytes there are.
        limit: u64,
    },
    /// A kernel was asked for that does not compute such a layer.
    #[error("layer {layer} cannot be computed by the kernel {kernel}: {shape}")]
    Kernel {
        /// Name of the layer.
        layer: String,
        /// Name of the kernel.
        kernel: &'static str,
        /// What the layer is.
        shape: String,
    },
    /// A kernel was asked for that is not exact for the layer's weights.
    #[error(
        "layer {layer}: the kernel {kernel} is exact for sums below {limit}, these weights can reach {need}"
    )]
    Inexact {
        /// Name of the layer.
        layer: String,
        /// Name of the kernel.
        kernel: &'static str,
        /// Largest sum of products of one sign.
        need: u64,
        /// What it must stay below.
        limit: u64,
    },
    /// A kernel was asked for in a layer that there is not.
    #[error("there is no layer {layer}: the network has {}", names.join(", "))]
    NoLayer {
        /// The name.
        layer: String,
        /// Those that there are.
        names: Vec<String>,
    },
    /// A global average pool somewhere else than between convolutions and classifier.
    #[error("layer {layer} is followed by a global average pool, but is not the last convolution")]
    PoolPlace {
        /// Name of the layer.
        layer: String,
    },
    /// A layer's weights are too many for its encoding.
    #[error(
        "the weights of layer {layer} cannot be stored {encoding}: its blocks would lie past 4 MiB"
    )]
    Encoding {
        /// Name of the layer.
        layer: String,
        /// The encoding.
        encoding: &'static str,
    },
    /// What was written does not pass the reader's check: a defect of the writer.
    #[error("the blob that was written is refused: {0}")]
    Blob(#[from] BlobError),
    /// The images are not what the network takes.
    #[error("images are {got} bytes, the network takes {need} (h·w·c)")]
    ImageSize {
        /// Bytes of one image.
        got: usize,
        /// Bytes that the network takes.
        need: usize,
    },
}
