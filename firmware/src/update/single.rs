//! One place for a network, as a debug probe writes it, whose version is noted.

use super::ledger::Ledger;
use super::{Layout, Mapped, Trust};
use crate::app::Networks;
use shared::blob::{Blob, BlobError, Malformed};
use shared::envelope::SignatureError;

/// One network, from the start of the first slot to the ledger at most.
pub struct Single<F> {
    flash: F,
    layout: Layout,
    trust: Trust,
}

impl<F> Single<F> {
    /// The network in `flash`, if those it trusts signed it.
    pub fn new(flash: F, layout: Layout, trust: Trust) -> Self {
        Self {
            flash,
            layout,
            trust,
        }
    }
}

impl<'a, F: Mapped<'a>> Networks<'a> for Single<F> {
    fn select(&mut self, _arena: &mut [u8]) -> Result<Blob<'a>, BlobError> {
        let ledger = Ledger::read(&mut self.flash, &self.layout);
        let [start, _] = self.layout.slots;
        let bytes = self.flash.mapped(start..self.layout.ledger);
        let (blob, version) = self.trust.admit(bytes.unwrap_or(&[]), ledger.floor)?;
        // A version that is not noted could be rolled back unseen: it does not run.
        match ledger.raise(&mut self.flash, version) {
            Ok(()) => Ok(blob),
            Err(_) => Err(BlobError {
                what: Malformed::Signature(SignatureError::Unnoted),
                at: blob.bytes().len() as u32,
            }),
        }
    }
}
