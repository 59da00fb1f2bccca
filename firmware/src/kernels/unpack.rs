//! The weights of a block of two output channels as 16-bit lanes in scratch.
//!
//! Every width ends in the same form, so that one loop multiplies them all. The cost is
//! paid once a block and strip and shared by all of the strip's pixels.

use super::LayerError;
use super::decode;
use super::dot::{PAIR_STEP, channel_start};
use super::lanes::pair;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
use super::unpack_m4::steps;
use shared::blob::Layer;
use shared::coding::Corrupt;
use shared::coding::tans::STATES;
use shared::spec::{Encoding, LayerSpec};
use shared::weights::{DenseChannel, pair_elements};

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
use portable::steps;

/// A layer's stored weights, with what is needed to decode them.
#[derive(Debug)]
pub struct Weights<'a> {
    /// The layer.
    pub layer: &'a Layer<'a>,
    /// The decoder's table, in scratch, where the layer is coded.
    table: Option<&'a [u32; STATES]>,
}

impl<'a> Weights<'a> {
    /// Takes what decoding needs from the end of the layer's scratch, and returns the rest.
    ///
    /// # Errors
    /// [`LayerError::Buffers`] where scratch is too short; [`LayerError::Corrupt`] of block 0
    /// where the layer's model does not add up.
    pub fn new(
        layer: &'a Layer<'a>,
        scratch: &'a mut [u32],
    ) -> Result<(Self, &'a mut [u32]), LayerError> {
        if layer.spec().encoding != Encoding::Coded {
            return Ok((Self { layer, table: None }, scratch));
        }
        let (rest, table) = scratch.split_last_chunk_mut().ok_or(LayerError::Buffers)?;
        layer
            .decoder_table(table)
            .map_err(|Corrupt| LayerError::Corrupt { block: 0 })?;
        let table = Some(&*table);
        Ok((Self { layer, table }, rest))
    }

    /// Unpacks block `block` into `out`, `sequence_len` words; see [`super::dot`] for their
    /// order. A missing second channel becomes zeros.
    ///
    /// # Errors
    /// [`Corrupt`] where a stream lies; `out` is then undefined.
    pub fn unpack(&self, block: u16, out: &mut [u32]) -> Result<(), Corrupt> {
        let spec = self.layer.spec();
        if spec.encoding != Encoding::Dense {
            return decode::block(self.layer, block, self.table, out);
        }
        let bytes = (spec.dense_channel_bytes() as usize).max(1);
        let (first, second) = split(self.layer.block(block), bytes);
        dense(spec, first, 0, out);
        dense(spec, second, 1, out);
        Ok(())
    }
}

/// Unpacks one channel; whole steps of pairs fast, what is left one by one.
fn dense(spec: &LayerSpec, source: &[u8], channel: usize, out: &mut [u32]) {
    let (len, sequence) = (out.len() / 2, spec.sequence_len());
    let out = out
        .get_mut(channel_start(channel, len)..)
        .unwrap_or(&mut []);
    let Some(weights) = DenseChannel::new(source, sequence, spec.w_bits) else {
        pairs(out).take(len).for_each(|o| *o = 0);
        return;
    };
    let done = steps(spec.w_bits, planes(spec, source), len, out);
    let rest = out.get_mut(done * PAIR_STEP..).unwrap_or(&mut []);
    for (j, o) in (done..len).zip(pairs(rest)) {
        let (low, high) = pair_elements(j);
        *o = pair(weights.get(low), weights.get(high));
    }
}

/// A channel's words in scratch, from its first one on.
fn pairs(words: &mut [u32]) -> impl Iterator<Item = &mut u32> {
    words.chunks_mut(PAIR_STEP).filter_map(<[u32]>::first_mut)
}

/// The planes of 4, 2 and 1 bits of a channel; at 8 bits the first holds the bytes.
fn planes<'a>(spec: &LayerSpec, source: &'a [u8]) -> [&'a [u8]; 3] {
    if spec.w_bits >= 8 {
        return [source, &[], &[]];
    }
    let bytes = |plane: u32| {
        let there = u32::from(spec.w_bits) & plane;
        4 * (u64::from(spec.sequence_len()) * u64::from(there)).div_ceil(32) as usize
    };
    let (four, rest) = split(source, bytes(4));
    let (two, one) = split(rest, bytes(2));
    [four, two, one]
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
mod portable {
    use crate::kernels::lanes::{pair, ssub16};
    use shared::index::ix;

    /// Unpacks as many whole steps as `pairs` has; returns the pairs done.
    pub fn steps(w_bits: u8, planes: [&[u8]; 3], pairs: usize, out: &mut [u32]) -> usize {
        let out = out.get_mut(..pairs).unwrap_or(&mut []);
        match w_bits {
            2 => fields::<2>(planes, out),
            3 => fields::<3>(planes, out),
            4 => fields::<4>(planes, out),
            5 => fields::<5>(planes, out),
            6 => fields::<6>(planes, out),
            7 => fields::<7>(planes, out),
            _ => bytes(planes[0], out),
        }
    }

    /// 8 bits: four bytes make two pairs.
    fn bytes(source: &[u8], out: &mut [u32]) -> usize {
        let words = source.as_chunks::<4>().0.iter();
        let pairs = out.as_chunks_mut::<2>().0;
        let done = 2 * words.len().min(pairs.len());
        for (o, &w) in pairs.iter_mut().zip(words) {
            let [a, b, c, d] = w.map(|b| i16::from(b as i8));
            *o = [pair(a, c), pair(b, d)];
        }
        done
    }

    /// `W` bits from planes of 4, 2 and 1 bits, 16 pairs a step: of each plane, one word for
    /// 4, 8 or 16 pairs.
    fn fields<const W: u32>([four, two, one]: [&[u8]; 3], out: &mut [u32]) -> usize {
        let half = 1i16 << (W - 1);
        let half = pair(half, half);
        let mut done = 0;
        for (k, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            for (j, o) in out.iter_mut().enumerate() {
                let word = |plane: &[u8], i: usize| {
                    let bytes = plane.as_chunks::<4>().0.get(i);
                    bytes.map_or(0, |&b| u32::from_le_bytes(b))
                };
                let (mut field, mut low) = (0, 0);
                if W & 4 != 0 {
                    let w = word(four, (ix(4) * k + j / 4).0);
                    field = w.rotate_right(4 * (j % 4) as u32) & 0x000f_000f;
                    low = 4;
                }
                if W & 2 != 0 {
                    let w = word(two, (ix(2) * k + j / 8).0);
                    field |= (w.rotate_right(2 * (j % 8) as u32) & 0x0003_0003) << low;
                    low += 2;
                }
                if W & 1 != 0 {
                    field |= (word(one, k).rotate_right(j as u32) & 0x0001_0001) << low;
                }
                *o = ssub16(field, half);
            }
            done += 16;
        }
        done
    }
}
