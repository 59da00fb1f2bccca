//! Which layers make sense.

use super::{Encoding, Kernel, Kind, LINES, LayerSpec};
use crate::act::Act;
use crate::semantics::WEIGHT_BITS;
use crate::{narrow, winograd};
use serde::{Deserialize, Serialize};

/// Why a [`LayerSpec`] cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SpecError {
    /// A dimension that must not be zero is zero.
    ZeroDimension,
    /// Weights are 2 to 8 bits wide. Where there are none, that is 0 and they are stored dense: a
    /// decoder would want scratch that such a layer has not.
    WeightBits,
    /// This kind does not take that input format.
    InputFormat,
    /// This kind does not give that output format.
    OutputFormat,
    /// The kernel is larger than the padded input, or the padding as large as the kernel.
    Geometry,
    /// Pooling is 1 or 2, and needs at least 2x2 inputs.
    Pool,
    /// `strip_rows` is zero, or cuts a pooled pair of rows.
    Strip,
    /// The sums of a global average pool could exceed 32,767.
    PoolSumRange,
    /// A size in bytes exceeds 32 bits.
    TooLarge,
    /// The kernel does not compute such a layer.
    Kernel,
    /// More is asked for at a time than there is, or the kernel is not cut like this.
    Tiling,
}

impl LayerSpec {
    /// Checks that the fields make sense together.
    ///
    /// # Errors
    /// The first [`SpecError`] found, in the order of that enum.
    pub const fn check(&self) -> Result<(), SpecError> {
        let weights = self.has_weights();
        if self.in_h == 0 || self.in_w == 0 || self.c_in == 0 || self.c_out == 0 || self.stride == 0
        {
            return Err(SpecError::ZeroDimension);
        }
        if weights && (self.k_h == 0 || self.k_w == 0) {
            return Err(SpecError::ZeroDimension);
        }
        let widths_ok = if weights {
            self.w_bits >= *WEIGHT_BITS.start() && self.w_bits <= *WEIGHT_BITS.end()
        } else {
            self.w_bits == 0 && matches!(self.encoding, Encoding::Dense)
        };
        if !widths_ok {
            return Err(SpecError::WeightBits);
        }
        if matches!(self.input, Act::I32) || (!weights && !self.input.is_unsigned()) {
            return Err(SpecError::InputFormat);
        }
        let output_ok = if weights {
            self.output.is_unsigned() || matches!(self.output, Act::I32)
        } else {
            matches!(self.output, Act::S16)
        };
        if !output_ok {
            return Err(SpecError::OutputFormat);
        }
        if let Err(e) = self.check_geometry() {
            return Err(e);
        }
        if let Err(e) = self.check_sizes() {
            return Err(e);
        }
        self.check_kernel()
    }

    const fn check_kernel(&self) -> Result<(), SpecError> {
        if !self.kernel.is_winograd() && !self.tiling.is_whole() {
            return Err(SpecError::Tiling);
        }
        if matches!(self.kernel, Kernel::Direct) {
            return Ok(());
        }
        let conv3x3 = matches!(self.kind, Kind::Conv) && self.k_h == 3 && self.k_w == 3;
        let formats = match self.kernel {
            Kernel::Narrow => matches!(self.input, Act::Image) && matches!(self.c_in, 1 | 3),
            _ => self.input.is_unsigned() && self.output.is_unsigned(),
        };
        if !conv3x3 || self.stride != 1 || !formats {
            return Err(SpecError::Kernel);
        }
        if self.kernel.is_winograd() {
            self.check_tiling()
        } else {
            Ok(())
        }
    }

    const fn check_tiling(&self) -> Result<(), SpecError> {
        if self.strip_rows != self.conv_out().0 {
            return Err(SpecError::Strip);
        }
        let t = self.tiling;
        let quads = t.quads as u32 <= winograd::quads(self);
        let channels = (t.channels as u32).is_multiple_of(winograd::channel_step(self))
            && (t.channels as u32) < self.c_in4();
        let blocks = t.blocks <= self.blocks() && (t.blocks == 0) == (t.channels == 0);
        if quads && channels && blocks {
            Ok(())
        } else {
            Err(SpecError::Tiling)
        }
    }

    const fn check_geometry(&self) -> Result<(), SpecError> {
        if !self.has_weights() {
            let plain = self.k_h == 0 && self.k_w == 0 && self.pad == 0 && self.stride == 1;
            return match (plain && self.c_in == self.c_out, self.pool, self.strip_rows) {
                (false, _, _) => Err(SpecError::Geometry),
                (_, 1, 1) => Ok(()),
                (_, 1, _) => Err(SpecError::Strip),
                _ => Err(SpecError::Pool),
            };
        }
        let (k_h, k_w, p2) = (self.k_h as u32, self.k_w as u32, 2 * self.pad as u32);
        let fits = k_h <= self.in_h as u32 + p2 && k_w <= self.in_w as u32 + p2;
        let padded = self.pad == 0 || (self.pad < self.k_h && self.pad < self.k_w);
        // A stride that leaps over padding and kernel would leave rows that no tap reads.
        if !fits || !padded {
            return Err(SpecError::Geometry);
        }
        if matches!(self.kind, Kind::FullyConnected) {
            let whole = k_h == self.in_h as u32 && k_w == self.in_w as u32;
            if !whole || self.pad != 0 || self.stride != 1 {
                return Err(SpecError::Geometry);
            }
        }
        let (h, w) = self.conv_out();
        if self.pool != 1 && (self.pool != 2 || h < 2 || w < 2 || matches!(self.output, Act::I32)) {
            return Err(SpecError::Pool);
        }
        if self.strip_rows == 0
            || self.strip_rows > h
            || (self.pool == 2 && !self.strip_rows.is_multiple_of(2) && self.strip_rows != h)
        {
            return Err(SpecError::Strip);
        }
        Ok(())
    }

