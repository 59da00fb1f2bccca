//! The input stage on Cortex-M4: tiles of 8 bits from where they lie, others by a copy.

use super::m4::{TILE, stages};
use super::m4_asm::Input;
use super::{Chunk, Geometry, Tile};
use crate::kernels::expand;
use core::array::from_fn;
use shared::act::Act;
use shared::index::{ix, part, reach};

/// Pixels of the largest patch that a tile reads.
const PATCH: usize = 36;

/// See [`super::portable::input`]. The assembly reads groups of four channels of 8 bits, of
/// tiles that lack no pixels but of whole rows and of their first and last column. It may read
/// past a pixel's end, so not the last channels of the map's last pixel where they are no group.
pub fn input(g: &Geometry, chunk: Chunk, tile: Tile, input: &[u8], quad: &mut [u32], slot: usize) {
    let fits = input.len() >= g.in_bytes && quad.len() >= chunk.quad;
    if !fits || slot > 3 {
        return;
    }
    let place = Place::new(g, tile);
    let (all, left) = (chunk.pairs / 2, usize::from(g.spec.c_in) % 4);
    let end = reach(2) * chunk.pairs + chunk.first;
    let ragged = left != 0 && end.0 > usize::from(g.spec.c_in);
    let straight = match (g.spec.input == Act::U8 && place.inner, ragged && place.last) {
        (false, _) => 0,
        (true, false) => all,
        (true, true) => all.saturating_sub(1),
    };
    if straight > 0 {
        let first = chunk.first / 4 * 4;
        let (row, pixel) = (g.in_row, g.in_pixel);
        let origin = place
            .y
            .wrapping_mul(row)
            .wrapping_add(place.x.wrapping_mul(pixel));
        let from = input.as_ptr().wrapping_add(origin.wrapping_add(first));
        let arguments = Input {
            rows: from_fn(|i| from.wrapping_add((ix(i) * row).0)),
            masks: place.masks,
            pixel,
            three_pixels: (ix(3) * pixel).0,
            position: (ix(16) * chunk.pairs).0,
            groups: straight,
            out: quad.as_mut_ptr().wrapping_add(slot),
        };
        let stage = stages(g).input[usize::from(!place.interior)];
        // SAFETY: every pixel that a mask admits lies in `input`, and so do the groups that
        // are read of it, the last up to three bytes past the pixel, but not of the last
        // one; all positions of two words a group are written to the quad, which has them.
        unsafe { stage(&raw const arguments) };
    }
    if ragged && straight == all {
        clear_padding(chunk, left, quad, slot);
    }
    for group in straight..all {
        copied(g, chunk, &place, input, quad, (slot, group));
    }
}

/// Where the patch of a tile lies in the map.
struct Place {
    /// First row and column, wrapped below zero in the padding.
    y: usize,
    x: usize,
    /// Bit `i` of a row's mask: pixel `i` of the row exists.
    masks: [u32; 6],
    /// Whether all pixels exist.
    interior: bool,
    /// Whether all columns but the first and the last do.
    inner: bool,
    /// Whether the map's last pixel is among them.
    last: bool,
}

impl Place {
    fn new(g: &Geometry, tile: Tile) -> Self {
        let pad = usize::from(g.spec.pad);
        let (in_h, in_w) = (usize::from(g.spec.in_h), usize::from(g.spec.in_w));
        let patch = g.side.min(TILE) + 2;
        let (y, x) = (tile.y.wrapping_sub(pad), tile.x.wrapping_sub(pad));
        let columns = (0..patch).fold(0, |mask, i| mask | u32::from(x.wrapping_add(i) < in_w) << i);
        let rows: [bool; 6] = from_fn(|i| i < patch && y.wrapping_add(i) < in_h);
        let all = (1 << patch) - 1;
        let inner = (1 << (patch - 1)) - 2;
        Self {
            y,
            x,
            masks: rows.map(|on| if on { columns } else { 0 }),
            interior: columns == all && rows.iter().take(patch).all(|&on| on),
            inner: columns & inner == inner,
            last: tile.y.saturating_add(patch) >= in_h + pad
                && tile.x.saturating_add(patch) >= in_w + pad,
        }
    }
}

/// Zeroes the lanes past the tensor's channels, which came from the next pixel.
fn clear_padding(chunk: Chunk, left: usize, quad: &mut [u32], slot: usize) {
    let low = 0xffff;
    let masks = match left {
        1 => [low, 0],
        2 => [low, low],
        _ => [u32::MAX, low],
    };
    for position in quad.chunks_exact_mut((ix(4) * chunk.pairs).0.max(1)) {
        let last = position.len().saturating_sub(8);
        let pairs = position.get_mut(last..).unwrap_or(&mut []);
        for (pair, mask) in pairs.as_chunks_mut::<4>().0.iter_mut().zip(masks) {
            pair[slot % 4] &= mask;
        }
    }
}

/// One group of four channels of a tile, through a copy of its patch as bytes.
#[inline(never)]
fn copied(
    g: &Geometry,
    chunk: Chunk,
    place: &Place,
    input: &[u8],
    quad: &mut [u32],
    (slot, group): (usize, usize),
) {
    let side = g.side.min(TILE) + 2;
    let mut patch = [0u32; PATCH];
    for (i, (mask, row)) in place
        .masks
        .into_iter()
        .zip(patch.chunks_mut(side))
        .enumerate()
    {
        let y = place.y.wrapping_add(i);
        for (j, word) in row.iter_mut().enumerate() {
            if mask >> (j & 7) & 1 == 0 {
                continue;
            }
            let at = ix(y) * g.in_row + (ix(place.x) + j) * g.in_pixel;
            let pixel = part(input, at.0, g.in_pixel);
            let group = (ix(chunk.first / 4) + group).0;
            let [even, odd] = expand::group(g.spec.input, pixel, group);
            *word = even | odd << 8;
        }
    }
    let from = patch.as_ptr();
    let arguments = Input {
        rows: from_fn(|i| from.wrapping_add((ix(i) * side).0).cast()),
        masks: [u32::MAX; 6],
        pixel: 4,
        three_pixels: 12,
        position: (ix(16) * chunk.pairs).0,
        groups: 1,
        out: quad.as_mut_ptr().wrapping_add((ix(8) * group + slot).0),
    };
    // SAFETY: the patch has all rows and columns of a tile, one group a pixel; all positions
    // of two words are written to the quad, which has them.
    unsafe { (stages(g).input[0])(&raw const arguments) };
}
