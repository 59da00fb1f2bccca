//! Each stage as its definition, in plain arithmetic.
// Where the assembly runs, it needs these only for shapes that it leaves out.
#![cfg_attr(all(feature = "dsp", target_arch = "arm"), allow(dead_code))]

use super::{Block, Chunk, Geometry, Products, Source, Tile};
use crate::kernels::dot::{PAIR_STEP, channel_start};
use crate::kernels::expand;
use crate::kernels::lanes::{pair, unpair};
use core::array::from_fn;
use core::num::Wrapping;
use core::ops::Range;
use shared::act::Act;
use shared::index::{ix, part};
use shared::weights::{StoredChannel, pair_elements};
use shared::winograd::INVERSE_OF_9;

/// All sums are modulo 2^32; [`shared::winograd`] says when that changes nothing.
type W = Wrapping<i32>;

fn wide(lane: i16) -> W {
    Wrapping(lane.into())
}

/// `Bᵀ d`, one axis of the input transform of F(4x4,3x3).
fn input_6(d: [W; 6]) -> [W; 6] {
    let [two, four, five] = [2, 4, 5].map(Wrapping);
    [
        four * d[0] - five * d[2] + d[4],
        d[3] + d[4] - four * d[1] - four * d[2],
        four * d[1] - four * d[2] - d[3] + d[4],
        two * d[3] + d[4] - two * d[1] - d[2],
        two * d[1] - d[2] - two * d[3] + d[4],
        four * d[1] - five * d[3] + d[5],
    ]
}

/// The same of F(2x2,3x3).
fn input_4(d: [W; 4]) -> [W; 4] {
    [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]
}

/// `G g` without its fractions, one axis of the weight transform.
fn weights_6([a, b, c]: [W; 3]) -> [W; 6] {
    let [two, four] = [2, 4].map(Wrapping);
    [
        a,
        a + b + c,
        a - b + c,
        a + two * b + four * c,
        a - two * b + four * c,
        c,
    ]
}

fn weights_4([a, b, c]: [W; 3]) -> [W; 4] {
    [a, a + b + c, a - b + c, c]
}

/// One axis of the output transform: 24, 12, 6 and 6 times the true sums, modulo 2^32.
fn output_6(m: [W; 6]) -> [W; 4] {
    let (s12, d12) = (m[1] + m[2], m[1] - m[2]);
    let (s34, d34) = (m[3] + m[4], m[3] - m[4]);
    let [two, four, six] = [2, 4, 6].map(Wrapping);
    [
        s34 - four * s12 + six * m[0],
        d34 - two * d12,
        s34 - s12,
        two * d34 - d12 + six * m[5],
    ]
}

/// The same of F(2x2,3x3): twice the true sums.
fn output_4(m: [W; 4]) -> [W; 2] {
    let two = Wrapping(2);
    [two * m[0] + m[1] + m[2], m[1] - m[2] - two * m[3]]
}

/// Applies `axis` to the columns, then to the rows; the result is `[column][row]`.
fn both<const N: usize, const M: usize>(
    x: [[W; N]; N],
    axis: impl Fn([W; N]) -> [W; M],
) -> [[W; M]; M] {
    let rows = x.map(&axis);
    from_fn(|column| axis(from_fn(|row| rows[row][column])))
}

/// Transforms some channels of one tile, `[row][column]` of pixels, into its quad's words.
pub fn input(g: &Geometry, chunk: Chunk, tile: Tile, input: &[u8], quad: &mut [u32], slot: usize) {
    input_groups(g, chunk, tile, input, quad, slot, 0..chunk.pairs / 2);
}

/// The same for some of the chunk's groups of four channels.
// Not inlined: the board seldom comes here, and its arrays are large.
#[inline(never)]
pub fn input_groups(
    g: &Geometry,
    chunk: Chunk,
    tile: Tile,
    input: &[u8],
    quad: &mut [u32],
    slot: usize,
    groups: Range<usize>,
) {
    for group in groups {
        let words = (chunk, group, &mut *quad, slot);
        match g.side {
            2 => input_of(g, tile, input, words, input_4),
            _ => input_of(g, tile, input, words, input_6),
        }
    }
}

