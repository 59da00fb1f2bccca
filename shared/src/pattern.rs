//! Data at the edges of a layer's ranges, made alike on host and board.
//!
//! A benchmark's usual data is random, and its weights are the canonical block whatever the
//! layer. What must be exact to the last bit is tested on data that a blob could hold at
//! worst: the largest weights, activations, biases and multipliers. Every value follows from
//! the seed and its place, so that a reference can ask for any of them.

use crate::act::{self, Act};
use crate::semantics::{Requant, weight_max};
use crate::spec::LayerSpec;
use serde::{Deserialize, Serialize};

/// What a layer is fed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Pattern {
    /// Random inputs and multipliers of [`crate::bench`], canonical weights.
    Typical,
    /// Random inputs, weights and multipliers over their whole ranges.
    Random,
    /// Inputs are 0 or the largest, weights the largest of either sign, by chance.
    Corners,
    /// All inputs are the largest; one channel's weights are the largest, the next one's the
    /// most negative: sums reach the bound that the exporter proves.
    Largest,
}

/// Multipliers from the least to the largest.
const MULTIPLIERS: [u32; 4] = [32, 1 << 20, 0x4000_0000, 0x7fff_ffe0];

impl Pattern {
    /// All but [`Pattern::Typical`]: those that bring weights of their own.
    pub const EDGES: [Self; 3] = [Self::Random, Self::Corners, Self::Largest];

    /// Fills an input tensor or an image; unused channels of a pixel's last byte stay zero,
    /// and what is no whole pixel at the end of `out` as it is.
    pub fn fill_input(self, spec: &LayerSpec, seed: u32, out: &mut [u8]) {
        let pixel = (spec.input.pixel_bytes(spec.c_in) as usize).max(1);
        let max = spec.input.max() as u32;
        for (i, p) in (0..u32::MAX).zip(out.chunks_exact_mut(pixel)) {
            p.fill(0);
            for c in 0..spec.c_in {
                let random = mix(seed, [i, u32::from(c), 0]);
                let value = match self {
                    Self::Typical | Self::Random => random % (max + 1),
                    Self::Corners => max * (random & 1),
                    Self::Largest => max,
                };
                put(p, spec.input, c, value);
            }
        }
    }

    /// Weight `[row][column][c]` of output channel `channel`.
    ///
    /// `density_percent` of the weights of a sparse layer are not zero.
    #[must_use]
    pub fn weight(
        self,
        spec: &LayerSpec,
        (seed, density_percent): (u32, u8),
        channel: u16,
        [row, column, c]: [u32; 3],
    ) -> i8 {
        let place = (row << 8 | column) << 16 | c;
        let random = mix(seed ^ 0x77e1_6475, [place, u32::from(channel), 1]);
        if random % 100 >= u32::from(density_percent) {
            return 0;
        }
        let (max, random) = (weight_max(spec.w_bits), random >> 8);
        let w = match self {
            Self::Typical | Self::Random => (random % (2 * max as u32 + 1)) as i32 - max,
            Self::Corners if random & 1 == 0 => -max,
            Self::Largest if channel % 2 == 1 => -max,
            Self::Corners | Self::Largest => max,
        };
        w as i8
    }

    /// Channel `channel`'s bias and multiplier: extreme ones in turn, within what the
    /// exporter proves of the accumulator and of its shifted value.
    #[must_use]
    pub fn requant(self, spec: &LayerSpec, seed: u32, channel: u16) -> Requant {
        let random = mix(seed ^ 0xb1a5, [u32::from(channel), 0, 2]);
        // No sum is larger: every product at its largest.
        let bound = u64::from(spec.sequence_len())
            .saturating_mul(weight_max(spec.w_bits) as u64)
            .saturating_mul(u64::from(spec.input.max() as u32));
        let room = (i32::MAX as u64).saturating_sub(bound) as i32;
        let bias = match channel % 4 {
            0 => room,
            1 => -room,
            2 => 0,
            _ => (random >> 16) as i32 - (1 << 15),
        };
        let bias = bias.clamp(-room, room);
        let reach = bound.saturating_add(bias.unsigned_abs().into());
        let shift = (i32::MAX as u64 / reach.max(1))
            .checked_ilog2()
            .unwrap_or(0);
        let m = match self {
            // A scale that spreads what the data gives over the output's range.
            Self::Typical | Self::Random => {
                let target = u64::from(spec.output.max().clamp(1, 255) as u32) << 32 >> shift;
                (4 * target / bound.max(1)).clamp(32, 0x7fff_ffe0) as u32
            }
            Self::Corners | Self::Largest => MULTIPLIERS[(random % 4) as usize],
        };
        Requant::new(bias, m, shift.min(31)).unwrap_or_default()
    }

