//! Exact integer Winograd, F(4x4,3x3) and F(2x2,3x3): sizes, and when it is exact.
//!
//! A tile of 4x4 outputs of a 3x3 convolution of stride 1 takes 36 multiplications a
//! channel instead of 144: the 6x6 inputs `d` and the 3x3 weights `g` are transformed to
//! `V = Bᵀ d B` and `U = G g Gᵀ`, multiplied element by element and summed over the input
//! channels to `M`, and `y = Aᵀ M A`. The interpolation points are 0, ±1, ±2 and ∞.
//!
//! In integers, `G`'s fractions are left out, so that `U` stays small (|U| ≤ 49·127 = 6,223
//! and |V| ≤ 17,340 fit 16 bits): its rows are (1,0,0), (1,1,1), (1,−1,1), (1,2,4), (1,−2,4),
//! (0,0,1). `A` makes up for them and yields `f_i·f_j·y` with f = (24, 12, 6, 6) per axis.
//! That is `9 · 2^k · y` with k from 2 to 6. All of it is computed modulo 2^32, where 9 has
//! an inverse; what is left is shifted down by k. So the result is exact if and only if
//! `64 · y` fits 32 bits, whatever the intermediate sums do.
//!
//! F(2x2,3x3) is the same with points 0, ±1 and ∞: 16 multiplications for 36, rows (1,0,0),
//! (1,1,1), (1,−1,1), (0,0,1), f = (2, 2), exact where `4 · y` fits 32 bits. So it is exact
//! wherever F(4x4,3x3) is.

use crate::spec::{Encoding, Kernel, LayerSpec};
use crate::weights::lanes;
use serde::{Deserialize, Serialize};

/// Output rows and columns of a tile of F(4x4,3x3).
pub const TILE: u32 = 4;

/// Elements of a transformed tile; 0 for a kernel that has none.
#[must_use]
pub const fn positions(kernel: Kernel) -> u32 {
    match kernel {
        Kernel::Direct | Kernel::Narrow => 0,
        Kernel::Winograd4 => 36,
        Kernel::Winograd2 => 16,
    }
}

/// The inverse of 9 modulo 2^32.
pub const INVERSE_OF_9: u32 = 0x38e3_8e39;

/// Bytes of the sums of two output channels and four tiles.
#[must_use]
pub const fn sum_bytes(kernel: Kernel) -> u32 {
    2 * 4 * positions(kernel) * 4
}

/// What the sums of a Winograd kernel must stay below: 2^31 over the largest factor that the
/// transforms leave on them, 64 or 4. Other kernels need no such proof.
#[must_use]
pub const fn sum_limit(kernel: Kernel) -> u64 {
    match kernel {
        Kernel::Winograd4 => 1 << 25,
        Kernel::Winograd2 => 1 << 29,
        _ => u64::MAX,
    }
}

/// Whether a kernel is exact for an output channel.
///
/// `positive` is the sum of its positive weights, `negative` that of the magnitudes of its
/// negative ones, `a_max` the largest input; inputs are not negative. The bias comes later
/// and does not matter.
#[must_use]
pub const fn is_exact(kernel: Kernel, positive: u64, negative: u64, a_max: u32) -> bool {
    let larger = if positive > negative {
        positive
    } else {
        negative
    };
    larger.saturating_mul(a_max as u64) < sum_limit(kernel)
}

/// How a Winograd kernel cuts a layer into pieces that fit its scratch.
///
/// Tiles are taken a strip at a time, in groups of four (quads) that follow each other along
/// the rows. Where input channels are done in several turns, the strip's tiles are transformed
/// anew for each group of blocks of output channels, and the group's sums are kept meanwhile.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tiling {
    /// Quads of tiles in a strip; 0: all.
    pub quads: u16,
    /// Input channels at a time, a multiple of 4; 0: all.
    pub channels: u16,
    /// Blocks of output channels whose sums are kept; 0 where `channels` is.
    pub blocks: u16,
}

impl Tiling {
    /// Everything at once.
    pub const WHOLE: Self = Self {
        quads: 0,
        channels: 0,
        blocks: 0,
    };

    /// Whether this is [`Self::WHOLE`].
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.quads == 0 && self.channels == 0 && self.blocks == 0
    }
}

/// Groups of four tiles of the whole layer, the last filled up.
#[must_use]
pub const fn quads(spec: &LayerSpec) -> u32 {
    let side = spec.kernel.tile_side();
    let (rows, columns) = spec.conv_out();
    (rows as u32)
        .div_ceil(side)
        .saturating_mul((columns as u32).div_ceil(side))
        .div_ceil(4)
}

/// Quads of a strip.
#[must_use]
pub const fn strip_quads(spec: &LayerSpec) -> u32 {
    match spec.tiling.quads {
        0 => quads(spec),
        some => some as u32,
    }
}

