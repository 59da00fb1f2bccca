//! Running an integer network on the host, bit for bit as every board does.
//!
//! Products and sums go through a floating-point matrix product, which is exact here: f32
//! where the layer's proven bound is below 2^24, f64 otherwise (accumulators stay below
//! 2^31, far under 2^53). `tests` hold it equal to the firmware's portable kernels.

use super::LowerError;
use super::conv::{Columns, ConvShape, convolve, max_pool2};
use super::integer::{IntLayer, IntNet};
use rayon::prelude::*;
use shared::semantics::{Requant, centre};
use shared::spec::{Kind, LayerSpec};

/// Most images per unit of parallel work: enough for a matrix product over small maps.
const CHUNK: usize = 32;

/// Largest sum that f32 holds exactly.
const EXACT_F32: i64 = 1 << 24;

/// Logits (raw accumulators) `[n, classes]` of `images` `[n, h, w, c]`.
///
/// # Errors
/// [`LowerError::ImageSize`] where the bytes are no whole number of images.
pub fn simulate(net: &IntNet, images: &[u8]) -> Result<Vec<i32>, LowerError> {
    let need = net.input.iter().product::<usize>();
    check_images(images, need)?;
    let layers: Vec<SimLayer> = net.layers.iter().map(SimLayer::new).collect();
    let share = (images.len() / need).div_ceil(rayon::current_num_threads());
    let chunks: Vec<Vec<i32>> = images
        .par_chunks(need * share.clamp(1, CHUNK))
        .map_init(Work::default, |work, chunk| run(net, &layers, chunk, work))
        .collect();
    Ok(chunks.concat())
}

/// Share of images whose largest logit (the first of equals) is their label, 0 to 1.
#[must_use]
pub fn accuracy<L: PartialOrd + Copy>(logits: &[L], labels: &[u32]) -> f64 {
    if labels.is_empty() {
        return 0.0;
    }
    let classes = logits.len() / labels.len();
    let right = logits
        .chunks_exact(classes)
        .zip(labels)
        .filter(|(l, y)| argmax(l) == **y as usize)
        .count();
    right as f64 / labels.len() as f64
}

/// Index of the largest value, the first of equals.
#[must_use]
pub fn argmax<L: PartialOrd + Copy>(logits: &[L]) -> usize {
    (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

fn check_images(images: &[u8], need: usize) -> Result<(), LowerError> {
    if need == 0 || !images.len().is_multiple_of(need) {
        return Err(LowerError::ImageSize {
            got: images.len(),
            need,
        });
    }
    Ok(())
}

enum Weights {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

struct SimLayer<'a> {
    layer: &'a IntLayer,
    weights: Weights,
}

impl<'a> SimLayer<'a> {
    fn new(layer: &'a IntLayer) -> Self {
        let weights = if layer.bound < EXACT_F32 {
            Weights::F32(layer.weights.iter().map(|&w| f32::from(w)).collect())
        } else {
            Weights::F64(layer.weights.iter().map(|&w| f64::from(w)).collect())
        };
        Self { layer, weights }
    }
}

#[derive(Default)]
struct Work {
    f32: (Columns<f32>, Vec<f32>, Vec<f32>),
    f64: (Columns<f64>, Vec<f64>, Vec<f64>),
    acc: Vec<i32>,
    pooled: Vec<i32>,
}

/// Logits of some images.
fn run(net: &IntNet, layers: &[SimLayer], images: &[u8], work: &mut Work) -> Vec<i32> {
    let c = net.input[2];
    let mut x: Vec<i32> = images
        .iter()
        .enumerate()
        .map(|(i, &p)| i32::from(centre(p, net.r_c[i % c])))
        .collect();
    for sim in layers {
        let spec = &sim.layer.spec;
        if spec.kind == Kind::GlobalAvgPool {
            let [h, w, c] = [spec.in_h, spec.in_w, spec.c_in].map(usize::from);
            x = x
                .chunks_exact(h * w * c)
                .flat_map(|x| global_sum(x, c))
                .collect();
            continue;
        }
        accumulate(sim, &x, work);
        let (h, w) = spec.conv_out();
        let acc = if spec.pool == 2 {
            max_pool2(
                &work.acc,
                usize::from(h),
                usize::from(w),
                usize::from(spec.c_out),
                &mut work.pooled,
            );
            &work.pooled
        } else {
            &work.acc
        };
        x = output(spec, &sim.layer.requants, acc);
    }
    x
}

fn accumulate(sim: &SimLayer, x: &[i32], work: &mut Work) {
    let s = shape(&sim.layer.spec);
    let c_out = sim.layer.requants.len();
    let with_bias = |i: usize, sum: i32| sum.wrapping_add(sim.layer.requants[i % c_out].bias);
    work.acc.clear();
    match &sim.weights {
        Weights::F32(weights) => {
            let (columns, xf, out) = &mut work.f32;
            xf.clear();
            xf.extend(x.iter().map(|&v| v as f32));
            convolve(&s, xf, weights, columns, out);
            work.acc
                .extend(out.iter().enumerate().map(|(i, &v)| with_bias(i, v as i32)));
        }
        Weights::F64(weights) => {
            let (columns, xf, out) = &mut work.f64;
            xf.clear();
            xf.extend(x.iter().map(|&v| f64::from(v)));
            convolve(&s, xf, weights, columns, out);
            work.acc
                .extend(out.iter().enumerate().map(|(i, &v)| with_bias(i, v as i32)));
        }
    }
}

fn shape(s: &LayerSpec) -> ConvShape {
    ConvShape {
        h: s.in_h.into(),
        w: s.in_w.into(),
        c_in: s.c_in.into(),
        c_out: s.c_out.into(),
        k_h: s.k_h.into(),
        k_w: s.k_w.into(),
        stride: s.stride.into(),
        pad: s.pad.into(),
    }
}

fn output(spec: &LayerSpec, requants: &[Requant], acc: &[i32]) -> Vec<i32> {
    if !spec.output.is_unsigned() {
        return acc.to_vec();
    }
    let bits = spec.output.bits() as u8;
    let requantized = acc
        .chunks_exact(requants.len())
        .flat_map(|pixel| pixel.iter().zip(requants));
    requantized
        .map(|(&a, r)| i32::from(r.apply(a, bits)))
        .collect()
}

fn global_sum(x: &[i32], c: usize) -> Vec<i32> {
    let mut sum = vec![0; c];
    for pixel in x.chunks_exact(c) {
        sum.iter_mut().zip(pixel).for_each(|(s, v)| *s += v);
    }
    sum
}
