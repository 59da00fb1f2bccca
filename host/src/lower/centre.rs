//! The network as the firmware sees its input: whole pixels minus a whole number.

use crate::data::Normalization;
use crate::vgg::{Folded, LayerKind};

/// Real value of one pixel step at the network's input after [`centre`].
///
/// A power of two near the images' own deviation keeps the first layer's weights in the
/// range of the others', which training needs; the integer network multiplies it away.
pub const INPUT_STEP: f32 = 1.0 / 64.0;

/// A folded network whose input is `(pixel − r_c) · INPUT_STEP`.
#[derive(Clone, Debug, PartialEq)]
pub struct Centred {
    /// The network; its normalization has mean `r_c / 255` and deviation `64 / 255`.
    pub network: Folded,
    /// What is subtracted from each channel of a pixel.
    pub r_c: Vec<u8>,
    /// Largest `|255·mean_c − r_c|`, in pixel steps: 0 for networks trained with whole
    /// means. Inside the image it is folded into the biases exactly; at the border the
    /// network sees padding of exactly `r_c` where it was trained with `255·mean_c`.
    pub residual: f32,
}

/// Moves the normalization of the input into the first layer's weights and biases.
///
/// # Panics
/// Where the network has no layer.
#[must_use]
pub fn centre(network: &Folded) -> Centred {
    centre_owned(network.clone())
}

/// The same in place, for networks that are too large to have twice.
///
/// # Panics
/// Where the network has no layer.
#[must_use]
pub fn centre_owned(mut network: Folded) -> Centred {
    let norm = network.config.normalization.clone();
    let r_c: Vec<u8> = norm
        .mean
        .iter()
        .map(|m| (255.0 * m).round().clamp(0.0, 255.0) as u8)
        .collect();
    let residuals: Vec<f32> = norm
        .mean
        .iter()
        .zip(&r_c)
        .map(|(m, &r)| f32::from(r) - 255.0 * m)
        .collect();
    let channels = r_c.len();
    let centred = centred_normalization(&r_c);
    if norm == centred {
        // Already so; scaling by a factor that rounds to almost 1 would move weights.
        return Centred {
            network,
            r_c,
            residual: 0.0,
        };
    }
    let first = &mut network.layers[0];
    let taps = if first.shape.kind == LayerKind::Conv {
        9
    } else {
        first.shape.c_in / channels
    };
    for (o, row) in first.weight.chunks_exact_mut(channels * taps).enumerate() {
        for (c, taps) in row.chunks_exact_mut(taps).enumerate() {
            let per_pixel = 1.0 / (255.0 * norm.std[c]);
            first.bias[o] += taps.iter().sum::<f32>() * per_pixel * residuals[c];
            taps.iter_mut().for_each(|w| *w *= per_pixel / INPUT_STEP);
        }
    }
    network.config.normalization = centred;
    let residual = residuals.iter().fold(0f32, |m, r| m.max(r.abs()));
    Centred {
        network,
        r_c,
        residual,
    }
}

fn centred_normalization(r_c: &[u8]) -> Normalization {
    Normalization {
        mean: r_c.iter().map(|&r| f32::from(r) / 255.0).collect(),
        std: vec![1.0 / (255.0 * INPUT_STEP); r_c.len()],
    }
}
