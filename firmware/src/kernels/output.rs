//! The output stage: pool, requantize, store one row of two output channels.
//!
//! The multiplier is positive, so the maximum of a pool may be taken of accumulators, and
//! only that is requantized.

use super::lanes::{smmulr, usat};
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
    let pixels = row.chunks_exact_mut(pixel);
    let store = Store {
        act: spec.output,
        place,
        requants,
    };
    if spec.pool == 2 {
        let (top, bottom) = acc.split_at_checked(acc.len() / 2).unwrap_or((acc, &[]));
        let (top, bottom) = (top.as_chunks::<4>().0, bottom.as_chunks::<4>().0);
        for ((t, b), p) in top.iter().zip(bottom).zip(pixels) {
            let max = |i: usize| t[i].max(t[i + 2]).max(b[i]).max(b[i + 2]);
            store.pixel([max(0), max(1)], p);
        }
    } else {
        for (&a, p) in acc.as_chunks::<2>().0.iter().zip(pixels) {
            store.pixel(a, p);
        }
    }
}

struct Store {
    act: Act,
    place: Place,
    requants: [Requant; 2],
}

impl Store {
    #[inline(always)]
    fn pixel(&self, acc: [i32; 2], pixel: &mut [u8]) {
        match self.act {
            Act::I32 | Act::S16 => self.words(acc, pixel),
            Act::U8 | Act::Image => self.bytes(acc, pixel),
            Act::U4 => self.fields::<4>(acc, pixel),
            Act::U2 => self.fields::<2>(acc, pixel),
        }
    }

    #[inline(always)]
    fn quantize<const BITS: u32>(&self, acc: [i32; 2]) -> [u8; 2] {
        let one = |acc: i32, r: &Requant| usat::<BITS>(smmulr(acc.wrapping_shl(r.shift()), r.m()));
        [
            one(acc[0], &self.requants[0]),
            one(acc[1], &self.requants[1]),
        ]
    }

    fn words(&self, acc: [i32; 2], pixel: &mut [u8]) {
        let out = pixel.get_mut(4 * self.place.channel..).unwrap_or(&mut []);
        let (words, _) = out.as_chunks_mut::<4>();
        for (o, a) in words.iter_mut().zip(acc).take(self.place.channels) {
            *o = a.to_le_bytes();
        }
    }

    #[inline(always)]
    fn bytes(&self, acc: [i32; 2], pixel: &mut [u8]) {
        let y = self.quantize::<8>(acc);
        match pixel.get_mut(self.place.channel..) {
            Some([a, b, ..]) if self.place.channels == 2 => (*a, *b) = (y[0], y[1]),
            Some([a, ..]) => *a = y[0],
            _ => {}
        }
    }

    /// A block's two channels are neighbouring fields of one byte. Blocks come in order, so
    /// the first of a byte sets all of it.
    #[inline(always)]
    fn fields<const BITS: u32>(&self, acc: [i32; 2], pixel: &mut [u8]) {
        let mut y = self.quantize::<BITS>(acc);
        if self.place.channels < 2 {
            y[1] = 0;
        }
        let per_byte = 8 / BITS as usize;
        let (at, field) = (self.place.channel / per_byte, self.place.channel % per_byte);
        let two = (y[0] | y[1] << BITS) << (field as u32 * BITS);
        if let Some(b) = pixel.get_mut(at) {
            *b = if field == 0 { two } else { *b | two };
        }
    }
}
