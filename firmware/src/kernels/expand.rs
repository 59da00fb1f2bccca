//! Rows of activations as 16-bit lanes.
//!
//! Four channels become two words: channels 0 and 2, then 1 and 3, the order of the
//! weights' pairs. Channels past `c_in` are zero.

use super::lanes::{pair, ssub16, uxtb16, uxtb16_ror8, word};
use shared::act::Act;
use shared::index::ix;
use shared::spec::LayerSpec;

/// Expands input rows `rows` of `[h, w, c_in]` into `out`, `[rows, in_w, c_in4 / 2]` words.
///
/// `r_c` is subtracted where the input is the image. Whatever does not fit `out`, or is
/// not in `input`, is left out.
pub fn rows(
    spec: &LayerSpec,
    r_c: [u8; 4],
    input: &[u8],
    rows: core::ops::Range<usize>,
    out: &mut [u32],
) {
    let pixel = spec.input.pixel_bytes(spec.c_in) as usize;
    let row = (ix(pixel) * usize::from(spec.in_w)).0;
    let [start, end] = [rows.start, rows.end].map(|y| (ix(y) * row).0);
    let input = input.get(start..end).unwrap_or(&[]);
    let words = spec.c_in4() as usize / 2;
    match spec.input {
        Act::Image => image(input, pixel, r_c, out, words),
        Act::U8 | Act::I32 => {
            // Whole quads in every pixel: one flat stream, most of it in assembly.
            let done = if pixel.is_multiple_of(4) {
                eights(input, out)
            } else {
                0
            };
            let (input, out) = (input.get(done..), out.get_mut(done / 2..));
            if let (Some(input), Some(out)) = (input, out) {
                quads::<4>(input, pixel, out, words, eight);
            }
        }
        Act::U4 => quads::<2>(input, pixel, out, words, four),
        Act::U2 => quads::<1>(input, pixel, out, words, two),
        Act::S16 => sixteen(input, pixel, out, words),
    }
}

#[cfg(all(feature = "dsp", target_arch = "arm"))]
use super::expand_m4::eight as eights;

/// None here: the loop for all formats does it.
#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
fn eights(_: &[u8], _: &mut [u32]) -> usize {
    0
}

/// Group `group` of four channels of one stored pixel, for the unsigned formats; channels
/// that are not there are zero.
#[must_use]
pub fn group(act: Act, pixel: &[u8], group: usize) -> [u32; 2] {
    let bytes = match act {
        Act::U2 => 1,
        Act::U4 => 2,
        _ => 4,
    };
    let from = pixel.get((ix(group) * bytes).0..).unwrap_or(&[]);
    let stored = word(from.get(..bytes).unwrap_or(from));
    match act {
        Act::U2 => two(stored),
        Act::U4 => four(stored),
        _ => eight(stored),
    }
}

/// Two words of lanes from the stored bits of four channels.
#[inline(always)]
fn eight(x: u32) -> [u32; 2] {
    [uxtb16(x), uxtb16_ror8(x)]
}

#[inline(always)]
fn four(x: u32) -> [u32; 2] {
    let spread = x | x << 8;
    [spread & 0x000f_000f, spread >> 4 & 0x000f_000f]
}

#[inline(always)]
fn two(x: u32) -> [u32; 2] {
    let spread = x | x << 12;
    [spread & 0x0003_0003, spread >> 2 & 0x0003_0003]
}

/// `BYTES` stored bytes hold four channels.
#[inline(always)]
fn quads<const BYTES: usize>(
    input: &[u8],
    pixel: usize,
    out: &mut [u32],
    words: usize,
    lanes: impl Fn(u32) -> [u32; 2],
) {
    // Whole quads in every pixel: one flat stream.
    let (pixel, words) = match ix(pixel) * 2 == ix(words) * BYTES {
        true => (input.len(), out.len()),
        false => (pixel, words),
    };
    let pixels = input.chunks_exact(pixel.max(1));
    for (p, o) in pixels.zip(out.chunks_exact_mut(words.max(1))) {
        stream::<BYTES>(p, o, &lanes);
    }
}

/// Expands whole quads, then what is left.
#[inline(always)]
fn stream<const BYTES: usize>(input: &[u8], out: &mut [u32], lanes: &impl Fn(u32) -> [u32; 2]) {
    let (quads, rest) = input.as_chunks::<BYTES>();
    let (pairs, _) = out.as_chunks_mut::<2>();
    for (q, o) in quads.iter().zip(pairs.iter_mut()) {
        *o = lanes(word(q));
    }
    if let (false, Some(o)) = (rest.is_empty(), pairs.get_mut(quads.len())) {
        *o = lanes(word(rest));
    }
}

fn image(input: &[u8], pixel: usize, r_c: [u8; 4], out: &mut [u32], words: usize) {
    let zero = r_c.map(i16::from);
    let zero = [pair(zero[0], zero[2]), pair(zero[1], zero[3])];
    let pixels = input.chunks_exact(pixel.max(1));
    for (p, o) in pixels.zip(out.chunks_exact_mut(words.max(2))) {
        stream::<4>(p, o, &eight);
        // An image has up to four channels, and only they are centred.
        if let [a, b, ..] = o {
            (*a, *b) = (ssub16(*a, zero[0]), ssub16(*b, zero[1]));
        }
    }
}

fn sixteen(input: &[u8], pixel: usize, out: &mut [u32], words: usize) {
    let pixels = input.chunks_exact(pixel.max(1));
    for (p, o) in pixels.zip(out.chunks_exact_mut(words.max(1))) {
        for (q, o) in p.chunks(8).zip(o.chunks_exact_mut(2)) {
            let (low, high) = (word(q), word(q.get(4..).unwrap_or(&[])));
            if let [a, b] = o {
                *a = low & 0xffff | high << 16;
                *b = low >> 16 | high & 0xffff_0000;
            }
        }
    }
}
