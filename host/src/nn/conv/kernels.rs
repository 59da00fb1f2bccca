//! Which kernel computes a convolution, and what the kernels share.

use super::{ConvShape, gemm};

#[cfg(target_arch = "x86_64")]
use super::direct;

/// Parts in which the weight gradient is summed, whatever the number of threads.
pub(super) const PARTIAL_SUMS: usize = 8;

/// A pointer that the parts of one output share; each writes its own images.
#[derive(Clone, Copy)]
pub(super) struct SharedOutput(pub(super) *mut f32);
// SAFETY: only the kernels' `forward` shares it, whose tiles write disjoint images.
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

/// The convolution, by all threads.
pub(super) fn forward(x: &[f32], weight: &[f32], s: ConvShape) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if direct::fits(s) {
        return direct::forward(x, weight, s);
    }
    gemm::forward(x, weight, s)
}

/// The convolution, by the calling thread.
pub(super) fn forward_serial(x: &[f32], weight: &[f32], s: ConvShape, y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if direct::fits(s) {
        return direct::forward_serial(x, weight, s, y);
    }
    gemm::forward_serial(x, weight, s, y);
}

/// The gradient of the weights, in `PARTIAL_SUMS` parts.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], s: ConvShape) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if direct::fits(s) {
        return direct::weight_gradient(x, dy, s);
    }
    gemm::weight_gradient(x, dy, s)
}
