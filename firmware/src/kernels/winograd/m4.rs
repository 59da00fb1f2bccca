//! The stages on Cortex-M4: which of them the assembly does, and what stays portable.

use super::m4_asm::{Input, LANES, Multiply, Output, OutputStage, STAGES_2, STAGES_4, Stages};
use super::portable;
use super::{Block, Chunk, Geometry, Products, Source, Tile};
use crate::kernels::dot::channel_start;
use core::ops::Range;
use shared::act::Act;

fn stages(g: &Geometry) -> &'static Stages {
    // A kernel that is not built in must not be named, for the linker to drop it.
    let only_2 = !cfg!(feature = "winograd4");
    let small = cfg!(feature = "winograd2") && (only_2 || g.side == 2);
    if small { &STAGES_2 } else { &STAGES_4 }
}

/// See [`portable::input`]. All of it in assembly, but for the last channels of the tensor's
/// last pixel where they are no group of four: those bytes may be the last there are.
pub fn input(g: &Geometry, chunk: Chunk, tile: Tile, input: &[u8], quad: &mut [u32], slot: usize) {
    let bytes = match g.spec.input {
        Act::U8 => 4,
        Act::U4 => 2,
        Act::U2 => 1,
        _ => 0,
    };
    let (all, left) = (chunk.pairs / 2, usize::from(g.spec.c_in) % 4);
    let ragged = left != 0 && chunk.first + 2 * chunk.pairs > usize::from(g.spec.c_in);
    let reach = |at: usize, len: u16| at + g.side + 2 >= usize::from(len + u16::from(g.spec.pad));
    let last = reach(tile.y, g.spec.in_h) && reach(tile.x, g.spec.in_w);
    let groups = if ragged && last { all - 1 } else { all };
    let fits = input.len() >= usize::from(g.spec.in_h) * g.in_row && quad.len() >= chunk.quad(g);
    if bytes == 0 || !fits || slot > 3 {
        portable::input(g, chunk, tile, input, quad, slot);
        return;
    }
    if groups < all {
        portable::input_groups(g, chunk, tile, input, quad, slot, groups..all);
    }
    if groups > 0 {
        transform_input(g, chunk, tile, input, quad, slot, (bytes, groups));
    }
    if ragged && groups == all {
        clear_padding(chunk, left, quad, slot);
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
    for position in quad.chunks_exact_mut((4 * chunk.pairs).max(1)) {
        let last = position.len().saturating_sub(8);
        for (pair, mask) in position[last..]
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(masks)
        {
            pair[slot % 4] &= mask;
        }
    }
}

/// `groups` whole groups of a tile, each of `bytes` bytes.
fn transform_input(
    g: &Geometry,
    chunk: Chunk,
    tile: Tile,
    input: &[u8],
    quad: &mut [u32],
    slot: usize,
    (bytes, groups): (usize, usize),
) {
    let pad = usize::from(g.spec.pad);
    let on = |at: usize, len: u16| at >= pad && at - pad < usize::from(len);
    let patch = g.side + 2;
    let columns = (0..patch).fold(0, |mask, i| {
        mask | u32::from(on(tile.x + i, g.spec.in_w)) << i
    });
    let rows: [bool; 6] = core::array::from_fn(|i| on(tile.y + i, g.spec.in_h));
    let first = tile.x.wrapping_sub(pad).wrapping_mul(g.in_pixel);
    let first = first.wrapping_add(chunk.first / 4 * bytes);
    let arguments = Input {
        rows: core::array::from_fn(|i| {
            let row = (tile.y + i).wrapping_sub(pad).wrapping_mul(g.in_row);
            input.as_ptr().wrapping_add(row.wrapping_add(first))
        }),
        masks: rows.map(|on| if on { columns } else { 0 }),
        pixel: g.in_pixel,
        three_pixels: 3 * g.in_pixel,
        position: 16 * chunk.pairs,
        groups,
        out: quad.as_mut_ptr().wrapping_add(slot),
    };
    let rows_there = rows.iter().take(patch).all(|&there| there);
    let interior = columns == (1 << patch) - 1 && rows_there;
    // Without the first and the last column.
    let inner = (1 << (patch - 1)) - 2;
    let border = columns & inner == inner;
    let [inside, bordered, edge, edge_u4, edge_u2] = stages(g).input;
    // SAFETY: every pixel that a mask admits lies in `input`, and so do the `groups` groups
    // that are read of it, the last up to three bytes past the pixel, but not of the last
    // one; all positions of two words a group are written to the quad, which has them.
    unsafe {
        match (bytes, interior) {
            (4, true) => inside(&raw const arguments),
            (4, false) if border => bordered(&raw const arguments),
            (4, false) => edge(&raw const arguments),
            (2, _) => edge_u4(&raw const arguments),
            _ => edge_u2(&raw const arguments),
        }
    }
}

/// See [`portable::weights`].
pub fn weights(g: &Geometry, chunk: Chunk, source: &mut Source, out: &mut [u32]) {
    if out.len() < 2 * g.positions * chunk.pairs || chunk.pairs < 2 {
        return;
    }
    for channel in 0..2 {
        let to = out.as_mut_ptr().wrapping_add(channel);
        match source {
            Source::Stored(channels, buffer) => stored(g, chunk, channels[channel], buffer, to),
            Source::Plain(plain) => {
                let first = channel_start(channel, plain.len() / 2) + chunk.first;
                if plain.len() < 18 * g.pairs || chunk.first + 2 * chunk.pairs > 2 * g.pairs {
                    return;
                }
                let from = plain.as_ptr().wrapping_add(first);
                // SAFETY: nine taps of the chunk's pairs are read, all positions of as many
                // are written; both lengths were checked.
                unsafe { (stages(g).plain)(from, to, chunk.pairs, 8 * g.pairs) };
            }
        }
    }
}

/// Transforms what is stored of one channel; a channel that does not exist has zeros.
fn stored(g: &Geometry, chunk: Chunk, bytes: &[u8], buffer: &mut [u32], to: *mut u32) {
    let (shift, bits) = (g.unit.trailing_zeros(), usize::from(g.spec.w_bits));
    let (start, units) = (chunk.first >> shift, 2 * chunk.pairs >> shift);
    // Nine taps of a unit.
    let len = 9 * g.unit * bits / 8;
    let Some(words) = bytes.get(len * start..len * (start + units)) else {
        for pair in 0..chunk.pairs * g.positions {
            // SAFETY: every second word of the weights, whose length was checked.
            unsafe { to.add(2 * pair).write(0) };
        }
        return;
    };
    let [eight, four, two] = stages(g).stored;
    let whole = match bits {
        8 => eight,
        4 => four,
        2 => two,
        _ => {
            let words = words.chunks_exact(len.max(1));
            in_lanes(g, words, buffer, to);
            return;
        }
    };
    // SAFETY: nine words a unit are read, which are there; all positions of the chunk's pairs
    // are written, every second word, and their length was checked.
    unsafe { whole(words.as_ptr(), to, units) };
}

/// The same for units in lanes, which become bytes first.
fn in_lanes<'a>(
    g: &Geometry,
    units: impl Iterator<Item = &'a [u8]>,
    buffer: &mut [u32],
    to: *mut u32,
) {
    let groups = g.unit / 4;
    if buffer.len() < 9 * groups {
        return;
    }
    let unpack = LANES[usize::from(g.spec.w_bits).clamp(3, 7) - 3];
    for (i, unit) in units.enumerate() {
        let place = to.wrapping_add(4 * g.positions * groups * i);
        // SAFETY: the unit has all its words, the buffer room for nine words a group, and the
        // place room for all positions of its pairs, as checked by the callers.
        unsafe {
            unpack(unit.as_ptr(), buffer.as_mut_ptr());
            (stages(g).stored[0])(buffer.as_ptr().cast(), place, groups);
        }
    }
}

