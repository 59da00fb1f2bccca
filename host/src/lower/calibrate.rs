//! Calibration: what range each layer's activations take on real images.

use super::clip::Histogram;
use crate::data::{Dataset, plain_batch};
use crate::vgg::Folded;
use rayon::prelude::*;

/// Images per unit of parallel work.
const CHUNK: usize = 16;

/// Histograms of each layer's output (after ReLU), from calibration images.
#[derive(Clone, Debug)]
pub struct ActivationRanges {
    histograms: Vec<Histogram>,
}

impl ActivationRanges {
    /// The clip of least squared error for layer `i`'s output at `a_bits`.
    #[must_use]
    pub fn clip(&self, i: usize, a_bits: u8) -> f32 {
        self.histograms[i].clip(a_bits)
    }
}

/// Runs the images with these indices twice: for the maxima, then for the histograms.
///
/// # Panics
/// Where an index is out of range or the images have another size than the input.
#[must_use]
pub fn calibrate(network: &Folded, data: &Dataset, indices: &[usize]) -> ActivationRanges {
    let layers = network.layers.len();
    let maxima = observe(
        network,
        data,
        indices,
        || vec![0f32; layers],
        |m, l, v| m[l] = v.iter().fold(m[l], |m, &v| m.max(v)),
        |a, b| a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect(),
    );
    let histograms = observe(
        network,
        data,
        indices,
        || {
            maxima
                .iter()
                .map(|&m| Histogram::new(m))
                .collect::<Vec<_>>()
        },
        |h, l, v| v.iter().for_each(|&v| h[l].add(v.max(0.0))),
        |mut a, b| {
            for (a, b) in a.iter_mut().zip(b) {
                a.bins.iter_mut().zip(b.bins).for_each(|(a, b)| *a += b);
            }
            a
        },
    );
    ActivationRanges { histograms }
}

/// Folds what each layer gives; chunks are merged in order, so that the result does not
/// depend on the thread count.
fn observe<S: Send>(
    network: &Folded,
    data: &Dataset,
    indices: &[usize],
    init: impl Fn() -> S + Sync,
    visit: impl Fn(&mut S, usize, &[f32]) + Sync,
    merge: impl Fn(S, S) -> S,
) -> S {
    let states: Vec<S> = indices
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut state = init();
            let x = plain_batch(data, chunk, &network.config.normalization);
            network.forward(x, chunk.len(), |l, v| visit(&mut state, l, v));
            state
        })
        .collect();
    states.into_iter().reduce(merge).unwrap_or_else(init)
}
