//! Which kernel computes a convolution, and what the kernels share.

use super::{ConvShape, gemm};

#[cfg(target_arch = "x86_64")]
use super::{direct, pixels, winograd};

/// How weights `[c_out, c_in·9]` are used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// As they are.
    Forward,
    /// Turned by 180 degrees, with the channels exchanged: for the gradient of the input.
    Backward,
}

/// Parts in which the weight gradient is summed, whatever the number of threads.
pub(super) const PARTIAL_SUMS: usize = 8;

/// A pointer that the steps of one computation share; each writes what is its own: images,
/// channels or the matrix of a point.
#[derive(Clone, Copy)]
pub(super) struct SharedOutput(pub(super) *mut f32);
// SAFETY: only the kernels share it, whose steps write disjoint elements and read what earlier
// steps wrote.
unsafe impl Send for SharedOutput {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    /// The pointer; a method, so that closures capture the whole.
    pub(super) fn get(self) -> *mut f32 {
        self.0
    }
}

/// Checks that slices are as long as the shape says.
///
/// # Panics
/// Where one is not.
pub(super) fn check(x: &[f32], weight: usize, y: usize, s: ConvShape) {
    assert_eq!(x.len(), s.c_in * s.plane(), "input");
    assert_eq!(weight, s.c_out * s.c_in * 9, "weight");
    assert_eq!(y, s.c_out * s.plane(), "output");
}

/// Adds partial sums up in their order.
pub(super) fn sum(parts: Vec<Vec<f32>>) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        total.iter_mut().zip(&part).for_each(|(t, p)| *t += p);
    }
    total
}

/// The convolution of `x` `[c_in, n, h, w]`, by all threads. `weight` is `[c_out, c_in·9]`, or
/// backward `[c_in, c_out·9]`.
pub(super) fn forward(x: &[f32], weight: &[f32], s: ConvShape, direction: Direction) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if winograd::fits(s) {
        return winograd::forward(x, weight, s, direction);
    } else if pixels::fits(s) {
        return pixels::forward(x, weight, s, direction);
    }
    if direction == Direction::Backward {
        return as_it_is(x, &turned(weight, s), s);
    }
    as_it_is(x, weight, s)
}

fn as_it_is(x: &[f32], weight: &[f32], s: ConvShape) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if direct::fits(s) {
        return direct::forward(x, weight, s);
    }
    gemm::forward(x, weight, s)
}

/// Backward weights `[c_in, c_out, 9]` as `[c_out, c_in, 9]`, each 3x3 kernel turned by 180
/// degrees.
pub(super) fn turned(weight: &[f32], s: ConvShape) -> Vec<f32> {
    let mut turned = vec![0.0; weight.len()];
    for (i, row) in weight.chunks_exact(s.c_out * 9).enumerate() {
        for (o, taps) in row.chunks_exact(9).enumerate() {
            let to = &mut turned[(o * s.c_in + i) * 9..][..9];
            to.iter_mut()
                .zip(taps.iter().rev())
                .for_each(|(t, f)| *t = *f);
        }
    }
    turned
}

/// The convolution for inference, by the calling thread but for maps of at most 2x2.
pub(super) fn forward_serial(x: &[f32], weight: &[f32], s: ConvShape, y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if winograd::fits(s) {
        return winograd::forward_serial(x, weight, s, y);
    } else if pixels::fits(s) {
        return pixels::forward_into(x, weight, s, y);
    } else if direct::fits(s) {
        return direct::forward_serial(x, weight, s, y);
    }
    gemm::forward_serial(x, weight, s, y);
}

/// The gradient of the weights, summed in an order that depends on the shape alone.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], s: ConvShape) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if winograd::fits_gradient(s) {
        return winograd::weight_gradient(x, dy, s);
    } else if pixels::fits(s) {
        return pixels::weight_gradient(x, dy, s);
    } else if direct::fits(s) {
        return direct::weight_gradient(x, dy, s);
    }
    gemm::weight_gradient(x, dy, s)
}
