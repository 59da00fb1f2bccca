//! Arithmetic of offsets into buffers, that neither panics nor costs anything.
//!
//! Sizes and offsets of a checked layer are proven to fit 32 bits, so nothing wraps for one. What
//! would wrap for another is an index like any other, which the slice that it goes into refuses
//! or finds harmless.

use core::ops::{Add, Mul, Sub};

/// An offset or a length, computed modulo the width of `usize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ix(pub usize);

/// Begins an expression of offsets: `(ix(y) * row + ix(x) * pixel).0`.
#[must_use]
pub const fn ix(n: usize) -> Ix {
    Ix(n)
}

/// `n` rounded up to a multiple of `2^log`; down where that would be above all.
#[must_use]
pub const fn round_up(n: u32, log: u32) -> u32 {
    let rest = (1 << (log & 31)) - 1;
    n.saturating_add(rest) & !rest
}

/// The lowest `bits` bits set; all 32 from there on.
#[must_use]
pub const fn low_bits(bits: u32) -> u32 {
    !u32::MAX.unbounded_shl(bits)
}

/// The `len` elements from `at` on; an empty slice where they are not all there.
#[must_use]
pub fn part<T>(slice: &[T], at: usize, len: usize) -> &[T] {
    slice.get(at..at.wrapping_add(len)).unwrap_or(&[])
}

/// How far something reaches, at most `usize::MAX`: for checks that must hold, since what they
/// guard is not checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach(pub usize);

/// Begins an expression of reach: `(reach(rows) * row + last).0 <= slice.len()`.
#[must_use]
pub const fn reach(n: usize) -> Reach {
    Reach(n)
}

macro_rules! operator {
    ($type:ident, $trait:ident, $method:ident, $operation:ident) => {
        impl $trait<usize> for $type {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: usize) -> Self {
                Self(self.0.$operation(other))
            }
        }

        impl $trait for $type {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.0.$operation(other.0))
            }
        }
    };
}

operator!(Ix, Add, add, wrapping_add);
operator!(Ix, Sub, sub, wrapping_sub);
operator!(Ix, Mul, mul, wrapping_mul);
operator!(Reach, Add, add, saturating_add);
operator!(Reach, Mul, mul, saturating_mul);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_wrap_and_slices_refuse_them() {
        assert_eq!(ix(3) * 4 + ix(2) * 5 - 1, Ix(21));
        assert_eq!(ix(0) - 1, Ix(usize::MAX));
        assert_eq!(ix(usize::MAX) * 2 + 2, Ix(0));
        assert_eq!(reach(usize::MAX) * 2 + 2, Reach(usize::MAX));
        assert_eq!(reach(3) * reach(4) + 5, Reach(17));
        assert_eq!([0, 1, 8, 9].map(|n| round_up(n, 3)), [0, 8, 8, 16]);
        assert_eq!(round_up(u32::MAX, 2), u32::MAX - 3);
        assert_eq!(
            [0, 1, 31, 32, 99].map(low_bits),
            [0, 1, u32::MAX / 2, u32::MAX, u32::MAX]
        );
        let data = [1, 2, 3];
        assert_eq!(part(&data, 1, 2), [2, 3]);
        for (at, len) in [(2, 2), (4, 0), (usize::MAX, 1), (1, usize::MAX)] {
            assert!(part(&data, at, len).is_empty());
        }
    }
}
