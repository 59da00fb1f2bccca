//! `sensitivity.json`: what each layer loses by itself, measured without training.

use serde::{Deserialize, Serialize};

/// A setting of one layer, and the accuracy that it loses, a fraction; negative where it gained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss<T> {
    /// Share of channels or weights kept, or width in bits.
    pub at: T,
    /// Accuracy lost.
    pub loss: f64,
}

/// One layer, all others as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerSensitivity {
    /// Name, such as `conv3`.
    pub name: String,
    /// By share of its channels, in the given network.
    pub channels: Vec<Loss<f32>>,
    /// By share of its weights, in the given network.
    #[serde(default)]
    pub elements: Vec<Loss<f32>>,
    /// By width of its weights, in the pruned network.
    pub weights: Vec<Loss<u8>>,
    /// By width of its output activations, in the pruned network.
    pub activations: Vec<Loss<u8>>,
}
