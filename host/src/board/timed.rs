//! A board as the search and the main job see it, with the user's latency table before it.

use super::table::LatencyTable;
use super::timing::{Extent, time_layer};
use super::{Board, BoardError, Engine};
use crate::compress::{BoardInference, Device, DeviceLimits};
use crate::run::CycleSource;
use crate::search::{LayerCost, LayerKey, MeasureLayer, Timing};
use anyhow::{Context, Result};
use shared::CRC32;
use shared::message::Hello;

/// Changes whenever the source of the cycle model changes, so that timings of another model
/// are not taken for this one's.
const MODEL: u32 = {
    let parts = [
        CRC32.checksum(include_bytes!("../../cycle-model/src/instr.rs")),
        CRC32.checksum(include_bytes!("../../cycle-model/src/pipeline.rs")),
        CRC32.checksum(include_bytes!("../../cycle-model/src/flash.rs")),
        CRC32.checksum(include_bytes!("../../cycle-model/src/meter.rs")),
    ];
    parts[0].rotate_left(1)
        ^ parts[1].rotate_left(2)
        ^ parts[2].rotate_left(3)
        ^ parts[3].rotate_left(4)
};

/// A board that has said who it is.
pub struct TimedBoard {
    board: Box<dyn Board>,
    hello: Hello,
    table: Option<LatencyTable>,
    /// CRC-32 of the blob that is in flash.
    flashed: Option<u32>,
}

impl TimedBoard {
    /// Asks `board` who it is.
    ///
    /// # Errors
    /// [`BoardError`] where it does not answer.
    pub fn new(mut board: Box<dyn Board>) -> Result<Self, BoardError> {
        let hello = board.hello()?;
        Ok(Self {
            board,
            hello,
            table: None,
            flashed: None,
        })
    }

    /// Looks timings up in `table` first, and adds to it what has to be measured.
    #[must_use]
    pub fn with_table(mut self, table: LatencyTable) -> Self {
        self.table = Some(table);
        self
    }

    /// What it said.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The board. What it has in flash is not known afterwards.
    pub fn board(&mut self) -> &mut dyn Board {
        self.flashed = None;
        &mut *self.board
    }

    fn time(&mut self, key: &LayerKey) -> Result<LayerCost> {
        let extent = Extent::of(self.board.engine());
        match time_layer(&mut *self.board, key, self.hello.arena_limit, extent) {
            Ok(timing) => Ok(LayerCost::Cycles(timing.cycles)),
            Err(error) => match error.too_large() {
                Some((need, limit)) => Ok(LayerCost::TooLarge { need, limit }),
                None => Err(error.into()),
            },
        }
    }

    /// Everything that decides what [`time`](Self::time) says of `key`.
    fn table_key(&self, key: &LayerKey) -> serde_json::Result<String> {
        let engine = self.board.engine();
        let model = match engine {
            Engine::Probe => 0,
            Engine::InProcess | Engine::Qemu => MODEL,
        };
        Ok(format!(
            "{} {:08x} {model:08x} {:?} {:?} {}",
            self.board.name(),
            self.hello.build_id,
            Extent::of(engine),
            self.board.spec().flash,
            serde_json::to_string(key)?
        ))
    }

    fn ensure_flashed(&mut self, blob: &[u8]) -> Result<(), BoardError> {
        let crc = CRC32.checksum(blob);
        if self.flashed != Some(crc) {
            self.flashed = None;
            self.board.flash(blob)?;
            self.flashed = Some(crc);
        }
        Ok(())
    }
}

impl MeasureLayer for TimedBoard {
    fn measure(&mut self, key: &LayerKey) -> Result<Timing> {
        let table_key = self.table_key(key)?;
        if let Some(cost) = self.table.as_ref().and_then(|table| table.get(&table_key)) {
            return Ok(Timing {
                cost,
                from_table: true,
            });
        }
        let cost = self.time(key)?;
        if let Some(table) = &mut self.table {
            table.put(&table_key, cost)?;
        }
        Ok(Timing {
            cost,
            from_table: false,
        })
    }
}

impl Device for TimedBoard {
    fn limits(&self) -> DeviceLimits {
        let spec = self.board.spec();
        DeviceLimits {
            name: self.board.name().into(),
            description: spec.description.clone(),
            arena: self.hello.arena_limit,
            blob: spec.blob.bytes,
            clock_hz: spec.clock_hz.into(),
            build_id: self.hello.build_id,
            cycle_source: match self.board.engine() {
                Engine::InProcess | Engine::Qemu => CycleSource::Model,
                Engine::Probe => CycleSource::Dwt,
            },
        }
    }

    fn run(
        &mut self,
        blob: &[u8],
        images: &[u8],
        image_bytes: usize,
    ) -> Result<Vec<BoardInference>> {
        self.ensure_flashed(blob)?;
        let mut results = Vec::new();
        for image in images.chunks_exact(image_bytes.max(1)) {
            let inference = self.board.infer(image, false)?;
            let cycles = inference.layers.iter().map(|c| c.map(|c| c.board));
            results.push(BoardInference {
                cycles: cycles
                    .collect::<Option<_>>()
                    .context("the board counts no cycles")?,
                logits: inference.logits,
            });
        }
        Ok(results)
    }
}
