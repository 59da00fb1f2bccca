//! Two 16-bit lanes in a word, and the few instructions that work on them.
//!
//! On an ARM core with the DSP extension these are single instructions; elsewhere their
//! portable twins, which tests hold equal on the board through whole layers.

#[cfg(all(feature = "dsp", target_arch = "arm"))]
mod imp {
    use core::arch::asm;

    macro_rules! unary {
        ($name:ident, $template:literal) => {
            #[inline(always)]
            pub fn $name(x: u32) -> u32 {
                let y;
                // SAFETY: pure register arithmetic.
                unsafe { asm!($template, out(reg) y, in(reg) x, options(pure, nomem, nostack)) };
                y
            }
        };
    }
    macro_rules! binary {
        ($name:ident, $template:literal) => {
            #[inline(always)]
            pub fn $name(a: u32, b: u32) -> u32 {
                let y;
                // SAFETY: pure register arithmetic; the APSR.GE flags are not used here.
                unsafe {
                    asm!($template, out(reg) y, in(reg) a, in(reg) b, options(pure, nomem, nostack))
                };
                y
            }
        };
    }

    // LLVM would make byte loads of `word & 0x00ff00ff`.
    unary!(uxtb16, "uxtb16 {}, {}");
    unary!(uxtb16_ror8, "uxtb16 {}, {}, ror #8");

    unary!(usat8, "usat {}, #8, {}");
    unary!(usat4, "usat {}, #4, {}");
    unary!(usat2, "usat {}, #2, {}");
    binary!(ssub16, "ssub16 {}, {}, {}");
    binary!(smmulr, "smmulr {}, {}, {}");
}

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
mod imp {
    pub fn uxtb16(x: u32) -> u32 {
        x & 0x00ff_00ff
    }

    pub fn uxtb16_ror8(x: u32) -> u32 {
        x >> 8 & 0x00ff_00ff
    }

    pub fn ssub16(a: u32, b: u32) -> u32 {
        let low = (a as i16).wrapping_sub(b as i16);
        let high = ((a >> 16) as i16).wrapping_sub((b >> 16) as i16);
        super::pair(low, high)
    }

    pub fn smmulr(a: u32, b: u32) -> u32 {
        shared::semantics::smmulr(a as i32, b as i32) as u32
    }

    fn usat(x: u32, max: i32) -> u32 {
        (x as i32).clamp(0, max) as u32
    }

    pub fn usat8(x: u32) -> u32 {
        usat(x, 255)
    }

    pub fn usat4(x: u32) -> u32 {
        usat(x, 15)
    }

    pub fn usat2(x: u32) -> u32 {
        usat(x, 3)
    }
}

/// Bytes 0 and 2, zero-extended.
#[inline(always)]
#[must_use]
pub fn uxtb16(x: u32) -> u32 {
    imp::uxtb16(x)
}

/// Bytes 1 and 3, zero-extended.
#[inline(always)]
#[must_use]
pub fn uxtb16_ror8(x: u32) -> u32 {
    imp::uxtb16_ror8(x)
}

/// `a − b` in each lane, wrapping.
#[inline(always)]
#[must_use]
pub fn ssub16(a: u32, b: u32) -> u32 {
    imp::ssub16(a, b)
}

/// The rounded high word of the signed product, see [`shared::semantics::smmulr`].
#[inline(always)]
#[must_use]
pub fn smmulr(a: i32, b: i32) -> i32 {
    imp::smmulr(a as u32, b as u32) as i32
}

/// Clamps to `0..=2^bits − 1`, for 2, 4 and 8 bits.
#[inline(always)]
#[must_use]
pub fn usat<const BITS: u32>(x: i32) -> u8 {
    (match BITS {
        2 => imp::usat2(x as u32),
        4 => imp::usat4(x as u32),
        _ => imp::usat8(x as u32),
    }) as u8
}

/// A word of two lanes.
#[inline(always)]
#[must_use]
pub const fn pair(low: i16, high: i16) -> u32 {
    low as u16 as u32 | (high as u16 as u32) << 16
}

/// The lanes of a word, low first.
#[inline(always)]
#[must_use]
pub const fn unpair(word: u32) -> [i16; 2] {
    [word as i16, (word >> 16) as i16]
}

/// Up to four bytes as a little-endian word; missing ones are zero.
#[inline(always)]
#[must_use]
pub fn word(bytes: &[u8]) -> u32 {
    match *bytes {
        [a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]),
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]),
        [a, b] => u32::from_le_bytes([a, b, 0, 0]),
        [a] => u32::from(a),
        [] => 0,
    }
}
