//! One layer, fully described: everything that decides its bytes and its cycles.
//!
//! The same [`LayerSpec`] is a record of the blob, the body of a benchmark request and the
//! key of the host's latency table, so that no two of them can disagree.

mod ability;
mod check;
mod kinds;
mod scratch;

pub use crate::winograd::Tiling;
pub use ability::{Abilities, Ability};
pub use check::SpecError;
pub use kinds::{Encoding, Kernel, Kind};
pub use scratch::{LINES, ScratchPlan};

use crate::act::Act;
use crate::index::round_up;
use crate::{CRC32, weights};
use serde::{Deserialize, Serialize};

/// CRC-32 over the source of this module, for the messages' schema hash.
pub(crate) const SOURCE: u32 = {
    let parts = [
        CRC32.checksum(include_bytes!("mod.rs")),
        CRC32.checksum(include_bytes!("check.rs")),
        CRC32.checksum(include_bytes!("kinds.rs")),
        CRC32.checksum(include_bytes!("scratch.rs")),
        CRC32.checksum(include_bytes!("ability.rs")),
    ];
    parts[0]
        ^ parts[1].rotate_left(8)
        ^ parts[2].rotate_left(16)
        ^ parts[3].rotate_left(24)
        ^ parts[4].rotate_left(4)
};

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
    /// The Winograd kernels have the whole map here and cut it as [`Self::tiling`] says.
    pub strip_rows: u16,
    /// How a Winograd kernel is cut to fit scratch; [`Tiling::WHOLE`] for the others.
    pub tiling: Tiling,
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
            tiling: Tiling::WHOLE,
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
        round_up(self.c_in as u32, 2)
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

    /// Bits that a weight takes in the dense encoding: its width, but a byte for 7 bits where
    /// weights are multiplied as they are stored, since three planes would take three passes.
    #[must_use]
    pub const fn stored_bits(&self) -> u8 {
        if self.w_bits == 7 && self.is_straight() {
            8
        } else {
            self.w_bits
        }
    }

    /// Bytes of one output channel's weights in the dense encoding.
    #[must_use]
    pub const fn dense_channel_bytes(&self) -> u32 {
        weights::dense_channel_bytes(self.sequence_len(), self.stored_bits())
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
}