/// Input channels that are done at a time, a multiple of 4.
#[must_use]
pub const fn chunk(spec: &LayerSpec) -> u32 {
    match spec.tiling.channels {
        0 => spec.c_in4(),
        some => some as u32,
    }
}

/// Whether input channels are done in several turns.
#[must_use]
pub const fn is_chunked(spec: &LayerSpec) -> bool {
    spec.tiling.channels != 0
}

/// Sets of sums, one for a quad and a block, that are kept at a time.
#[must_use]
pub const fn slots(spec: &LayerSpec) -> u32 {
    if is_chunked(spec) {
        strip_quads(spec).saturating_mul(spec.tiling.blocks as u32)
    } else {
        1
    }
}

/// Input channels whose weights for one tap share whole words, where the kernel transforms
/// them straight from the blob; `None` where they are unpacked first, because they are sparse
/// or `c_in4` is no multiple.
///
/// A unit's taps follow each other, so such a channel is stored in the order
/// `[c_in4 / unit][9 taps][unit]`: one word for a unit and tap of 8, 4 and 2 bits, in the
/// planes that all kernels use; `w_bits · unit / 32` words in the lanes of
/// [`crate::weights::lanes`] of other widths. [`crate::weights::StoredChannel`] reads both.
#[must_use]
pub const fn unit(spec: &LayerSpec) -> Option<u32> {
    if !spec.kernel.is_winograd() || !matches!(spec.encoding, Encoding::Dense) {
        return None;
    }
    let unit = match spec.w_bits {
        8 => 4,
        4 => 8,
        2 => 16,
        other => 4 * lanes::groups(other as u32),
    };
    if spec.c_in4().is_multiple_of(unit) {
        Some(unit)
    } else {
        None
    }
}

/// Whether the weights are stored in the lanes of [`crate::weights::lanes`].
#[must_use]
pub const fn in_lanes(spec: &LayerSpec) -> bool {
    unit(spec).is_some() && !matches!(spec.w_bits, 8 | 4 | 2)
}

/// Where element `e` of an output channel's sequence, `[k_h][k_w][c_in4]`, is stored.
#[must_use]
pub const fn stored(spec: &LayerSpec, e: u32) -> u32 {
    let Some(unit) = unit(spec) else {
        return e;
    };
    let (tap, c) = match e.checked_div(spec.c_in4()) {
        Some(tap) => (tap, e % spec.c_in4()),
        None => return e,
    };
    let taps = (c / unit).wrapping_mul(9).wrapping_add(tap);
    taps.wrapping_mul(unit).wrapping_add(c % unit)
}

/// A multiple of what [`Tiling::channels`] must be.
#[must_use]
pub const fn channel_step(spec: &LayerSpec) -> u32 {
    match unit(spec) {
        Some(unit) => unit,
        None => 4,
    }
}

/// Bytes of weights as they are: of a block where they are unpacked first, of a unit as bytes
/// where it is stored in lanes.
#[must_use]
pub const fn plain_bytes(spec: &LayerSpec) -> u32 {
    match unit(spec) {
        Some(unit) if in_lanes(spec) => 9 * unit,
        Some(_) => 0,
        None => spec.sequence_len().saturating_mul(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_order_is_a_permutation_that_keeps_a_units_taps_together() {
        for (c_in, w_bits) in [(37, 8), (40, 4), (48, 2), (48, 5)] {
            let spec = LayerSpec {
                kernel: Kernel::Winograd4,
                w_bits,
                ..LayerSpec::conv3x3(8, 8, c_in, 4)
            };
            let mut seen = [false; 9 * 48];
            for e in 0..spec.sequence_len() {
                assert!(!core::mem::replace(
                    &mut seen[stored(&spec, e) as usize],
                    true
                ));
            }
            let next_tap = stored(&spec, spec.c_in4());
            assert_eq!(
                next_tap,
                unit(&spec).unwrap_or(spec.c_in4()),
                "{w_bits} bits"
            );
        }
    }

    #[test]
    fn nine_is_inverted() {
        assert_eq!(9u32.wrapping_mul(INVERSE_OF_9), 1);
    }

    #[test]
    fn the_bounds_are_those_of_64_and_of_4_sums() {
        use Kernel::{Direct, Winograd2, Winograd4};
        let exact = |kernel, negative, a_max| is_exact(kernel, 0, negative, a_max);
        assert!(exact(Winograd4, 131_586, 255) && !exact(Winograd4, 131_587, 255));
        assert!(exact(Winograd2, 2_105_376, 255) && !exact(Winograd2, 2_105_377, 255));
        assert!(exact(Winograd4, (1 << 25) / 15, 15) && !exact(Winograd4, u64::MAX, 1));
        assert!(exact(Direct, u64::from(u32::MAX), 255));
    }
}
