//! What stage 1's states say of a layer whatever the episode does.

use super::env::TIMED;
use crate::agent::MinMax;
use crate::search::{LayerCost, Price};
use crate::vgg::{LayerKind, LayerShape, VggConfig};

/// Cycles by layer with weights; the global pool's count for the layer before it.
pub(super) fn per_weight_layer(
    config: &VggConfig,
    price: &Price,
    measured: &[LayerCost],
) -> anyhow::Result<Vec<u64>> {
    let n = config.layers().len();
    let bits = vec![TIMED; n];
    let mut cycles = vec![0; n];
    let mut measured = measured.iter();
    let mut at = 0;
    for layer in crate::lower::specs(config, &bits)? {
        at = layer.index.unwrap_or(at);
        if price.too_large.iter().any(|(name, _)| *name == layer.name) {
            continue;
        }
        if let Some(LayerCost::Cycles(c)) = measured.next() {
            cycles[at] += c;
        }
    }
    Ok(cycles)
}

/// What does not change: place, kind, shape, and what the board said of the dense layer.
pub(super) fn features(layers: &[LayerShape], dense: &Price, cycles: &[u64]) -> Vec<Vec<f32>> {
    let total: u64 = cycles.iter().sum();
    let rows: Vec<Vec<f32>> = layers
        .iter()
        .enumerate()
        .map(|(i, l)| {
            let conv = l.kind == LayerKind::Conv;
            let [h, w, c] = l.output();
            let sram = l.h * l.w * l.c_in + h * w * c;
            [
                i as f64,
                f64::from(u8::from(conv)),
                l.c_in as f64,
                l.c_out as f64,
                l.h as f64,
                l.w as f64,
                1.0,
                if conv { 3.0 } else { 1.0 },
                l.macs() as f64,
                l.weights() as f64,
                cycles[i] as f64,
                cycles[i] as f64 / total.max(1) as f64,
                dense.layer_bytes[i] as f64,
                sram as f64,
            ]
            .map(|v| v as f32)
            .to_vec()
        })
        .collect();
    let range = MinMax::over(&rows);
    rows.iter().map(|r| range.apply(r)).collect()
}