/// See [`portable::quads`].
pub fn quads(
    g: &Geometry,
    chunk: Chunk,
    products: &Products,
    sums: &mut [u32],
    mut output: Option<(&Block, &mut [u8])>,
) -> Option<()> {
    let (quad, one, stages) = (chunk.quad(g), 8 * g.positions, stages(g));
    let count = products.strip.len().div_ceil(4);
    let fits = products.tiles.len() >= count * quad
        && products.weights.len() >= 2 * g.positions * chunk.pairs
        && sums.len() >= count.saturating_sub(1) * products.step + one;
    if !fits || chunk.pairs < 2 {
        return None;
    }
    let mut arguments = Multiply {
        weights: products.weights.as_ptr(),
        tiles: products.tiles.as_ptr(),
        sums: sums.as_mut_ptr(),
        groups: chunk.pairs / 2,
        adds: chunk.first,
    };
    let mut back = output.as_ref().map(|(block, output)| {
        let places = Places::new(g, block, products.strip.start, output);
        (Back::new(g, block), places)
    });
    let mut strip = products.strip.clone();
    while !strip.is_empty() {
        // SAFETY: reads a quad and a block's weights, writes its sums; lengths were checked.
        unsafe { (stages.multiply)(&raw const arguments) };
        if let (Some((back, places)), Some((block, output))) = (&mut back, &mut output) {
            if places.straight && strip.len() >= 4 {
                let to = [(); 4].map(|()| places.next());
                let to = to.map(|at| output.as_mut_ptr().wrapping_add(at));
                back.transform(g, block, arguments.sums, to, [g.out_pixel, g.out_row]);
            } else {
                let tiles = strip.start..strip.end.min(strip.start + 4);
                back.output_part(g, block, arguments.sums, tiles, output);
            }
        }
        arguments.tiles = arguments.tiles.wrapping_add(quad);
        arguments.sums = arguments.sums.wrapping_add(products.step);
        strip.start += 4;
    }
    Some(())
}

