//! Rounding a folded network to integers, and proving that nothing overflows.

use super::LowerError;
use super::centre::{Centred, INPUT_STEP};
use super::integer::{IntLayer, IntNet, LayerQuant, one_sided_sum};
use super::specs::{Bits, NamedSpec, specs};
use crate::vgg::Folded;
use shared::act::Act;
use shared::semantics::{Requant, weight_max};
use shared::spec::LayerSpec;

/// The tensor that flows between layers while they are lowered.
#[derive(Clone, Copy)]
struct Flow {
    /// Real value of one integer step.
    step: f64,
    /// Largest magnitude that an element can have.
    max: i64,
}

/// Rounds `net` with one [`LayerQuant`] per layer (convolutions first).
///
/// Weights: `round(w / step)` in ±(2^(w−1) − 1). Biases: rounded to accumulator units.
/// Multipliers: `s_w · s_in / s_out` per output channel.
///
/// # Errors
/// [`LowerError`]: values that are not numbers, accumulators that could overflow, scales
/// out of range, shapes that the firmware cannot run; each names layer and channel.
///
/// # Panics
/// Where `quants` has another length than `net` has layers.
pub fn quantize(net: &Centred, quants: &[LayerQuant]) -> Result<IntNet, LowerError> {
    let Centred { network, r_c, .. } = net;
    assert_eq!(
        quants.len(),
        network.layers.len(),
        "one LayerQuant per layer"
    );
    check_finite(network)?;
    let bits: Vec<Bits> = quants
        .iter()
        .map(|q| Bits {
            w: q.w_bits,
            a: q.a_bits,
        })
        .collect();
    let mut flow = Flow {
        step: f64::from(INPUT_STEP),
        max: i64::from(Act::Image.max()),
    };
    let mut layers = Vec::with_capacity(quants.len() + 1);
    let mut logit_scale = 0.0;
    for NamedSpec { name, index, spec } in specs(&network.config, &bits)? {
        let Some(i) = index else {
            let area = usize::from(spec.in_h) * usize::from(spec.in_w);
            flow = Flow {
                step: flow.step / area as f64,
                max: flow.max * area as i64,
            };
            layers.push(IntLayer {
                name,
                spec,
                weights: vec![],
                requants: vec![],
                bound: 0,
                one_sided: 0,
                forced: None,
            });
            continue;
        };
        let (layer, quant) = (&network.layers[i], &quants[i]);
        logit_scale = flow.step * f64::from(quant.w_step[0]);
        let taps = usize::from(spec.k_h) * usize::from(spec.k_w);
        let weights = round_weights(&layer.weight, layer.shape.c_out, taps, quant);
        layers.push(finish(name, spec, weights, &layer.bias, quant, flow)?);
        flow = Flow {
            step: f64::from(quant.a_step()),
            max: i64::from(spec.output.max()),
        };
    }
    Ok(IntNet {
        input: network.config.input,
        r_c: r_c.clone(),
        layers,
        logit_scale: logit_scale as f32,
    })
}

fn check_finite(network: &Folded) -> Result<(), LowerError> {
    for (i, layer) in network.layers.iter().enumerate() {
        for (what, values) in [("weight", &layer.weight), ("bias", &layer.bias)] {
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                let layer = network.config.layer_name(i);
                return Err(LowerError::NotFinite {
                    layer,
                    what,
                    index,
                    value: values[index],
                });
            }
        }
    }
    Ok(())
}

/// `[c_out, c_in, taps]` floats to `[c_out, taps, c_in]` integers.
fn round_weights(weight: &[f32], c_out: usize, taps: usize, q: &LayerQuant) -> Vec<i8> {
    let c_in = weight.len() / (c_out * taps);
    let max = weight_max(q.w_bits) as f32;
    let mut out = Vec::with_capacity(weight.len());
    for o in 0..c_out {
        let channel = &weight[o * c_in * taps..(o + 1) * c_in * taps];
        for t in 0..taps {
            for i in 0..c_in {
                out.push(
                    (channel[i * taps + t] / q.w_step[o])
                        .round()
                        .clamp(-max, max) as i8,
                );
            }
        }
    }
    out
}

