//! The first layer: 3x3 of stride 1 over an image of 1 or 3 channels.
//!
//! With so few channels the direct kernel pays for the beginning and end of each run of taps
//! as much as for products, and multiplies the lanes that pad 3 channels to 4. Here what a
//! column of three pixels holds lies together in a record of five words, of which a pixel
//! takes three neighbouring ones: 14 pairs of lanes for 27 taps, whatever the edges, which
//! are zeros since the image is centred. Neighbouring pixels share records, so four pixels
//! load six words where they multiply twelve. Weights are unpacked once for the layer.
//!
//! [`shared::narrow`] has the layout of the scratch.

#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
use super::narrow_m4::row as dot;
#[cfg(not(all(feature = "dsp", feature = "fpu", target_arch = "arm")))]
use portable::row as dot;

use super::dot::{PAIR_STEP, channel_start};
use super::lanes::{pair, ssub16, unpair};
use super::output::{self, Place};
use super::unpack::Weights;
use super::{Blocks, LayerError, as_signed};
use shared::coding::Corrupt;
use shared::index::ix;
use shared::narrow::{GROUP, RECORD, WEIGHTS, columns};
use shared::spec::LayerSpec;

/// Whether the assembly runs. It keeps weights in FPU registers.
pub const FAST: bool = cfg!(all(feature = "dsp", feature = "fpu", target_arch = "arm"));

/// A column's record, see [`shared::narrow::RECORD`].
pub type Record = [u32; RECORD as usize];

/// A block's weights and biases, see [`shared::narrow::WEIGHTS`].
pub type BlockWeights = [u32; WEIGHTS as usize];

/// Runs the layer; `scratch` is exactly `spec.scratch_bytes()`, as words.
///
/// # Errors
/// [`LayerError`].
pub fn run(
    source: &Weights,
    r_c: [u8; 4],
    blocks: Blocks,
    input: &[u8],
    output: &mut [u8],
    scratch: &mut [u32],
) -> Result<(), LayerError> {
    let layer = source.layer;
    let spec = layer.spec();
    let plan = spec.scratch();
    let (records, rest) = scratch
        .split_at_mut_checked(plan.activations as usize / 4)
        .ok_or(LayerError::Buffers)?;
    let (weights, accumulators) = rest
        .split_at_mut_checked(plan.weights as usize / 4)
        .ok_or(LayerError::Buffers)?;
    let records = records.as_chunks_mut().0;
    let weights = weights.as_chunks_mut().0;
    let count = blocks.count(spec.blocks());
    for (block, to) in (0..count).zip(weights.iter_mut()) {
        let stored = blocks.stored(block);
        block_weights(source, block, stored, accumulators, to)
            .map_err(|Corrupt| LayerError::Corrupt { block })?;
    }

    let across = columns(spec) as usize;
    let pool = usize::from(spec.pool.max(1));
    let row = (ix(2) * across).0.max(1);
    let sums = as_signed(accumulators)
        .get_mut(..(ix(row) * pool).0)
        .ok_or(LayerError::Buffers)?;
    let pixel = spec.output.pixel_bytes(spec.c_out) as usize;
    let out_row = (ix(pixel) * usize::from(spec.out_hw().1)).0;
    let rows = output.chunks_exact_mut(out_row.max(1));
    for (y, out) in (0..spec.out_hw().0.into()).zip(rows) {
        for (r, records) in (0..pool).zip(records.chunks_exact_mut(across + 2)) {
            fill(spec, r_c, input, (ix(y) * pool + r).0, records);
        }
        for (block, weights) in (0..count).zip(weights.iter()) {
            let records = records.chunks_exact(across + 2);
            for (records, sums) in records.zip(sums.chunks_exact_mut(row)) {
                dot(spec.c_in, records, weights, sums);
            }
            let place = Place {
                channel: 2 * usize::from(block),
                channels: usize::from(layer.block_channels(block)),
            };
            output::row(spec, place, layer.block_requants(block), sums, out);
        }
    }
    Ok(())
}

/// Unpacks a block through `space` and puts its weights in the order of the records.
fn block_weights(
    source: &Weights,
    block: u16,
    stored: u16,
    space: &mut [u32],
    to: &mut BlockWeights,
) -> Result<(), Corrupt> {
    let layer = source.layer;
    let spec = layer.spec();
    let len = spec.sequence_len() as usize;
    let space = space.get_mut(..len).unwrap_or(&mut []);
    source.unpack(stored, space)?;
    // Channels 0 and 2 of a tap lie in its first word; what is left over is the low lane of
    // the second word, or with one channel of the first.
    let single = usize::from(spec.c_in == 3);
    for (channel, requant) in layer.block_requants(block).into_iter().enumerate() {
        let word = |tap: usize, i: usize| {
            let at = channel_start(channel, len / 2) + (2 * tap + i) * PAIR_STEP;
            space.get(at).copied().unwrap_or(0)
        };
        let low = |tap: usize| unpair(word(tap, single))[0];
        let mut put = |slot: usize, word: u32| {
            if let Some(w) = to.get_mut(2 * slot + channel) {
                *w = word;
            }
        };
        for x in 0..3 {
            for y in 0..3 {
                put(3 * y + x, if single == 1 { word(3 * y + x, 0) } else { 0 });
            }
            put(9 + x, pair(low(x), low(3 + x)));
        }
        put(12, pair(low(6), low(7)));
        put(13, pair(low(8), 0));
        put(14, requant.bias as u32);
    }
    Ok(())
}

