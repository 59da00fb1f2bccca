//! Quantization of a network that was not trained for it.

use super::calibrate::ActivationRanges;
use super::centre::Centred;
use super::clip::weight_step;
use super::integer::LayerQuant;
use super::specs::Bits;
use crate::vgg::FoldedLayer;
use rayon::prelude::*;

/// Steps of the weights and clips of the activations by least squared error.
///
/// # Panics
/// Where `bits` has another length than there are layers.
#[must_use]
pub fn post_training(
    network: &Centred,
    bits: &[Bits],
    ranges: &ActivationRanges,
) -> Vec<LayerQuant> {
    let layers = &network.network.layers;
    assert_eq!(layers.len(), bits.len(), "widths for each layer");
    let quant = |(i, (layer, bits)): (usize, (&FoldedLayer, &Bits))| LayerQuant {
        w_bits: bits.w,
        a_bits: bits.a,
        w_step: weight_steps(layer, i + 1 == layers.len(), bits.w),
        a_clip: ranges.clip(i, bits.a).max(1e-6),
    };
    layers.iter().zip(bits).enumerate().map(quant).collect()
}

/// A step an output channel; in the last layer one for all logits, so that raw accumulators
/// compare.
pub(crate) fn weight_steps(layer: &FoldedLayer, last: bool, w_bits: u8) -> Vec<f32> {
    if last {
        return vec![weight_step(&layer.weight, w_bits); layer.shape.c_out];
    }
    let rows = layer.weight.par_chunks_exact(layer.shape.fan_in());
    rows.map(|row| weight_step(row, w_bits)).collect()
}
