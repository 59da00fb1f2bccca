//! One layer, fully described: everything that decides its bytes and its cycles.
//!
//! The same [`LayerSpec`] is a record of the blob, the body of a benchmark request and the
//! key of the host's latency table, so that no two of them can disagree.

use crate::act::Act;
use crate::semantics::WEIGHT_BITS;
use crate::{weights, winograd};
use serde::{Deserialize, Serialize};

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Kind {
    /// Convolution, ReLU by clamping, requantization, optional 2x2 max-pool before it.
    Conv = 0,
    /// A convolution whose kernel covers the whole map: output `[1, 1, c_out]`.
    FullyConnected = 1,
    /// Sum over the map, per channel, as `S16`; its 1/(h·w) belongs to the next scale.
    GlobalAvgPool = 2,
}

/// How a layer is computed, and so the order of its weights within a block.
///
/// Ids are never reused. Every kernel gives the same bytes as [`Kernel::Direct`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Kernel {
    /// Activations of a strip of rows and the weights of a pair of output channels are
    /// expanded to 16 bits in scratch; padded taps are skipped. Any shape.
    Direct = 0,
    /// Tiles of 4x4 outputs by 36 multiplications instead of 144, see [`crate::winograd`]:
    /// 3x3, stride 1, unsigned input and output, and only where it is proven exact.
    Winograd4 = 1,
    /// Tiles of 2x2 outputs by 16 multiplications instead of 36, for small maps; else as
    /// [`Kernel::Winograd4`], and exact far more often.
    Winograd2 = 2,
}

/// How the sequence of weights of a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Encoding {
    /// Bit planes of fixed size, see [`weights::DenseChannel`].
    Dense = 0,
    /// A bitmap of the nonzero weights, then their values, see [`weights::sparse`].
    Sparse = 1,
}

impl Kind {
    /// The kind with this code in a blob, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Conv,
            1 => Self::FullyConnected,
            2 => Self::GlobalAvgPool,
            _ => return None,
        })
    }
}

impl Kernel {
    /// The kernel with this id in a blob, if this version knows it.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Direct),
            1 => Some(Self::Winograd4),
            2 => Some(Self::Winograd2),
            _ => None,
        }
    }

    /// Output channels that one block holds.
    #[must_use]
    pub const fn block_channels(self) -> u16 {
        match self {
            Self::Direct | Self::Winograd4 | Self::Winograd2 => 2,
        }
    }

    /// The name that reports and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Winograd4 => "winograd4",
            Self::Winograd2 => "winograd2",
        }
    }

    /// Output rows and columns that are computed together.
    #[must_use]
    pub const fn tile_side(self) -> u32 {
        match self {
            Self::Direct => 1,
            Self::Winograd4 => 4,
            Self::Winograd2 => 2,
        }
    }
}

impl Encoding {
    /// The encoding with this code in a blob, if this version knows it.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Dense,
            1 => Self::Sparse,
            _ => return None,
        })
    }

    /// The name that reports and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

/// Everything that decides a layer's result, memory and cycles, but for the weights.
///
/// Fields are plain; [`LayerSpec::check`] says whether they make sense together, and the
/// other methods may be called only after it (they never panic, but mean nothing before).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LayerSpec {
    /// What it computes.
    pub kind: Kind,
    /// How.
    pub kernel: Kernel,
    /// How its weights are stored.
    pub encoding: Encoding,
    /// Width of the weights, 2 to 8 bits; 0 for a layer without weights.
    pub w_bits: u8,
    /// Format of the input tensor.
    pub input: Act,
    /// Format of the output tensor.
    pub output: Act,
    /// Input height.
    pub in_h: u16,
    /// Input width.
    pub in_w: u16,
    /// Input channels.
    pub c_in: u16,
    /// Output channels.
    pub c_out: u16,
    /// Kernel height; the input's for a fully connected layer, 0 for a global pool.
    pub k_h: u8,
    /// Kernel width.
    pub k_w: u8,
    /// Stride in both directions.
    pub stride: u8,
    /// Rows and columns of exact zeros on every side.
    pub pad: u8,
    /// 2: a 2x2 max-pool follows, fused; 1: none.
    pub pool: u8,
    /// Output rows (before the pool) that are computed from one expansion of input rows.
    pub strip_rows: u16,
}

/// Why a [`LayerSpec`] cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SpecError {
    /// A dimension that must not be zero is zero.
    ZeroDimension,
    /// Weights are 2 to 8 bits wide (0 where there are none).
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
}

