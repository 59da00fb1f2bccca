//! Boards, virtual and real, behind one trait.
//!
//! [`spec`] finds a board's `board.toml`, [`Firmware`] builds its ELF, [`open()`] connects:
//! to a real board through a debug probe, to `virtual-<name>` through our own probe over an
//! emulated chip ([`virt`]) or, for speed, through QEMU with our plugin. Above the
//! connection everything is one implementation that speaks `shared`'s messages, and the
//! cycles of virtual boards come from one model. [`time_layer`] times a layer,
//! [`LatencyTable`] keeps what was timed, [`TimedBoard`] is both as the search sees them.

mod build;
mod code;
mod device;
mod error;
mod firmware;
mod gdb;
mod gdb_rtt;
mod link;
mod log;
mod open;
mod process;
mod qemu;
mod rtt;
pub mod spec;
pub mod stack;
mod steady;
mod table;
mod timed;
mod timing;
mod update;
pub mod virt;

pub use build::Build;
pub use code::{CodeSizes, Part};
pub use error::BoardError;
pub use firmware::{Firmware, Function};
pub use open::{
    EngineChoice, Options, can_use_qemu, connected_probes, open, open_built, open_in_process,
    open_with, qemu_hint,
};
pub use spec::BoardSpec;
pub use steady::{Patience, Steady, Tell};
pub use table::LatencyTable;
pub use timed::TimedBoard;
pub use timing::{
    Extent, LayerTiming, TimingError, agrees_with_direct, expected_crc32, time_layer,
};
pub use update::self_test_crc32;

use cycle_model::Interval;
use shared::message::{BenchLayer, Hello, Stack};
use shared::update::Status;

/// What executes the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Our emulated chip, in this process.
    InProcess,
    /// QEMU.
    Qemu,
    /// A real chip behind a debug probe.
    Probe,
}

impl Engine {
    /// Where cycle counts come from, as reports must say.
    #[must_use]
    pub fn cycle_source(self) -> &'static str {
        match self {
            Self::InProcess | Self::Qemu => "model cycles",
            Self::Probe => "cycles (DWT)",
        }
    }
}

/// The cycles of one measured stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycles {
    /// On this board: with its flash's wait states, or as its own counter says.
    pub board: u64,
    /// What the model counted, zero-wait cycles among it; `None` on a real board.
    pub interval: Option<Interval>,
}

impl Cycles {
    /// Cycles at zero wait states; `None` on a real board, which has what it has.
    #[must_use]
    pub fn zero_wait(&self) -> Option<u64> {
        self.interval.map(|interval| interval.cycles)
    }
}

/// One image's way through the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inference {
    /// The last layer's raw accumulators.
    pub logits: Vec<i32>,
    /// Cycles by layer; `None` where nothing counts them.
    pub layers: Vec<Option<Cycles>>,
    /// Bytes of the arena that were touched, where painting was asked for.
    pub arena_used: Option<u32>,
}

impl Inference {
    /// Cycles of all layers together, if each is known.
    #[must_use]
    pub fn cycles(&self) -> Option<u64> {
        self.layers
            .iter()
            .map(|layer| layer.map(|cycles| cycles.board))
            .sum()
    }
}

/// One layer, timed on seeded data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long it took.
    pub cycles: Cycles,
    /// CRC-32 of its output, to be compared with the host's.
    pub output_crc32: u32,
    /// Whether a fast kernel ran.
    pub fast: bool,
}

/// A board with Pressboard's firmware. The search and the tests do not know which kind.
pub trait Board: Send {
    /// What the board is.
    fn spec(&self) -> &BoardSpec;

    /// The name that it was asked for by, such as `virtual-stm32f405`.
    fn name(&self) -> &str;

    /// What executes the firmware.
    fn engine(&self) -> Engine;

    /// Identity of the firmware: CRC-32 of the flash bytes that its ELF loads.
    fn build_id(&self) -> u32;

    /// Who are you?
    ///
    /// # Errors
    /// As all of them: [`BoardError`] where the board does not answer, stops at a fault, or
    /// refuses.
    fn hello(&mut self) -> Result<Hello, BoardError>;

    /// Puts a blob into flash, and the firmware if it is not there yet, and restarts.
    ///
    /// # Errors
    /// [`BoardError::BlobTooLarge`], or a failure to program.
    fn flash(&mut self, blob: &[u8]) -> Result<(), BoardError>;

    /// Runs the network of the flashed blob on `image`, `[h, w, c]` bytes. `paint` also
    /// finds out how much of the arena it touches.
    ///
    /// # Errors
    /// [`BoardError::Refused`] where the blob is damaged, the image has another size, or
    /// the arena does not fit.
    fn infer(&mut self, image: &[u8], paint: bool) -> Result<Inference, BoardError>;

    /// Runs many images; `each` is given the index and the result of each as it comes.
    ///
    /// # Errors
    /// The first error ends it.
    fn infer_many(
        &mut self,
        images: &mut dyn Iterator<Item = &[u8]>,
        each: &mut dyn FnMut(usize, Inference),
    ) -> Result<(), BoardError> {
        for (index, image) in images.enumerate() {
            each(index, self.infer(image, false)?);
        }
        Ok(())
    }

    /// Times a layer, or some blocks of one, on seeded data.
    ///
    /// # Errors
    /// [`BoardError::Refused`] with `TooLarge` where it needs more SRAM than there is.
    fn bench_layer(&mut self, request: &BenchLayer) -> Result<Timing, BoardError>;

    /// How deep the stack went since start-up.
    ///
    /// # Errors
    /// As [`hello`](Self::hello).
    fn stack(&mut self) -> Result<Stack, BoardError>;

    /// What is in the slots of firmware that has two.
    ///
    /// # Errors
    /// [`BoardError::Refused`] where it has none.
    fn slots(&mut self) -> Result<Status, BoardError>;

    /// Puts a network into the slot that does not run, has it checked and tried, and runs
    /// it from now on; `self_test` is what [`self_test_crc32`] says of it. Whatever goes
    /// wrong, the device goes on with the network that it has.
    ///
    /// # Errors
    /// [`BoardError::Refused`] with the reason, by name.
    fn update(&mut self, network: &[u8], self_test: u32) -> Result<Status, BoardError>;
}

#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod tests;