fn finish(
    name: String,
    spec: LayerSpec,
    weights: Vec<i8>,
    bias: &[f32],
    q: &LayerQuant,
    flow: Flow,
) -> Result<IntLayer, LowerError> {
    let layer = || name.clone();
    let last = spec.output == Act::I32;
    let fan_in = weights.len() / bias.len();
    let x_max = flow.max;
    let (mut requants, mut bound) = (Vec::with_capacity(bias.len()), 0);
    for (channel, (&b, w)) in bias.iter().zip(weights.chunks(fan_in)).enumerate() {
        // A channel whose weights are all zero gives a constant: any step does, and this one
        // keeps its bias in range.
        let constant = !last && w.iter().all(|&w| w == 0);
        let acc_step = if constant {
            f64::from(q.a_step()) / 256.0
        } else {
            flow.step * f64::from(q.w_step[channel])
        };
        let sum: i64 = w.iter().map(|&w| i64::from(w).abs()).sum::<i64>() * x_max;
        bound = bound.max(sum);
        let bias = (f64::from(b) / acc_step).round();
        let scale = if last {
            0.5
        } else {
            acc_step / f64::from(q.a_step())
        };
        let range = |bound, limit| LowerError::AccumulatorRange {
            layer: layer(),
            channel,
            bound,
            limit,
        };
        let reach = sum.saturating_add(bias.abs() as i64);
        if reach > i64::from(i32::MAX) {
            return Err(range(reach, i64::from(i32::MAX)));
        }
        let requant = if last {
            Requant {
                bias: bias as i32,
                multiplier: 0,
            }
        } else {
            multiplier(bias as i32, scale).ok_or_else(|| LowerError::Scale {
                layer: layer(),
                channel,
                scale,
            })?
        };
        let limit = i64::from(i32::MAX) >> requant.shift();
        if reach > limit {
            return Err(range(reach, limit));
        }
        requants.push(requant);
    }
    Ok(IntLayer {
        one_sided: one_sided_sum(&spec, &weights),
        forced: None,
        name,
        spec,
        weights,
        requants,
        bound,
    })
}

/// The multiplier nearest to `scale`, with the smallest shift that keeps `M` below 2^31.
fn multiplier(bias: i32, scale: f64) -> Option<Requant> {
    if !(scale.is_finite() && scale > 0.0) {
        return None;
    }
    (0..32).find_map(|shift| {
        let m = scale * 2f64.powi(32 - shift);
        // Round to the 27 bits that are kept, half up.
        let kept = (m / 32.0).round() * 32.0;
        (kept < 2f64.powi(31))
            .then(|| Requant::new(bias, kept as u32, shift as u32))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vgg::{FoldedLayer, LayerKind, LayerShape, VggConfig};

    #[test]
    fn multipliers_meet_their_scale() {
        for scale in [1e-4, 3.7e-3, 0.49, 0.5, 0.99, 1.0, 17.3] {
            let r = multiplier(0, scale).unwrap();
            assert!(
                (r.scale() / scale - 1.0).abs() < 1e-4,
                "{scale} became {}",
                r.scale()
            );
        }
        assert!(multiplier(0, 0.0).is_none());
        assert!(multiplier(0, f64::NAN).is_none());
    }

    fn one_linear(weight: Vec<f32>, bias: Vec<f32>) -> Centred {
        let (c_in, c_out) = (weight.len() / bias.len(), bias.len());
        let preset = VggConfig::preset("vgg-small").expect("known");
        let config = VggConfig {
            cfg: vec![],
            input: [1, 1, c_in],
            num_classes: c_out,
            ..preset
        };
        let shape = LayerShape {
            kind: LayerKind::Linear,
            c_in,
            c_out,
            h: 1,
            w: 1,
            pool: None,
        };
        let network = Folded {
            config,
            layers: vec![FoldedLayer {
                shape,
                weight,
                bias,
            }],
        };
        Centred {
            network,
            r_c: vec![0; c_in],
            residual: 0.0,
        }
    }

    fn quant(c_out: usize) -> LayerQuant {
        LayerQuant {
            w_bits: 8,
            a_bits: 8,
            w_step: vec![0.01; c_out],
            a_clip: 1.0,
        }
    }

    #[test]
    fn an_overflowing_channel_is_named() {
        match quantize(&one_linear(vec![1.0; 8], vec![0.0, 1e9]), &[quant(2)]) {
            Err(LowerError::AccumulatorRange {
                layer, channel: 1, ..
            }) => assert_eq!(layer, "linear0"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_weight_that_is_no_number_is_named() {
        let net = one_linear(vec![1.0, f32::NAN], vec![0.0]);
        assert!(matches!(
            quantize(&net, &[quant(1)]),
            Err(LowerError::NotFinite {
                what: "weight",
                index: 1,
                ..
            })
        ));
    }
}
