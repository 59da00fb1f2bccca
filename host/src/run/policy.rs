//! `policy.json`: what was decided for each layer, and what it gained.

use serde::{Deserialize, Serialize};

/// A layer's shape and costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFigures {
    /// Input channels (features of a fully connected layer).
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Dense MACs.
    pub macs: u64,
    /// Bytes in the blob.
    pub flash_bytes: u64,
    /// Cycles on the board.
    pub cycles: u64,
}

/// The decision for one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyLayer {
    /// Name, such as `conv3`.
    pub name: String,
    /// Kind, such as `conv 3x3` or `fully connected`.
    pub kind: String,
    /// In the dense 8-bit network.
    pub before: LayerFigures,
    /// In the compressed one.
    pub after: LayerFigures,
    /// Share of the remaining weights that are not zero.
    pub density: f64,
    /// Weight width in bits.
    pub w_bits: u8,
    /// Width of the output activations in bits; the last layer's accumulators have 32.
    pub a_bits: u8,
    /// Name of the kernel that runs it.
    pub kernel: String,
    /// How its weights are stored.
    pub encoding: String,
}

/// The decisions for all layers, in order. Two runs that decided the same are equal as files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// One entry a layer.
    pub layers: Vec<PolicyLayer>,
    /// Episode of the pruning search that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_episode: Option<usize>,
    /// Episode of the quantization search that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize_episode: Option<usize>,
}
