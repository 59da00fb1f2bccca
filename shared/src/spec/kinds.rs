//! The closed sets that a layer is described with, and their codes in a blob.

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
    /// First layers: an image of 1 or 3 channels, 3x3 of stride 1, without strips. The taps
    /// of a column of pixels lie together, so that no lane is padding; what lies outside of
    /// the image is multiplied as zero.
    Narrow = 3,
}

/// How the sequence of weights of a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Encoding {
    /// Bit planes of fixed size, see [`crate::weights::DenseChannel`].
    Dense = 0,
    /// A bitmap of the nonzero weights, then their values, see [`crate::coding::bitmap`].
    Sparse = 1,
    /// The nonzero weights, each with the zeros before it, see [`crate::coding::delta`].
    Delta = 2,
    /// Entropy-coded, see [`crate::coding::tans`].
    Coded = 3,
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
            3 => Some(Self::Narrow),
            _ => None,
        }
    }

    /// Whether this is one of the two Winograd kernels.
    #[must_use]
    pub const fn is_winograd(self) -> bool {
        matches!(self, Self::Winograd4 | Self::Winograd2)
    }

    /// Output channels that one block holds.
    #[must_use]
    pub const fn block_channels(self) -> u16 {
        match self {
            Self::Direct | Self::Winograd4 | Self::Winograd2 | Self::Narrow => 2,
        }
    }

    /// The name that reports and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Winograd4 => "winograd4",
            Self::Winograd2 => "winograd2",
            Self::Narrow => "narrow",
        }
    }

    /// Output rows and columns that are computed together.
    #[must_use]
    pub const fn tile_side(self) -> u32 {
        match self {
            Self::Direct | Self::Narrow => 1,
            Self::Winograd4 => 4,
            Self::Winograd2 => 2,
        }
    }
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dense, Self::Sparse, Self::Delta, Self::Coded];

    /// The encoding with this code in a blob, if this version knows it.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Dense,
            1 => Self::Sparse,
            2 => Self::Delta,
            3 => Self::Coded,
            _ => return None,
        })
    }

    /// The name that reports and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Delta => "delta",
            Self::Coded => "coded",
        }
    }
}
