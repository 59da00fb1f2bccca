//! The app's slots with real networks, over messages as they come: the power cut at every
//! operation.

mod chip;
mod common;

use chip::{Chip, TEARS};
use common::network::Chain;
use firmware::app::Networks;
use firmware::update::{Layout, Slots, Trust, self_test_crc32};
use shared::bench::Rng;
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

/// What a host that means harm, or is broken, has begun.
struct Begun {
    network: usize,
    /// Bytes that it wrote as they should be.
    next: usize,
    /// Its self-test is the network's, its length too, and nothing else was written.
    right: bool,
}

/// A device, and a host that asks by chance.
struct Siege {
    rng: Rng,
    chip: Chip,
    device: Device,
    /// Blobs with their self-tests and checksums; the last blob is damaged.
    networks: Vec<(Vec<u8>, u32, u32)>,
    begun: Option<Begun>,
    /// Checksums of the networks that may run now.
    may_run: Vec<u32>,
    updates: u32,
    cuts: u32,
    refusals: u32,
}

impl Siege {
    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.below(one_in) == 0
    }

    /// A number at an edge, or anywhere.
    fn number(&mut self) -> u32 {
        let limit = LAYOUT.limit();
        let edges = [0, 1, 31, 32, limit, limit + 1, u32::MAX - 31, u32::MAX];
        match self.rng.below(12) as usize {
            n if n < edges.len() => edges[n],
            _ => self.rng.next() >> self.rng.below(32),
        }
    }

    fn begin(&mut self) {
        let network = self.rng.below(self.networks.len() as u32) as usize;
        let (blob, test, _) = &self.networks[network];
        let (mut length, mut self_test) = (blob.len() as u32, *test);
        if self.chance(4) {
            length = self.number();
        }
        if self.chance(5) {
            self_test ^= 1 << self.rng.below(32);
        }
        let (blob, test, _) = &self.networks[network];
        let right = (length as usize, self_test) == (blob.len(), *test);
        let reply = self.device.ask(UpdateRequest::Begin { length, self_test });
        self.begun = None;
        match reply {
            Ok(_) => {
                // Whatever waited to be tried is gone.
                self.may_run.retain(|crc| Some(*crc) == self.device.running);
                let next = 0;
                self.begun = Some(Begun {
                    network,
                    next,
                    right,
                });
            }
            Err(_) => self.refusals += 1,
        }
    }

    fn is_whole(&self) -> bool {
        let whole = |b: &Begun| b.next == self.networks[b.network].0.len();
        self.begun.as_ref().is_some_and(whole)
    }

    /// The bytes that come next.
    fn write(&mut self) {
        let units = 1 + self.rng.below(MAX_WRITE as u32 / 32) as usize;
        let Some(begun) = &mut self.begun else {
            return;
        };
        let blob = &self.networks[begun.network].0;
        let end = (begun.next + 32 * units).min(blob.len());
        let (offset, bytes) = (begun.next as u32, &blob[begun.next..end]);
        match self.device.ask(UpdateRequest::Write { offset, bytes }) {
            Ok(UpdateReply::Next(next)) => begun.next = next as usize,
            _ => self.refusals += 1,
        }
    }

    /// Bytes of any number anywhere.
    fn write_anything(&mut self) {
        let expected = self.begun.as_ref().map_or(0, |b| b.next as u32);
        let offset = match self.rng.below(3) {
            0 => expected,
            _ => self.number(),
        };
        let len = self.number() as usize % (MAX_WRITE + 1);
        let bytes: Vec<u8> = (0..len).map(|_| self.rng.next() as u8).collect();
        let bytes = &bytes[..];
        match self.device.ask(UpdateRequest::Write { offset, bytes }) {
            // Passed over where it ends at the same byte; else it is not the network any more.
            Ok(UpdateReply::Next(next)) => {
                if let Some(begun) = &mut self.begun {
                    begun.right &= next as usize == begun.next;
                }
            }
            _ => self.refusals += 1,
        }
    }

    fn finish(&mut self) {
        if let Some(begun) = self.begun.take() {
            let (blob, _, crc) = &self.networks[begun.network];
            let damaged = begun.network + 1 == self.networks.len();
            if begun.right && begun.next == blob.len() && !damaged {
                self.may_run.push(*crc);
            }
        }
        match self.device.ask(UpdateRequest::Finish) {
            Ok(_) => self.updates += 1,
            Err(_) => self.refusals += 1,
        }
    }

    fn start(&mut self) {
        self.device = Device::start(&self.chip);
        self.begun = None;
    }

    fn step(&mut self) {
        if self.chance(12) {
            let tear = TEARS[self.rng.below(4) as usize];
            let most = 1 << self.rng.below(11);
            let at = self.rng.below(most);
            self.chip.power_on(Some((at.into(), tear)));
        }
        match self.rng.below(16) {
            0 => drop(self.device.ask(UpdateRequest::Status)),
            1..=3 => self.begin(),
            4..=12 if self.is_whole() => self.finish(),
            4..=12 => self.write(),
            13 => self.write_anything(),
            14 => self.finish(),
            _ => self.start(),
        }
        // It may be cut off again while it starts.
        while !self.chip.is_powered() {
            self.cuts += 1;
            let again = self.chance(3).then(|| (self.rng.below(8).into(), TEARS[1]));
            self.chip.power_on(again);
            self.start();
        }
        let running = self.device.running.expect("something runs");
        assert!(self.may_run.contains(&running), "{running:08x} runs");
        if self.may_run[0] != running {
            self.may_run = vec![running];
        }
    }
}

#[test]
fn no_requests_and_no_cuts_leave_a_device_without_a_network_or_with_a_wrong_one() {
    let [old, new] = networks();
    let damaged = {
        let (mut blob, test, crc) = new.clone();
        blob[100] ^= 4;
        (blob, test, crc)
    };
    let chip = Chip::new();
    chip.place(LAYOUT.slots[0], &old.0);
    let factory = chip.snapshot();
    let (mut updates, mut cuts, mut refusals) = (0, 0, 0);
    for seed in 0..1000 {
        chip.restore(&factory);
        chip.power_on(None);
        let mut siege = Siege {
            rng: Rng::new(seed),
            device: Device::start(&chip),
            chip: chip.clone(),
            networks: vec![old.clone(), new.clone(), damaged.clone()],
            begun: None,
            may_run: vec![old.2],
            updates: 0,
            cuts: 0,
            refusals: 0,
        };
        for _ in 0..60 {
            siege.step();
        }
        updates += siege.updates;
        cuts += siege.cuts;
        refusals += siege.refusals;
    }
    println!("{updates} updates, {cuts} cuts, {refusals} refusals");
    assert!(updates > 500 && cuts > 1000 && refusals > 1000);
}
