//! A board that is asked again when it misbehaves: unplugged, stuck, reset, noisy.
//!
//! Below, [`Device`](super::device::Device) makes every question that follows an error start
//! with a restart: what a board had under way is forgotten, its firmware is looked at, its
//! network put back. So whatever comes through a question is its answer or an error, and
//! an error that may pass is met by asking again, later each time.

use super::{Board, BoardError, BoardSpec, Engine, Inference, Timing};
use crate::run::interrupt::requested;
use shared::message::{BenchLayer, Hello, Stack};
use shared::update::Status;
use std::time::{Duration, Instant};

/// How often a wait looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// How long and how often a board is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts after the first.
    pub attempts: u32,
    /// Wait before the second attempt; each later one doubles it.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

impl Patience {
    /// For a command that somebody watches: gives up after a quarter of a minute.
    pub const SHORT: Self = Self {
        attempts: 4,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(8),
    };

    /// For hours of search: waits half an hour for somebody to plug the board in again.
    pub const LONG: Self = Self {
        attempts: 64,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
    };

    /// Wait before attempt `attempt`, counted from 1.
    fn wait(self, attempt: u32) -> Duration {
        let doubled = 1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

/// What is told of trouble, a line at a time.
pub type Tell = Box<dyn FnMut(&str) + Send>;

/// A board with patience.
pub struct Steady {
    board: Box<dyn Board>,
    patience: Patience,
    tell: Tell,
}

impl Steady {
    /// Asks `board`, with this much patience; `tell` is given a line for each trouble, and
    /// one when it is over.
    #[must_use]
    pub fn new(board: Box<dyn Board>, patience: Patience, tell: Tell) -> Self {
        Self {
            board,
            patience,
            tell,
        }
    }

    fn patiently<T>(
        &mut self,
        mut ask: impl FnMut(&mut dyn Board) -> Result<T, BoardError>,
    ) -> Result<T, BoardError> {
        // Silence counts by itself: it may follow a probe that was away for long.
        let (mut attempt, mut few) = (0, 0);
        loop {
            match ask(&mut *self.board) {
                Ok(answer) => {
                    if attempt > 0 {
                        let name = self.board.name();
                        (self.tell)(&format!("  {name} answers again, going on"));
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    let worth = error.worth(self.patience.attempts);
                    let limited = worth < self.patience.attempts;
                    let tried = if limited { few } else { attempt };
                    // Who asks to stop waits for no board.
                    if tried >= worth || requested() {
                        return Err(error);
                    }
                    attempt += 1;
                    few += u32::from(limited);
                    self.wait(attempt, &error);
                }
            }
        }
    }

    fn wait(&mut self, attempt: u32, error: &BoardError) {
        let wait = self.patience.wait(attempt);
        let hint = error
            .hint()
            .map_or(String::new(), |hint| format!(" ({hint})"));
        (self.tell)(&format!(
            "  {error}{hint}; asking again in {} s, {attempt} of {}",
            wait.as_secs(),
            self.patience.attempts
        ));
        let started = Instant::now();
        while !requested() {
            let left = wait.saturating_sub(started.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

impl Board for Steady {
    fn spec(&self) -> &BoardSpec {
        self.board.spec()
    }

    fn name(&self) -> &str {
        self.board.name()
    }

    fn engine(&self) -> Engine {
        self.board.engine()
    }

    fn build_id(&self) -> u32 {
        self.board.build_id()
    }

    fn hello(&mut self) -> Result<Hello, BoardError> {
        self.patiently(|board| board.hello())
    }

    fn flash(&mut self, blob: &[u8]) -> Result<(), BoardError> {
        self.patiently(|board| board.flash(blob))
    }

    fn infer(&mut self, image: &[u8], paint: bool) -> Result<Inference, BoardError> {
        self.patiently(|board| board.infer(image, paint))
    }

    fn bench_layer(&mut self, request: &BenchLayer) -> Result<Timing, BoardError> {
        self.patiently(|board| board.bench_layer(request))
    }

    fn stack(&mut self) -> Result<Stack, BoardError> {
        self.patiently(|board| board.stack())
    }

    fn slots(&mut self) -> Result<Status, BoardError> {
        self.patiently(|board| board.slots())
    }

    fn update(&mut self, network: &[u8], self_test: u32) -> Result<Status, BoardError> {
        self.patiently(|board| board.update(network, self_test))
    }
}

#[cfg(test)]
mod tests;
