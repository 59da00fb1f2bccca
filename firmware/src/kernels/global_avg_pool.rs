//! Global average pooling: the sum over the map, per channel, as 16 bits.

use super::Blocks;
use super::lanes::{uxtb16, uxtb16_ror8, word};
use shared::act::Act;
use shared::spec::LayerSpec;

/// Sums `[h, w, c]` into `[c]` of `S16`; the division belongs to the next layer's scale.
// On its own, so that its size can be told from the symbols.
#[inline(never)]
pub fn run(spec: &LayerSpec, blocks: Blocks, input: &[u8], output: &mut [u8]) {
    let pixel = spec.input.pixel_bytes(spec.c_in).max(1) as usize;
    let channels =
        usize::from(blocks.count(spec.blocks())) * usize::from(spec.kernel.block_channels());
    let (sums, _) = output.as_chunks_mut::<2>();
    let sums = match sums.get_mut(..channels) {
        Some(first) => first,
        None => sums,
    };
    let quads = if spec.input == Act::U8 {
        sums.len() / 4
    } else {
        0
    };
    let (whole, rest) = sums.split_at_mut_checked(4 * quads).unwrap_or_default();
    for (quad, out) in whole.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *out = four(input, 4 * quad, pixel);
    }
    for (c, out) in rest.iter_mut().enumerate() {
        let sum = input.chunks_exact(pixel).fold(0u16, |sum, p| {
            sum.wrapping_add(value(p, spec.input, 4 * quads + c))
        });
        *out = sum.to_le_bytes();
    }
}

/// One channel of a stored pixel; 0 where there is none.
fn value(pixel: &[u8], act: Act, channel: usize) -> u16 {
    let (at, shift, mask) = match act {
        Act::U4 => (channel / 2, 4 * (channel % 2), 15),
        Act::U2 => (channel / 4, 2 * (channel % 4), 3),
        _ => (channel, 0, 255),
    };
    pixel.get(at).map_or(0, |&b| u16::from(b >> shift & mask))
}

/// Four channels at once: no lane can overflow, sums are at most 32,767.
fn four(input: &[u8], at: usize, pixel: usize) -> [[u8; 2]; 4] {
    let (mut even, mut odd) = (0u32, 0u32);
    for p in input.chunks_exact(pixel) {
        let x = word(p.get(at..).unwrap_or(&[]));
        even = even.wrapping_add(uxtb16(x));
        odd = odd.wrapping_add(uxtb16_ror8(x));
    }
    [
        even as u16,
        odd as u16,
        (even >> 16) as u16,
        (odd >> 16) as u16,
    ]
    .map(u16::to_le_bytes)
}
