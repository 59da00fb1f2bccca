//! The firmware's defmt log.

use super::BoardError;
use defmt_decoder::{DecodeError, Table};
use std::collections::VecDeque;

/// Lines kept for error messages.
const KEPT: usize = 5;

/// Decodes what firmware logs.
pub(super) struct Log {
    table: Option<Table>,
    /// Bytes of a frame that is not complete.
    pending: Vec<u8>,
    lines: VecDeque<String>,
    verbose: bool,
}

impl Log {
    /// A decoder for the firmware in `elf`; `verbose` copies each line to standard error.
    pub(super) fn new(elf: &[u8], verbose: bool) -> Result<Self, BoardError> {
        let table = Table::parse(elf).map_err(|e| BoardError::Probe {
            doing: "reading the log's table",
            reason: e.to_string(),
        })?;
        Ok(Self {
            table,
            pending: Vec::new(),
            lines: VecDeque::new(),
            verbose,
        })
    }

    /// Takes bytes of the log channel.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        // defmt ends each frame with a zero, so what follows the last one is incomplete.
        let Some(end) = self.pending.iter().rposition(|&byte| byte == 0) else {
            return;
        };
        let rest = self.pending.split_off(end + 1);
        let whole = std::mem::replace(&mut self.pending, rest);
        for line in self.decode(&whole) {
            self.keep(line);
        }
    }

    /// The messages in `frames`, whole frames each.
    fn decode(&self, frames: &[u8]) -> Vec<String> {
        let Some(table) = &self.table else {
            return Vec::new();
        };
        let mut decoder = table.new_stream_decoder();
        decoder.received(frames);
        let mut lines = Vec::new();
        loop {
            match decoder.decode() {
                Ok(frame) => lines.push(frame.display_message().to_string()),
                // A damaged frame is skipped; what was received holds the next one.
                Err(DecodeError::Malformed) => {}
                Err(DecodeError::UnexpectedEof) => return lines,
            }
        }
    }

    fn keep(&mut self, line: String) {
        if self.verbose {
            eprintln!("board: {line}");
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The last lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