fn input_of<const P: usize>(
    g: &Geometry,
    tile: Tile,
    input: &[u8],
    (chunk, group, quad, slot): (Chunk, usize, &mut [u32], usize),
    axis: impl Fn([W; P]) -> [W; P],
) {
    let pad = usize::from(g.spec.pad);
    let (in_h, in_w) = (usize::from(g.spec.in_h), usize::from(g.spec.in_w));
    let pixel = |row: usize, column: usize| -> &[u8] {
        let (y, x) = ((ix(tile.y) + row - pad).0, (ix(tile.x) + column - pad).0);
        if y >= in_h || x >= in_w {
            return &[];
        }
        let at = ix(y) * g.in_row + ix(x) * g.in_pixel;
        part(input, at.0, g.in_pixel)
    };
    let from = (ix(chunk.first / 4) + group).0;
    let d: [[[u32; 2]; P]; P] =
        from_fn(|row| from_fn(|column| expand::group(g.spec.input, pixel(row, column), from)));
    for half in 0..2 {
        let lane = |i: usize| both(d.map(|r| r.map(|w| wide(unpair(w[half])[i]))), &axis);
        for (p, word) in (0..P * P).zip(words(lane(0), lane(1))) {
            let at = (ix(p) * chunk.pairs + ix(2) * group + half) * 4 + slot;
            if let Some(o) = quad.get_mut(at.0) {
                *o = word;
            }
        }
    }
}

/// Two lanes of all positions as words.
fn words<const P: usize>(low: [[W; P]; P], high: [[W; P]; P]) -> impl Iterator<Item = u32> {
    let pairs = low.into_iter().flatten().zip(high.into_iter().flatten());
    pairs.map(|(low, high)| pair(low.0 as i16, high.0 as i16))
}

/// Transforms some input channels of the weights of a block.
pub fn weights(g: &Geometry, chunk: Chunk, source: &mut Source, out: &mut [u32]) {
    match g.side {
        2 => weights_of(g, chunk, source, out, weights_4),
        _ => weights_of(g, chunk, source, out, weights_6),
    }
}

fn weights_of<const P: usize>(
    g: &Geometry,
    chunk: Chunk,
    source: &Source,
    out: &mut [u32],
    axis: impl Fn([W; 3]) -> [W; P],
) {
    for channel in 0..2 {
        for j in 0..chunk.pairs {
            let lanes: [[[W; 2]; 3]; 3] = from_fn(|row| {
                from_fn(|column| {
                    let pair = (ix(chunk.first / 2) + j).0;
                    lanes(g, source, channel, 3 * row + column, pair)
                })
            });
            let lane = |i: usize| both::<3, P>(lanes.map(|row| row.map(|l| l[i])), &axis);
            for (p, word) in (0..P * P).zip(words(lane(0), lane(1))) {
                let at = (ix(j / 2) * P * P + p) * 4 + j % 2 * 2 + channel;
                if let Some(o) = out.get_mut(at.0) {
                    *o = word;
                }
            }
        }
    }
}

/// The weights of one pair of input channels for one tap.
fn lanes(g: &Geometry, source: &Source, channel: usize, tap: usize, pair: usize) -> [W; 2] {
    match source {
        Source::Plain(plain) => {
            let at = (ix(tap) * g.pairs + pair) * PAIR_STEP;
            let at = at + channel_start(channel, plain.len() / 2);
            unpair(plain.get(at.0).copied().unwrap_or(0)).map(wide)
        }
        Source::Stored(channels, _) => {
            let weights = channels
                .get(channel)
                .and_then(|bytes| StoredChannel::new(g.spec, bytes));
            let (low, high) = pair_elements(pair);
            [low, high].map(|c| {
                let e = (ix(tap) * 2 * g.pairs + c).0 as u32;
                wide(weights.map_or(0, |w| w.get(e)))
            })
        }
    }
}

/// Multiplies all quads of a strip by the weights of a block, and brings the sums to the
/// output where they are complete; `None` where a buffer is too short.
pub fn quads(
    g: &Geometry,
    chunk: Chunk,
    products: &Products,
    sums: &mut [u32],
    mut output: Option<(&Block, &mut [u8])>,
) -> Option<()> {
    let quads = products.tiles.chunks_exact(chunk.quad.max(1));
    let starts = products.strip.clone().step_by(4);
    let count = products.strip.len().div_ceil(4);
    for ((q, from), quad) in (0..count).zip(starts).zip(quads) {
        let at = ix(q) * products.step;
        let sums = sums.get_mut(at.0..(at + ix(8) * g.positions).0)?;
        multiply(g, chunk, quad, products.weights, sums);
        if let Some((block, output)) = &mut output {
            let tiles = (from..products.strip.end.min(from.saturating_add(4))).map(|i| g.tile(i));
            self::output(g, block, sums, tiles, output);
        }
    }
    Some(())
}

