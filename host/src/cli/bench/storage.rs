//! Weights that are not stored dense: the layers, what storing them takes beside their entropy,
//! and what decoding them costs.

use super::cases::{Case, Group};
use crate::board::{Board, Extent, LayerTiming, TimingError, time_layer};
use crate::lower::{IntLayer, decodes, entropy, weight_section};
use crate::search::LayerKey;
use shared::act::Act;
use shared::bench::fill_weights;
use shared::coding::BlockShape;
use shared::coding::section::OFFSET_BITS;
use shared::spec::{Encoding, Kernel, LayerSpec};
use std::collections::HashMap;

/// Percent of the weights that are not zero.
const DENSITIES: [u8; 4] = [100, 50, 20, 10];
/// Percent below which gaps may be shorter than a bitmap.
const GAPS_UP_TO: u8 = 20;
/// Widths of weights.
const WIDTHS: [u8; 4] = [8, 4, 3, 2];
/// Seed of the weights that are stored; every block has its own after it.
const SEED: u32 = 1;
/// Bytes that one access to flash brings, on the boards that there are.
const FLASH_LINE: u64 = 16;

/// The layers of docs/kernels.md with the kernel that computes each fastest from dense weights,
/// in the encodings, widths and densities of the table.
pub(super) fn cases() -> Vec<Case> {
    let conv = LayerSpec::conv3x3;
    let pooled = LayerSpec {
        pool: 2,
        ..conv(32, 32, 32, 32)
    };
    let layers = [
        (pooled, Kernel::Winograd4),
        (conv(16, 16, 64, 64), Kernel::Winograd4),
        (conv(8, 8, 128, 128), Kernel::Winograd4),
        (conv(4, 4, 256, 256), Kernel::Winograd2),
        (conv(2, 2, 256, 256), Kernel::Direct),
        (LayerSpec::fully_connected(1, 1, 512, 512), Kernel::Direct),
    ];
    let mut cases = Vec::new();
    for (spec, kernel) in layers {
        for encoding in [Encoding::Sparse, Encoding::Delta, Encoding::Coded] {
            for density_percent in DENSITIES {
                if encoding == Encoding::Delta && density_percent > GAPS_UP_TO {
                    continue;
                }
                cases.extend(WIDTHS.map(|w_bits| {
                    let spec = LayerSpec {
                        encoding,
                        w_bits,
                        ..spec
                    };
                    Case {
                        density_percent,
                        kernel: Some(kernel),
                        ..Case::new(Group::Storage, spec, 64)
                    }
                }));
            }
        }
    }
    cases
}

/// What a layer's weights take in an encoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stored {
    /// Weights, padding left out.
    pub weights: usize,
    /// Bytes of the section.
    pub bytes: usize,
    /// Of these, the table of blocks and, where coded, the model.
    pub table: usize,
    /// Bytes at the entropy of the weights, each by itself.
    pub entropy: f64,
}

impl Stored {
    /// What the exporter writes for seeded weights, as many of each channel not zero as
    /// `density_percent` says; `None` where the encoding cannot hold them.
    pub fn of(spec: &LayerSpec, density_percent: u8) -> Option<Self> {
        let weights = seeded(spec, density_percent);
        let entropy = entropy(&weights) * weights.len() as f64 / 8.0;
        let layer = IntLayer {
            name: String::new(),
            spec: *spec,
            weights,
            requants: vec![],
            bound: 0,
            one_sided: 0,
            forced: None,
        };
        let section = weight_section(&layer, spec)?;
        let first = section.first_chunk().map_or(0, |e| u32::from_le_bytes(*e));
        let offset = match spec.encoding {
            Encoding::Dense => 0,
            Encoding::Sparse | Encoding::Delta => first,
            Encoding::Coded => first & ((1 << OFFSET_BITS) - 1),
        };
        Some(Self {
            weights: layer.weights.len(),
            bytes: section.len(),
            table: offset as usize,
            entropy,
        })
    }

    /// Cycles that reading the section out of flash adds where a line waits `wait_states`.
    pub fn flash_wait(&self, spec: &LayerSpec, wait_states: u32) -> u64 {
        let lines = (self.bytes as u64).div_ceil(FLASH_LINE);
        lines * u64::from(decodes(spec)) * u64::from(wait_states)
    }
}

/// Weights `[c_out, k_h, k_w, c_in]`, every block of output channels with its own.
fn seeded(spec: &LayerSpec, density_percent: u8) -> Vec<i8> {
    let (c_in, c_in4) = (usize::from(spec.c_in), spec.c_in4() as usize);
    let len = spec.sequence_len() as usize;
    let together = usize::from(spec.kernel.block_channels());
    let mut sequences = vec![vec![0i8; len]; spec.c_out.into()];
    for (seed, block) in (SEED..).zip(sequences.chunks_mut(together)) {
        let shape = BlockShape {
            channels: block.len(),
            sequence_len: len,
        };
        let mut weights = vec![0; shape.weights()];
        fill_weights(spec, &shape, (seed, density_percent), &mut weights);
        for (k, w) in weights.into_iter().enumerate() {
            let (channel, element) = shape.place(k);
            block[channel][element] = w;
        }
    }
    let taps = sequences.iter().flat_map(|s| s.chunks_exact(c_in4));
    taps.flat_map(|tap| &tap[..c_in]).copied().collect()
}