/// The places of tiles in the output, along the rows.
struct Places {
    /// Whether they may be written as they are: 8 bits, and no tile leaves the map.
    straight: bool,
    /// Bytes from the output's start: of the next tile, of the first of its row.
    at: usize,
    row: usize,
    /// Tiles that the row still has, the next one included.
    left: usize,
    across: usize,
    step: usize,
    row_step: usize,
}

impl Places {
    fn new(g: &Geometry, block: &Block, first: usize, output: &[u8]) -> Self {
        let pool = u32::from(g.spec.pool == 2);
        let even = (g.rows | g.columns) & (g.side - 1) == 0;
        let tile = g.tile(first);
        let row = (tile.y >> pool) * g.out_row + block.channel;
        let across = g.across.max(1);
        Self {
            straight: even
                && g.spec.output == Act::U8
                && output.len() >= g.out_row * (g.rows >> pool),
            at: row + (tile.x >> pool) * g.out_pixel,
            row,
            left: across - first % across,
            across,
            step: (g.side >> pool) * g.out_pixel,
            row_step: (g.side >> pool) * g.out_row,
        }
    }

    #[inline]
    fn next(&mut self) -> usize {
        let at = self.at;
        self.at += self.step;
        self.left -= 1;
        if self.left == 0 {
            self.row += self.row_step;
            (self.at, self.left) = (self.row, self.across);
        }
        at
    }
}

/// Bytes that the outputs of four tiles of two channels take at most.
const BUFFER: usize = 4 * 4 * 4 * 2;

/// What the way back of one block's sums needs, for all quads.
struct Back {
    parameters: [Output; 2],
    stage: OutputStage,
    /// 1 with a 2x2 max-pool, else 0: what positions are shifted by.
    pool: u32,
}

impl Back {
    fn new(g: &Geometry, block: &Block) -> Self {
        let pooled = g.spec.pool == 2;
        Self {
            parameters: block.requants.map(|r| Output {
                bias: r.bias,
                multiplier: r.m(),
                shift: r.shift(),
            }),
            stage: stages(g).output[usize::from(pooled)],
            pool: u32::from(pooled),
        }
    }

    /// Where a tile's first output pixel is.
    fn at(&self, g: &Geometry, t: Tile) -> usize {
        (t.y >> self.pool) * g.out_row + (t.x >> self.pool) * g.out_pixel
    }

    /// Through a small buffer, `[tile][row][column][channel]`.
    #[inline(never)]
    fn output_part(
        &self,
        g: &Geometry,
        block: &Block,
        sums: *const u32,
        tiles: Range<usize>,
        output: &mut [u8],
    ) {
        let mut buffer = [0u8; BUFFER];
        let side = g.side >> self.pool;
        let base = buffer.as_mut_ptr();
        let to = [0, 1, 2, 3].map(|i| base.wrapping_add(i * 2 * side * side));
        self.transform(g, block, sums, to, [2, 2 * side]);
        let values = buffer.as_chunks::<2>().0.chunks_exact((side * side).max(1));
        for (tile, values) in tiles.map(|i| g.tile(i)).zip(values) {
            let rows = (g.rows - tile.y.min(g.rows)).div_ceil(1 << self.pool);
            let columns = (g.columns - tile.x.min(g.columns)).div_ceil(1 << self.pool);
            for (row, values) in values.chunks_exact(side.max(1)).enumerate().take(rows) {
                let start = self.at(g, tile) + row * g.out_row;
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

    /// Transforms, pools and requantizes to 8 bits all four tiles of the block's channels.
    fn transform(
        &self,
        g: &Geometry,
        block: &Block,
        sums: *const u32,
        to: [*mut u8; 4],
        [column, row]: [usize; 2],
    ) {
        let [first, second] = match g.side {
            2 => [row, column],
            _ => [column, row],
        };
        let (to, parameters) = (to.as_ptr(), self.parameters.as_ptr());
        // SAFETY: reads the sums of each tile and channel, which are there; writes the tile's
        // bytes of each channel to each of `to`, which the caller has room for.
        unsafe { (self.stage)(sums, to, parameters, first, second, 4, block.channels) };
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
