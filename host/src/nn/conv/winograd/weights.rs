//! Weights to points, and their gradient back; lanes are input channels.

use super::super::filters::{Filters, lanes, strides};
use super::{LANES, PATCH};
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_mask_i32scatter_ps, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_sub_ps,
};

/// Taps of a 3x3 kernel in a row.
const TAPS: usize = 3;

/// `G·g` of one row or column of a kernel.
#[target_feature(enable = "avx512f")]
fn points(g: [__m512; TAPS]) -> [__m512; PATCH] {
    let scale = |v, by: f32| _mm512_mul_ps(v, _mm512_set1_ps(by));
    let ends = _mm512_add_ps(g[0], g[2]);
    let far = scale(_mm512_fmadd_ps(_mm512_set1_ps(4.0), g[2], g[0]), 1.0 / 24.0);
    let middle = scale(g[1], 1.0 / 12.0);
    [
        scale(g[0], 0.25),
        scale(_mm512_add_ps(ends, g[1]), -1.0 / 6.0),
        scale(_mm512_sub_ps(g[1], ends), 1.0 / 6.0),
        _mm512_add_ps(far, middle),
        _mm512_sub_ps(far, middle),
        g[2],
    ]
}

/// `Gᵀ·u` of one row or column of points: the adjoint of [`points`].
#[target_feature(enable = "avx512f")]
fn taps(u: [__m512; PATCH]) -> [__m512; TAPS] {
    let scale = |v, by: f32| _mm512_mul_ps(v, _mm512_set1_ps(by));
    let near = scale(_mm512_add_ps(u[1], u[2]), -1.0 / 6.0);
    let near_odd = scale(_mm512_sub_ps(u[2], u[1]), 1.0 / 6.0);
    let far = scale(_mm512_add_ps(u[3], u[4]), 1.0 / 24.0);
    let far_odd = scale(_mm512_sub_ps(u[3], u[4]), 1.0 / 12.0);
    [
        _mm512_add_ps(_mm512_fmadd_ps(_mm512_set1_ps(0.25), u[0], near), far),
        _mm512_add_ps(near_odd, far_odd),
        _mm512_add_ps(_mm512_fmadd_ps(_mm512_set1_ps(4.0), far, near), u[5]),
    ]
}

/// One output channel's filters at all points: point `p` of input channel `c` at
/// `to[p·stride + c]`.
///
/// # Safety
/// Needs AVX-512; `to` must be writable there.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn filter_points(filters: &Filters, to: *mut f32, stride: usize) {
    let indices = filters.indices();
    for c in (0..filters.channels).step_by(LANES) {
        let mask = lanes(c, filters.channels);
        let half: [[__m512; PATCH]; TAPS] = std::array::from_fn(|y| {
            points(std::array::from_fn(|x| {
                filters.tap(indices, c, y * TAPS + x)
            }))
        });
        #[expect(
            clippy::needless_range_loop,
            reason = "it indexes inner arrays: a column"
        )]
        for j in 0..PATCH {
            let column = points(std::array::from_fn(|y| half[y][j]));
            for (i, v) in column.into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { _mm512_mask_storeu_ps(to.add((i * PATCH + j) * stride + c), mask, v) };
            }
        }
    }
}

/// The gradient of one output channel's filters, `[c_in, 9]`, from that of their points;
/// point `p` of channel `c` at `from[p·stride + c]`.
///
/// # Safety
/// Needs AVX-512; `from` must be readable there.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn filter_gradients(from: *const f32, stride: usize, to: &mut [f32]) {
    let channels = to.len() / 9;
    let indices = strides(9);
    for c in (0..channels).step_by(LANES) {
        let mask = lanes(c, channels);
        let load = |p: usize| {
            // SAFETY: the caller's promise.
            unsafe { _mm512_maskz_loadu_ps(mask, from.add(p * stride + c)) }
        };
        let half: [[__m512; TAPS]; PATCH] =
            std::array::from_fn(|i| taps(std::array::from_fn(|j| load(i * PATCH + j))));
        #[expect(
            clippy::needless_range_loop,
            reason = "it indexes inner arrays: a column"
        )]
        for x in 0..TAPS {
            let column = taps(std::array::from_fn(|i| half[i][x]));
            for (y, v) in column.into_iter().enumerate() {
                let at = to.as_mut_ptr().wrapping_add(c * 9 + y * TAPS + x);
                // SAFETY: lanes that are not masked are filters of this channel.
                unsafe { _mm512_mask_i32scatter_ps::<4>(at.cast(), mask, indices, v) };
            }
        }
    }
}
