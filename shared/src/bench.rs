//! The seeded data of a layer benchmark, made alike on host and board.

use crate::act::{self, Act};
use crate::semantics::Requant;
use crate::spec::LayerSpec;
use crate::weights::sparse;

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
    let spread =
        u64::from(root) << (u32::from(spec.w_bits.max(2)) - 2) << (spec.input.bits().min(14) - 1);
    let target = u64::from(spec.output.max().min(255) as u32) << 31;
    let m = (target / spread.max(1)).clamp(1 << 8, 1 << 29) as u32;
    let m = m / 2 + rng.below(m);
    Requant::new(bias, m.max(32), 0).unwrap_or_default()
}

/// Writes a valid sparse stream for one block of `channels` channels.
///
/// Of each channel, `density_percent` of the weights are kept, rounded to whole ones and
/// spread by chance. Returns the bytes written, or `None` where
/// `out` is too short.
pub fn sparse_block(
    spec: &LayerSpec,
    channels: u16,
    density_percent: u8,
    seed: u32,
    out: &mut [u8],
) -> Option<usize> {
    let mut rng = Rng::new(seed ^ 0x0005_9a45);
    let len = spec.sequence_len();
    let mut at = 0;
    for _ in 0..channels {
        let (map_words, start) = (len.div_ceil(32) as usize, at);
        out.get_mut(start..start + 4 * map_words)?.fill(0);
        // Exactly the asked share, spread by chance: selection sampling (Knuth, algorithm S).
        let mut left = sequence_weights(spec);
        let nonzero = (left * u32::from(density_percent) + 50) / 100;
        let mut wanted = nonzero;
        for e in 0..len {
            if e % spec.c_in4() >= u32::from(spec.c_in) {
                continue;
            }
            if rng.below(left) < wanted {
                out[start + e as usize / 8] |= 1 << (e % 8);
                wanted -= 1;
            }
            left -= 1;
        }
        let end = start + sparse::channel_bytes(len, nonzero, spec.w_bits) as usize;
        let values = out.get_mut(start + 4 * map_words..end)?;
        values.fill(0);
        fill_values(values, nonzero, spec.w_bits, &mut rng);
        at = end;
    }
    Some(at)
}

/// Weights of one output channel, padding left out.
const fn sequence_weights(spec: &LayerSpec) -> u32 {
    spec.k_h as u32 * spec.k_w as u32 * spec.c_in as u32
}

fn fill_values(values: &mut [u8], count: u32, w_bits: u8, rng: &mut Rng) {
    let max = crate::semantics::weight_max(w_bits);
    for i in 0..count {
        let magnitude = 1 + rng.below(max as u32) as i32;
        let w = if rng.next() & 1 == 0 {
            magnitude
        } else {
            -magnitude
        };
        for b in 0..u32::from(w_bits) {
            let bit = i * u32::from(w_bits) + b;
            values[bit as usize / 8] |= ((w >> b & 1) as u8) << (bit % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    #[test]
    fn the_canonical_block_has_no_minus_128() {
        let bytes = weight_block().map(u32::to_le_bytes);
        assert!(bytes.iter().flatten().all(|&b| b != 0x80));
        assert_ne!(bytes[0], bytes[1]);
    }

    #[test]
    fn sparse_blocks_decode_at_their_density() {
        for (density, w_bits) in [(0, 8), (10, 4), (50, 3), (100, 2)] {
            let spec = LayerSpec {
                w_bits,
                ..LayerSpec::conv3x3(8, 8, 37, 8)
            };
            let mut out = vec![0; 4096];
            let n = sparse_block(&spec, 2, density, 9, &mut out).unwrap();
            let mut kept = 0u32;
            sparse::decode(
                &out[..n],
                2,
                spec.sequence_len() as usize,
                w_bits,
                |_, e, w| {
                    assert!(w != 0 && (e as u32 % spec.c_in4()) < 37);
                    kept += 1;
                },
            )
            .unwrap();
            let share = 100.0 * f64::from(kept) / (2.0 * 37.0 * 9.0);
            assert!(
                (share - f64::from(density)).abs() < 6.0,
                "{share} for {density}"
            );
            assert!(sparse_block(&spec, 2, density, 9, &mut out[..n - 4]).is_none());
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
