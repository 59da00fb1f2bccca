//! What `compress` needs of a board.

use crate::run::CycleSource;
use crate::search::MeasureLayer;

/// What a board can hold, and how fast it is.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceLimits {
    /// Name, such as `virtual-stm32f405`.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// Bytes of SRAM that an arena may take.
    pub arena: u32,
    /// Bytes of flash that a blob may take.
    pub blob: u32,
    /// Core clock in Hz.
    pub clock_hz: u64,
    /// CRC-32 of the firmware.
    pub build_id: u32,
    /// Where its cycles come from.
    pub cycle_source: CycleSource,
}

/// One image, as the board ran it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BoardInference {
    /// Raw accumulators of the last layer.
    pub logits: Vec<i32>,
    /// Cycles of each layer of the blob.
    pub cycles: Vec<u64>,
}

impl BoardInference {
    /// Cycles of all layers.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.cycles.iter().sum()
    }
}

/// A board, real or virtual, that times layers and runs blobs.
pub trait Device: MeasureLayer {
    /// What it can hold. Asked once, before anything else.
    fn limits(&self) -> DeviceLimits;

    /// Writes `blob` and runs `images` (`[n, h, w, c]` bytes, `image_bytes` each).
    ///
    /// # Errors
    /// Where the board cannot be reached, refuses the blob, or gives no cycles.
    fn run(
        &mut self,
        blob: &[u8],
        images: &[u8],
        image_bytes: usize,
    ) -> anyhow::Result<Vec<BoardInference>>;
}
