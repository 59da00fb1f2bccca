//! Putting another network onto a running device: what is asked and answered.
//!
//! `Begin` erases the slot that does not run, `Write` fills it from its start, in order,
//! `Finish` has it checked, tried and confirmed. A `Write` whose answer got lost is sent
//! again: the answer always says which byte comes next.

use crate::blob::BlobError;
use crate::spec::Ability;
use serde::{Deserialize, Serialize};

/// Slots that a device has.
pub const SLOTS: usize = 2;
/// Bytes that one `Write` carries; a multiple of every flash's write unit.
pub const MAX_WRITE: usize = 3 * 1024;

/// What the host asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateRequest<'a> {
    /// What is in the slots?
    Status,
    /// Erase the slot that does not run, for a new network.
    Begin {
        /// Bytes of the blob, with its signature if it has one.
        length: u32,
        /// CRC-32 of the logits that the network must give for the image of the self-test.
        self_test: u32,
    },
    /// The next bytes.
    Write {
        /// Where they go, from the slot's start.
        offset: u32,
        /// At most [`MAX_WRITE`].
        #[serde(borrow)]
        bytes: &'a [u8],
    },
    /// Check what was written, try it, run it from now on.
    Finish,
}

/// What the device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum UpdateReply {
    /// To `Status`.
    Status(Status),
    /// To `Begin` and `Write`: the offset of the byte that comes next.
    Next(u32),
    /// To `Finish`: this slot's network passed and runs.
    Running(u8),
}

/// What is in the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Status {
    /// The slot that runs; `None` where neither holds a network that may.
    pub running: Option<u8>,
    /// Both slots.
    pub slots: [Slot; SLOTS],
    /// Most bytes that a slot takes.
    pub limit: u32,
    /// The lowest version that is taken; 0 where versions are not looked at.
    pub floor: u32,
}

/// What one slot's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Slot {
    /// No valid header: nothing, or an update that was cut short.
    Empty,
    /// No header at all, as a debug probe leaves it: the first slot's network runs if it
    /// is valid.
    Bare,
    /// Written whole; not confirmed yet.
    Trial {
        /// Rises with each update.
        sequence: u32,
        /// How often it was started.
        attempts: u8,
    },
    /// Passed its self-test.
    Confirmed {
        /// Rises with each update.
        sequence: u32,
    },
}

/// Why an update does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UpdateError {
    /// `Write` or `Finish` without `Begin`; also after a reset, or flash that failed.
    NotBegun,
    /// Bytes that do not come next.
    Order {
        /// The offset of those that do.
        next: u32,
    },
    /// More bytes than a slot takes, or none.
    Length {
        /// Most that it takes.
        limit: u32,
    },
    /// The flash controller refused to erase or to program.
    Flash,
    /// The flash does not hold what was written.
    Verify {
        /// The first byte that differs.
        offset: u32,
    },
    /// The network that was written is refused.
    Blob(BlobError),
    /// The firmware was built without a kernel that a layer needs.
    NotBuilt {
        /// Index of the layer.
        layer: u16,
        /// The kernel.
        kernel: Ability,
    },
    /// The network cannot run here: too little SRAM, a damaged stream, an image too large.
    CannotRun {
        /// Bytes of arena that it states.
        need: u32,
        /// Bytes of arena there are.
        limit: u32,
    },
    /// The self-test gave other logits than the host expects.
    SelfTest {
        /// CRC-32 that was expected.
        expected: u32,
        /// CRC-32 that came out.
        got: u32,
    },
    /// No room to note a higher version, or no higher sequence number.
    Worn,
}
