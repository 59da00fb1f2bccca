//! What a layer's weights are expected to take in each encoding, before there are any.

use crate::lower::NamedSpec;
use shared::coding::{bitmap, delta, tans};

/// What becomes of trained weights at a width: the share of those that are not zero as
/// floats and are not as integers either, and the bits of such an integer's entropy.
///
/// Rounded: with them the entropy of unpruned layers comes within 4 % of that of both recorded
/// networks (docs/results.md) at 2, 4 and 8 bits; the other widths lie between.
const AT_WIDTH: [(f64, f64); 7] = [
    (0.60, 1.00),
    (0.82, 2.20),
    (0.91, 3.20),
    (0.95, 4.20),
    (0.98, 5.20),
    (0.99, 6.20),
    (0.99, 7.20),
];

/// Bytes of a layer's weights of this density in each encoding, in the order of
/// [`shared::spec::Encoding::ALL`], zeros spread evenly.
#[must_use]
pub fn encoded_estimate(layer: &NamedSpec, density: f64) -> [Option<usize>; 4] {
    let s = &layer.spec;
    if !s.has_weights() {
        return [Some(0), None, None, None];
    }
    let (kept, value_bits) = AT_WIDTH[usize::from(s.w_bits.clamp(2, 8)) - 2];
    let density = (density * kept).clamp(0.0, 1.0);
    let blocks = usize::from(s.blocks());
    let table = 4 * (blocks + 1);
    let weights = 2 * s.sequence_len() as usize;
    let nonzero = (s.weight_count() as f64 * density / blocks as f64).ceil() as usize;
    [
        s.dense_channel_bytes() as usize * usize::from(s.c_out),
        table + blocks * 4 * bitmap::words(weights, nonzero, s.w_bits),
        table + blocks * 4 * delta_words(weights, nonzero, s.w_bits),
        table
            + coded_bytes(
                s.weight_count() as f64,
                density,
                value_bits,
                s.w_bits,
                blocks,
            ),
    ]
    .map(Some)
}

/// Words of a block at the best width of gaps; gaps are geometric, and those that do not fit
/// take an entry each time.
fn delta_words(weights: usize, nonzero: usize, w_bits: u8) -> usize {
    let zero = 1.0 - nonzero as f64 / weights.max(1) as f64;
    let words = delta::GAP_BITS.map(|gap_bits| {
        let longer = zero.powi(1 << gap_bits);
        let entries = nonzero as f64 / (1.0 - longer).max(1e-9);
        delta::words(entries.ceil() as usize, gap_bits, w_bits)
    });
    words.min().unwrap_or(0)
}

/// Bytes of streams at their entropy, and of a model.
fn coded_bytes(all: f64, density: f64, value_bits: f64, w_bits: u8, blocks: usize) -> usize {
    let part = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    let bits = part(density) + part(1.0 - density) + density * value_bits;
    // A symbol that occurs less than a few times is escaped and not in the model.
    let symbols = all / tans::weights_per_symbol(w_bits) as f64;
    let values =
        f64::from(1u32 << (u32::from(w_bits) * tans::weights_per_symbol(w_bits) as u32).min(8));
    let model = 1.2 * values.min(symbols / 8.0).min(200.0) + 16.0;
    (all * bits / 8.0 * 1.01 + model) as usize + blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::spec::{Encoding, LayerSpec};

    #[test]
    fn estimates_fall_with_density_and_width() {
        let at = |w_bits, density| {
            let layer = NamedSpec {
                name: "conv".into(),
                index: Some(0),
                spec: LayerSpec {
                    w_bits,
                    ..LayerSpec::conv3x3(16, 16, 64, 64)
                },
            };
            encoded_estimate(&layer, density).map(|b| b.expect("holds"))
        };
        let [dense, sparse, delta, coded] = at(8, 0.1);
        assert_eq!(dense, 36_864);
        assert!(sparse < dense / 4 && delta < sparse && coded < delta);
        assert!(at(8, 1.0)[3] < dense && at(8, 1.0)[1] > dense);
        for encoding in [Encoding::Dense, Encoding::Coded] {
            let i = usize::from(encoding as u8);
            assert!((2..8).all(|w| at(w, 0.5)[i] < at(w + 1, 0.5)[i]));
        }
    }
}
