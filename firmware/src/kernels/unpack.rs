//! The weights of a block of two output channels as 16-bit lanes in scratch.
//!
//! Every width ends in the same form, so that one loop multiplies them all. The cost is
//! paid once a block and strip and shared by all of the strip's pixels.

use super::dot::{PAIR_STEP, channel_start};
use super::lanes::{pair, ssub16, sxtb16, sxtb16_ror8, word};
use shared::blob::Layer;
use shared::spec::{Encoding, LayerSpec};
use shared::weights::{pair_elements, sparse};

/// The stream of a block disagrees with its own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Unpacks block `block` of `layer` into `out`, `sequence_len` words; see
/// [`super::dot`] for their order. A missing second channel becomes zeros.
///
/// # Errors
/// [`Corrupt`] where a sparse stream lies; `out` is then undefined.
pub fn block(layer: &Layer, block: u16, out: &mut [u32]) -> Result<(), Corrupt> {
    let spec = layer.spec();
    let channels = usize::from(layer.block_channels(block));
    let stored = layer.block(block);
    match spec.encoding {
        Encoding::Dense => {
            let bytes = (spec.dense_channel_bytes() as usize).max(1);
            let mut sources = stored.chunks_exact(bytes);
            for channel in 0..2 {
                let source = sources.next().unwrap_or(&[]);
                dense(spec, source, channel, out);
            }
            Ok(())
        }
        Encoding::Sparse => sparse_block(spec, stored, channels, out),
    }
}

/// The words of `channel` in `out`, in the order of the pairs.
fn pairs_of(out: &mut [u32], channel: usize) -> impl Iterator<Item = &mut u32> {
    let len = out.len() / 2;
    let start = channel_start(channel, len);
    out.get_mut(start..)
        .unwrap_or(&mut [])
        .iter_mut()
        .step_by(PAIR_STEP)
        .take(len)
}

fn dense(spec: &LayerSpec, source: &[u8], channel: usize, out: &mut [u32]) {
    if source.is_empty() {
        pairs_of(out, channel).for_each(|o| *o = 0);
        return;
    }
    match spec.w_bits {
        2 => planes::<2>(spec, source, channel, out),
        3 => planes::<3>(spec, source, channel, out),
        4 => planes::<4>(spec, source, channel, out),
        5 => planes::<5>(spec, source, channel, out),
        6 => planes::<6>(spec, source, channel, out),
        7 => planes::<7>(spec, source, channel, out),
        _ => bytes(source, channel, out),
    }
}

fn bytes(source: &[u8], channel: usize, out: &mut [u32]) {
    let mut out = pairs_of(out, channel);
    for quad in source.chunks_exact(4) {
        let w = word(quad);
        if let (Some(a), Some(b)) = (out.next(), out.next()) {
            (*a, *b) = (sxtb16(w), sxtb16_ror8(w));
        }
    }
}

/// Pairs that one word of the 1-bit plane holds, and so the least common step.
const STEP: usize = 16;

/// `W` bits from planes of 4, 2 and 1 bits: one AND with a rotated operand a plane and pair.
fn planes<const W: u32>(spec: &LayerSpec, source: &[u8], channel: usize, out: &mut [u32]) {
    let sequence = spec.sequence_len() as usize;
    let half = 1i16 << (W - 1);
    let half = pair(half, half);
    let plane_bytes = |bits: usize| 4 * (sequence * bits).div_ceil(32);
    let (four, rest) = split(source, if W & 4 != 0 { plane_bytes(4) } else { 0 });
    let (two, one) = split(rest, if W & 2 != 0 { plane_bytes(2) } else { 0 });
    let (mut fours, mut twos) = (four.chunks(16), two.chunks(8));
    let mut ones = one.chunks(4);
    let mut out = pairs_of(out, channel);
    let mut left = sequence / 2;
    while left > 0 {
        let four = fours.next().unwrap_or(&[]);
        let two = twos.next().unwrap_or(&[]);
        let one = if W & 1 != 0 {
            word(ones.next().unwrap_or(&[]))
        } else {
            0
        };
        // A word of the widest plane present holds 4 pairs (8 of the 2-bit one).
        for group in 0..STEP / 4 {
            let w4 = if W & 4 != 0 {
                word(four.get(4 * group..).unwrap_or(&[]))
            } else {
                0
            };
            let w2 = if W & 2 != 0 {
                word(two.get(4 * (group / 2)..).unwrap_or(&[]))
            } else {
                0
            };
            for i in 0..4 {
                let j = 4 * group + i;
                let (mut field, mut low) = (0, 0);
                if W & 4 != 0 {
                    field = w4.rotate_right(4 * i as u32) & 0x000f_000f;
                    low = 4;
                }
                if W & 2 != 0 {
                    field |= (w2.rotate_right(2 * (j % 8) as u32) & 0x0003_0003) << low;
                    low += 2;
                }
                if W & 1 != 0 {
                    field |= (one.rotate_right(j as u32) & 0x0001_0001) << low;
                }
                match out.next() {
                    Some(o) => *o = ssub16(field, half),
                    None => return,
                }
            }
        }
        left = left.saturating_sub(STEP);
    }
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

fn sparse_block(
    spec: &LayerSpec,
    stored: &[u8],
    channels: usize,
    out: &mut [u32],
) -> Result<(), Corrupt> {
    out.fill(0);
    let (len, sequence) = (out.len() / 2, spec.sequence_len() as usize);
    sparse::decode(stored, channels, sequence, spec.w_bits, |channel, e, w| {
        let j = 2 * (e / 4) + e % 2;
        let high = e != pair_elements(j).0;
        if let Some(o) = out.get_mut(channel_start(channel, len) + j * PAIR_STEP) {
            *o |= u32::from(w as u16) << if high { 16 } else { 0 };
        }
    })
    .map_err(|sparse::Corrupt| Corrupt)
}
