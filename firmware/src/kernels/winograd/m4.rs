//! The stages on Cortex-M4: which of them the assembly does, and what stays portable.

use super::m4_asm::{self as asm, Input, Multiply, Output, STAGES_2, STAGES_4, Stages};
use super::portable;
use super::{Block, Geometry, Tile};
use shared::act::Act;

fn stages(g: &Geometry) -> &'static Stages {
    // A kernel that is not built in must not be named, for the linker to drop it.
    let only_2 = !cfg!(feature = "winograd4");
    let small = cfg!(feature = "winograd2") && (only_2 || g.side == 2);
    if small { &STAGES_2 } else { &STAGES_4 }
}

/// See [`portable::input`]. Assembly for whole groups of four channels.
pub fn input(g: &Geometry, tile: Tile, input: &[u8], quad: &mut [u32], slot: usize) {
    let bytes = match g.spec.input {
        Act::U8 => 4,
        Act::U4 => 2,
        Act::U2 => 1,
        _ => 0,
    };
    // Whole groups of four channels; what is left of a pixel is portable.
    let (groups, all) = (usize::from(g.spec.c_in) / 4, g.pairs / 2);
    let fits = input.len() >= usize::from(g.spec.in_h) * g.in_row && quad.len() >= g.quad();
    if bytes == 0 || groups == 0 || !fits || slot > 3 {
        portable::input(g, tile, input, quad, slot);
        return;
    }
    if groups < all {
        portable::input_groups(g, tile, input, quad, slot, groups..all);
    }
    let pad = usize::from(g.spec.pad);
    let on = |at: usize, len: u16| at >= pad && at - pad < usize::from(len);
    let patch = g.side + 2;
    let columns = (0..patch).fold(0, |mask, i| {
        mask | u32::from(on(tile.x + i, g.spec.in_w)) << i
    });
    let rows: [bool; 6] = core::array::from_fn(|i| on(tile.y + i, g.spec.in_h));
    let first = tile.x.wrapping_sub(pad).wrapping_mul(g.in_pixel);
    let arguments = Input {
        rows: core::array::from_fn(|i| {
            let row = (tile.y + i).wrapping_sub(pad).wrapping_mul(g.in_row);
            input.as_ptr().wrapping_add(row.wrapping_add(first))
        }),
        masks: rows.map(|on| if on { columns } else { 0 }),
        pixel: g.in_pixel,
        three_pixels: 3 * g.in_pixel,
        position: 16 * g.pairs,
        groups,
        out: quad.as_mut_ptr().wrapping_add(slot),
    };
    let rows_there = rows.iter().take(patch).all(|&there| there);
    let interior = columns == (1 << patch) - 1 && rows_there;
    let [inside, edge, edge_u4, edge_u2] = stages(g).input;
    // SAFETY: every pixel that a mask admits lies in `input`, `groups` whole groups of it are
    // read; all positions of two words a group are written to the quad, which has them.
    unsafe {
        match (bytes, interior) {
            (4, true) => inside(&raw const arguments),
            (4, false) => edge(&raw const arguments),
            (2, _) => edge_u4(&raw const arguments),
            _ => edge_u2(&raw const arguments),
        }
    }
}

/// See [`portable::weights`].
pub fn weights(g: &Geometry, plain: &[u32], out: &mut [u32]) {
    if plain.len() < 18 * g.pairs || out.len() < 2 * g.positions() * g.pairs || g.pairs < 2 {
        return;
    }
    for channel in 0..2 {
        let (from, to) = (
            plain.as_ptr().wrapping_add(channel),
            out.as_mut_ptr().wrapping_add(channel),
        );
        // SAFETY: nine taps of `pairs` pairs of two words are read, all positions of as many
        // are written; both lengths were checked.
        unsafe { (stages(g).weights)(from, to, g.pairs) };
    }
}

/// See [`portable::multiply`].
pub fn multiply(g: &Geometry, quad: &[u32], weights: &[u32], sums: &mut [u32]) {
    let sizes = (2 * g.positions() * g.pairs, 8 * g.positions());
    let fits = quad.len() >= g.quad() && weights.len() >= sizes.0 && sums.len() >= sizes.1;
    if !fits || g.pairs < 2 {
        return;
    }
    let arguments = Multiply {
        weights: weights.as_ptr(),
        tiles: quad.as_ptr(),
        sums: sums.as_mut_ptr(),
        groups: g.pairs / 2,
    };
    // SAFETY: reads a quad and a block's weights, writes its sums; lengths were checked.
    unsafe { (stages(g).multiply)(&raw const arguments) };
}

