//! The app's slots with real networks.

use super::super::bytes_of;
use super::super::chip::Chip;
use super::{Device, Network};
use firmware::app::Networks;
use firmware::update::{Layout, Slots, Trust, self_test_crc32};
use shared::blob::Blob;
use shared::update::{UpdateError, UpdateReply, UpdateRequest};

/// Words of the arena.
const ARENA: usize = 1 << 10;

/// A device that trusts anyone.
pub struct Real {
    slots: Slots<Chip>,
    arena: Vec<u64>,
    running: Option<u32>,
}

impl Device for Real {
    fn start(chip: &Chip, layout: Layout) -> Self {
        let mut slots = Slots::new(chip.clone(), layout, Trust::Anyone);
        let mut arena = vec![0; ARENA];
        let blob = slots.select(bytes_of(&mut arena));
        let running = blob.ok().map(|blob| blob.header().crc32);
        Self {
            slots,
            arena,
            running,
        }
    }

    fn ask(&mut self, request: UpdateRequest) -> Result<UpdateReply, UpdateError> {
        if request != UpdateRequest::Finish {
            return self.slots.update(request);
        }
        let (reply, blob) = self.slots.finish(bytes_of(&mut self.arena))?;
        self.running = Some(blob.header().crc32);
        Ok(reply)
    }

    fn running(&self) -> Option<u32> {
        self.running
    }
}

/// A network from its blob.
pub fn network(blob: Vec<u8>) -> Network {
    let checked = Blob::new_checked(&blob).expect("a blob");
    let mut arena = vec![0; ARENA];
    let self_test = self_test_crc32(checked, bytes_of(&mut arena)).expect("it runs");
    let id = checked.header().crc32;
    Network {
        bytes: blob,
        self_test,
        id,
        version: 0,
        good: true,
    }
}