/// Fills the records of row `y` of the convolution.
fn fill(spec: &LayerSpec, r_c: [u8; 4], input: &[u8], y: usize, records: &mut [Record]) {
    let (pad, c_in) = (usize::from(spec.pad), usize::from(spec.c_in));
    let width = usize::from(spec.in_w);
    let row = |r: usize| {
        let bytes = (ix(width) * c_in).0;
        let at = ix(y.checked_add(r)?.checked_sub(pad)?) * bytes;
        input.get(at.0..(at + bytes).0)
    };
    records.fill([0; RECORD as usize]);
    let inside = records.get_mut(pad..).unwrap_or(&mut []);
    let rows = [0, 1, 2].map(row);
    match (rows, c_in) {
        ([Some(a), Some(b), Some(c)], 3) => {
            let (a, b, c) = (a.as_chunks().0, b.as_chunks().0, c.as_chunks().0);
            let columns = a.iter().zip(b).zip(c);
            for (((a, b), c), record) in columns.zip(inside.iter_mut()) {
                *record = three(r_c, [*a, *b, *c]);
            }
        }
        _ => {
            for (x, record) in inside.iter_mut().enumerate().take(width) {
                let pixel = |row: Option<&[u8]>| {
                    // Whatever is outside becomes zero: it is what `r_c` subtracted leaves.
                    let [r0, r1, r2, _] = r_c;
                    match row.and_then(|row| row.get(x * c_in..(x + 1) * c_in)) {
                        Some(&[a, b, c]) => [a, b, c],
                        Some(&[a]) => [r0, a, r2],
                        _ => [r0, if c_in == 1 { r0 } else { r1 }, r2],
                    }
                };
                let r_c = if c_in == 1 {
                    [r_c[0], r_c[0], r_c[2], 0]
                } else {
                    r_c
                };
                *record = three(r_c, rows.map(pixel));
            }
        }
    }
    // The fifth word's high lane is the low one of the next column.
    let mut next = 0;
    for record in records.iter_mut().rev() {
        let [.., last] = record;
        let own = *last & 0xffff;
        *last = own | next << 16;
        next = own;
    }
}

/// The record of a column of three pixels, the fifth word's high lane left 0.
#[inline(always)]
fn three(r_c: [u8; 4], [a, b, c]: [[u8; 3]; 3]) -> Record {
    let both = |low: u8, high: u8| u32::from(low) | u32::from(high) << 16;
    let outer = both(r_c[0], r_c[2]);
    let middle = both(r_c[1], r_c[1]);
    [
        ssub16(both(a[0], a[2]), outer),
        ssub16(both(b[0], b[2]), outer),
        ssub16(both(c[0], c[2]), outer),
        ssub16(both(a[1], b[1]), middle),
        ssub16(u32::from(c[1]), u32::from(r_c[1])) & 0xffff,
    ]
}

#[cfg(not(all(feature = "dsp", feature = "fpu", target_arch = "arm")))]
mod portable {
    use super::{BlockWeights, Record, unpair};

    /// Sets the two channels' sums of each pixel, `[pixel][2]`; pixel `i` reads records `i` to
    /// `i + 2`. With one channel the first three words of a record are not read.
    pub fn row(c_in: u16, records: &[Record], weights: &BlockWeights, sums: &mut [i32]) {
        let first = if c_in == 1 { 3 } else { 0 };
        let windows = records.array_windows::<3>();
        for (columns, sums) in windows.zip(sums.as_chunks_mut::<2>().0) {
            for (channel, sum) in sums.iter_mut().enumerate() {
                let weight = |slot: usize| weights.get(2 * slot + channel).copied().unwrap_or(0);
                let mut total = weight(14) as i32;
                for (x, record) in columns.iter().enumerate() {
                    for (j, &word) in record.iter().enumerate().take(4).skip(first) {
                        total = total.wrapping_add(dot(word, weight(3 * j + x)));
                    }
                }
                let [a, _, b] = columns.map(|[.., last]| last);
                total = total.wrapping_add(dot(a, weight(12)));
                *sum = total.wrapping_add(dot(b, weight(13)));
            }
        }
    }

    fn dot(a: u32, w: u32) -> i32 {
        let ([a0, a1], [w0, w1]) = (unpair(a), unpair(w));
        (i32::from(a0) * i32::from(w0)).wrapping_add(i32::from(a1) * i32::from(w1))
    }
}

const _: () = assert!(GROUP == 4, "the assembly computes four pixels at a time");
