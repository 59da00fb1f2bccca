//! The stages on Cortex-M4: which of them the assembly does, and what stays portable.

use super::m4_asm::{LANES, Multiply, Output, OutputStage, STAGES_2, STAGES_4, Stages};
pub use super::m4_input::input;
use super::portable;
use super::{Block, Chunk, Geometry, Products, Source, Tile};
use crate::kernels::dot::channel_start;
use core::ops::Range;
use shared::act::Act;
use shared::index::{ix, reach};

pub(super) fn stages(g: &Geometry) -> &'static Stages {
    // A kernel that is not built in must not be named, for the linker to drop it.
    let only_2 = !cfg!(feature = "winograd4");
    let small = cfg!(feature = "winograd2") && (only_2 || g.side == 2);
    if small { &STAGES_2 } else { &STAGES_4 }
}

/// See [`portable::weights`].
pub fn weights(g: &Geometry, chunk: Chunk, source: &mut Source, out: &mut [u32]) {
    if out.len() < chunk.block || chunk.pairs < 2 {
        return;
    }
    for channel in 0..2 {
        let to = out.as_mut_ptr().wrapping_add(channel);
        match source {
            Source::Stored(channels, buffer) => stored(g, chunk, channels[channel], buffer, to),
            Source::Plain(plain) => {
                let first = (ix(chunk.first) + channel_start(channel, plain.len() / 2)).0;
                let chunk_end = reach(2) * chunk.pairs + chunk.first;
                if plain.len() < (reach(18) * g.pairs).0 || chunk_end.0 / 2 > g.pairs {
                    return;
                }
                let from = plain.as_ptr().wrapping_add(first);
                // SAFETY: nine taps of the chunk's pairs are read, all positions of as many
                // are written; both lengths were checked.
                unsafe { (stages(g).plain)(from, to, chunk.pairs, (ix(8) * g.pairs).0) };
            }
        }
    }
}

/// Transforms what is stored of one channel; a channel that does not exist has zeros.
fn stored(g: &Geometry, chunk: Chunk, bytes: &[u8], buffer: &mut [u32], to: *mut u32) {
    let from = bytes.get(chunk.stored_from..).unwrap_or(&[]);
    let Some(words) = from.get(..chunk.stored).filter(|words| !words.is_empty()) else {
        for pair in 0..chunk.block / 2 {
            // SAFETY: every second word of the weights, whose length was checked.
            unsafe { to.wrapping_add((ix(2) * pair).0).write(0) };
        }
        return;
    };
    let [eight, four, two] = stages(g).stored;
    let whole = match g.spec.w_bits {
        8 => eight,
        4 => four,
        2 => two,
        _ => {
            let words = words.chunks_exact(g.unit_bytes.max(1));
            in_lanes(g, words, buffer, to);
            return;
        }
    };
    // SAFETY: nine words a unit are read, which are there; all positions of the chunk's pairs
    // are written, every second word, and their length was checked.
    unsafe { whole(words.as_ptr(), to, chunk.units) };
}

/// The same for units in lanes, which become bytes first.
fn in_lanes<'a>(
    g: &Geometry,
    units: impl Iterator<Item = &'a [u8]>,
    buffer: &mut [u32],
    to: *mut u32,
) {
    let groups = g.unit / 4;
    if buffer.len() < (reach(9) * groups).0 {
        return;
    }
    let unpack = LANES[usize::from(g.spec.w_bits).clamp(3, 7) - 3];
    let mut at = ix(0);
    for unit in units {
        let place = to.wrapping_add(at.0);
        at = at + ix(4) * g.positions * groups;
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
    let (quad, stages) = (chunk.quad, stages(g));
    let count = products.strip.len().div_ceil(4);
    let sums_end = reach(count.saturating_sub(1)) * products.step + reach(8) * g.positions;
    let fits = products.tiles.len() >= (reach(count) * quad).0
        && products.weights.len() >= chunk.block
        && sums.len() >= sums_end.0;
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
                let tiles = strip.start..strip.end.min(strip.start.saturating_add(4));
                back.output_part(g, block, arguments.sums, tiles, output);
            }
        }
        arguments.tiles = arguments.tiles.wrapping_add(quad);
        arguments.sums = arguments.sums.wrapping_add(products.step);
        strip.start = strip.start.saturating_add(4);
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
        let even = (g.rows | g.columns) & g.side.wrapping_sub(1) == 0;
        let tile = g.tile(first);
        let row = ix(tile.y >> pool) * g.out_row + block.channel;
        let across = g.across.max(1);
        Self {
            straight: even
                && g.spec.output == Act::U8
                && output.len() >= (reach(g.out_row) * (g.rows >> pool)).0,
            at: (row + ix(tile.x >> pool) * g.out_pixel).0,
            row: row.0,
            left: across - first % across,
            across,
            step: (ix(g.side >> pool) * g.out_pixel).0,
            row_step: (ix(g.side >> pool) * g.out_row).0,
        }
    }

    #[inline]
    fn next(&mut self) -> usize {
        let at = self.at;
        self.at = self.at.wrapping_add(self.step);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.row = self.row.wrapping_add(self.row_step);
            (self.at, self.left) = (self.row, self.across);
        }
        at
    }
}

/// Output rows and columns of the larger tile.
pub(super) const TILE: usize = 4;

/// Bytes that the outputs of four tiles of two channels take at most.
const BUFFER: usize = 4 * TILE * TILE * 2;

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
        let pool = self.pool & 1;
        (ix(t.y >> pool) * g.out_row + ix(t.x >> pool) * g.out_pixel).0
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
        let side = g.side.min(TILE) >> (self.pool & 1);
        let base = buffer.as_mut_ptr();
        let to = [0, 1, 2, 3].map(|i| base.wrapping_add((ix(2) * i * side * side).0));
        self.transform(g, block, sums, to, [2, 2 * side]);
        let values = buffer.as_chunks::<2>().0.chunks_exact((side * side).max(1));
        for (tile, values) in tiles.map(|i| g.tile(i)).zip(values) {
            let rows = (g.rows - tile.y.min(g.rows)).div_ceil(1 << (self.pool & 1));
            let columns = (g.columns - tile.x.min(g.columns)).div_ceil(1 << (self.pool & 1));
            for (row, values) in values.chunks_exact(side.max(1)).enumerate().take(rows) {
                let start = ix(row) * g.out_row + self.at(g, tile);
                let pixels = output.get_mut(start.0..).unwrap_or(&mut []);
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
        portable::put(g, pixel, (ix(block.channel) + channel).0, y);
    }
}
