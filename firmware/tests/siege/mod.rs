//! Devices under siege: a host that is broken or means harm asks by chance, and the power goes by
//! chance. Whatever happens, a network runs that may.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod door;
pub mod model;
pub mod real;

use super::chip::{Chip, TEARS};
use firmware::update::Layout;
use shared::bench::Rng;
use shared::update::{MAX_WRITE, Status, UpdateError, UpdateReply, UpdateRequest};

/// Two slots and a ledger in sectors of 16 KiB.
pub const SMALL: Layout = Layout {
    slots: [0, 0x4000],
    slot_bytes: 0x4000,
    ledger: 0x8000,
    ledger_bytes: 0x4000,
};

/// As on the board: two slots of three sectors of 128 KiB, a ledger of one.
pub const BOARD: Layout = Layout {
    slots: [0x2_0000, 0x8_0000],
    slot_bytes: 0x6_0000,
    ledger: 0xe_0000,
    ledger_bytes: 0x2_0000,
};

/// Where what happens next comes from.
pub trait Chance {
    /// 32 bits.
    fn next(&mut self) -> u32;
    /// A number in `0..n`; 0 for `n` = 0.
    fn below(&mut self, n: u32) -> u32;
}

impl Chance for Rng {
    fn next(&mut self) -> u32 {
        Self::next(self)
    }

    fn below(&mut self, n: u32) -> u32 {
        Self::below(self, n)
    }
}

/// A device with two slots.
pub trait Device: Sized {
    /// Starts it on a flash.
    fn start(chip: &Chip, layout: Layout) -> Self;

    /// What it answers.
    fn ask(&mut self, request: UpdateRequest) -> Result<UpdateReply, UpdateError>;

    /// The `id` of the network that runs.
    fn running(&self) -> Option<u32>;

