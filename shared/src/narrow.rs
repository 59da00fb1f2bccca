//! The scratch of [`Kernel::Narrow`](crate::spec::Kernel::Narrow), the first layer's kernel.
//!
//! In this order, as 32-bit words:
//! - **columns**, `[pool][column][RECORD]`: for each row of the convolution that a pool joins,
//!   a record of each column of the image, one on either side included, with what the three
//!   kernel rows read there;
//! - **weights**, `[block][WEIGHTS]`: all of them, unpacked once for the whole layer;
//! - **accumulators**, `[pool][column][2]`; weights on their way also pass through here.
//!
//! Columns are rounded up to a multiple of [`GROUP`]; what that adds is computed and dropped.

use crate::index::round_up;
use crate::spec::{LayerSpec, ScratchPlan};

/// Pixels that are computed together.
pub const GROUP: u32 = 4;

/// Words of a column's record: three with 0 and 2 of each kernel row's channels (unused with
/// one channel), then the channel that is left over of the rows 0 and 1, then that of row 2
/// here and one column on.
pub const RECORD: u32 = 5;

/// Words of a block's weights and biases: `[4 words][3 taps][2 channels]`, then the fifth word's
/// two taps, which lie two columns apart, then two biases.
pub const WEIGHTS: u32 = 30;

/// Pixels of a row as they are computed.
#[must_use]
pub const fn columns(spec: &LayerSpec) -> u32 {
    round_up(spec.conv_out().1 as u32, GROUP.trailing_zeros())
}

/// How the kernel divides its scratch (saturating).
#[must_use]
pub const fn scratch(spec: &LayerSpec) -> ScratchPlan {
    let (columns, pool) = (columns(spec), spec.pool as u32);
    let sums = (8 * pool).saturating_mul(columns);
    let unpacked = spec.sequence_len().saturating_mul(4);
    ScratchPlan {
        activations: (4 * pool * RECORD).saturating_mul(columns + 2),
        weights: (spec.blocks() as u32).saturating_mul(4 * WEIGHTS),
        accumulators: if sums > unpacked { sums } else { unpacked },
        table: 0,
    }
}

/// The same in all, without saturating.
#[must_use]
pub const fn bytes(spec: &LayerSpec) -> u64 {
    let plan = scratch(spec);
    plan.activations as u64 + plan.weights as u64 + plan.accumulators as u64
}
