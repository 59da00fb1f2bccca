//! Which of two slots runs.

use super::ledger::Ledger;
use super::slot::{self, Header, State, TRIALS};
use super::{Gate, Layout, Storage};
use core::ops::Range;
use shared::blob::{BlobError, Malformed};
use shared::update::UpdateError;

/// The slot that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its index.
    pub slot: u8,
    /// Bytes of its network; a bare slot's is not known, and may be the whole slot.
    pub length: u32,
    /// Why a newer one does not run, where there is one.
    pub refused: Option<UpdateError>,
}

impl Chosen {
    /// Where the network lies in the storage.
    #[must_use]
    pub fn range(&self, layout: &Layout) -> Range<u32> {
        let start = layout.slot(self.slot);
        start..start.saturating_add(self.length)
    }
}

/// What erased flash is called: no blob.
const NOTHING: UpdateError = UpdateError::Blob(BlobError {
    what: Malformed::Magic,
    at: 0,
});

/// Chooses the newest network that may run, and confirms it if its self-test passes.
///
/// Confirmed slots and those with attempts left come by their sequence; the first slot's
/// network without a header, as a debug probe leaves it, comes last.
///
/// # Errors
/// Why the newest may not run, where none may.
pub fn choose<F: Storage, G: Gate>(
    flash: &mut F,
    layout: &Layout,
    gate: &mut G,
) -> Result<Chosen, UpdateError> {
    let states = [0, 1].map(|index| State::read(flash, layout, index));
    let rank = |s: &State| s.header.map_or(0, |h| h.sequence.saturating_add(1));
    let [first, second] = &states;
    let order = if rank(second) > rank(first) {
        [1, 0]
    } else {
        [0, 1]
    };
    let mut refused = None;
    for slot in order {
        let state = if slot == 0 { first } else { second };
        if state.header.is_none() && !(state.bare && slot == 0) {
            continue;
        }
        match admit(flash, layout, gate, slot, state) {
            Ok(length) => {
                return Ok(Chosen {
                    slot,
                    length,
                    refused,
                });
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or(NOTHING))
}

/// Lets a slot's network run if it may; returns its bytes.
fn admit<F: Storage, G: Gate>(
    flash: &mut F,
    layout: &Layout,
    gate: &mut G,
    slot: u8,
    state: &State,
) -> Result<u32, UpdateError> {
    let ledger = Ledger::read(flash, layout);
    let length = state.header.map_or(layout.limit(), |h| h.length);
    let start = layout.slot(slot);
    let network = start..start.saturating_add(length);
    let check = |flash: &F, gate: &mut G| {
        let bytes = flash.slice(network.clone()).ok_or(UpdateError::Flash)?;
        gate.check(bytes, ledger.floor)
    };
    let version = match state.header {
        Some(header) if !state.confirmed => {
            if state.attempts >= TRIALS {
                // It crashed, or failed, each time: its self-test never passed.
                return Err(given_up(&header));
            }
            slot::mark_trial(flash, layout, slot, state.attempts)?;
            let version = check(flash, gate)?;
            let bytes = flash.slice(network.clone()).ok_or(UpdateError::Flash)?;
            gate.self_test(bytes, header.self_test)?;
            slot::mark_confirmed(flash, layout, slot, state.attempts)?;
            version
        }
        _ => check(flash, gate)?,
    };
    // Where the ledger cannot be written the network runs all the same: it was confirmed.
    let _ = ledger.raise(flash, version);
    Ok(length)
}

fn given_up(header: &Header) -> UpdateError {
    UpdateError::SelfTest {
        expected: header.self_test,
        got: 0,
    }
}
