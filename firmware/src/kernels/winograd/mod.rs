//! Convolution 3x3 of stride 1 by exact integer Winograd, F(4x4,3x3) and F(2x2,3x3).
//!
//! [`shared::winograd`] has the algebra and says when it is exact. For each strip of tiles
//! these are transformed once, in groups of four (quads); for each block of two output
//! channels the weights are transformed, then for each quad the 36 or 16 positions are
//! multiplied and summed over the input channels, and the sums are transformed back, pooled,
//! requantized and stored. Where scratch is short, input channels come in several turns
//! ([`Chunk`]) and the sums of a group of blocks wait for the last.
//!
//! Scratch, in words of two 16-bit lanes, `pairs` = input channels at a time / 2:
//! - tiles, `[quad][position][pair][tile of 4]`
//! - weights, `[pair / 2][position][pair % 2][channel of 2]`
//! - the plain weights, where they cannot be read from flash, see [`shared::winograd::unit`]
//! - sums, `[slot][channel of 2][tile of 4][position]`; where there is one slot, in the place
//!   of the plain weights
//!
//! Positions count columns first, `6 · column + row` or `4 · column + row`. [`portable`]
//! defines each stage; on a core with the DSP extension the same stages run in assembly.

#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
mod m4;
#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
mod m4_asm;
#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
mod m4_input;
mod portable;

#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
use m4 as stages;
#[cfg(not(all(feature = "dsp", feature = "fpu", target_arch = "arm")))]
use portable as stages;

/// Whether the assembly runs. It keeps intermediate values in FPU registers.
pub const FAST: bool = cfg!(all(feature = "dsp", feature = "fpu", target_arch = "arm"));

use super::unpack::Weights;
use super::{Blocks, LayerError};
use core::ops::Range;
use shared::coding::Corrupt;
use shared::index::{ix, reach};
use shared::semantics::Requant;
use shared::spec::{Kernel, LayerSpec};
use shared::winograd;

/// What the stages need to know of a layer.
#[cfg_attr(
    not(all(feature = "dsp", feature = "fpu", target_arch = "arm")),
    allow(dead_code)
)]
struct Geometry<'a> {
    spec: &'a LayerSpec,
    /// Output rows and columns of a tile, 4 or 2.
    side: usize,
    /// Rows and columns of the convolution that reach the output.
    rows: usize,
    columns: usize,
    /// Tiles side by side.
    across: usize,
    /// Words of lanes of a pixel.
    pairs: usize,
    /// Elements of a transformed tile.
    positions: usize,
    /// See [`winograd::unit`]; 0 where weights are unpacked first.
    unit: usize,
    /// Bytes of nine taps of a unit.
    unit_bytes: usize,
    /// Words of a block's plain weights.
    plain: usize,
    /// Bytes of a channel's dense weights.
    channel_bytes: usize,
    /// Bytes of a stored input pixel and row.
    in_pixel: usize,
    in_row: usize,
    /// Bytes of the input.
    in_bytes: usize,
    /// Bytes of a stored output pixel and row.
    out_pixel: usize,
    out_row: usize,
}

impl<'a> Geometry<'a> {
    fn new(spec: &'a LayerSpec) -> Self {
        let pool = usize::from(spec.pool).max(1);
        let side = if spec.kernel == Kernel::Winograd2 {
            2
        } else {
            4
        };
        let (out_h, out_w) = spec.out_hw();
        // At most 32.
        let unit = winograd::unit(spec).unwrap_or(0) as usize & 63;
        let in_pixel = spec.input.pixel_bytes(spec.c_in) as usize;
        let out_pixel = spec.output.pixel_bytes(spec.c_out) as usize;
        Self {
            spec,
            side,
            rows: usize::from(out_h) * pool,
            columns: usize::from(out_w) * pool,
            across: (usize::from(out_w) * pool).div_ceil(side),
            pairs: spec.c_in4() as usize / 2,
            positions: (side + 2) * (side + 2),
            unit,
            unit_bytes: 9 * unit * usize::from(spec.w_bits) / 8,
            plain: winograd::plain_bytes(spec) as usize / 4,
            channel_bytes: spec.dense_channel_bytes() as usize,
            in_pixel,
            in_bytes: spec.input_bytes() as usize,
            in_row: (ix(in_pixel) * usize::from(spec.in_w)).0,
            out_pixel,
            out_row: (ix(out_pixel) * usize::from(out_w)).0,
        }
    }

