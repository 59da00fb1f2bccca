//! Weights as vectors, read for the output or for the gradient of the input.

use super::Direction;
use super::product::LANES;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_loadu_si512, _mm512_mask_i32gather_ps, _mm512_setzero_ps,
};

/// The filters of one output channel, as a direction sees them.
pub(super) struct Filters<'a> {
    weight: &'a [f32],
    /// Input channels.
    pub(super) channels: usize,
    first: usize,
    step: usize,
    turned: bool,
}

impl<'a> Filters<'a> {
    /// The filters of output channel `o` of a convolution from `c_in` to `c_out` channels;
    /// `weight` is `[c_out, c_in, 9]`, backward `[c_in, c_out, 9]`.
    ///
    /// # Panics
    /// Where it has another length.
    pub(super) fn of(
        weight: &'a [f32],
        (c_out, c_in): (usize, usize),
        direction: Direction,
        o: usize,
    ) -> Self {
        assert_eq!(weight.len(), c_out * c_in * 9, "weights");
        assert!(o < c_out, "output channel");
        let turned = direction == Direction::Backward;
        let (first, step) = if turned {
            (o * 9, c_out * 9)
        } else {
            (o * c_in * 9, 9)
        };
        Self {
            weight,
            channels: c_in,
            first,
            step,
            turned,
        }
    }

    /// Tap `tap` of the input channels from `c` on, zero beyond the last, with `indices` as
    /// [`Filters::indices`] gives them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn tap(&self, indices: __m512i, c: usize, tap: usize) -> __m512 {
        let tap = if self.turned { 8 - tap } else { tap };
        let at = self
            .weight
            .as_ptr()
            .wrapping_add(self.first + c * self.step + tap);
        let mask = lanes(c, self.channels);
        // SAFETY: lanes that are not masked are taps of this output channel.
        unsafe { _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), mask, indices, at.cast()) }
    }

    /// Where the lanes of a vector lie.
    #[target_feature(enable = "avx512f")]
    pub(super) fn indices(&self) -> __m512i {
        strides(self.step)
    }
}

/// Which lanes of the vector at channel `c` of `channels` there are.
pub(super) fn lanes(c: usize, channels: usize) -> u16 {
    let left = channels.saturating_sub(c).min(LANES);
    u16::MAX.checked_shr((LANES - left) as u32).unwrap_or(0)
}

/// The multiples of `stride`, as a vector of indices.
#[target_feature(enable = "avx512f")]
pub(super) fn strides(stride: usize) -> __m512i {
    let indices: [i32; LANES] = std::array::from_fn(|i| (i * stride) as i32);
    // SAFETY: sixteen indices.
    unsafe { _mm512_loadu_si512(indices.as_ptr().cast()) }
}
