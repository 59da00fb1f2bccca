//! A board as the search and the main job see it.

use super::timing::{Extent, time_layer};
use super::{Board, BoardError, Engine};
use crate::compress::{BoardInference, Device, DeviceLimits};
use crate::run::CycleSource;
use crate::search::{LayerCost, LayerKey, MeasureLayer, Timing};
use anyhow::{Context, Result};
use shared::message::Hello;

/// A board that has said who it is.
pub struct TimedBoard {
    board: Box<dyn Board>,
    hello: Hello,
}

impl TimedBoard {
    /// Asks `board` who it is.
    ///
    /// # Errors
    /// [`BoardError`] where it does not answer.
    pub fn new(mut board: Box<dyn Board>) -> Result<Self, BoardError> {
        let hello = board.hello()?;
        Ok(Self { board, hello })
    }

    /// What it said.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The board.
    pub fn board(&mut self) -> &mut dyn Board {
        &mut *self.board
    }
}

impl MeasureLayer for TimedBoard {
    fn measure(&mut self, key: &LayerKey) -> Result<Timing> {
        let extent = Extent::of(self.board.engine());
        let cost = match time_layer(&mut *self.board, key, self.hello.arena_limit, extent) {
            Ok(timing) => LayerCost::Cycles(timing.cycles),
            Err(error) => match error.too_large() {
                Some((need, limit)) => LayerCost::TooLarge { need, limit },
                None => return Err(error.into()),
            },
        };
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
        self.board.flash(blob)?;
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
