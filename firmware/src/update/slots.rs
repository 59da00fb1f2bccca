//! Two slots as the source of the app's network.

use super::device::Device;
use super::ledger::Ledger;
use super::slot::State;
use super::{Chosen, Install, Layout, Mapped, Trust, choose};
use crate::app::Networks;
use shared::blob::{Blob, BlobError, Malformed};
use shared::update::{Status, UpdateError, UpdateReply, UpdateRequest};

/// Two slots, of which one runs.
pub struct Slots<F> {
    flash: F,
    layout: Layout,
    trust: Trust,
    running: Option<u8>,
    install: Option<Install>,
}

impl<F> Slots<F> {
    /// The slots that `layout` describes in `flash`, for networks of those it trusts.
    pub fn new(flash: F, layout: Layout, trust: Trust) -> Self {
        Self {
            flash,
            layout,
            trust,
            running: None,
            install: None,
        }
    }

    fn choose<'a>(&mut self, arena: &mut [u8]) -> Result<(Blob<'a>, Chosen), UpdateError>
    where
        F: Mapped<'a>,
    {
        let trust = self.trust;
        let chosen = choose(&mut self.flash, &self.layout, &mut Device { trust, arena })?;
        let bytes = self.flash.mapped(chosen.range(&self.layout));
        let blob = Blob::new_checked(bytes.unwrap_or(&[])).map_err(UpdateError::Blob)?;
        self.running = Some(chosen.slot);
        Ok((blob, chosen))
    }

    fn status<'a>(&mut self) -> Status
    where
        F: Mapped<'a>,
    {
        let (flash, layout) = (&mut self.flash, &self.layout);
        Status {
            running: self.running,
            slots: [0, 1].map(|i| State::read(flash, layout, i).report()),
            limit: layout.limit(),
            floor: Ledger::read(flash, layout).floor,
        }
    }
}

impl<'a, F: Mapped<'a>> Networks<'a> for Slots<F> {
    fn select(&mut self, arena: &mut [u8]) -> Result<Blob<'a>, BlobError> {
        match self.choose(arena) {
            Ok((blob, _)) => Ok(blob),
            Err(UpdateError::Blob(error)) => Err(error),
            Err(_) => Err(BlobError {
                what: Malformed::Magic,
                at: 0,
            }),
        }
    }

    fn update(&mut self, request: UpdateRequest) -> Result<UpdateReply, UpdateError> {
        let (flash, layout) = (&mut self.flash, &self.layout);
        Ok(match request {
            UpdateRequest::Status => UpdateReply::Status(self.status()),
            UpdateRequest::Begin { length, self_test } => {
                self.install = None;
                let begun = Install::begin(flash, layout, self.running, length, self_test)?;
                self.install = Some(begun);
                UpdateReply::Next(0)
            }
            UpdateRequest::Write { offset, bytes } => {
                let install = self.install.as_mut().ok_or(UpdateError::NotBegun)?;
                UpdateReply::Next(install.write(flash, layout, offset, bytes)?)
            }
            UpdateRequest::Finish => UpdateReply::Next(0),
        })
    }

    fn finish(&mut self, arena: &mut [u8]) -> Result<(UpdateReply, Blob<'a>), UpdateError> {
        let install = self.install.take().ok_or(UpdateError::NotBegun)?;
        let gate = &mut Device {
            trust: self.trust,
            arena: &mut *arena,
        };
        install.finish(&mut self.flash, &self.layout, gate)?;
        let (blob, chosen) = self.choose(arena)?;
        match chosen.refused {
            None => Ok((UpdateReply::Running(chosen.slot), blob)),
            Some(error) => Err(error),
        }
    }
}
