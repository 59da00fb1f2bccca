//! The updater alone, behind [`Door`]: versions that rise, at no price for signatures.

use super::super::chip::Chip;
use super::door::{self, Door};
use super::{Device, Network};
use firmware::update::slot::State;
use firmware::update::{Install, Layout, Storage, choose, ledger::Ledger};
use shared::update::{Status, UpdateError, UpdateReply, UpdateRequest};

/// A device as [`firmware::update::Slots`] is one, whatever networks are.
pub struct Model {
    chip: Chip,
    layout: Layout,
    slot: Option<u8>,
    running: Option<u32>,
    install: Option<Install>,
}

impl Model {
    fn choose(&mut self) -> Result<Option<UpdateError>, UpdateError> {
        let chosen = choose(&mut self.chip, &self.layout, &mut Door::default())?;
        let bytes = self.chip.slice(chosen.range(&self.layout));
        self.running = bytes.map(|bytes| u32::from(bytes[0]));
        self.slot = Some(chosen.slot);
        Ok(chosen.refused)
    }
}

impl Device for Model {
    fn start(chip: &Chip, layout: Layout) -> Self {
        let mut model = Self {
            chip: chip.clone(),
            layout,
            slot: None,
            running: None,
            install: None,
        };
        let _ = model.choose();
        model
    }

    fn ask(&mut self, request: UpdateRequest) -> Result<UpdateReply, UpdateError> {
        let (chip, layout) = (&mut self.chip, &self.layout);
        Ok(match request {
            UpdateRequest::Status => UpdateReply::Status(Status {
                running: self.slot,
                slots: [0, 1].map(|i| State::read(chip, layout, i).report()),
                limit: layout.limit(),
                floor: Ledger::read(chip, layout).floor,
            }),
            UpdateRequest::Begin { length, self_test } => {
                self.install = None;
                let begun = Install::begin(chip, layout, self.slot, length, self_test)?;
                self.install = Some(begun);
                UpdateReply::Next(0)
            }
            UpdateRequest::Write { offset, bytes } => {
                let install = self.install.as_mut().ok_or(UpdateError::NotBegun)?;
                UpdateReply::Next(install.write(chip, layout, offset, bytes)?)
            }
            UpdateRequest::Finish => {
                let install = self.install.take().ok_or(UpdateError::NotBegun)?;
                install.finish(chip, layout, &mut Door::default())?;
                if let Some(error) = self.choose()? {
                    return Err(error);
                }
                UpdateReply::Running(self.slot.unwrap_or(0))
            }
        })
    }

    fn running(&self) -> Option<u32> {
        self.running
    }
}

/// A network of [`door::network`] by its number, which its self-test gives.
pub fn network(number: u8, version: u8, passes: bool) -> Network {
    Network {
        bytes: door::network(number, version, passes),
        self_test: number.into(),
        id: number.into(),
        version: version.into(),
        good: passes,
    }
}