impl LayerSpec {
    /// A 3x3, stride 1, pad 1 convolution from and to 8 bits with dense weights, whole
    /// map in one strip. A base to change fields of: `LayerSpec { w_bits: 4, ..base }`.
    #[must_use]
    pub const fn conv3x3(h: u16, w: u16, c_in: u16, c_out: u16) -> Self {
        Self {
            kind: Kind::Conv,
            kernel: Kernel::Direct,
            encoding: Encoding::Dense,
            w_bits: 8,
            input: Act::U8,
            output: Act::U8,
            in_h: h,
            in_w: w,
            c_in,
            c_out,
            k_h: 3,
            k_w: 3,
            stride: 1,
            pad: 1,
            pool: 1,
            strip_rows: h,
        }
    }

    /// A fully connected layer over an `[h, w, c_in]` map (1x1 for a vector) of 8 bits.
    #[must_use]
    pub const fn fully_connected(h: u8, w: u8, c_in: u16, c_out: u16) -> Self {
        Self {
            kind: Kind::FullyConnected,
            k_h: h,
            k_w: w,
            pad: 0,
            strip_rows: 1,
            ..Self::conv3x3(h as u16, w as u16, c_in, c_out)
        }
    }

    /// A global average pool of an `[h, w, c]` map.
    #[must_use]
    pub const fn global_avg_pool(h: u16, w: u16, c: u16, input: Act) -> Self {
        Self {
            kind: Kind::GlobalAvgPool,
            input,
            output: Act::S16,
            w_bits: 0,
            k_h: 0,
            k_w: 0,
            pad: 0,
            strip_rows: 1,
            ..Self::conv3x3(h, w, c, c)
        }
    }

    /// Whether this layer has weights, biases and multipliers.
    #[must_use]
    pub const fn has_weights(&self) -> bool {
        !matches!(self.kind, Kind::GlobalAvgPool)
    }

    /// Rows and columns of the convolution's output, before a pool.
    #[must_use]
    pub const fn conv_out(&self) -> (u16, u16) {
        if !self.has_weights() {
            return (1, 1);
        }
        (
            out_len(self.in_h, self.k_h, self.stride, self.pad),
            out_len(self.in_w, self.k_w, self.stride, self.pad),
        )
    }

    /// Rows and columns of the output tensor.
    #[must_use]
    pub const fn out_hw(&self) -> (u16, u16) {
        let (h, w) = self.conv_out();
        if self.pool == 2 {
            (h / 2, w / 2)
        } else {
            (h, w)
        }
    }

    /// Bytes of the input tensor (0 for the image, which is the caller's).
    #[must_use]
    pub const fn input_bytes(&self) -> u32 {
        match self.input {
            Act::Image => 0,
            act => unwrap_or_max(act.tensor_bytes(self.in_h, self.in_w, self.c_in)),
        }
    }

    /// Bytes of the output tensor.
    #[must_use]
    pub const fn output_bytes(&self) -> u32 {
        let (h, w) = self.out_hw();
        unwrap_or_max(self.output.tensor_bytes(h, w, self.c_out))
    }

    /// Input channels rounded up to four, as they lie in scratch and in the weights.
    #[must_use]
    pub const fn c_in4(&self) -> u32 {
        (self.c_in as u32).next_multiple_of(4)
    }

    /// Length of one output channel's sequence of weights, channels padded to four.
    #[must_use]
    pub const fn sequence_len(&self) -> u32 {
        self.k_h as u32 * self.k_w as u32 * self.c_in4()
    }

    /// Weights of the layer that stand for something: `k_h · k_w · c_in · c_out`.
    #[must_use]
    pub const fn weight_count(&self) -> u64 {
        self.k_h as u64 * self.k_w as u64 * self.c_in as u64 * self.c_out as u64
    }

    /// Dense multiply-accumulates, padded taps counted; 0 for a global pool.
    #[must_use]
    pub const fn macs(&self) -> u64 {
        let (h, w) = self.conv_out();
        h as u64 * w as u64 * self.weight_count()
    }

    /// Blocks of output channels; the last may be short.
    #[must_use]
    pub const fn blocks(&self) -> u16 {
        self.c_out.div_ceil(self.kernel.block_channels())
    }

    /// Bytes of one output channel's weights in the dense encoding.
    #[must_use]
    pub const fn dense_channel_bytes(&self) -> u32 {
        weights::dense_channel_bytes(self.sequence_len(), self.w_bits)
    }

    /// Input rows that a full strip needs.
    #[must_use]
    pub const fn strip_input_rows(&self) -> u16 {
        let rows = (self.strip_rows as u32 - 1) * self.stride as u32 + self.k_h as u32;
        if rows > self.in_h as u32 {
            self.in_h
        } else {
            rows as u16
        }
    }

    /// Bytes of scratch that the kernel takes, all of it used; see [`ScratchPlan`].
    #[must_use]
    pub const fn scratch_bytes(&self) -> u32 {
        self.scratch().total()
    }

