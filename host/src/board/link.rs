//! What a way to a board must offer, whatever lies behind it.

use super::BoardError;
use cycle_model::Interval;

/// A connection to the firmware on a board: bytes there and back.
pub(super) trait Link: Send {
    /// Puts firmware and, if given, a blob into flash and restarts the board.
    fn load(&mut self, blob: Option<&[u8]>) -> Result<(), BoardError>;

    /// The firmware on the board is not the one that was put there: the next
    /// [`load`](Self::load) writes it again.
    fn forget(&mut self) {}

    /// Sends bytes, all of them.
    fn send(&mut self, bytes: &[u8]) -> Result<(), BoardError>;

    /// Appends what has come to `bytes`; waits a little at most.
    fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<(), BoardError>;

    /// Drops what has come already: it answers nothing that will be asked.
    fn drain(&mut self) -> Result<(), BoardError> {
        Ok(())
    }

    /// The marker intervals since this was last called; none where nobody counts them.
    fn intervals(&mut self) -> Result<Vec<Interval>, BoardError>;

    /// Nothing is asked for a while.
    fn rest(&mut self) {}

    /// The last lines that the firmware logged.
    fn log(&self) -> Vec<String> {
        Vec::new()
    }
}
