//! The firmware's defmt log.

use super::BoardError;
use defmt_decoder::{DecodeError, Table};
use std::collections::VecDeque;

/// Lines kept for error messages.
const KEPT: usize = 5;

/// Most bytes of a frame that does not end: what says more is no log.
const LONGEST: usize = 1 << 16;

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
            if self.pending.len() > LONGEST {
                self.pending.clear();
            }
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

#[cfg(test)]
mod tests {
    use super::super::{Build, Firmware, spec};
    use super::*;
    use rand::{Rng, SeedableRng};

    /// A frame of `bytes`, a zero behind each six, as defmt's encoding has it (reverse-zeros COBS):
    /// what is not zero of seven, then a bit for each that is.
    fn framed(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for group in bytes.chunks(6) {
            let byte = |i: &u8| group.get(usize::from(*i)).copied().unwrap_or(0);
            out.extend((0..7).map(|i| byte(&i)).filter(|byte| *byte != 0));
            out.push((0..7).filter(|i| byte(i) == 0).map(|i| 1 << i).sum());
        }
        out.push(0);
        out
    }

    #[test]
    fn garbage_in_the_log_is_passed_over() {
        let (spec, _) = spec::find("virtual-stm32f405").unwrap();
        let firmware = Firmware::built(&spec, &Build::default()).unwrap();
        let mut log = Log::new(&firmware.elf, false).unwrap();
        let (mut rng, mut told) = (rand_chacha::ChaCha8Rng::seed_from_u64(7), 0);
        let table = log.table.as_ref().expect("the firmware logs");
        let numbers: Vec<usize> = table.indices().collect();
        for _ in 0..20_000 {
            let len = rng.random_range(0..60);
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
            // Most begin as a message that there is.
            if let Some(number) = bytes.first_chunk_mut()
                && rng.random_ratio(9, 10)
            {
                let n = rng.random_range(0..numbers.len());
                *number = (numbers[n] as u16).to_le_bytes();
            }
            if rng.random_ratio(9, 10) {
                log.take(&framed(&bytes));
            } else {
                log.take(&bytes);
            }
            told += log.lines.len();
            log.lines.clear();
        }
        assert!(told > 100, "{told} were messages");
        assert!(log.pending.len() < 100);
        // A frame that never ends.
        (0..1000).for_each(|_| log.take(&[7; 1024]));
        assert!(log.pending.len() <= LONGEST);
    }
}
