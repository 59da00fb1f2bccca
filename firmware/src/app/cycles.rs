//! Markers around a measured stretch, found by emulators by their symbols.
//!
//! Their bodies differ, since a linker may merge identical functions.

use super::Board;
use crate::engine::LayerHook;
use heapless::Vec;
use shared::message::MAX_LAYERS;

/// A measured stretch begins: emulators empty their caches and start counting.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn pressboard_mark_begin() {
    core::hint::black_box(1u8);
}

/// A measured stretch has ended: emulators stop counting and set the cycle counter.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn pressboard_mark_end() {
    core::hint::black_box((2u16, 3u16));
}

/// Times stretches between markers by the board's counter.
pub(super) struct Stopwatch<'a, B: Board> {
    board: &'a B,
    start: u32,
}

impl<'a, B: Board> Stopwatch<'a, B> {
    pub(super) fn start(board: &'a B) -> Self {
        pressboard_mark_begin();
        let start = board.cycles();
        Self { board, start }
    }

    /// Cycles since the start; `None` where the counter stands still.
    pub(super) fn stop(self) -> Option<u32> {
        pressboard_mark_end();
        match self.board.cycles().wrapping_sub(self.start) {
            0 => None,
            n => Some(n),
        }
    }
}

/// Collects the cycles of each layer.
pub(super) struct LayerTimes<'a, B: Board> {
    board: &'a B,
    running: Option<Stopwatch<'a, B>>,
    pub(super) cycles: Vec<Option<u32>, MAX_LAYERS>,
}

impl<'a, B: Board> LayerTimes<'a, B> {
    pub(super) fn new(board: &'a B) -> Self {
        Self {
            board,
            running: None,
            cycles: Vec::new(),
        }
    }
}

impl<B: Board> LayerHook for LayerTimes<'_, B> {
    fn begin(&mut self, _layer: u16) {
        self.board.alive();
        self.running = Some(Stopwatch::start(self.board));
    }

    fn end(&mut self, _layer: u16) {
        let cycles = self.running.take().and_then(Stopwatch::stop);
        // A network with more layers was refused before it ran.
        let _ = self.cycles.push(cycles);
    }
}
