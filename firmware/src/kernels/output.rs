//! The output stage: pool, requantize, store one row of two output channels.
//!
//! The multiplier is positive, so the maximum of a pool may be taken of accumulators, and
//! only that is requantized.

use super::lanes::{smmulr, usat};
#[cfg(all(feature = "dsp", target_arch = "arm"))]
use super::output_m4;
use shared::act::Act;
use shared::semantics::Requant;
use shared::spec::LayerSpec;

/// Where a block's values go in a pixel.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// First channel of the block.
    pub channel: usize,
    /// Channels that exist, 1 or 2.
    pub channels: usize,
}

/// Stores a row of accumulators, `[pool][conv_w][2]`, into `row`, `[out_w, c_out]` stored.
///
/// The bias is in the accumulators already. `row` must be of the output tensor's stride.
pub fn row(spec: &LayerSpec, place: Place, requants: [Requant; 2], acc: &[i32], row: &mut [u8]) {
    let pixel = spec.output.pixel_bytes(spec.c_out).max(1) as usize;
    let per_byte = (8 / spec.output.bits()).max(1) as usize;
    let at = match spec.output {
        Act::I32 | Act::S16 => place.channel.saturating_mul(4),
        _ => place.channel / per_byte,
    };
    let row = row.get_mut(at..).unwrap_or(&mut []);
    let to = Target {
        requants,
        pool: spec.pool == 2,
        channels: place.channels,
        field: (place.channel % per_byte) as u32,
        pixel,
    };
    match spec.output {
        Act::I32 | Act::S16 => words(&to, acc, row),
        Act::U8 | Act::Image if place.channels == 2 => two_bytes(&to, acc, row),
        Act::U8 | Act::Image => one_byte(&to, acc, row),
        Act::U4 => fields::<4>(&to, acc, row),
        Act::U2 => fields::<2>(&to, acc, row),
    }
}

/// What a row's stores share.
struct Target {
    requants: [Requant; 2],
    pool: bool,
    channels: usize,
    /// Field within the byte that the block starts in.
    field: u32,
    /// Bytes from one pixel to the next.
    pixel: usize,
}

// Not inlined: each loop needs all registers for itself.

#[inline(never)]
fn words(to: &Target, acc: &[i32], row: &mut [u8]) {
    each(to, acc, row, |acc, p: &mut [u8; 4]| {
        *p = acc[0].to_le_bytes()
    });
    if to.channels == 2 {
        let second = row.get_mut(4..).unwrap_or(&mut []);
        each(to, acc, second, |acc, p: &mut [u8; 4]| {
            *p = acc[1].to_le_bytes()
        });
    }
}

#[cfg(all(feature = "dsp", target_arch = "arm"))]
fn two_bytes(to: &Target, acc: &[i32], row: &mut [u8]) {
    let store = output_m4::Store {
        m: to.requants.map(Requant::m),
        shift: to.requants.map(Requant::shift),
        pixel: to.pixel,
    };
    output_m4::two_bytes(&store, to.pool, acc, row);
}

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
#[inline(never)]
fn two_bytes(to: &Target, acc: &[i32], row: &mut [u8]) {
    let quantize = Quantize::new(to);
    each(to, acc, row, |acc, p| *p = quantize.both::<8>(acc));
}

#[inline(never)]
fn one_byte(to: &Target, acc: &[i32], row: &mut [u8]) {
    let quantize = Quantize::new(to);
    each(to, acc, row, |acc, [p]| [*p, _] = quantize.both::<8>(acc));
}

/// A block's two channels are neighbouring fields of one byte. Blocks come in order, so the
/// first of a byte sets all of it.
#[inline(never)]
fn fields<const BITS: u32>(to: &Target, acc: &[i32], row: &mut [u8]) {
    let quantize = Quantize::new(to);
    let shift = to.field.wrapping_mul(BITS) & 7;
    let keep = if to.field == 0 { 0 } else { 0xff };
    let second = if to.channels == 2 { 0xff } else { 0 };
    each(to, acc, row, |acc, [p]| {
        let [low, high] = quantize.both::<BITS>(acc);
        *p = *p & keep | (low | (high & second) << BITS) << shift;
    });
}

/// Calls `store` with each pixel's two accumulators, pooled, and its first `N` bytes.
#[inline(always)]
fn each<const N: usize>(
    to: &Target,
    acc: &[i32],
    row: &mut [u8],
    store: impl Fn([i32; 2], &mut [u8; N]),
) {
    let mut rest = row;
    let mut put = |acc| {
        if let Some(p) = rest.first_chunk_mut::<N>() {
            store(acc, p);
        }
        rest = core::mem::take(&mut rest)
            .get_mut(to.pixel..)
            .unwrap_or(&mut []);
    };
    if to.pool {
        let (top, bottom) = acc.split_at_checked(acc.len() / 2).unwrap_or((acc, &[]));
        let (top, bottom) = (top.as_chunks::<4>().0, bottom.as_chunks::<4>().0);
        for (t, b) in top.iter().zip(bottom) {
            let max = |i: usize| t[i].max(t[i + 2]).max(b[i]).max(b[i + 2]);
            put([max(0), max(1)]);
        }
    } else {
        acc.as_chunks::<2>().0.iter().for_each(|&a| put(a));
    }
}

/// The multipliers and shifts of a block's two channels.
struct Quantize {
    m: [i32; 2],
    shift: [u32; 2],
}

impl Quantize {
    fn new(to: &Target) -> Self {
        Self {
            m: to.requants.map(Requant::m),
            shift: to.requants.map(Requant::shift),
        }
    }

    #[inline(always)]
    fn both<const BITS: u32>(&self, acc: [i32; 2]) -> [u8; 2] {
        let one = |i: usize| usat::<BITS>(smmulr(acc[i].wrapping_shl(self.shift[i]), self.m[i]));
        [one(0), one(1)]
    }
}
