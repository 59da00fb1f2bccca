//! The stages on Cortex-M4: which of them the assembly does, and what stays portable.

use super::m4_asm::{LANES, Multiply, Output, OutputStage, STAGES_2, STAGES_4, Stages};
pub use super::m4_input::input;
use super::portable;
use super::{Block, Chunk, Geometry, Products, Source, Tile};
use crate::kernels::dot::channel_start;
use core::ops::Range;
use shared::act::Act;

pub(super) fn stages(g: &Geometry) -> &'static Stages {
    // A kernel that is not built in must not be named, for the linker to drop it.
    let only_2 = !cfg!(feature = "winograd4");
    let small = cfg!(feature = "winograd2") && (only_2 || g.side == 2);
    if small { &STAGES_2 } else { &STAGES_4 }
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
