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

use crate::spec::{Kernel, LayerSpec};

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

/// Groups of four tiles in a strip of `rows` output rows.
#[must_use]
pub const fn quads(spec: &LayerSpec, rows: u16) -> u32 {
    let side = spec.kernel.tile_side();
    let columns = (spec.conv_out().1 as u32).div_ceil(side);
    (rows as u32)
        .div_ceil(side)
        .saturating_mul(columns)
        .div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

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
