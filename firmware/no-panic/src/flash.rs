//! Flash, and a source of networks in it, for the proofs.
#![cfg(feature = "networks")]

use core::hint::black_box;
use core::ops::Range;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use firmware::update::{Layout, Mapped, Storage, Trust};

/// Two slots, or one place.
#[cfg(feature = "update")]
pub type Source = firmware::update::Slots<Flash>;
/// Two slots, or one place.
#[cfg(not(feature = "update"))]
pub type Source = firmware::update::Single<Flash>;

/// Flash of which the compiler knows nothing: what it holds, whether it obeys.
pub struct Flash;

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, _offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        black_box(bytes);
        black_box(Ok(()))
    }

    fn capacity(&self) -> usize {
        black_box(0)
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 1 << 17;

    fn erase(&mut self, _from: u32, _to: u32) -> Result<(), NorFlashErrorKind> {
        black_box(Ok(()))
    }

    fn write(&mut self, _offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        black_box(bytes);
        black_box(Ok(()))
    }
}

impl Storage for Flash {
    fn slice(&self, range: Range<u32>) -> Option<&[u8]> {
        self.mapped(range)
    }
}

impl<'a> Mapped<'a> for Flash {
    fn mapped(&self, range: Range<u32>) -> Option<&'a [u8]> {
        black_box(range);
        black_box(Some(&[]))
    }
}

#[cfg(feature = "signed")]
static KEY: [u8; 32] = [0; 32];

/// Networks in flash that lie anywhere.
pub fn networks() -> Source {
    let layout: Layout = black_box(Layout {
        slots: [0; 2],
        slot_bytes: 0,
        ledger: 0,
        ledger_bytes: 0,
    });
    #[cfg(feature = "signed")]
    let trust = Trust::Key(black_box(&KEY));
    #[cfg(not(feature = "signed"))]
    let trust = Trust::Anyone;
    Source::new(Flash, layout, trust)
}
