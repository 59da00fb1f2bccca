//! Every layer once more, as its textbook formula: slow, without scratch, without blocks.
//!
//! Tests hold the kernels equal to it. It shares nothing with them but
//! [`shared::semantics`] and the storage of activations.

use shared::act::{self, Act};
use shared::semantics::{Requant, centre};
use shared::spec::{Kind, LayerSpec};

/// What a layer multiplies with and how its sums become outputs.
pub struct Parameters<'a> {
    /// Weight `[channel][k_h][k_w][c_in]`, called with (channel, row, column, input channel).
    pub weight: &'a dyn Fn(usize, usize, usize, usize) -> i32,
    /// Bias and multiplier of a channel.
    pub requant: &'a dyn Fn(usize) -> Requant,
    /// What is subtracted from the image's channels.
    pub r_c: [u8; 4],
}

/// Computes a whole layer; `spec` must have passed `check()`.
///
/// # Panics
/// Where `input` or `output` is shorter than `spec` says.
pub fn layer(spec: &LayerSpec, p: &Parameters, input: &[u8], output: &mut [u8]) {
    let (out_h, out_w) = spec.out_hw();
    let pixel = spec.output.pixel_bytes(spec.c_out) as usize;
    for y in 0..usize::from(out_h) {
        for x in 0..usize::from(out_w) {
            let at = (y * usize::from(out_w) + x) * pixel;
            let pixel = &mut output[at..at + pixel];
            pixel.fill(0);
            for channel in 0..usize::from(spec.c_out) {
                match spec.kind {
                    Kind::GlobalAvgPool => {
                        let sum = map_sum(spec, input, channel) as i16;
                        pixel[2 * channel..2 * channel + 2].copy_from_slice(&sum.to_le_bytes());
                    }
                    _ => store(
                        spec,
                        p,
                        channel,
                        pooled(spec, p, input, y, x, channel),
                        pixel,
                    ),
                }
            }
        }
    }
}

fn store(spec: &LayerSpec, p: &Parameters, channel: usize, acc: i32, pixel: &mut [u8]) {
    if spec.output == Act::I32 {
        pixel[4 * channel..4 * channel + 4].copy_from_slice(&acc.to_le_bytes());
    } else {
        let y = (p.requant)(channel).apply(acc, spec.output.bits() as u8);
        act::set(pixel, spec.output, channel, y);
    }
}

fn pooled(
    spec: &LayerSpec,
    p: &Parameters,
    input: &[u8],
    y: usize,
    x: usize,
    channel: usize,
) -> i32 {
    let n = usize::from(spec.pool);
    let mut max = i32::MIN;
    for i in 0..n * n {
        max = max.max(accumulator(
            spec,
            p,
            input,
            y * n + i / n,
            x * n + i % n,
            channel,
        ));
    }
    max
}

fn accumulator(
    spec: &LayerSpec,
    p: &Parameters,
    input: &[u8],
    y: usize,
    x: usize,
    channel: usize,
) -> i32 {
    let mut acc = (p.requant)(channel).bias;
    let (stride, pad) = (usize::from(spec.stride), usize::from(spec.pad));
    for k_y in 0..usize::from(spec.k_h) {
        for k_x in 0..usize::from(spec.k_w) {
            let (in_y, in_x) = (y * stride + k_y, x * stride + k_x);
            if in_y < pad || in_x < pad {
                continue;
            }
            let (in_y, in_x) = (in_y - pad, in_x - pad);
            if in_y >= usize::from(spec.in_h) || in_x >= usize::from(spec.in_w) {
                continue;
            }
            for c in 0..usize::from(spec.c_in) {
                let a = sample(spec, p.r_c, input, in_y, in_x, c);
                acc = acc.wrapping_add(a.wrapping_mul((p.weight)(channel, k_y, k_x, c)));
            }
        }
    }
    acc
}

fn sample(spec: &LayerSpec, r_c: [u8; 4], input: &[u8], y: usize, x: usize, c: usize) -> i32 {
    let bytes = spec.input.pixel_bytes(spec.c_in) as usize;
    let at = (y * usize::from(spec.in_w) + x) * bytes;
    let pixel = &input[at..at + bytes];
    match spec.input {
        Act::Image => i32::from(centre(pixel[c], r_c.get(c).copied().unwrap_or(0))),
        Act::S16 => i32::from(i16::from_le_bytes([pixel[2 * c], pixel[2 * c + 1]])),
        act => i32::from(act::get(pixel, act, c)),
    }
}

fn map_sum(spec: &LayerSpec, input: &[u8], c: usize) -> i32 {
    let mut sum = 0;
    for y in 0..usize::from(spec.in_h) {
        for x in 0..usize::from(spec.in_w) {
            sum += sample(spec, [0; 4], input, y, x, c);
        }
    }
    sum
}
