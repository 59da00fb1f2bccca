//! The highest version of a network that this device has confirmed.
//!
//! A record of 32 bytes is appended for each rise: `PRSV`, the version, its complement, 16
//! zero bytes, a CRC-32. Records are never erased, so no cut of power can lower the floor;
//! what one leaves of a record is skipped. A sector of 128 KiB takes 4,096 of them, and
//! flash of that kind is good for 10,000 erasures of a slot.

use super::{ERASED, Layout, Storage, UNIT, read_unit, write_unit};
use shared::CRC32;
use shared::update::UpdateError;

const MAGIC: [u8; 4] = *b"PRSV";

/// What the ledger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// The highest version noted; 0 where none is.
    pub floor: u32,
    /// Offset of the first record that was never written; `None` where the ledger is full.
    free: Option<u32>,
}

impl Ledger {
    /// Reads the ledger.
    pub fn read<F: Storage>(flash: &mut F, layout: &Layout) -> Self {
        let mut floor = 0;
        for n in 0..layout.ledger_bytes / UNIT as u32 {
            let at = layout.ledger.saturating_add(n * UNIT as u32);
            let Some(unit) = read_unit(flash, at) else {
                break;
            };
            if unit == ERASED {
                let free = Some(at);
                return Self { floor, free };
            }
            floor = floor.max(version_of(&unit).unwrap_or(0));
        }
        Self { floor, free: None }
    }

    /// Whether `version` is noted, or can be.
    #[must_use]
    pub fn takes(&self, version: u32) -> bool {
        version <= self.floor || self.free.is_some()
    }

    /// Raises the floor to `version`; nothing where it is there already.
    ///
    /// # Errors
    /// [`UpdateError::Worn`] where the ledger is full; what writing flash may give.
    pub fn raise<F: Storage>(&self, flash: &mut F, version: u32) -> Result<(), UpdateError> {
        if version <= self.floor {
            return Ok(());
        }
        let at = self.free.ok_or(UpdateError::Worn)?;
        write_unit(flash, at, &record(version))
    }
}

fn record(version: u32) -> [u8; UNIT] {
    let mut unit = [0; UNIT];
    let words = [MAGIC, version.to_le_bytes(), (!version).to_le_bytes()];
    for (to, word) in unit.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *to = word;
    }
    let crc = CRC32.checksum(unit.first_chunk::<28>().unwrap_or(&[0; 28]));
    if let Some(to) = unit.last_chunk_mut() {
        *to = crc.to_le_bytes();
    }
    unit
}

fn version_of(unit: &[u8; UNIT]) -> Option<u32> {
    let [_, version, ..] = *unit.as_chunks::<4>().0 else {
        return None;
    };
    let version = u32::from_le_bytes(version);
    (record(version) == *unit).then_some(version)
}