/// Multiplies a quad by the weights of two channels, position by position; the first input
/// channels begin new sums, others add to them.
fn multiply(g: &Geometry, chunk: Chunk, quad: &[u32], weights: &[u32], sums: &mut [u32]) {
    let positions = g.positions;
    for p in 0..positions {
        let mut acc = [[0i32; 4]; 2];
        let tiles = quad.get((ix(p) * chunk.pairs * 4).0..).unwrap_or(&[]);
        for (j, v) in tiles
            .as_chunks::<4>()
            .0
            .iter()
            .take(chunk.pairs)
            .enumerate()
        {
            let at = (ix(j / 2) * positions + p) * 4 + j % 2 * 2;
            let Some([a, b, ..]) = weights.get(at.0..) else {
                return;
            };
            for (acc, u) in acc.iter_mut().zip([a, b]) {
                let [u0, u1] = unpair(*u).map(i32::from);
                for (acc, &v) in acc.iter_mut().zip(v) {
                    let [v0, v1] = unpair(v).map(i32::from);
                    *acc = acc.wrapping_add((u0 * v0).wrapping_add(u1 * v1));
                }
            }
        }
        for (i, &acc) in acc.as_flattened().iter().enumerate() {
            if let Some(o) = sums.get_mut((ix(positions) * i + p).0) {
                let before = if chunk.first == 0 { 0 } else { *o };
                *o = before.wrapping_add(acc as u32);
            }
        }
    }
}

/// Transforms the sums of a quad's tiles back, pools, requantizes and stores.
fn output(
    g: &Geometry,
    block: &Block,
    sums: &[u32],
    tiles: impl Iterator<Item = Tile>,
    output: &mut [u8],
) {
    for (slot, tile) in (0..4).zip(tiles) {
        for (channel, requant) in block.requants.iter().enumerate().take(block.channels) {
            let sums = sums
                .get((ix(g.positions) * (ix(4) * channel + slot)).0..)
                .unwrap_or(&[]);
            let requantize = |acc: i32| requant.apply(acc, g.spec.output.bits() as u8);
            let biased = |acc: W| (acc + Wrapping(requant.bias)).0;
            let channel = (ix(block.channel) + channel).0;
            match (g.side, sums.first_chunk::<16>(), sums.first_chunk::<36>()) {
                (2, Some(sums), _) => {
                    let acc = back::<4, 2>(sums, output_4, 1, [1, 1]);
                    store(
                        g,
                        channel,
                        tile,
                        &acc.map(|r| r.map(biased)),
                        output,
                        requantize,
                    );
                }
                (4, _, Some(sums)) => {
                    // 3·2^3, 3·2^2, 3·2 and 3·2 per axis.
                    let inverse = INVERSE_OF_9 as i32;
                    let acc = back::<6, 4>(sums, output_6, inverse, [3, 2, 1, 1]);
                    store(
                        g,
                        channel,
                        tile,
                        &acc.map(|r| r.map(biased)),
                        output,
                        requantize,
                    );
                }
                _ => return,
            }
        }
    }
}

/// The accumulators of one channel and tile, `[row][column]`: both axes transformed, times
/// `inverse`, shifted down by what each axis multiplied them by.
fn back<const P: usize, const T: usize>(
    sums: &[u32],
    axis: impl Fn([W; P]) -> [W; T],
    inverse: i32,
    shift: [u32; T],
) -> [[W; T]; T] {
    let sum = |column: usize, row: usize| {
        let at = ix(P) * column + row;
        Wrapping(sums.get(at.0).map_or(0, |&m| m as i32))
    };
    let half: [[W; T]; P] = from_fn(|column| axis(from_fn(|row| sum(column, row))));
    from_fn(|row| {
        let y = axis(from_fn(|column| half[column][row]));
        from_fn(|column| {
            let shift = (shift[row] & 7) + (shift[column] & 7);
            Wrapping((y[column] * Wrapping(inverse)).0 >> shift)
        })
    })
}

fn store<const T: usize>(
    g: &Geometry,
    channel: usize,
    tile: Tile,
    acc: &[[i32; T]; T],
    output: &mut [u8],
    requantize: impl Fn(i32) -> u8,
) {
    let pool = if g.spec.pool == 2 { 2 } else { 1 };
    for (y, rows) in (0..T).zip(acc.chunks_exact(pool)) {
        for x in 0..T / pool {
            let (row, column) = (ix(pool) * y + tile.y, ix(pool) * x + tile.x);
            if row.0 >= g.rows || column.0 >= g.columns {
                continue;
            }
            let joined = rows
                .iter()
                .flat_map(|row| row.chunks_exact(pool).nth(x).unwrap_or(&[]));
            let max = joined.copied().max().unwrap_or(0);
            let at = ix(row.0 / pool) * g.out_row + ix(column.0 / pool) * g.out_pixel;
            if let Some(pixel) = output.get_mut(at.0..(at + g.out_pixel).0) {
                put(g, pixel, channel, requantize(max));
            }
        }
    }
}

/// Channels come in order, so the first of a byte sets all of it.
pub(super) fn put(g: &Geometry, pixel: &mut [u8], channel: usize, value: u8) {
    let (at, field) = match g.spec.output {
        Act::U4 => (channel / 2, 4 * (channel % 2)),
        Act::U2 => (channel / 4, 2 * (channel % 4)),
        _ => (channel, 0),
    };
    if let Some(b) = pixel.get_mut(at) {
        *b = if field == 0 {
            value
        } else {
            *b | value << field
        };
    }
}