    /// How the kernel divides its scratch.
    #[must_use]
    pub const fn scratch(&self) -> ScratchPlan {
        if !self.has_weights() {
            return ScratchPlan {
                activations: 0,
                weights: 0,
                accumulators: 0,
            };
        }
        if !matches!(self.kernel, Kernel::Direct) {
            return self.winograd_scratch();
        }
        let out_w = self.conv_out().1 as u32;
        let row = (self.in_w as u32)
            .saturating_mul(self.c_in4())
            .saturating_mul(2);
        ScratchPlan {
            activations: (self.strip_input_rows() as u32).saturating_mul(row),
            weights: self.sequence_len().saturating_mul(4),
            accumulators: (self.pool as u32).saturating_mul(out_w).saturating_mul(8),
        }
    }

    const fn winograd_scratch(&self) -> ScratchPlan {
        let pair = winograd::positions(self.kernel).saturating_mul(self.c_in4() / 2 * 4);
        let sums = winograd::sum_bytes(self.kernel);
        let quads = winograd::quads(self, self.strip_rows);
        let weights = self.sequence_len().saturating_mul(4);
        ScratchPlan {
            activations: pair.saturating_mul(4).saturating_mul(quads),
            weights: pair.saturating_mul(2),
            accumulators: if weights > sums { weights } else { sums },
        }
    }

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
            self.w_bits == 0
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
        if matches!(self.kernel, Kernel::Direct) {
            return Ok(());
        }
        let shape = matches!(self.kind, Kind::Conv) && self.k_h == 3 && self.k_w == 3;
        let formats = self.input.is_unsigned() && self.output.is_unsigned();
        if !shape || self.stride != 1 || !formats {
            return Err(SpecError::Kernel);
        }
        let whole = self.strip_rows == self.conv_out().0;
        if !whole && !(self.strip_rows as u32).is_multiple_of(self.kernel.tile_side()) {
            return Err(SpecError::Strip);
        }
        Ok(())
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
            Kernel::Direct => {
                strip + sequence * 4 + self.pool as u64 * self.conv_out().1 as u64 * 8
            }
            Kernel::Winograd4 | Kernel::Winograd2 => {
                let quads = winograd::quads(self, self.strip_rows) as u64;
                let pair = winograd::positions(self.kernel) as u64 * self.c_in4() as u64 * 2;
                pair * (4 * quads + 2) + sequence * 4 + winograd::sum_bytes(self.kernel) as u64
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

/// How a kernel divides its scratch, in bytes, in this order.
///
/// The Winograd kernels hold transformed values as `i16`: groups of four input tiles,
/// `[quad][p][c_in4][4]` with 36 or 16 positions `p`, then weights, `[p][c_in4][2]`, then in
/// one place first the weights as they are and afterwards the sums, `[2][4][p]` as `i32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScratchPlan {
    /// Input rows of a strip as `i16`, `[rows, in_w, c_in4]`.
    pub activations: u32,
    /// A pair of output channels' weights as `i16`, two sequences.
    pub weights: u32,
    /// `i32` accumulators of a row (or of the two rows that a pool joins), two channels.
    pub accumulators: u32,
}

impl ScratchPlan {
    /// Bytes of the whole scratch (saturating).
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.activations
            .saturating_add(self.weights)
            .saturating_add(self.accumulators)
    }
}

const fn out_len(len: u16, k: u8, stride: u8, pad: u8) -> u16 {
    let padded = len as u32 + 2 * pad as u32;
    if stride == 0 || padded < k as u32 {
        return 0;
    }
    let out = (padded - k as u32) / stride as u32 + 1;
    if out > u16::MAX as u32 {
        u16::MAX
    } else {
        out as u16
    }
}

const fn unwrap_or_max(v: Option<u32>) -> u32 {
    match v {
        Some(v) => v,
        None => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vgg_layer_has_the_sizes_of_its_textbook() {
        let s = LayerSpec {
            pool: 2,
            ..LayerSpec::conv3x3(32, 32, 32, 32)
        };
        assert_eq!(s.check(), Ok(()));
        assert_eq!(s.macs(), 9_437_184);
        assert_eq!(s.out_hw(), (16, 16));
        assert_eq!((s.input_bytes(), s.output_bytes()), (32_768, 8_192));
        assert_eq!(s.scratch().activations, 65_536);
        let strip = LayerSpec { strip_rows: 2, ..s };
        assert_eq!(
            strip.scratch_bytes(),
            4 * 32 * 32 * 2 + 288 * 4 + 2 * 32 * 8
        );
        let fc = LayerSpec::fully_connected(1, 1, 512, 10);
        assert_eq!((fc.check(), fc.macs(), fc.out_hw()), (Ok(()), 5120, (1, 1)));
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