/// Decoding alone: the same layer in one strip and in two, whose products take the same time,
/// so that the difference is one decoding of all its weights.
#[derive(Default)]
pub(super) struct Decoding {
    known: HashMap<(Encoding, u8, u8), Option<[LayerTiming; 2]>>,
}

/// Rows, columns, channels of the layer that decodes.
const PROBE: (u16, u16, u16, u16) = (2, 3, 1024, 8);

impl Decoding {
    /// Cycles a weight at `wait_states`, streams in SRAM; `None` on a real board, or where the
    /// layer does not fit.
    ///
    /// # Errors
    /// [`TimingError`], but for a layer that is too large.
    pub fn per_weight(
        &mut self,
        board: &mut dyn Board,
        arena: u32,
        case: &Case,
        wait_states: u32,
    ) -> Result<Option<f64>, TimingError> {
        let (encoding, w_bits) = (case.spec.encoding, case.spec.w_bits);
        let key = (encoding, w_bits, case.density_percent);
        let timings = match self.known.get(&key) {
            Some(known) => *known,
            None => {
                let found = time(board, arena, encoding, w_bits, case.density_percent)?;
                self.known.insert(key, found);
                found
            }
        };
        let spec = probe(encoding, w_bits, 1);
        let weights = f64::from(spec.sequence_len()) * f64::from(spec.c_out);
        Ok(timings.and_then(|[once, twice]| {
            let [once, twice] = [once.cycles_at(wait_states)?, twice.cycles_at(wait_states)?];
            Some((twice as f64 - once as f64) / weights)
        }))
    }
}

fn probe(encoding: Encoding, w_bits: u8, strip_rows: u16) -> LayerSpec {
    let (h, w, c_in, c_out) = PROBE;
    LayerSpec {
        k_h: 1,
        k_w: 1,
        pad: 0,
        input: Act::U8,
        encoding,
        w_bits,
        strip_rows,
        ..LayerSpec::conv3x3(h, w, c_in, c_out)
    }
}

fn time(
    board: &mut dyn Board,
    arena: u32,
    encoding: Encoding,
    w_bits: u8,
    density_percent: u8,
) -> Result<Option<[LayerTiming; 2]>, TimingError> {
    let mut timings = Vec::new();
    for strip_rows in [PROBE.0, 1] {
        let key = LayerKey {
            spec: probe(encoding, w_bits, strip_rows),
            density_percent,
        };
        match time_layer(board, &key, arena, Extent::Whole) {
            // Cut smaller, it would decode more often than is counted.
            Ok(timing) if timing.spec == key.spec => timings.push(timing),
            Ok(_) => return Ok(None),
            Err(error) if error.too_large().is_some() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(<[LayerTiming; 2]>::try_from(timings).ok())
}

#[cfg(test)]
mod tests {
    use super::super::cases::KIB;
    use super::*;

    #[test]
    fn every_encoding_is_timed_at_every_width_and_density() {
        let cases = cases();
        for name in [
            "32x32x32->32",
            "16x16x64->64",
            "8x8x128->128",
            "4x4x256->256",
            "2x2x256->256",
            "512->512",
        ] {
            for encoding in [Encoding::Sparse, Encoding::Coded] {
                for (w_bits, density) in WIDTHS.iter().flat_map(|w| DENSITIES.map(|d| (*w, d))) {
                    let found = cases.iter().filter(|c| {
                        c.name() == name
                            && (c.spec.encoding, c.spec.w_bits) == (encoding, w_bits)
                            && c.density_percent == density
                    });
                    assert_eq!(
                        found.count(),
                        1,
                        "{name} {encoding:?} w{w_bits} {density} %"
                    );
                }
            }
        }
        for case in &cases {
            assert!(!case.placed(113 * KIB).is_empty(), "{}", case.name());
            assert_ne!(case.spec.encoding, Encoding::Dense);
        }
    }

    #[test]
    fn coded_weights_take_their_entropy_and_a_table() {
        for (w_bits, density) in WIDTHS.iter().flat_map(|w| DENSITIES.map(|d| (*w, d))) {
            let spec = LayerSpec {
                w_bits,
                encoding: Encoding::Coded,
                ..LayerSpec::conv3x3(16, 16, 64, 64)
            };
            let stored = Stored::of(&spec, density).expect("can be coded");
            assert_eq!(stored.weights, 9 * 64 * 64);
            let bound = stored.entropy + stored.table as f64;
            let over = stored.bytes as f64 / bound - 1.0;
            assert!(
                (-0.02..0.03).contains(&over),
                "w{w_bits} {density} %: {over:+.4}"
            );
        }
    }

    #[test]
    fn seeded_weights_have_their_density_in_every_channel() {
        let spec = LayerSpec::conv3x3(8, 8, 37, 5);
        let weights = seeded(&spec, 20);
        assert_eq!(weights.len(), 9 * 37 * 5);
        for channel in weights.chunks(9 * 37) {
            assert_eq!(
                channel.iter().filter(|&&w| w != 0).count(),
                (333 * 20 + 50) / 100
            );
        }
        assert_ne!(weights[..333], weights[2 * 333..3 * 333], "blocks differ");
    }
}