/// Bytes that the outputs of four tiles of two channels take at most.
const BUFFER: usize = 4 * 4 * 4 * 2;

/// See [`portable::output`]. Whole quads of 8 bits go straight to their place; else through
/// a small buffer, `[tile][row][column][channel]`.
pub fn output(
    g: &Geometry,
    block: &Block,
    sums: &[u32],
    tiles: impl Iterator<Item = Tile>,
    output: &mut [u8],
) {
    if sums.len() < 8 * g.positions() {
        return;
    }
    let pool = if g.spec.pool == 2 { 2 } else { 1 };
    let (mut places, mut whole, mut count) = ([Tile { y: 0, x: 0 }; 4], true, 0);
    for (place, tile) in places.iter_mut().zip(tiles) {
        *place = tile;
        whole &= tile.y + g.side <= g.rows && tile.x + g.side <= g.columns;
        count += 1;
    }
    let at = |t: Tile| t.y / pool * g.out_row + t.x / pool * g.out_pixel;
    let last = g.out_row * (g.rows / pool);
    // F(2x2,3x3) always writes both channels.
    whole &= g.side == 4 || block.channels == 2;
    if whole && count == 4 && g.spec.output == Act::U8 && output.len() >= last {
        let base = output.as_mut_ptr();
        let to = places.map(|t| base.wrapping_add(at(t) + block.channel));
        transform(g, block, sums, to, g.out_pixel, g.out_row);
        return;
    }
    let mut buffer = [0u8; BUFFER];
    let side = g.side / pool;
    let base = buffer.as_mut_ptr();
    let to = [0, 1, 2, 3].map(|i| base.wrapping_add(i * 2 * side * side));
    transform(g, block, sums, to, 2, 2 * side);
    let values = buffer.as_chunks::<2>().0.chunks_exact((side * side).max(1));
    for (tile, values) in places.iter().zip(values).take(count) {
        let rows = (g.rows - tile.y.min(g.rows)).div_ceil(pool);
        let columns = (g.columns - tile.x.min(g.columns)).div_ceil(pool);
        for (row, values) in values.chunks_exact(side.max(1)).enumerate().take(rows) {
            let start = at(*tile) + row * g.out_row;
            let pixels = output.get_mut(start..).unwrap_or(&mut []);
            for (pixel, &y) in pixels
                .chunks_mut(g.out_pixel.max(1))
                .zip(values)
                .take(columns)
            {
                store(g, block, y, pixel);
            }
        }
    }
}

/// Stores both channels' values of one pixel.
#[inline(always)]
fn store(g: &Geometry, block: &Block, y: [u8; 2], pixel: &mut [u8]) {
    if g.spec.output == Act::U4 && block.channels == 2 {
        // A block begins with an even channel: its two make one byte.
        if let Some(b) = pixel.get_mut(block.channel / 2) {
            *b = y[0].min(15) | y[1].min(15) << 4;
        }
        return;
    }
    for (channel, y) in y.into_iter().enumerate().take(block.channels) {
        let y = y.min(g.spec.output.max() as u8);
        portable::put(g, pixel, block.channel + channel, y);
    }
}

/// Transforms, pools and requantizes to 8 bits all four tiles of the block's channels.
fn transform(
    g: &Geometry,
    block: &Block,
    sums: &[u32],
    to: [*mut u8; 4],
    column: usize,
    row: usize,
) {
    let parameters = block.requants.map(|r| Output {
        bias: r.bias,
        multiplier: r.m(),
        shift: r.shift(),
    });
    let pooled = g.spec.pool == 2;
    let (sums, to, parameters) = (sums.as_ptr(), to.as_ptr(), parameters.as_ptr());
    // SAFETY: reads the sums of each tile and channel, which are there; writes the tile's
    // bytes of each channel to each of `to`, which the caller has room for.
    unsafe {
        if g.side == 2 {
            let function = if pooled {
                asm::pressboard_winograd_output2_pooled
            } else {
                asm::pressboard_winograd_output2
            };
            function(sums, to, parameters, row, column);
        } else {
            let function = if pooled {
                asm::pressboard_winograd_output_pooled
            } else {
                asm::pressboard_winograd_output
            };
            function(sums, to, parameters, column, row, 4, block.channels);
        }
    }
}
