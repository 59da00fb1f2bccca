//! The app's slots with real networks, over messages as they come: the power cut at every
//! operation.

mod chip;
mod common;

use chip::{Chip, TEARS};
use common::network::Chain;
use firmware::app::Networks;
use firmware::update::{Layout, Slots, Trust, self_test_crc32};
use shared::blob::Blob;
use shared::update::{MAX_WRITE, Slot, Status, UpdateError, UpdateReply, UpdateRequest};

/// As on the board.
const LAYOUT: Layout = Layout {
    slots: [0x2_0000, 0x8_0000],
    slot_bytes: 0x6_0000,
    ledger: 0xe_0000,
    ledger_bytes: 0x2_0000,
};

struct Device {
    slots: Slots<Chip>,
    arena: Vec<u64>,
    running: Option<u32>,
}

impl Device {
    /// Starts a device on `chip`.
    fn start(chip: &Chip) -> Self {
        let mut device = Self {
            slots: Slots::new(chip.clone(), LAYOUT, Trust::Anyone),
            arena: vec![0; 1 << 10],
            running: None,
        };
        let arena = common::bytes_of(&mut device.arena);
        let blob = device.slots.select(arena);
        device.running = blob.ok().map(|blob| blob.header().crc32);
        device
    }

    fn ask(&mut self, request: UpdateRequest) -> Result<UpdateReply, UpdateError> {
        if request != UpdateRequest::Finish {
            return self.slots.update(request);
        }
        let arena = common::bytes_of(&mut self.arena);
        let (reply, blob) = self.slots.finish(arena)?;
        self.running = Some(blob.header().crc32);
        Ok(reply)
    }

    fn update(&mut self, blob: &[u8], self_test: u32) -> Result<UpdateReply, UpdateError> {
        let length = blob.len() as u32;
        self.ask(UpdateRequest::Begin { length, self_test })?;
        for (n, bytes) in blob.chunks(MAX_WRITE).enumerate() {
            let offset = (n * MAX_WRITE) as u32;
            self.ask(UpdateRequest::Write { offset, bytes })?;
        }
        self.ask(UpdateRequest::Finish)
    }

    fn status(&mut self) -> Status {
        match self.ask(UpdateRequest::Status) {
            Ok(UpdateReply::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }
}

fn networks() -> [(Vec<u8>, u32, u32); 2] {
    [3, 4].map(|seed| {
        let blob = Chain::new(seed).blob;
        let checked = Blob::new_checked(&blob).unwrap();
        let mut arena = vec![0u64; 1 << 10];
        let test = self_test_crc32(checked, common::bytes_of(&mut arena)).unwrap();
        let crc = checked.header().crc32;
        (blob, test, crc)
    })
}

#[test]
fn a_network_is_replaced_while_the_device_runs() {
    let [(old, _, old_crc), (new, test, new_crc)] = networks();
    let chip = Chip::new();
    chip.place(LAYOUT.slots[0], &old);
    let mut device = Device::start(&chip);
    assert_eq!(device.running, Some(old_crc));
    assert_eq!(
        device.ask(UpdateRequest::Finish),
        Err(UpdateError::NotBegun)
    );
    let expected = test ^ 1;
    assert_eq!(
        device.update(&new, expected),
        Err(UpdateError::SelfTest {
            expected,
            got: test
        })
    );
    assert_eq!(device.running, Some(old_crc));
    assert_eq!(device.update(&new, test), Ok(UpdateReply::Running(1)));
    assert_eq!(device.running, Some(new_crc));
    let status = device.status();
    assert_eq!(status.running, Some(1));
    assert_eq!(status.slots, [Slot::Bare, Slot::Confirmed { sequence: 2 }]);
    assert_eq!(Device::start(&chip).running, Some(new_crc));
}

#[test]
fn a_damaged_network_never_gets_a_header() {
    let [(old, ..), (mut new, test, _)] = networks();
    let chip = Chip::new();
    chip.place(LAYOUT.slots[0], &old);
    let mut device = Device::start(&chip);
    new[100] ^= 4;
    let refused = device.update(&new, test);
    assert!(matches!(refused, Err(UpdateError::Blob(_))), "{refused:?}");
    assert_eq!(device.status().slots, [Slot::Bare, Slot::Bare]);
}

#[test]
fn every_cut_leaves_the_old_network_or_the_new_one() {
    let [(old, _, old_crc), (new, test, new_crc)] = networks();
    let chip = Chip::new();
    chip.place(LAYOUT.slots[0], &old);
    let before = chip.snapshot();
    let (mut cuts, mut olds) = (0, 0);
    for tear in TEARS {
        for at in 0.. {
            chip.restore(&before);
            chip.power_on(Some((at, tear)));
            let mut device = Device::start(&chip);
            assert_eq!(device.running, Some(old_crc));
            let _ = device.update(&new, test);
            if chip.is_powered() {
                break;
            }
            chip.power_on(None);
            let running = Device::start(&chip).running;
            assert!(
                running == Some(old_crc) || running == Some(new_crc),
                "{tear:?} at {at}: {running:08x?}"
            );
            cuts += 1;
            olds += u32::from(running == Some(old_crc));
        }
    }
    println!("{cuts} cuts, the old network after {olds}");
    assert!(cuts as usize > 4 * new.len() / 4, "a cut at every word");
    assert!(olds < cuts, "some come after the last word");
}