    /// Tile `i`, along the rows.
    fn tile(&self, i: usize) -> Tile {
        Tile {
            y: (ix(i / self.across.max(1)) * self.side).0,
            x: (ix(i % self.across.max(1)) * self.side).0,
        }
    }
}

/// Where a tile's outputs are.
#[derive(Clone, Copy)]
struct Tile {
    /// First row and column of the convolution's output.
    y: usize,
    x: usize,
}

/// The two output channels of a block.
struct Block {
    /// The first one, and how many there are.
    channel: usize,
    channels: usize,
    requants: [Requant; 2],
}

/// The input channels of one turn.
// Whatever the assembly relies on is computed once for all blocks and tiles.
#[cfg_attr(
    not(all(feature = "dsp", feature = "fpu", target_arch = "arm")),
    allow(dead_code)
)]
#[derive(Clone, Copy)]
struct Chunk {
    /// First channel, a multiple of 4.
    first: usize,
    /// Words of lanes, even.
    pairs: usize,
    /// Words of a quad's transformed tiles.
    quad: usize,
    /// Words of a block's transformed weights.
    block: usize,
    /// Units of weights, where they are transformed from the blob, bytes before them in a
    /// channel, and bytes of them all.
    units: usize,
    stored_from: usize,
    stored: usize,
}

impl Chunk {
    /// The channels `first..end`.
    fn new(g: &Geometry, first: u32, end: u32) -> Self {
        let (first, pairs) = (first as usize, end.saturating_sub(first) as usize / 2);
        let units = |channels: usize| channels.checked_div(g.unit).unwrap_or(0);
        Self {
            first,
            pairs,
            quad: (reach(4) * g.positions * pairs).0,
            block: (reach(2) * g.positions * pairs).0,
            units: units(2 * pairs),
            stored_from: (reach(g.unit_bytes) * units(first)).0,
            stored: (reach(g.unit_bytes) * units(2 * pairs)).0,
        }
    }
}

/// What is multiplied: a strip's tiles and a block's weights.
struct Products<'a> {
    tiles: &'a [u32],
    weights: &'a [u32],
    /// Words from the sums of a quad to those of the next; 0 where they do not wait.
    step: usize,
    /// The tiles, along the rows of the map.
    strip: Range<usize>,
}

