//! A slot's header: eight units of 32 bytes at the slot's end.
//!
//! | unit | what |
//! |---|---|
//! | 0 | magic `PRSH`, sequence, length, CRC-32 of the self-test's logits, 12 zero bytes, CRC-32 of the 28 bytes before: written once the network is |
//! | 1 to 3 | trial words: one is written before each attempt to run the network |
//! | 4 to 6 | confirmed words: attempt `n` writes the `n`th once its self-test has passed |
//! | 7 | unused |
//!
//! A trial word counts as soon as one of its bits is written, a confirmed word only when
//! all of them are. Whatever a cut of power leaves of a unit is never written again.

use super::{ERASED, Layout, Storage, UNIT, read_unit, write_unit};
use shared::CRC32;
use shared::update::{Slot, UpdateError};

/// Bytes of the header.
pub const HEADER_BYTES: u32 = 8 * UNIT as u32;
/// How often a network is tried that was not confirmed; then it is given up.
pub const TRIALS: u8 = 3;

const MAGIC: [u8; 4] = *b"PRSH";
const WRITTEN: [u8; UNIT] = [0x5a; UNIT];
const FIRST_TRIAL: u32 = 1;
const FIRST_CONFIRMED: u32 = FIRST_TRIAL + TRIALS as u32;

/// What the first unit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Rises with each update.
    pub sequence: u32,
    /// Bytes of the network from the slot's start, signature included.
    pub length: u32,
    /// CRC-32 of the logits that its self-test must give.
    pub self_test: u32,
}

impl Header {
    fn to_unit(self) -> [u8; UNIT] {
        let mut unit = [0; UNIT];
        let words = [
            MAGIC,
            self.sequence.to_le_bytes(),
            self.length.to_le_bytes(),
        ];
        let words = words.into_iter().chain([self.self_test.to_le_bytes()]);
        for (to, word) in unit.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word;
        }
        let crc = CRC32.checksum(unit.first_chunk::<28>().unwrap_or(&[0; 28]));
        if let Some(to) = unit.last_chunk_mut() {
            *to = crc.to_le_bytes();
        }
        unit
    }

    fn of_unit(unit: &[u8; UNIT]) -> Option<Self> {
        let [magic, sequence, length, self_test, ..] = *unit.as_chunks::<4>().0 else {
            return None;
        };
        let header = Self {
            sequence: u32::from_le_bytes(sequence),
            length: u32::from_le_bytes(length),
            self_test: u32::from_le_bytes(self_test),
        };
        (magic == MAGIC && header.to_unit() == *unit).then_some(header)
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The header, if it is whole.
    pub header: Option<Header>,
    /// Nothing at all was written where the header would be.
    pub bare: bool,
    /// Trial words that were begun.
    pub attempts: u8,
    /// Whether a confirmed word is whole.
    pub confirmed: bool,
}

impl State {
    /// Reads the header of slot `index`; one that cannot be read is none.
    pub fn read<F: Storage>(flash: &mut F, layout: &Layout, index: u8) -> Self {
        let mut unit = |n| read_unit(flash, unit_at(layout, index, n)).unwrap_or([0; UNIT]);
        let first = unit(0);
        let mut state = Self {
            header: Header::of_unit(&first).filter(|h| h.length <= layout.limit()),
            bare: first == ERASED,
            attempts: 0,
            confirmed: false,
        };
        for n in 0..u32::from(TRIALS) {
            state.attempts += u8::from(unit(FIRST_TRIAL + n) != ERASED);
            state.confirmed |= unit(FIRST_CONFIRMED + n) == WRITTEN;
        }
        state
    }

    /// The same for a message.
    #[must_use]
    pub fn report(&self) -> Slot {
        match self.header {
            None if self.bare => Slot::Bare,
            None => Slot::Empty,
            Some(Header { sequence, .. }) if self.confirmed => Slot::Confirmed { sequence },
            Some(Header { sequence, .. }) => Slot::Trial {
                sequence,
                attempts: self.attempts,
            },
        }
    }
}

/// Writes the header of a slot whose network is whole.
///
/// # Errors
/// [`UpdateError::Flash`], [`UpdateError::Verify`].
pub fn write_header<F: Storage>(
    flash: &mut F,
    layout: &Layout,
    index: u8,
    header: Header,
) -> Result<(), UpdateError> {
    write_unit(flash, unit_at(layout, index, 0), &header.to_unit())
}

/// Notes that attempt `attempt`, counted from 0, begins.
///
/// # Errors
/// As [`write_header`].
pub fn mark_trial<F: Storage>(
    flash: &mut F,
    layout: &Layout,
    index: u8,
    attempt: u8,
) -> Result<(), UpdateError> {
    let n = FIRST_TRIAL + u32::from(attempt);
    write_unit(flash, unit_at(layout, index, n), &WRITTEN)
}

/// Notes that attempt `attempt` passed its self-test.
///
/// # Errors
/// As [`write_header`].
pub fn mark_confirmed<F: Storage>(
    flash: &mut F,
    layout: &Layout,
    index: u8,
    attempt: u8,
) -> Result<(), UpdateError> {
    let n = FIRST_CONFIRMED + u32::from(attempt);
    write_unit(flash, unit_at(layout, index, n), &WRITTEN)
}

fn unit_at(layout: &Layout, index: u8, n: u32) -> u32 {
    let header = layout.slot(index).saturating_add(layout.limit());
    header.saturating_add(n * UNIT as u32)
}
