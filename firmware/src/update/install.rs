//! Writing a network into the slot that does not run.

use super::ledger::Ledger;
use super::slot::{self, Header, State};
use super::{Gate, Layout, Storage, UNIT};
use shared::update::UpdateError;

/// An update under way. A reset forgets it, and with it nothing but what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Install {
    slot: u8,
    header: Header,
    /// Bytes that are written.
    next: u32,
    /// The flash did not take a unit, which cannot be written again.
    broken: bool,
}

impl Install {
    /// Erases the slot that is not `running`, for `length` bytes of a network whose
    /// self-test must give `self_test`.
    ///
    /// # Errors
    /// [`UpdateError::Length`], [`UpdateError::Worn`], [`UpdateError::Flash`].
    pub fn begin<F: Storage>(
        flash: &mut F,
        layout: &Layout,
        running: Option<u8>,
        length: u32,
        self_test: u32,
    ) -> Result<Self, UpdateError> {
        let limit = layout.limit();
        if length == 0 || length > limit {
            return Err(UpdateError::Length { limit });
        }
        let sequences = [0, 1].map(|i| State::read(flash, layout, i).header);
        let newest = sequences.iter().flatten().map(|h| h.sequence).max();
        let sequence = newest.unwrap_or(0).checked_add(1);
        let slot = if running == Some(0) { 1 } else { 0 };
        let start = layout.slot(slot);
        let header = Header {
            sequence: sequence.ok_or(UpdateError::Worn)?,
            length,
            self_test,
        };
        flash
            .erase(start, start.saturating_add(layout.slot_bytes))
            .map_err(|_| UpdateError::Flash)?;
        Ok(Self {
            slot,
            header,
            next: 0,
            broken: false,
        })
    }

    /// Writes the bytes at `offset`; returns the offset that comes next.
    ///
    /// All but the last are a multiple of 32 bytes. Bytes that are there already are passed
    /// over, so that a request may be repeated.
    ///
    /// # Errors
    /// [`UpdateError::Order`], [`UpdateError::Length`], [`UpdateError::Flash`],
    /// [`UpdateError::Verify`]; [`UpdateError::NotBegun`] after one of the last two.
    pub fn write<F: Storage>(
        &mut self,
        flash: &mut F,
        layout: &Layout,
        offset: u32,
        bytes: &[u8],
    ) -> Result<u32, UpdateError> {
        if self.broken {
            return Err(UpdateError::NotBegun);
        }
        let length = self.header.length;
        let end = u32::try_from(bytes.len())
            .ok()
            .and_then(|len| offset.checked_add(len))
            .filter(|&end| end <= length && !bytes.is_empty())
            .ok_or(UpdateError::Length { limit: length })?;
        if end == self.next {
            return Ok(end);
        }
        if offset != self.next || (end != length && !end.is_multiple_of(UNIT as u32)) {
            return Err(UpdateError::Order { next: self.next });
        }
        self.broken = true;
        let (start, mut at) = (layout.slot(self.slot), offset);
        for chunk in bytes.chunks(UNIT) {
            let mut unit = [0xff; UNIT];
            for (to, from) in unit.iter_mut().zip(chunk) {
                *to = *from;
            }
            super::write_unit(flash, start.saturating_add(at), &unit).map_err(|e| match e {
                UpdateError::Verify { .. } => UpdateError::Verify { offset: at },
                other => other,
            })?;
            at = at.saturating_add(UNIT as u32);
        }
        (self.next, self.broken) = (end, false);
        Ok(end)
    }

    /// Checks the network that was written, and writes the header with which
    /// [`choose`](super::choose) tries it.
    ///
    /// # Errors
    /// [`UpdateError::Order`] where bytes are missing, [`UpdateError::Worn`] where its
    /// version cannot be noted; what the check gives.
    pub fn finish<F: Storage, G: Gate>(
        self,
        flash: &mut F,
        layout: &Layout,
        gate: &mut G,
    ) -> Result<(), UpdateError> {
        if self.next != self.header.length {
            return Err(UpdateError::Order { next: self.next });
        }
        let ledger = Ledger::read(flash, layout);
        let start = layout.slot(self.slot);
        let network = flash.slice(start..start.saturating_add(self.header.length));
        let version = gate.check(network.ok_or(UpdateError::Flash)?, ledger.floor)?;
        if !ledger.takes(version) {
            return Err(UpdateError::Worn);
        }
        slot::write_header(flash, layout, self.slot, self.header)
    }
}
