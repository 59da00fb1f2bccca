//! Convolution 3x3 of stride 1 by exact integer Winograd, F(4x4,3x3) and F(2x2,3x3).
//!
//! [`shared::winograd`] has the algebra and says when it is exact. For each strip of output
//! rows the tiles that it reads are transformed once, in groups of four (quads); for each
//! block of two output channels the weights are unpacked as for the direct kernel and
//! transformed, then for each quad the 36 or 16 positions are multiplied and summed over the
//! input channels, and the sums are transformed back, pooled, requantized and stored.
//!
//! Scratch, in words of two 16-bit lanes, `pairs = c_in4 / 2`:
//! - tiles, `[quad][position][pair][tile of 4]`
//! - weights, `[pair / 2][position][pair % 2][channel of 2]`
//! - sums, `[channel of 2][tile of 4][position]`, where the plain weights were before
//!
//! Positions count columns first, `6 · column + row` or `4 · column + row`. [`portable`] defines each stage; on a
//! core with the DSP extension the same stages run in assembly where the shape allows.

#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
mod m4;
#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
mod m4_asm;
mod portable;

#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
use m4 as stages;
#[cfg(not(all(feature = "dsp", feature = "fpu", target_arch = "arm")))]
use portable as stages;

/// Whether the assembly runs. It keeps intermediate values in FPU registers.
pub const FAST: bool = cfg!(all(feature = "dsp", feature = "fpu", target_arch = "arm"));

use super::{Blocks, LayerError, unpack};
use shared::blob::Layer;
use shared::semantics::Requant;
use shared::spec::{Kernel, LayerSpec};

/// What the stages need to know of a layer.
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
    /// Bytes of a stored input pixel and row.
    in_pixel: usize,
    in_row: usize,
    /// Bytes of a stored output pixel and row.
    out_pixel: usize,
    out_row: usize,
}

impl<'a> Geometry<'a> {
    fn new(spec: &'a LayerSpec) -> Self {
        let columns = spec.conv_out().1;
        let pool = usize::from(spec.pool).max(1);
        let side = if spec.kernel == Kernel::Winograd2 {
            2
        } else {
            4
        };
        let (out_h, out_w) = spec.out_hw();
        let in_pixel = spec.input.pixel_bytes(spec.c_in) as usize;
        let out_pixel = spec.output.pixel_bytes(spec.c_out) as usize;
        Self {
            spec,
            side,
            rows: usize::from(out_h) * pool,
            columns: usize::from(out_w) * pool,
            across: usize::from(columns).div_ceil(side),
            pairs: spec.c_in4() as usize / 2,
            in_pixel,
            in_row: in_pixel * usize::from(spec.in_w),
            out_pixel,
            out_row: out_pixel * usize::from(out_w),
        }
    }

    /// Elements of a transformed tile.
    fn positions(&self) -> usize {
        (self.side + 2) * (self.side + 2)
    }

    /// Words of a quad's transformed tiles.
    fn quad(&self) -> usize {
        self.positions() * self.pairs * 4
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

/// Runs the layer; `scratch` is exactly `spec.scratch_bytes()`, as words.
///
/// # Errors
/// [`LayerError`].
pub fn run(
    layer: &Layer,
    blocks: Blocks,
    input: &[u8],
    output: &mut [u8],
    scratch: &mut [u32],
) -> Result<(), LayerError> {
    let spec = layer.spec();
    let plan = spec.scratch();
    let (tiles, rest) = scratch
        .split_at_mut_checked(plan.activations as usize / 4)
        .ok_or(LayerError::Buffers)?;
    let (weights, shared) = rest
        .split_at_mut_checked(plan.weights as usize / 4)
        .ok_or(LayerError::Buffers)?;
    let g = Geometry::new(spec);
    let mut start = 0;
    while start < g.rows {
        let end = (start + usize::from(spec.strip_rows).max(1)).min(g.rows);
        let count = (end - start).div_ceil(g.side) * g.across;
        let tile_at = |i: usize| Tile {
            y: start + i / g.across.max(1) * g.side,
            x: i % g.across.max(1) * g.side,
        };
        for i in 0..count {
            let at = i / 4 * g.quad();
            if let Some(quad) = tiles.get_mut(at..at + g.quad()) {
                stages::input(&g, tile_at(i), input, quad, i % 4);
            }
        }
        for block in 0..blocks.count(spec.blocks()) {
            let plain = shared
                .get_mut(..2 * 9 * g.pairs)
                .ok_or(LayerError::Buffers)?;
            unpack::block(layer, blocks.stored(block), plain)
                .map_err(|unpack::Corrupt| LayerError::Corrupt { block })?;
            stages::weights(&g, plain, weights);
            let sums = shared
                .get_mut(..2 * 4 * g.positions())
                .ok_or(LayerError::Buffers)?;
            let block = Block {
                channel: 2 * usize::from(block),
                channels: usize::from(layer.block_channels(block)),
                requants: [0, 1].map(|i| layer.requant((2 * block).saturating_add(i))),
            };
            for (q, quad) in tiles.chunks_exact(g.quad().max(1)).enumerate() {
                let quad_tiles = (4 * q..count).take(4).map(tile_at);
                if 4 * q >= count {
                    break;
                }
                stages::multiply(&g, quad, weights, sums);
                stages::output(&g, &block, sums, quad_tiles, output);
            }
        }
        start = end;
    }
    Ok(())
}
