//! The flash behind the ELF as a `NorFlash` (RM0090, chapter 3): sectors 5 to 11, 128 KiB
//! each. The core waits while the controller works, since it fetches from the same bank.

use crate::image::blob_range;
use crate::reg::{FLASH_ACR, FLASH_CR, FLASH_KEYR, FLASH_SR};
use core::ops::Range;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_write,
};
use firmware::update::{Mapped, Storage};

const SECTOR: u32 = 0x2_0000;
/// Number of the sector at the start of this storage.
const FIRST_SECTOR: u32 = 5;

const KEYS: [u32; 2] = [0x4567_0123, 0xcdef_89ab];
const PROGRAM: u32 = 1 << 0;
const SECTOR_ERASE: u32 = 1 << 1;
/// Words of 32 bits, for which the supply must be 2.7 V at least.
const BY_WORDS: u32 = 0b10 << 8;
const START: u32 = 1 << 16;
const LOCK: u32 = 1 << 31;
const BUSY: u32 = 1 << 16;
/// Read, sequence, parallelism, alignment and protection errors, and the end's flag.
const ERRORS: u32 = 1 << 8 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 4 | 1 << 1;
const END: u32 = 1;
const DATA_CACHE: u32 = 1 << 10;
const DATA_CACHE_RESET: u32 = 1 << 12;
/// Looks at the busy bit; erasing a sector takes up to two seconds.
const PATIENCE: u32 = 1 << 28;

/// The flash behind the ELF.
pub struct Flash;

/// Why the controller did not do as told.
#[derive(Debug)]
pub enum Error {
    /// Outside of the storage, or not at a multiple of its unit.
    Range(NorFlashErrorKind),
    /// The controller's status after the operation.
    Status,
}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range(kind) => *kind,
            Self::Status => NorFlashErrorKind::Other,
        }
    }
}

impl Flash {
    fn address(offset: u32) -> usize {
        blob_range().start + offset as usize
    }
}

/// Another piece of work on the flash is something that goes on: a sector is erased, a slot is
/// looked at. At 16 MHz, without the crystal, all that an update or a start does in a row would take too
/// long for the watchdog.
fn alive() {
    #[cfg(feature = "watchdog")]
    crate::watchdog::feed();
}

/// Unlocks the controller, sets it to `control`, does `work`, locks it again.
fn unlocked(control: u32, work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    alive();
    if FLASH_CR.read() & LOCK != 0 {
        for key in KEYS {
            FLASH_KEYR.write(key);
        }
    }
    let result = wait().and_then(|()| {
        FLASH_SR.write(ERRORS | END);
        FLASH_CR.write(control | BY_WORDS);
        work()
    });
    FLASH_CR.write(LOCK);
    forget_cached();
    result
}

/// Waits for the end of an operation.
fn wait() -> Result<(), Error> {
    for _ in 0..PATIENCE {
        if FLASH_SR.read() & BUSY == 0 {
            return Ok(());
        }
    }
    Err(Error::Status)
}

fn finished() -> Result<(), Error> {
    wait()?;
    match FLASH_SR.read() & ERRORS {
        0 => Ok(()),
        _ => Err(Error::Status),
    }
}

/// The data cache may hold what was there before.
fn forget_cached() {
    let on = FLASH_ACR.read();
    FLASH_ACR.write(on & !DATA_CACHE);
    FLASH_ACR.write(on & !DATA_CACHE | DATA_CACHE_RESET);
    FLASH_ACR.write(on & !DATA_CACHE);
    FLASH_ACR.write(on);
}

impl ErrorType for Flash {
    type Error = Error;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        let outside = Error::Range(NorFlashErrorKind::OutOfBounds);
        let end = offset.checked_add(bytes.len() as u32);
        let from = end.and_then(|end| self.slice(offset..end)).ok_or(outside)?;
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = *from;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        blob_range().len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        check_erase(self, from, to).map_err(Error::Range)?;
        for sector in from / SECTOR..to / SECTOR {
            let control = SECTOR_ERASE | (FIRST_SECTOR + sector) << 3;
            unlocked(control, || {
                FLASH_CR.set(START);
                finished()
            })?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        check_write(self, offset, bytes.len()).map_err(Error::Range)?;
        unlocked(PROGRAM, || {
            for (n, &word) in bytes.as_chunks::<4>().0.iter().enumerate() {
                let at = Self::address(offset) + 4 * n;
                // SAFETY: an aligned word of the flash behind the ELF, in a slot that does
                // not run or a place that was never written: nothing is borrowed from it.
                unsafe { core::ptr::write_volatile(at as *mut u32, u32::from_le_bytes(word)) };
                finished()?;
            }
            Ok(())
        })
    }
}

impl Storage for Flash {
    fn slice(&self, range: Range<u32>) -> Option<&[u8]> {
        self.mapped(range)
    }
}

impl<'a> Mapped<'a> for Flash {
    fn mapped(&self, range: Range<u32>) -> Option<&'a [u8]> {
        alive();
        let len = range.end.checked_sub(range.start)? as usize;
        if range.end as usize > blob_range().len() {
            return None;
        }
        let start = Self::address(range.start) as *const u8;
        // SAFETY: flash, readable throughout; whoever writes to it drops what it borrowed
        // of that place before, and never writes where a network runs.
        Some(unsafe { core::slice::from_raw_parts(start, len) })
    }
}
