//! The seeded data of a layer benchmark, made alike on host and board.

use crate::act::{self, Act};
use crate::coding::BlockShape;
use crate::coding::section::{self, Writer};
use crate::coding::tans::{self, Model};
use crate::semantics::Requant;
use crate::spec::{Encoding, LayerSpec};

/// Words of the canonical weight block: two channels of 512 x 3 x 3 weights of 8 bits.
pub const WEIGHT_WORDS: usize = 2 * 9 * 512 / 4;

/// Seed of [`weight_block`].
const WEIGHT_SEED: u32 = 0x5eed;

/// Xorshift32: small, seeded, the same everywhere. Not for cryptography.
#[derive(Clone, Debug)]
pub struct Rng(u32);

impl Rng {
    /// A generator; a seed of 0 is replaced, since xorshift would stay there.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        // A multiplication spreads neighbouring seeds apart.
        let s = seed.wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b;
        Self(if s == 0 { 1 } else { s })
    }

    /// The next 32 bits.
    pub const fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A number in `0..n` (slightly uneven, as a multiplication maps it); 0 for `n` = 0.
    pub const fn below(&mut self, n: u32) -> u32 {
        ((self.next() as u64 * n as u64) >> 32) as u32
    }
}

/// The weights that every benchmark layer reads, whatever its width: random words without
/// the byte 0x80, which no 8-bit weight has.
///
/// Firmware keeps one in flash (`static WEIGHTS: [u32; WEIGHT_WORDS] = weight_block();`),
/// and every block of output channels of the layer reads it from its start (layers that
/// are straight: eight channels in turn, which overlap where there is no room).
#[must_use]
pub const fn weight_block() -> [u32; WEIGHT_WORDS] {
    let mut rng = Rng::new(WEIGHT_SEED);
    let mut words = [0; WEIGHT_WORDS];
    let mut i = 0;
    while i < WEIGHT_WORDS {
        let w = rng.next();
        let mut byte = 0;
        while byte < 4 {
            // 0x80 would be −128, outside ±127: make it 0x81.
            let b = w >> (8 * byte) & 0xff;
            words[i] |= (if b == 0x80 { 0x81 } else { b }) << (8 * byte);
            byte += 1;
        }
        i += 1;
    }
    words
}

/// Fills an input tensor (or an image) of `spec`: each stored byte random, unused channels
/// of a pixel's last byte zero. `S16` inputs are in 0..=16,383.
pub fn fill_input(spec: &LayerSpec, seed: u32, out: &mut [u8]) {
    let mut rng = Rng::new(seed);
    let pixel = spec.input.pixel_bytes(spec.c_in) as usize;
    for p in out.chunks_mut(pixel.max(1)) {
        for b in p.iter_mut() {
            *b = rng.next() as u8;
        }
        match spec.input {
            Act::S16 => p.iter_mut().skip(1).step_by(2).for_each(|b| *b &= 0x3f),
            Act::U2 | Act::U4 => clear_unused(p, spec),
            _ => {}
        }
    }
}

fn clear_unused(pixel: &mut [u8], spec: &LayerSpec) {
    let per_byte = 8 / spec.input.bits() as usize;
    for c in usize::from(spec.c_in)..pixel.len() * per_byte {
        act::set(pixel, spec.input, c, 0);
    }
}

/// Channel `channel`'s bias and multiplier.
///
/// The scale fits random weights: outputs spread over the range and some saturate.
#[must_use]
pub fn requant(spec: &LayerSpec, seed: u32, channel: u16) -> Requant {
    let mut rng = Rng::new(seed ^ 0x00c0_ffee ^ (u32::from(channel) << 8));
    let bias = rng.below(1 << 13) as i32 - (1 << 12);
    // A sum of k products of weights of w bits and activations of a bits spreads over
    // about sqrt(k) · 2^(w−2) · 2^(a−1); that shall map to about half of the output's range.
    let root = 1u32 << (32 - spec.sequence_len().leading_zeros()).div_ceil(2);
    let of_weights = u64::from(root).unbounded_shl(u32::from(spec.w_bits.max(2)) - 2);
    let spread = of_weights << (spec.input.bits().clamp(1, 14) - 1);
    let target = u64::from(spec.output.max().min(255) as u32) << 31;
    let m = (target / spread.max(1)).clamp(1 << 8, 1 << 29) as u32;
    let m = (m / 2).saturating_add(rng.below(m));
    Requant::new(bias, m.max(32), 0).unwrap_or_default()
}

/// Bytes that are enough for the weight section that [`section`] writes.
#[must_use]
pub const fn section_bound(spec: &LayerSpec) -> usize {
    let channels = spec.kernel.block_channels() as usize;
    let weights = (spec.sequence_len() as usize).saturating_mul(channels);
    section::bound(
        spec.encoding,
        spec.w_bits,
        weights,
        spec.blocks() as usize,
        1,
    )
}

