//! Where this board's networks lie, and whose may run.

use crate::flash::Flash;
use firmware::update::{Layout, Trust};

/// Offsets from the end of the ELF's 128 KiB: two slots of three sectors of 128 KiB, the
/// last sector for the ledger of versions. `slots` in board.toml says the same.
const LAYOUT: Layout = Layout {
    slots: [0, 0x6_0000],
    slot_bytes: 0x6_0000,
    ledger: 0xc_0000,
    ledger_bytes: 0x2_0000,
};

#[cfg(feature = "signed")]
static KEY: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/trust.key"));

#[cfg(feature = "signed")]
const TRUST: Trust = Trust::Key(&KEY);
#[cfg(not(feature = "signed"))]
const TRUST: Trust = Trust::Anyone;

#[cfg(feature = "update")]
pub fn of_this_board() -> firmware::update::Slots<Flash> {
    firmware::update::Slots::new(Flash, LAYOUT, TRUST)
}

#[cfg(not(feature = "update"))]
pub fn of_this_board() -> firmware::update::Single<Flash> {
    firmware::update::Single::new(Flash, LAYOUT, TRUST)
}