    /// Slots, and the version below which nothing is taken.
    fn status(&mut self) -> Status {
        match self.ask(UpdateRequest::Status) {
            Ok(UpdateReply::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// The whole of an update, in writes of the largest size.
    fn update(&mut self, network: &[u8], self_test: u32) -> Result<UpdateReply, UpdateError> {
        let length = network.len() as u32;
        self.ask(UpdateRequest::Begin { length, self_test })?;
        for (n, bytes) in network.chunks(MAX_WRITE).enumerate() {
            let offset = (n * MAX_WRITE) as u32;
            self.ask(UpdateRequest::Write { offset, bytes })?;
        }
        self.ask(UpdateRequest::Finish)
    }
}

/// A network that the host may send.
#[derive(Clone)]
pub struct Network {
    /// It as it is stored.
    pub bytes: Vec<u8>,
    /// What its self-test gives.
    pub self_test: u32,
    /// What a device says that runs it.
    pub id: u32,
    /// Its version; 0 where versions are not looked at.
    pub version: u32,
    /// It is whole and passes its self-test.
    pub good: bool,
}

/// What the host has begun.
struct Begun {
    network: usize,
    /// Bytes that it wrote as they should be.
    next: usize,
    /// Its self-test is the network's, its length too, and nothing else was written.
    right: bool,
}

/// A device, and a host that asks by chance.
pub struct Siege<'a, D, C> {
    pub chance: C,
    chip: &'a Chip,
    layout: Layout,
    device: D,
    networks: &'a [Network],
    begun: Option<Begun>,
    /// The networks that may run now, the one that does first.
    may_run: Vec<u32>,
    floor: u32,
    /// A bit does not clear, or did not.
    worn: bool,
    pub updates: u32,
    pub cuts: u32,
    pub refusals: u32,
}

impl<'a, D: Device, C: Chance> Siege<'a, D, C> {
    /// A device that runs the first of `networks`, which is in its first slot.
    pub fn new(chance: C, chip: &'a Chip, layout: Layout, networks: &'a [Network]) -> Self {
        let mut siege = Self {
            chance,
            chip,
            layout,
            device: D::start(chip, layout),
            networks,
            begun: None,
            may_run: vec![networks[0].id],
            floor: 0,
            worn: false,
            updates: 0,
            cuts: 0,
            refusals: 0,
        };
        siege.holds();
        siege
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.chance.below(n) == 0
    }

    /// A number at an edge, or anywhere.
    fn number(&mut self) -> u32 {
        let limit = self.layout.limit();
        let edges = [0, 1, 31, 32, limit, limit + 1, u32::MAX - 31, u32::MAX];
        match self.chance.below(12) as usize {
            n if n < edges.len() => edges[n],
            _ => self.chance.next() >> self.chance.below(32),
        }
    }

    fn begin(&mut self) {
        let network = self.chance.below(self.networks.len() as u32) as usize;
        let whole = &self.networks[network];
        let (mut length, mut self_test) = (whole.bytes.len() as u32, whole.self_test);
        if self.one_in(4) {
            length = self.number();
        }
        if self.one_in(5) {
            self_test ^= 1 << self.chance.below(32);
        }
        let right = (length as usize, self_test) == (whole.bytes.len(), whole.self_test);
        let reply = self.device.ask(UpdateRequest::Begin { length, self_test });
        self.begun = None;
        match reply {
            Ok(_) => {
                // Whatever waited to be tried is gone.
                let running = self.device.running();
                self.may_run.retain(|id| Some(*id) == running);
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
        let whole = |b: &Begun| b.next == self.networks[b.network].bytes.len();
        self.begun.as_ref().is_some_and(whole)
    }

    /// The bytes that come next.
    fn write(&mut self) {
        let units = 1 + self.chance.below(MAX_WRITE as u32 / 32) as usize;
        let Some(begun) = &mut self.begun else {
            return;
        };
        let network = &self.networks[begun.network].bytes;
        let end = (begun.next + 32 * units).min(network.len());
        let (offset, bytes) = (begun.next as u32, &network[begun.next..end]);
        match self.device.ask(UpdateRequest::Write { offset, bytes }) {
            Ok(UpdateReply::Next(next)) => begun.next = next as usize,
            _ => self.refusals += 1,
        }
    }

    /// Bytes of any number anywhere.
    fn write_anything(&mut self) {
        let expected = self.begun.as_ref().map_or(0, |b| b.next as u32);
        let offset = match self.chance.below(3) {
            0 => expected,
            _ => self.number(),
        };
        let len = self.number() as usize % (MAX_WRITE + 1);
        let bytes: Vec<u8> = (0..len).map(|_| self.chance.below(256) as u8).collect();
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
            let network = &self.networks[begun.network];
            let whole = begun.next == network.bytes.len();
            if begun.right && whole && network.good && network.version >= self.floor {
                self.may_run.push(network.id);
            }
        }
        match self.device.ask(UpdateRequest::Finish) {
            Ok(_) => {
                self.updates += 1;
                self.is_noted();
            }
            Err(_) => self.refusals += 1,
        }
    }

    /// The version that has just begun to run is the lowest one from now on.
    fn is_noted(&mut self) {
        let running = self.running().version;
        if self.chip.is_powered() && !self.worn {
            assert!(self.device.status().floor >= running, "{running}");
        }
    }

    fn running(&self) -> &'a Network {
        let id = self.device.running().expect("something runs");
        let mut networks = self.networks.iter();
        networks.find(|n| n.id == id).expect("one of them")
    }

    fn start(&mut self) {
        self.device = D::start(self.chip, self.layout);
        self.begun = None;
    }

    /// From now on a bit somewhere in slots or ledger does not clear, or all do again.
    fn wear(&mut self) {
        let Layout { slots, ledger, .. } = self.layout;
        let headers = slots.map(|start| start + self.layout.limit());
        let stuck = match self.chance.below(4) {
            0 => None,
            1 => Some(ledger + self.chance.below(256)),
            2 => Some(headers[self.chance.below(2) as usize] + self.chance.below(256)),
            _ => Some(slots[self.chance.below(2) as usize] + self.chance.below(4096)),
        };
        self.worn |= stuck.is_some();
        self.chip.stick(stuck);
    }

    /// Something happens.
    ///
    /// # Panics
    /// Where afterwards, with power, no network runs or one that may not.
    pub fn step(&mut self) {
        if self.one_in(12) {
            let tear = TEARS[self.chance.below(4) as usize];
            let most = 1 << self.chance.below(11);
            let at = self.chance.below(most);
            self.chip.power_on(Some((at.into(), tear)));
        }
        match self.chance.below(17) {
            0 => drop(self.device.ask(UpdateRequest::Status)),
            1..=3 => self.begin(),
            4..=12 if self.is_whole() => self.finish(),
            4..=12 => self.write(),
            13 => self.write_anything(),
            14 => self.finish(),
            15 => self.wear(),
            _ => self.start(),
        }
        // It may be cut off again while it starts, not for ever.
        for again in 0.. {
            if self.chip.is_powered() {
                break;
            }
            self.cuts += 1;
            let cut = again < 8 && self.one_in(3);
            let cut = cut.then(|| (self.chance.below(8).into(), TEARS[1]));
            self.chip.power_on(cut);
            self.start();
        }
        self.holds();
    }

    /// What must hold.
    fn holds(&mut self) {
        let &Network { id, version, .. } = self.running();
        assert!(self.may_run.contains(&id), "{id:08x} runs");
        if self.may_run[0] != id {
            self.may_run = vec![id];
        }
        let floor = self.device.status().floor;
        assert!(floor >= self.floor, "{floor} after {}", self.floor);
        self.floor = floor;
        assert!(version >= floor, "{version} runs, {floor} is the lowest");
    }
}