/// Writes a weight section in `spec`'s encoding, which must not be dense, with these weights in
/// block order as its first block and all others empty.
///
/// `work` is memory to encode in, [`tans::STATES`] words where the layer is coded. Returns the
/// bytes written, or `None` where a buffer is too short.
#[inline(never)] // Its stack is free again when the layer runs.
pub fn section(
    spec: &LayerSpec,
    weights: &[i8],
    work: &mut [u32],
    out: &mut [u8],
) -> Option<usize> {
    if spec.encoding != Encoding::Coded {
        return written(spec, weights, None, out);
    }
    let work = work.first_chunk_mut()?;
    let counts = work.first_chunk_mut()?;
    *counts = [0; tans::SYMBOLS];
    tans::count(weights, spec.w_bits, counts);
    let symbols = counts.iter().fold(0, |sum: u32, &n| sum.saturating_add(n));
    let model = Model::from_counts(counts, symbols / tans::STATES as u32)?;
    written(spec, weights, Some((&model, work)), out)
}

fn written(
    spec: &LayerSpec,
    weights: &[i8],
    model: Option<(&Model, &mut [u32; tans::STATES])>,
    out: &mut [u8],
) -> Option<usize> {
    let mut writer = Writer::new(spec.encoding, spec.w_bits, spec.blocks().into(), model, out)?;
    writer.block(weights)?;
    writer.finish_short()
}

/// The weights of a benchmark's block in block order; `data` is seed and density.
///
/// Of each channel, that many percent of the weights are kept, rounded to whole ones and
/// spread by chance; their values are even over all but zero.
pub fn fill_weights(
    spec: &LayerSpec,
    shape: &BlockShape,
    (seed, density_percent): (u32, u8),
    out: &mut [i8],
) {
    let mut rng = Rng::new(seed ^ 0x0005_9a45);
    let max = crate::semantics::weight_max(spec.w_bits) as u32;
    // Exactly the asked share, spread by chance: selection sampling (Knuth, algorithm S).
    let all = sequence_weights(spec);
    let wanted = (u64::from(all) * u64::from(density_percent) + 50) / 100;
    let mut channels = [(all, wanted as u32); 2];
    let c_in4 = spec.c_in4().max(1);
    for (k, w) in (0..out.len()).zip(out) {
        *w = 0;
        let (channel, e) = shape.place(k);
        let Some((left, wanted)) = channels.get_mut(channel) else {
            continue;
        };
        if e as u32 % c_in4 >= u32::from(spec.c_in) {
            continue;
        }
        if rng.below(*left) < *wanted {
            let magnitude = 1 + rng.below(max) as i8;
            *w = match rng.next() & 1 {
                0 => magnitude,
                _ => magnitude.wrapping_neg(),
            };
            *wanted = wanted.saturating_sub(1);
        }
        *left = left.saturating_sub(1);
    }
}

/// Weights of one output channel, padding left out.
const fn sequence_weights(spec: &LayerSpec) -> u32 {
    spec.k_h as u32 * spec.k_w as u32 * spec.c_in as u32
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::blob::{Layer, LayerRecord};
    use std::vec;

    #[test]
    fn the_canonical_block_has_no_minus_128() {
        let bytes = weight_block().map(u32::to_le_bytes);
        assert!(bytes.iter().flatten().all(|&b| b != 0x80));
        assert_ne!(bytes[0], bytes[1]);
    }

    #[test]
    fn sections_decode_at_their_density_in_every_encoding() {
        for encoding in [Encoding::Sparse, Encoding::Delta, Encoding::Coded] {
            for (density, w_bits) in [(0, 8), (10, 4), (50, 3), (100, 2), (20, 8)] {
                let spec = LayerSpec {
                    w_bits,
                    encoding,
                    ..LayerSpec::conv3x3(8, 8, 37, 6)
                };
                let mut out = vec![0; section_bound(&spec)];
                let (mut weights, mut work) = (vec![0i8; 2 * 360], [0; tans::STATES]);
                let shape = BlockShape {
                    channels: 2,
                    sequence_len: 360,
                };
                fill_weights(&spec, &shape, (9, density), &mut weights);
                let n = section(&spec, &weights, &mut work, &mut out).unwrap();
                assert!(section(&spec, &weights, &mut work, &mut out[..n - 4]).is_none());
                let n = section(&spec, &weights, &mut work, &mut out).unwrap();
                let record = LayerRecord::of(spec);
                let layer = Layer::detached(record, &out[..n], &[]);
                let mut table = [0; tans::STATES];
                layer.decoder_table(&mut table).unwrap();
                let mut kept = 0u32;
                let put = |_, e: usize, w| {
                    assert!(w == 0 || (e as u32 % spec.c_in4()) < 37);
                    kept += u32::from(w != 0);
                };
                layer.decode_block(0, &table, put).unwrap();
                assert_eq!(kept, 2 * ((333 * u32::from(density) + 50) / 100));
            }
        }
    }

    #[test]
    fn padding_channels_of_a_pixel_are_zero() {
        let spec = LayerSpec {
            input: Act::U4,
            ..LayerSpec::conv3x3(2, 2, 5, 4)
        };
        let mut out = vec![0; 12];
        fill_input(&spec, 3, &mut out);
        assert!(out.chunks(3).all(|p| p[2] < 16));
    }
}
