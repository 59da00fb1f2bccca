//! Multiply and accumulate: a run of output pixels of a row, two output channels.
//!
//! Scratch holds the weights of two channels as words of two lanes. With the assembly they
//! alternate, `[pair][channel]`, so that one pointer reads both; the portable twin has
//! channel after channel, `[channel][pair]`, which a compiler can vectorise.

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
pub use portable::{FAST, PAIR_STEP, accumulate, channel_start};

#[cfg(all(feature = "dsp", target_arch = "arm"))]
pub use super::dot_m4::{FAST, PAIR_STEP, accumulate, channel_start};

use shared::index::{Reach, reach};

/// A row of taps applied to neighbouring output pixels, for one or more kernel rows, and
/// that for one or more output rows.
///
/// All in words of two lanes. The taps of a kernel row that apply are contiguous both in
/// the weights and in a row of activations, so a run is a dot product of `pairs` words for
/// each of `rows` kernel rows; the next pixel starts `pixel_step` words on.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Run {
    /// First word of a channel's weights.
    pub weights: usize,
    /// First word of the first pixel's activations.
    pub activations: usize,
    /// First accumulator, of channel 0 of the first pixel; they lie `[pixel][channel]`.
    pub accumulator: usize,
    /// Output pixels, at least 1.
    pub pixels: usize,
    /// Words between the activations of two pixels.
    pub pixel_step: usize,
    /// Words of one kernel row, at least 1.
    pub pairs: usize,
    /// Kernel rows, at least 1.
    pub rows: usize,
    /// Words from one kernel row of a channel's weights to the next.
    pub weight_row: usize,
    /// Words from one row of activations to the next.
    pub activation_row: usize,
    /// Output rows that repeat all this, at least 1.
    pub lines: usize,
    /// Words of activations from one output row to the next.
    pub line_activations: usize,
    /// Accumulators from one output row to the next.
    pub line_accumulators: usize,
}

impl Run {
    /// One past the last word of activations that the run reads.
    #[must_use]
    pub fn activations_end(&self) -> usize {
        let steps = after_first(self.rows) * self.activation_row
            + after_first(self.pixels) * self.pixel_step
            + after_first(self.lines) * self.line_activations;
        (steps + self.activations + self.pairs).0
    }

    /// One past the last accumulator of the run.
    #[must_use]
    pub fn accumulators_end(&self) -> usize {
        let lines = after_first(self.lines) * self.line_accumulators;
        (lines + self.accumulator + reach(2) * self.pixels).0
    }

    /// One past the last word of a channel's weights that the run reads.
    #[must_use]
    pub fn weights_end(&self) -> usize {
        (after_first(self.rows) * self.weight_row + self.weights + self.pairs).0
    }
}

fn after_first(count: usize) -> Reach {
    reach(count.saturating_sub(1))
}

/// Rough cycles of one kernel row of a run, to choose between ways to cut a row into runs.
///
/// From the assembly: 12 cycles a pair for three pixels, 9 for two, 5.5 for one, and what
/// it takes to begin a run and a group of pixels. It decides speed alone, never results.
#[must_use]
pub fn cost(pixels: usize, pairs: usize) -> usize {
    if pixels == 0 {
        return 0;
    }
    let group = |per_pair: usize| pairs.saturating_mul(per_pair).saturating_add(30);
    let rest = match pixels % 3 {
        1 => (pairs.saturating_mul(11) / 2).saturating_add(30),
        2 => group(9),
        _ => 0,
    };
    let groups = (pixels / 3).saturating_mul(group(12));
    groups.saturating_add(rest).saturating_add(40)
}

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
mod portable {
    use super::Run;
    use crate::kernels::lanes::unpair;
    use shared::index::{ix, part};

    /// The portable loops ran.
    pub const FAST: bool = false;

    /// Words between two neighbouring pairs of a channel's weights.
    pub const PAIR_STEP: usize = 1;

    /// First word of a channel's weights, where each has `len` words.
    #[must_use]
    pub const fn channel_start(channel: usize, len: usize) -> usize {
        channel.wrapping_mul(len)
    }

    /// Adds the products of `run` to its accumulators, wrapping.
    pub fn accumulate(run: &Run, weights: &[u32], activations: &[u32], accumulators: &mut [i32]) {
        let len = weights.len() / 2;
        let places = (0..run.lines).flat_map(|l| (0..run.pixels).map(move |p| (l, p)));
        for (line, p) in places {
            for channel in 0..2 {
                let mut sum = 0i32;
                for r in 0..run.rows {
                    let w = ix(r) * run.weight_row + run.weights + channel_start(channel, len);
                    let a = ix(r) * run.activation_row + ix(p) * run.pixel_step;
                    let a = a + ix(line) * run.line_activations + run.activations;
                    let w = part(weights, w.0, run.pairs);
                    let a = part(activations, a.0, run.pairs);
                    sum = sum.wrapping_add(dot(w, a));
                }
                let at = ix(line) * run.line_accumulators + ix(2) * p + channel;
                if let Some(acc) = accumulators.get_mut((at + run.accumulator).0) {
                    *acc = acc.wrapping_add(sum);
                }
            }
        }
    }

    fn dot(w: &[u32], a: &[u32]) -> i32 {
        w.iter().zip(a).fold(0, |sum, (&w, &a)| {
            let ([w0, w1], [a0, a1]) = (unpair(w), unpair(a));
            let products =
                (i32::from(w0) * i32::from(a0)).wrapping_add(i32::from(w1) * i32::from(a1));
            sum.wrapping_add(products)
        })
    }
}
