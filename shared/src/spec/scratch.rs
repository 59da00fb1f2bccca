//! How kernels divide their scratch.

use super::{Encoding, Kernel, Kind, LayerSpec};
use crate::coding::tans::TABLE_BYTES;
use crate::index::round_up;
use crate::{narrow, winograd};

/// Most output rows that the direct kernel computes together, to begin runs less often; even,
/// since a pool joins two.
pub const LINES: u16 = 4;

/// How a kernel divides its scratch, in bytes, in this order.
///
/// The Winograd kernels hold transformed values as `i16`: groups of four input tiles,
/// `[quad][p][channels][4]` with 36 or 16 positions `p` and as many channels as are done at a
/// time, then weights, `[p][channels][2]`. Last come weights as they are, where they cannot be
/// read from flash, and sums, `[2][4][p]` as `i32`, for each block and quad at a time: in one
/// place where all input channels are done at once, else one behind the other.
/// [`narrow`] has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScratchPlan {
    /// Input rows of a strip as `i16`, `[rows, in_w, c_in4]`; the whole input
    /// where weights stay packed ([`LayerSpec::is_straight`]).
    pub activations: u32,
    /// A pair of output channels' weights as `i16`, two sequences.
    pub weights: u32,
    /// `i32` accumulators of up to [`LINES`] rows, two channels; of all
    /// outputs where weights stay packed, channels rounded up to 8.
    pub accumulators: u32,
    /// The decoder's table of an entropy-coded layer, see [`crate::coding::tans`].
    pub table: u32,
}

impl ScratchPlan {
    /// Bytes of the whole scratch (saturating).
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.activations
            .saturating_add(self.weights)
            .saturating_add(self.accumulators)
            .saturating_add(self.table)
    }
}

impl LayerSpec {
    /// Input rows that a full strip needs.
    #[must_use]
    pub const fn strip_input_rows(&self) -> u16 {
        let rows = (self.strip_rows as u32).saturating_sub(1) * self.stride as u32;
        let rows = rows + self.k_h as u32;
        if rows > self.in_h as u32 {
            self.in_h
        } else {
            rows as u16
        }
    }

    /// Bytes of scratch that the kernel takes, all of it used; see [`ScratchPlan`].
    #[must_use]
    pub const fn scratch_bytes(&self) -> u32 {
        self.scratch().total()
    }

    /// How the kernel divides its scratch.
    #[must_use]
    pub const fn scratch(&self) -> ScratchPlan {
        if !self.has_weights() {
            return ScratchPlan {
                activations: 0,
                weights: 0,
                accumulators: 0,
                table: 0,
            };
        }
        let plan = match self.kernel {
            Kernel::Direct => self.direct_scratch(),
            Kernel::Winograd4 | Kernel::Winograd2 => self.winograd_scratch(),
            Kernel::Narrow => narrow::scratch(self),
        };
        ScratchPlan {
            table: self.table_bytes(),
            ..plan
        }
    }

    /// Whether the direct kernel multiplies the weights where they are stored, packed, instead of
    /// unpacking them: dense weights that few outputs share. Strips then mean nothing.
    #[must_use]
    pub const fn is_straight(&self) -> bool {
        if !matches!(self.kernel, Kernel::Direct) || !matches!(self.encoding, Encoding::Dense) {
            return false;
        }
        let (h, w) = self.conv_out();
        match self.kind {
            Kind::FullyConnected => true,
            // A tap must begin at a whole word.
            Kind::Conv => {
                // 7 bits are stored as bytes, see `stored_bits`.
                let bits = if self.w_bits == 7 { 8 } else { self.w_bits };
                let plane = 1 << bits.trailing_zeros();
                let words = (self.c_in4() * plane).is_multiple_of(32);
                words && h as u32 * w as u32 <= 4
            }
            Kind::GlobalAvgPool => false,
        }
    }

    /// Output rows (before the pool) whose accumulators the direct kernel holds.
    const fn lines(&self) -> u16 {
        // A pool that is refused elsewhere must not divide by zero here.
        let odd = self.pool == 2 && !self.strip_rows.is_multiple_of(2);
        let rows = self.strip_rows.saturating_add(odd as u16);
        if rows < LINES { rows } else { LINES }
    }

    const fn direct_scratch(&self) -> ScratchPlan {
        if self.is_straight() {
            // Lanes as far as the last word of the narrowest plane of a channel reaches.
            let log = 5u32.saturating_sub(self.stored_bits().trailing_zeros());
            let map = (self.in_h as u32 * self.in_w as u32).saturating_mul(self.c_in4());
            let (h, w) = self.conv_out();
            let sums = round_up(self.c_out as u32, 3) * 4;
            return ScratchPlan {
                activations: round_up(map, log).saturating_mul(2),
                weights: 0,
                accumulators: sums.saturating_mul(h as u32 * w as u32),
                table: 0,
            };
        }
        let out_w = self.conv_out().1 as u32;
        let row = (self.in_w as u32)
            .saturating_mul(self.c_in4())
            .saturating_mul(2);
        ScratchPlan {
            activations: (self.strip_input_rows() as u32).saturating_mul(row),
            weights: self.sequence_len().saturating_mul(4),
            accumulators: (self.lines() as u32 * 8).saturating_mul(out_w),
            table: 0,
        }
    }

    const fn winograd_scratch(&self) -> ScratchPlan {
        let pair = winograd::positions(self.kernel).saturating_mul(winograd::chunk(self) / 2 * 4);
        let sums = winograd::sum_bytes(self.kernel).saturating_mul(winograd::slots(self));
        let plain = winograd::plain_bytes(self);
        let quads = winograd::strip_quads(self);
        ScratchPlan {
            activations: pair.saturating_mul(4).saturating_mul(quads),
            weights: pair.saturating_mul(2),
            accumulators: if winograd::is_chunked(self) {
                plain.saturating_add(sums)
            } else if plain > sums {
                plain
            } else {
                sums
            },
            table: 0,
        }
    }

    const fn table_bytes(&self) -> u32 {
        match self.encoding {
            Encoding::Coded => TABLE_BYTES,
            Encoding::Dense | Encoding::Sparse | Encoding::Delta => 0,
        }
    }
}
