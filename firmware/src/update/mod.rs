//! Replacing the network on a running device, so that every cut of power leaves one to run.
//!
//! Two slots lie in flash that can be read in place. Each holds a network from its start
//! and a header (`slot`) in its last 256 bytes. `Install` writes into the
//! slot that does not run; its header comes last. `choose` takes the newest slot that
//! passes its check and, before it is confirmed, its self-test; else the other one.
//! [`ledger`] keeps the highest version that was confirmed, and is never erased.
//!
//! Everything is generic over [`Storage`], which is `embedded-storage`'s `NorFlash` that can
//! be read in place, and over the `Gate` that says which networks may run. A unit of 32
//! bytes is written once between erasures, so any flash with a write unit up to that will
//! do, those with ECC included.

#[cfg(feature = "update")]
mod boot;
#[cfg(feature = "update")]
mod device;
mod gate;
#[cfg(feature = "update")]
mod install;
pub mod ledger;
#[cfg(feature = "signed")]
mod single;
#[cfg(feature = "update")]
pub mod slot;
#[cfg(feature = "update")]
mod slots;

#[cfg(feature = "update")]
pub use boot::{Chosen, choose};
#[cfg(feature = "update")]
pub use device::self_test_crc32;
pub use gate::Trust;
#[cfg(feature = "update")]
pub use install::Install;
#[cfg(feature = "signed")]
pub use single::Single;
#[cfg(feature = "update")]
pub use slots::Slots;

use core::ops::Range;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use shared::update::UpdateError;

/// Bytes that are written at once, and only once: no flash's write unit may be larger.
pub const UNIT: usize = 32;
/// What an erased unit reads.
const ERASED: [u8; UNIT] = [0xff; UNIT];

/// Flash that can be written, and read in place.
pub trait Storage: NorFlash {
    /// The bytes at these offsets; `None` beyond the end.
    fn slice(&self, range: Range<u32>) -> Option<&[u8]>;
}

/// Storage whose contents outlive it, as flash that is mapped into memory.
pub trait Mapped<'a>: Storage {
    /// As [`Storage::slice`], for a network that runs: its slot is not written meanwhile.
    fn mapped(&self, range: Range<u32>) -> Option<&'a [u8]>;
}

/// Where slots and ledger lie, as offsets in the storage. Each begins at a sector of its
/// own, and none shares one. An offset that 32 bits do not hold is the last they do, which no
/// storage has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The slots.
    pub slots: [u32; 2],
    /// Bytes of each.
    pub slot_bytes: u32,
    /// The ledger of versions.
    pub ledger: u32,
    /// Its bytes.
    pub ledger_bytes: u32,
}

impl Layout {
    /// Most bytes of a network, signature included, in a slot.
    #[cfg(feature = "update")]
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.slot_bytes.saturating_sub(slot::HEADER_BYTES)
    }

    /// Offset of slot `index`, of which there are two.
    #[cfg(feature = "update")]
    fn slot(&self, index: u8) -> u32 {
        let [first, second] = self.slots;
        if index == 0 { first } else { second }
    }
}

/// Says which networks may run.
#[cfg(feature = "update")]
pub trait Gate {
    /// Checks a network without running it. `floor` is the lowest version that is taken;
    /// returns the network's version, 0 where versions are not looked at.
    ///
    /// # Errors
    /// [`UpdateError`] says why it may not run.
    fn check(&mut self, network: &[u8], floor: u32) -> Result<u32, UpdateError>;

    /// Runs a checked network once and compares the CRC-32 of its logits.
    ///
    /// # Errors
    /// [`UpdateError::SelfTest`], or why it does not run.
    fn self_test(&mut self, network: &[u8], expected: u32) -> Result<(), UpdateError>;
}

/// Writes one unit and reads it back.
fn write_unit<F: Storage>(
    flash: &mut F,
    offset: u32,
    unit: &[u8; UNIT],
) -> Result<(), UpdateError> {
    flash.write(offset, unit).map_err(|_| UpdateError::Flash)?;
    match read_unit(flash, offset) {
        Some(back) if back == *unit => Ok(()),
        _ => Err(UpdateError::Verify { offset }),
    }
}

fn read_unit<F: ReadNorFlash>(flash: &mut F, offset: u32) -> Option<[u8; UNIT]> {
    let mut unit = [0; UNIT];
    flash.read(offset, &mut unit).ok()?;
    Some(unit)
}
