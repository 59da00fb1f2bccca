//! Rounding a folded network to integers, and proving that nothing overflows.

use super::LowerError;
use super::folded::{FoldedFc, FoldedLayer, FoldedNet, INPUT_STEP};
use super::integer::{IntLayer, IntNet, LayerQuant};
use shared::act::Act;
use shared::semantics::{Requant, weight_max};
use shared::spec::LayerSpec;

/// The tensor that flows between layers while they are lowered.
#[derive(Clone, Copy)]
struct Flow {
    act: Act,
    /// Real value of one integer step.
    step: f64,
    /// Largest magnitude that an element can have.
    max: i64,
}

impl Flow {
    fn new(act: Act, step: f64) -> Self {
        Self {
            act,
            step,
            max: i64::from(act.max()),
        }
    }
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
pub fn quantize(net: &FoldedNet, quants: &[LayerQuant]) -> Result<IntNet, LowerError> {
    assert_eq!(quants.len(), net.len(), "one LayerQuant per layer");
    net.check_finite()?;
    let mut flow = Flow::new(Act::Image, f64::from(INPUT_STEP));
    let mut layers = Vec::with_capacity(net.len() + 1);
    for (conv, quant) in net.convs.iter().zip(quants) {
        layers.push(quantize_conv(conv, quant, &mut flow)?);
    }
    if net.gap {
        layers.push(global_pool(net, &mut flow)?);
    }
    let mut logit_scale = 0.0;
    for (i, fc) in net.fcs.iter().enumerate() {
        let quant = &quants[net.convs.len() + i];
        let last = i + 1 == net.fcs.len();
        logit_scale = flow.step * f64::from(quant.w_step[0]);
        layers.push(quantize_fc(fc, quant, &mut flow, last)?);
    }
    Ok(IntNet {
        input: net.input,
        r_c: net.r_c.clone(),
        layers,
        logit_scale: logit_scale as f32,
    })
}

fn quantize_conv(c: &FoldedLayer, q: &LayerQuant, flow: &mut Flow) -> Result<IntLayer, LowerError> {
    let (h, w) = (c.in_hw.0 as u16, c.in_hw.1 as u16);
    let spec = LayerSpec {
        k_h: c.k as u8,
        k_w: c.k as u8,
        pad: (c.k as u8 - 1) / 2,
        w_bits: q.w_bits,
        input: flow.act,
        output: unsigned_act(q.a_bits),
        pool: if c.pool { 2 } else { 1 },
        ..LayerSpec::conv3x3(h, w, c.c_in as u16, c.c_out as u16)
    };
    let weights = round_weights(&c.weight, c.c_out, c.c_in, c.k * c.k, q);
    finish(&c.name, spec, weights, &c.bias, q, flow, false)
}

fn quantize_fc(
    f: &FoldedFc,
    q: &LayerQuant,
    flow: &mut Flow,
    last: bool,
) -> Result<IntLayer, LowerError> {
    let (h, w, c) = f.map;
    let spec = LayerSpec {
        w_bits: q.w_bits,
        input: flow.act,
        output: if last {
            Act::I32
        } else {
            unsigned_act(q.a_bits)
        },
        ..LayerSpec::fully_connected(h as u8, w as u8, c as u16, f.c_out as u16)
    };
    let weights = round_weights(&f.weight, f.c_out, c, h * w, q);
    finish(&f.name, spec, weights, &f.bias, q, flow, last)
}

fn global_pool(net: &FoldedNet, flow: &mut Flow) -> Result<IntLayer, LowerError> {
    let last = net.convs.last();
    let (h, w) = last.map_or((net.input[0], net.input[1]), FoldedLayer::out_hw);
    let c = last.map_or(net.input[2], |l| l.c_out);
    let spec = LayerSpec::global_avg_pool(h as u16, w as u16, c as u16, flow.act);
    let layer = "global average pool";
    spec.check().map_err(|error| LowerError::Spec {
        layer: layer.into(),
        error,
    })?;
    let max = flow.max * (h * w) as i64;
    *flow = Flow {
        act: Act::S16,
        step: flow.step / (h * w) as f64,
        max,
    };
    Ok(IntLayer {
        name: "gap".into(),
        spec,
        weights: vec![],
        requants: vec![],
        bound: 0,
    })
}

fn unsigned_act(bits: u8) -> Act {
    match bits {
        2 => Act::U2,
        4 => Act::U4,
        _ => Act::U8,
    }
}

/// `[c_out, c_in, taps]` floats to `[c_out, taps, c_in]` integers.
fn round_weights(
    weight: &[f32],
    c_out: usize,
    c_in: usize,
    taps: usize,
    q: &LayerQuant,
) -> Vec<i8> {
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
    name: &str,
    spec: LayerSpec,
    weights: Vec<i8>,
    bias: &[f32],
    q: &LayerQuant,
    flow: &mut Flow,
    last: bool,
) -> Result<IntLayer, LowerError> {
    let layer = || name.to_string();
    spec.check().map_err(|error| LowerError::Spec {
        layer: layer(),
        error,
    })?;
    let fan_in = weights.len() / bias.len();
    let x_max = flow.max;
    let (mut requants, mut bound) = (Vec::with_capacity(bias.len()), 0);
    for (channel, (&b, w)) in bias.iter().zip(weights.chunks(fan_in)).enumerate() {
        let acc_step = flow.step * f64::from(q.w_step[channel]);
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
    *flow = Flow::new(spec.output, f64::from(q.a_step()));
    Ok(IntLayer {
        name: name.into(),
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

    #[test]
    fn an_overflowing_channel_is_named() {
        let fc = FoldedFc {
            name: "fc".into(),
            map: (1, 1, 4),
            c_out: 2,
            weight: vec![1.0; 8],
            bias: vec![0.0, 1e9],
        };
        let net = FoldedNet {
            input: [1, 1, 4],
            r_c: vec![0; 4],
            convs: vec![],
            gap: false,
            fcs: vec![fc],
        };
        let q = LayerQuant {
            w_bits: 8,
            a_bits: 8,
            w_step: vec![0.01; 2],
            a_clip: 1.0,
        };
        match quantize(&net, &[q]) {
            Err(LowerError::AccumulatorRange {
                layer, channel: 1, ..
            }) => assert_eq!(layer, "fc"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_weight_that_is_no_number_is_named() {
        let fc = FoldedFc {
            name: "fc".into(),
            map: (1, 1, 2),
            c_out: 1,
            weight: vec![1.0, f32::NAN],
            bias: vec![0.0],
        };
        let net = FoldedNet {
            input: [1, 1, 2],
            r_c: vec![0; 2],
            convs: vec![],
            gap: false,
            fcs: vec![fc],
        };
        let q = LayerQuant {
            w_bits: 8,
            a_bits: 8,
            w_step: vec![0.01],
            a_clip: 1.0,
        };
        assert!(matches!(
            quantize(&net, &[q]),
            Err(LowerError::NotFinite {
                what: "weight",
                index: 1,
                ..
            })
        ));
    }
}