/// Where the weights of a block are transformed from.
// Portable code makes no bytes of a unit.
#[cfg_attr(
    not(all(feature = "dsp", feature = "fpu", target_arch = "arm")),
    allow(dead_code)
)]
enum Source<'a> {
    /// From the blob, as [`shared::weights::StoredChannel`] reads it, a channel each; with room
    /// for a unit as bytes.
    Stored([&'a [u8]; 2], &'a mut [u32]),
    /// From lanes, as [`Weights::unpack`] leaves them.
    Plain(&'a [u32]),
}

/// Runs the layer; `scratch` is exactly `spec.scratch_bytes()`, as words.
///
/// # Errors
/// [`LayerError`].
pub fn run(
    source: &Weights,
    blocks: Blocks,
    input: &[u8],
    output: &mut [u8],
    scratch: &mut [u32],
) -> Result<(), LayerError> {
    let spec = source.layer.spec();
    let plan = spec.scratch();
    let (tiles, rest) = scratch
        .split_at_mut_checked(plan.activations as usize / 4)
        .ok_or(LayerError::Buffers)?;
    let (weights, shared) = rest
        .split_at_mut_checked(plan.weights as usize / 4)
        .ok_or(LayerError::Buffers)?;
    let g = &Geometry::new(spec);
    let all = (ix(g.rows.div_ceil(g.side.max(1))) * g.across).0;
    let step = (ix(4) * winograd::strip_quads(spec) as usize).0;
    let count = blocks.count(spec.blocks());
    let group = match spec.tiling.blocks {
        0 => count,
        some => some,
    };
    for first_tile in (0..all).step_by(step.max(1)) {
        let strip = first_tile..all.min(first_tile.saturating_add(step));
        for first in (0..count).step_by(usize::from(group).max(1)) {
            let mut turn = Turn {
                g,
                source,
                blocks,
                strip: strip.clone(),
                group: first..count.min(first.saturating_add(group)),
                tiles: &mut *tiles,
                weights: &mut *weights,
                shared: &mut *shared,
            };
            let chunk = winograd::chunk(spec);
            for channel in (0..spec.c_in4()).step_by(chunk.max(4) as usize) {
                let end = spec.c_in4().min(channel.saturating_add(chunk));
                turn.run(Chunk::new(g, channel, end), input, output)?;
            }
        }
    }
    Ok(())
}

/// One strip of tiles and one group of blocks.
struct Turn<'a, 'l> {
    g: &'a Geometry<'a>,
    source: &'a Weights<'l>,
    blocks: Blocks,
    strip: Range<usize>,
    group: Range<u16>,
    tiles: &'a mut [u32],
    weights: &'a mut [u32],
    shared: &'a mut [u32],
}

impl Turn<'_, '_> {
    /// Adds the products of some input channels to the sums; the last ones bring the output.
    #[inline(never)]
    fn run(&mut self, chunk: Chunk, input: &[u8], output: &mut [u8]) -> Result<(), LayerError> {
        let (g, quad) = (self.g, chunk.quad.max(1));
        for (i, tile) in (0..self.strip.len()).zip(self.strip.clone()) {
            let at = ix(i / 4) * quad;
            if let Some(quad) = self.tiles.get_mut(at.0..(at + quad).0) {
                stages::input(g, chunk, g.tile(tile), input, quad, i % 4);
            }
        }
        for block in self.group.clone() {
            self.transform_weights(chunk, block)?;
            self.multiply(chunk, block, output)?;
        }
        Ok(())
    }

    fn transform_weights(&mut self, chunk: Chunk, block: u16) -> Result<(), LayerError> {
        let (g, layer) = (self.g, self.source.layer);
        let stored = self.blocks.stored(block);
        let mut source = if g.unit > 0 {
            let start = ix(2) * usize::from(stored) * g.channel_bytes;
            let from = layer.weights().get(start.0..).unwrap_or(&[]);
            let (first, rest) = from.split_at_checked(g.channel_bytes).unwrap_or((&[], &[]));
            let second = rest.get(..g.channel_bytes).unwrap_or(&[]);
            let bytes = self.shared.get_mut(..g.plain).ok_or(LayerError::Buffers)?;
            Source::Stored([first, second], bytes)
        } else {
            let plain = self.shared.get_mut(..g.plain).ok_or(LayerError::Buffers)?;
            self.source
                .unpack(stored, plain)
                .map_err(|Corrupt| LayerError::Corrupt { block: stored })?;
            Source::Plain(plain)
        };
        stages::weights(g, chunk, &mut source, self.weights);
        Ok(())
    }

    fn multiply(&mut self, chunk: Chunk, block: u16, output: &mut [u8]) -> Result<(), LayerError> {
        let (g, layer) = (self.g, self.source.layer);
        let one = (ix(8) * g.positions).0;
        let quads = self.strip.len().div_ceil(4);
        let (from, step) = if winograd::is_chunked(g.spec) {
            let slot = ix(block.saturating_sub(self.group.start).into()) * quads;
            ((slot * one + g.plain).0, one)
        } else {
            (0, 0)
        };
        let last = (chunk.first / 2).saturating_add(chunk.pairs) >= g.pairs;
        let products = Products {
            tiles: self.tiles,
            weights: self.weights,
            step,
            strip: self.strip.clone(),
        };
        let sums = self.shared.get_mut(from..).ok_or(LayerError::Buffers)?;
        let block = Block {
            channel: 2 * usize::from(block),
            channels: usize::from(layer.block_channels(block)),
            requants: layer.block_requants(block),
        };
        let to = last.then_some((&block, output));
        stages::quads(g, chunk, &products, sums, to).ok_or(LayerError::Buffers)
    }
}
