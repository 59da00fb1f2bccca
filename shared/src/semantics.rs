//! The integer arithmetic that every executor reproduces bit for bit.
//!
//! Accumulators are `i32` and wrap; the exporter proves that they never do. Wrapping is
//! still defined, so that a blob whose proof was wrong gives the same wrong bytes
//! everywhere and no executor panics.

/// Widths that weights may have, in bits.
pub const WEIGHT_BITS: core::ops::RangeInclusive<u8> = 2..=8;

/// Bit width of the shift `l` inside a packed multiplier; `l` is 0 to 31.
const SHIFT_BITS: u32 = 5;

/// Largest weight magnitude at `w_bits`: ±(2^(w−1) − 1), so 2 bits are ternary.
///
/// `w_bits` outside 2..=8 is taken as 8.
#[must_use]
pub const fn weight_max(w_bits: u8) -> i32 {
    match w_bits {
        2..=7 => (1 << (w_bits - 1)) - 1,
        _ => 127,
    }
}

/// How one output channel goes from accumulator to activation.
///
/// `scale = M · 2^(l − 32)`, with `0 < M < 2^31`. In a blob it takes 8 bytes: the bias, then
/// a word whose upper 27 bits are those of `M` (the lower 5 of `M` are zero) and whose
/// lower 5 bits are `l`. Losing 5 bits of `M` costs at most 2^-25 of the scale when `M` is
/// normalised, far below half a step of 8 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(C)]
pub struct Requant {
    /// Added to the accumulator first; in units of the accumulator.
    pub bias: i32,
    /// `M & !31 | l`.
    pub multiplier: u32,
}

/// Bytes of one [`Requant`] in a blob.
pub const REQUANT_BYTES: usize = 8;

impl Requant {
    /// Packs `m` (its lower 5 bits are dropped) and `shift` (0..=31).
    ///
    /// Returns `None` where what is left of `m` is not in 1..2^31 or `shift` is above 31.
    #[must_use]
    pub const fn new(bias: i32, m: u32, shift: u32) -> Option<Self> {
        let kept = m & !((1 << SHIFT_BITS) - 1);
        if kept == 0 || m >> 31 != 0 || shift > 31 {
            return None;
        }
        Some(Self {
            bias,
            multiplier: kept | shift,
        })
    }

    /// The multiplier `M`, with its lower 5 bits zero.
    #[must_use]
    pub const fn m(self) -> i32 {
        (self.multiplier & !((1 << SHIFT_BITS) - 1)) as i32
    }

    /// The left shift `l` that comes before the multiplication, 0..=31.
    #[must_use]
    pub const fn shift(self) -> u32 {
        self.multiplier & ((1 << SHIFT_BITS) - 1)
    }

    /// Whether `M` is in 1..2^31, as a blob must have it.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.m() > 0
    }

    /// The real-valued scale, `M · 2^(l − 32)`.
    #[must_use]
    pub fn scale(self) -> f64 {
        f64::from(self.m()) * (1u64 << self.shift()) as f64 / 4_294_967_296.0
    }

    /// Reads the 8 bytes of a blob, little-endian.
    #[must_use]
    pub const fn from_bytes(b: [u8; REQUANT_BYTES]) -> Self {
        Self {
            bias: i32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            multiplier: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        }
    }

    /// The 8 bytes of a blob, little-endian.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; REQUANT_BYTES] {
        let (b, m) = (self.bias.to_le_bytes(), self.multiplier.to_le_bytes());
        [b[0], b[1], b[2], b[3], m[0], m[1], m[2], m[3]]
    }

    /// `clamp((i64(acc << l) · M + 2^31) >> 32, 0, 2^a_bits − 1)`; `acc` has the bias in it.
    ///
    /// One SMMULR and one USAT on a Cortex-M4. Rounds half up. Never panics.
    #[must_use]
    pub const fn apply(self, acc: i32, a_bits: u8) -> u8 {
        let shifted = acc.wrapping_shl(self.shift());
        let y = smmulr(shifted, self.m());
        let max = match a_bits {
            0..=7 => (1 << a_bits) - 1,
            _ => 255,
        };
        if y < 0 {
            0
        } else if y > max {
            max as u8
        } else {
            y as u8
        }
    }
}

/// The rounded high word of a product, `(a · b + 2^31) >> 32`, as SMMULR gives it.
#[must_use]
pub const fn smmulr(a: i32, b: i32) -> i32 {
    ((a as i64 * b as i64 + (1 << 31)) >> 32) as i32
}

/// One centred input sample of the first layer: `pixel − r_c`, -255..=255.
#[must_use]
pub const fn centre(pixel: u8, r_c: u8) -> i16 {
    pixel as i16 - r_c as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requantize_rounds_half_up_and_clamps() {
        // scale = 2^30 · 2^(1−32) = 1/2
        let half = Requant::new(0, 1 << 30, 1).unwrap();
        assert_eq!(half.scale(), 0.5);
        for (acc, y) in [
            (0, 0),
            (1, 1),
            (2, 1),
            (3, 2),
            (-1, 0),
            (509, 255),
            (510, 255),
            (9999, 255),
        ] {
            assert_eq!(half.apply(acc, 8), y, "acc {acc}");
        }
        assert_eq!(half.apply(100, 4), 15);
        assert_eq!(half.apply(100, 2), 3);
    }

    #[test]
    fn packed_multipliers_refuse_what_they_cannot_hold() {
        assert!(Requant::new(0, 31, 0).is_none(), "nothing left of M");
        assert!(Requant::new(0, 1 << 31, 0).is_none());
        assert!(Requant::new(0, 1 << 30, 32).is_none());
        let r = Requant::new(-7, (1 << 30) + 31, 31).unwrap();
        assert_eq!((r.m(), r.shift()), (1 << 30, 31));
        assert_eq!(Requant::from_bytes(r.to_bytes()), r);
    }

    #[test]
    fn smmulr_equals_wide_arithmetic_at_the_edges() {
        for a in [i32::MIN, -1, 0, 1, i32::MAX] {
            for b in [1, 1 << 30, i32::MAX] {
                let wide = (i128::from(a) * i128::from(b) + (1 << 31)) >> 32;
                assert_eq!(i128::from(smmulr(a, b)), wide);
            }
        }
    }
}
