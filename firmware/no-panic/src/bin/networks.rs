//! The same for how a device comes by its network: the choice among slots, the check of
//! signatures, an update from its first request to its last. With the feature `signed` alone
//! there is one place for a network, with `update` there are two.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::ops::Range;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use firmware::app::Networks;
use firmware::update::{Layout, Mapped, Storage, Trust};
use panic_never as _;

/// Flash of which the compiler knows nothing: what it holds, whether it obeys.
struct Flash;

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

#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    let arena: &mut [u8] = black_box(&mut []);
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
    #[cfg(not(feature = "update"))]
    let mut networks = firmware::update::Single::new(Flash, layout, trust);
    #[cfg(feature = "update")]
    let mut networks = firmware::update::Slots::new(Flash, layout, trust);
    black_box(networks.select(arena).is_ok());
    #[cfg(feature = "update")]
    {
        use shared::update::UpdateRequest::{Begin, Finish, Status, Write};
        let [length, self_test, offset] = black_box([0; 3]);
        let bytes: &[u8] = black_box(&[]);
        let write = Write { offset, bytes };
        for request in [Status, Begin { length, self_test }, write, Finish] {
            black_box(networks.update(black_box(request)).is_ok());
        }
        black_box(networks.finish(arena).is_ok());
    }
}
