//! The folded network in f32, image by image: the reference that calibration reads.

use super::LowerError;
use super::conv::{Columns, ConvShape, convolve, max_pool2};
use super::folded::{FoldedNet, INPUT_STEP};
use rayon::prelude::*;

/// Images per unit of parallel work.
const CHUNK: usize = 16;

/// Weights in the order that [`convolve`] takes, made once per call.
struct Prepared<'a> {
    net: &'a FoldedNet,
    weights: Vec<Vec<f32>>,
}

impl<'a> Prepared<'a> {
    fn new(net: &'a FoldedNet) -> Self {
        let convs = net
            .convs
            .iter()
            .map(|c| taps_first(&c.weight, c.c_out, c.c_in, c.k * c.k));
        let fcs = net
            .fcs
            .iter()
            .map(|f| taps_first(&f.weight, f.c_out, f.map.2, f.map.0 * f.map.1));
        Self {
            net,
            weights: convs.chain(fcs).collect(),
        }
    }

    /// Runs one image; `visit(layer, values)` sees each layer's output after ReLU and pool
    /// (the last layer's: its logits).
    fn run(&self, image: &[u8], columns: &mut Columns<f32>, visit: &mut impl FnMut(usize, &[f32])) {
        let net = self.net;
        let c = net.input[2];
        let mut x: Vec<f32> = image
            .iter()
            .enumerate()
            .map(|(i, &p)| f32::from(shared::semantics::centre(p, net.r_c[i % c])) * INPUT_STEP)
            .collect();
        let (mut y, mut layer) = (Vec::new(), 0);
        for conv in &net.convs {
            let (h, w) = conv.in_hw;
            let s = ConvShape {
                h,
                w,
                c_in: conv.c_in,
                c_out: conv.c_out,
                k_h: conv.k,
                k_w: conv.k,
                stride: 1,
                pad: (conv.k - 1) / 2,
            };
            convolve(&s, &x, &self.weights[layer], columns, &mut y);
            bias_relu(&mut y, &conv.bias, true);
            if conv.pool {
                max_pool2(&y, h, w, conv.c_out, &mut x);
            } else {
                std::mem::swap(&mut x, &mut y);
            }
            visit(layer, &x);
            layer += 1;
        }
        if net.gap {
            x = average(&x, net.convs.last().map_or(c, |l| l.c_out));
        }
        for (i, fc) in net.fcs.iter().enumerate() {
            let (h, w, c_in) = fc.map;
            let s = ConvShape {
                h,
                w,
                c_in,
                c_out: fc.c_out,
                k_h: h,
                k_w: w,
                stride: 1,
                pad: 0,
            };
            convolve(&s, &x, &self.weights[layer], columns, &mut y);
            bias_relu(&mut y, &fc.bias, i + 1 < net.fcs.len());
            std::mem::swap(&mut x, &mut y);
            visit(layer, &x);
            layer += 1;
        }
    }
}

/// `[c_out, c_in, taps]` to `[c_out, taps, c_in]`.
fn taps_first(weight: &[f32], c_out: usize, c_in: usize, taps: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(weight.len());
    for o in 0..c_out {
        for t in 0..taps {
            out.extend((0..c_in).map(|i| weight[(o * c_in + i) * taps + t]));
        }
    }
    out
}

fn bias_relu(y: &mut [f32], bias: &[f32], relu: bool) {
    for pixel in y.chunks_exact_mut(bias.len()) {
        for (v, b) in pixel.iter_mut().zip(bias) {
            *v += b;
            if relu {
                *v = v.max(0.0);
            }
        }
    }
}

fn average(x: &[f32], c: usize) -> Vec<f32> {
    let mut sum = vec![0.0; c];
    for pixel in x.chunks_exact(c) {
        sum.iter_mut().zip(pixel).for_each(|(s, v)| *s += v);
    }
    let pixels = (x.len() / c) as f32;
    sum.iter_mut().for_each(|s| *s /= pixels);
    sum
}

/// Runs all `images` (`[n, h, w, c]` bytes) and folds what each layer gives.
///
/// `visit(state, layer, values)` sees each image's layer outputs; states of chunks of
/// images are merged in order, so that the result does not depend on the thread count.
///
/// # Errors
/// [`LowerError::ImageSize`] where the bytes are no whole number of images.
pub fn visit_activations<S: Send>(
    net: &FoldedNet,
    images: &[u8],
    init: impl Fn() -> S + Sync,
    visit: impl Fn(&mut S, usize, &[f32]) + Sync,
    merge: impl Fn(S, S) -> S,
) -> Result<S, LowerError> {
    let need = net.input.iter().product::<usize>();
    check_images(images, need)?;
    let prepared = Prepared::new(net);
    let states: Vec<S> = images
        .par_chunks(need * CHUNK)
        .map(|chunk| {
            let (mut state, mut columns) = (init(), Columns::default());
            for image in chunk.chunks_exact(need) {
                prepared.run(image, &mut columns, &mut |l, v| visit(&mut state, l, v));
            }
            state
        })
        .collect();
    Ok(states.into_iter().reduce(merge).unwrap_or_else(init))
}

/// Float logits `[n, classes]` of `images`.
///
/// # Errors
/// [`LowerError::ImageSize`].
pub fn float_logits(net: &FoldedNet, images: &[u8]) -> Result<Vec<f32>, LowerError> {
    let last = net.len() - 1;
    let visit = |s: &mut Vec<f32>, l: usize, v: &[f32]| {
        if l == last {
            s.extend_from_slice(v);
        }
    };
    visit_activations(net, images, Vec::new, visit, |mut a, b| {
        a.extend(b);
        a
    })
}

pub(super) fn check_images(images: &[u8], need: usize) -> Result<(), LowerError> {
    if need == 0 || images.len() % need != 0 {
        return Err(LowerError::ImageSize {
            got: images.len(),
            need,
        });
    }
    Ok(())
}