    /// The sequence of one output channel, `[k_h][k_w][c_in4]` in order; as much of it as
    /// `out` holds.
    pub fn fill_sequence(self, spec: &LayerSpec, data: (u32, u8), channel: u16, out: &mut [i8]) {
        out.fill(0);
        let (columns, c_in4) = (u32::from(spec.k_w).max(1), spec.c_in4().max(1));
        for e in 0..spec.sequence_len() {
            let (tap, c) = (e / c_in4, e % c_in4);
            if c >= u32::from(spec.c_in) {
                continue;
            }
            let weight = self.weight(spec, data, channel, [tap / columns, tap % columns, c]);
            if let Some(o) = out.get_mut(e as usize) {
                *o = weight;
            }
        }
    }
}

fn put(pixel: &mut [u8], format: Act, c: u16, value: u32) {
    let c = usize::from(c);
    match format {
        Act::S16 => {
            for (i, byte) in (value as u16).to_le_bytes().into_iter().enumerate() {
                if let Some(p) = pixel.get_mut(2 * c + i) {
                    *p = byte;
                }
            }
        }
        _ => act::set(pixel, format, c, value as u8),
    }
}

/// A number that depends on the seed and a place, spread over 32 bits (MurmurHash3's final
/// steps).
const fn mix(seed: u32, place: [u32; 3]) -> u32 {
    let mut h = seed;
    let mut i = 0;
    while i < place.len() {
        h = (h ^ place[i]).wrapping_mul(0xcc9e_2d51);
        h ^= h >> 16;
        h = h.wrapping_mul(0x85eb_ca6b);
        h ^= h >> 13;
        h = h.wrapping_mul(0xc2b2_ae35);
        h ^= h >> 16;
        i += 1;
    }
    h
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{vec, vec::Vec};

    fn specs() -> [LayerSpec; 4] {
        let base = LayerSpec::conv3x3(5, 4, 37, 6);
        [
            base,
            LayerSpec {
                w_bits: 2,
                input: Act::U4,
                ..base
            },
            LayerSpec {
                input: Act::Image,
                ..LayerSpec::conv3x3(5, 4, 3, 6)
            },
            LayerSpec {
                input: Act::S16,
                ..LayerSpec::fully_connected(1, 1, 512, 6)
            },
        ]
    }

    #[test]
    fn values_stay_in_their_ranges_and_reach_their_ends() {
        for spec in specs() {
            let max = weight_max(spec.w_bits) as i8;
            for pattern in [Pattern::Corners, Pattern::Largest] {
                let mut sequence = vec![0; spec.sequence_len() as usize];
                let mut seen = Vec::new();
                for channel in 0..2 {
                    pattern.fill_sequence(&spec, (7, 100), channel, &mut sequence);
                    seen.extend_from_slice(&sequence);
                }
                assert_eq!(seen.iter().max(), Some(&max), "{pattern:?}");
                assert_eq!(seen.iter().min(), Some(&-max), "{pattern:?}");
            }
        }
    }

    #[test]
    fn multipliers_are_what_an_exporter_could_prove() {
        for spec in specs() {
            for (pattern, channel) in Pattern::EDGES
                .into_iter()
                .flat_map(|p| (0..8).map(move |c| (p, c)))
            {
                let r = pattern.requant(&spec, 3, channel);
                let bound = i64::from(spec.sequence_len())
                    * i64::from(weight_max(spec.w_bits))
                    * i64::from(spec.input.max());
                let reach = bound + i64::from(r.bias.unsigned_abs());
                assert!(
                    r.is_valid() && reach << r.shift() <= i64::from(i32::MAX),
                    "{r:?}"
                );
            }
        }
    }

    #[test]
    fn sparse_layers_have_their_density() {
        let spec = LayerSpec::conv3x3(4, 4, 512, 2);
        let mut sequence = vec![0; spec.sequence_len() as usize];
        Pattern::Largest.fill_sequence(&spec, (1, 25), 0, &mut sequence);
        let share = sequence.iter().filter(|&&w| w != 0).count() as f64 / sequence.len() as f64;
        assert!((share - 0.25).abs() < 0.03, "{share}");
    }
}