    const fn check_sizes(&self) -> Result<(), SpecError> {
        if !self.has_weights() {
            let sum = self.in_h as u64 * self.in_w as u64 * self.input.max() as u64;
            if sum > i16::MAX as u64 {
                return Err(SpecError::PoolSumRange);
            }
        }
        let (h, w) = self.out_hw();
        let input = self.input.tensor_bytes(self.in_h, self.in_w, self.c_in);
        let output = self.output.tensor_bytes(h, w, self.c_out);
        let sequence = self.k_h as u64 * self.k_w as u64 * self.c_in4() as u64;
        let strip = self.strip_input_rows() as u64 * self.in_w as u64 * self.c_in4() as u64 * 2;
        let scratch = match self.kernel {
            Kernel::Direct => strip + sequence * 4 + LINES as u64 * self.conv_out().1 as u64 * 8,
            Kernel::Narrow => narrow::bytes(self),
            Kernel::Winograd4 | Kernel::Winograd2 => {
                let pair = winograd::positions(self.kernel) as u64 * self.c_in4() as u64 * 2;
                let sums = winograd::sum_bytes(self.kernel) as u64 * winograd::slots(self) as u64;
                pair * (4 * winograd::strip_quads(self) as u64 + 2) + sequence * 4 + sums
            }
        };
        // Twice the sequence at 8 bits is an upper bound of any encoding of a channel.
        let stored = sequence * 2 * self.c_out as u64;
        if input.is_none()
            || output.is_none()
            || scratch > u32::MAX as u64
            || stored > u32::MAX as u64
        {
            return Err(SpecError::TooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiling_is_of_what_there_is() {
        use crate::spec::Tiling;
        let with = |kernel, [quads, channels, blocks]: [u16; 3]| LayerSpec {
            kernel,
            tiling: Tiling {
                quads,
                channels,
                blocks,
            },
            ..LayerSpec::conv3x3(8, 8, 37, 5)
        };
        for tiling in [[0, 0, 0], [1, 0, 0], [0, 4, 3], [1, 36, 1]] {
            assert_eq!(with(Kernel::Winograd4, tiling).check(), Ok(()));
        }
        for tiling in [
            [2, 0, 0],
            [0, 40, 1],
            [0, 6, 1],
            [0, 4, 0],
            [0, 0, 1],
            [0, 4, 4],
        ] {
            let wrong = with(Kernel::Winograd4, tiling).check();
            assert_eq!(wrong, Err(SpecError::Tiling), "{tiling:?}");
        }
        let direct = with(Kernel::Direct, [1, 0, 0]).check();
        assert_eq!(direct, Err(SpecError::Tiling));
    }

    #[test]
    fn nonsense_is_named() {
        let ok = LayerSpec::conv3x3(8, 8, 4, 4);
        let cases = [
            (LayerSpec { in_h: 0, ..ok }, SpecError::ZeroDimension),
            (LayerSpec { w_bits: 9, ..ok }, SpecError::WeightBits),
            (LayerSpec { w_bits: 0, ..ok }, SpecError::WeightBits),
            (
                LayerSpec {
                    input: Act::I32,
                    ..ok
                },
                SpecError::InputFormat,
            ),
            (
                LayerSpec {
                    output: Act::S16,
                    ..ok
                },
                SpecError::OutputFormat,
            ),
            (LayerSpec { pad: 3, ..ok }, SpecError::Geometry),
            (LayerSpec { k_h: 11, ..ok }, SpecError::Geometry),
            (LayerSpec { pool: 3, ..ok }, SpecError::Pool),
            (
                LayerSpec {
                    strip_rows: 9,
                    ..ok
                },
                SpecError::Strip,
            ),
            (
                LayerSpec {
                    strip_rows: 3,
                    pool: 2,
                    ..ok
                },
                SpecError::Strip,
            ),
            (
                LayerSpec::global_avg_pool(12, 12, 4, Act::U8),
                SpecError::PoolSumRange,
            ),
            (
                LayerSpec {
                    in_h: 65_535,
                    in_w: 65_535,
                    c_in: 65_535,
                    strip_rows: 1,
                    ..ok
                },
                SpecError::TooLarge,
            ),
        ];
        for (spec, error) in cases {
            assert_eq!(spec.check(), Err(error), "{spec:?}");
        }
    }
}
