//! The integer network: weights, biases and multipliers, with their proofs.

use serde::{Deserialize, Serialize};
use shared::semantics::Requant;
use shared::spec::LayerSpec;

/// How one layer with weights is quantized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerQuant {
    /// Width of the weights, 2 to 8.
    pub w_bits: u8,
    /// Width of the output activations: 2, 4 or 8. Unused by the last layer.
    pub a_bits: u8,
    /// Step of the weights, one an output channel (all equal in the last layer).
    pub w_step: Vec<f32>,
    /// Activation that maps to `2^a_bits − 1`. Unused by the last layer.
    pub a_clip: f32,
}

impl LayerQuant {
    /// Step of the output activations.
    #[must_use]
    pub fn a_step(&self) -> f32 {
        self.a_clip / ((1u32 << self.a_bits) - 1) as f32
    }
}

/// One layer in integers.
#[derive(Clone, Debug, PartialEq)]
pub struct IntLayer {
    /// Name in reports and errors.
    pub name: String,
    /// Shape and formats; `encoding` and `strip_rows` are set by later steps.
    pub spec: LayerSpec,
    /// `[c_out, k_h, k_w, c_in]`; empty for a global pool.
    pub weights: Vec<i8>,
    /// One an output channel; empty for a global pool. The last layer uses biases only.
    pub requants: Vec<Requant>,
    /// Largest `Σ|w|·x_max` over the output channels: no partial sum exceeds it.
    pub bound: i64,
    /// Whether Winograd is proven exact for every output channel.
    pub winograd: bool,
}

/// A network in integers.
#[derive(Clone, Debug, PartialEq)]
pub struct IntNet {
    /// Input `[h, w, c]`.
    pub input: [usize; 3],
    /// What is subtracted from each channel of a pixel.
    pub r_c: Vec<u8>,
    /// All layers, the global pool included.
    pub layers: Vec<IntLayer>,
    /// `logit = accumulator · logit_scale`.
    pub logit_scale: f32,
}

impl IntNet {
    /// Classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, |l| usize::from(l.spec.c_out))
    }

    /// Nonzero weights and biases, the `parameters` of reports.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let count = |l: &IntLayer| {
            let weights = l.weights.iter().filter(|&&w| w != 0).count();
            weights + l.requants.iter().filter(|r| r.bias != 0).count()
        };
        self.layers.iter().map(|l| count(l) as u64).sum()
    }

    /// All weights and biases, zero or not, the `parameters_dense` of reports.
    #[must_use]
    pub fn parameters_dense(&self) -> u64 {
        self.layers
            .iter()
            .map(|l| (l.weights.len() + l.requants.len()) as u64)
            .sum()
    }

    /// Dense multiply-accumulates of one inference.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|l| l.spec.macs()).sum()
    }

    /// Share of nonzero weights of layer `i`, 0 to 1; 1 for a layer without weights.
    #[must_use]
    pub fn density(&self, i: usize) -> f64 {
        let w = &self.layers[i].weights;
        if w.is_empty() {
            return 1.0;
        }
        w.iter().filter(|&&w| w != 0).count() as f64 / w.len() as f64
    }
}
