//! A device with two slots under siege: what its host asks, when the power goes and which bits no
//! longer clear, all from the input.

#[allow(dead_code, reason = "not every user needs all of it")]
#[path = "../../firmware/tests/chip/mod.rs"]
mod chip;
#[path = "../../firmware/tests/siege/mod.rs"]
mod siege;

use crate::bytes_of;
use chip::{Chip, Snapshot};
use siege::model::{self, Model};
use siege::real::{self, Real};
use siege::{Chance, Device, Network, SMALL, Siege};

/// Steps after which a siege ends: they are what it takes longest for.
const STEPS: usize = 200;

/// What happens, byte by byte; nothing but zeros after the end.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn take(&mut self) -> u8 {
        let first = self.0.split_off_first();
        first.copied().unwrap_or(0)
    }
}

impl Chance for Choices<'_> {
    fn next(&mut self) -> u32 {
        u32::from_le_bytes([(); 4].map(|()| self.take()))
    }

    fn below(&mut self, n: u32) -> u32 {
        match n {
            0 | 1 => 0,
            2..=256 => u32::from(self.take()) % n,
            _ => self.next() % n,
        }
    }
}

/// A chip with the first of some networks, as a debug probe leaves it.
struct Factory {
    chip: Chip,
    snapshot: Snapshot,
    networks: Vec<Network>,
}

impl Factory {
    /// One for all inputs of a thread: its chip's memory is leaked anyway.
    fn leaked(networks: Vec<Network>) -> &'static Self {
        let chip = Chip::of(SMALL.ledger + SMALL.ledger_bytes);
        chip.place(SMALL.slots[0], &networks[0].bytes);
        Box::leak(Box::new(Self {
            snapshot: chip.snapshot(),
            chip,
            networks,
        }))
    }

    /// A chip as new, under siege until `choices` are at an end.
    fn besiege<D: Device>(&self, choices: Choices) {
        let Self { chip, networks, .. } = self;
        chip.restore(&self.snapshot);
        chip.stick(None);
        chip.power_on(None);
        let mut siege = Siege::<D, _>::new(choices, chip, SMALL, networks);
        for _ in 0..STEPS {
            if siege.chance.0.is_empty() {
                break;
            }
            siege.step();
        }
    }
}

/// Small networks, the last of them damaged.
fn reals() -> Vec<Network> {
    let chain = include_bytes!("../corpus/blob/seed-chain");
    let coded = include_bytes!("../corpus/blob/seed-coded-direct-3");
    let mut all: Vec<Network> = [&chain[..], &coded[..]]
        .map(|blob| real::network(blob.to_vec()))
        .into();
    let mut damaged = all[1].clone();
    damaged.bytes[100] ^= 4;
    damaged.good = false;
    all.push(damaged);
    all
}

/// Versions that rise, fall and stay, and a network that fails its self-test.
fn models() -> Vec<Network> {
    let of = model::network;
    vec![
        of(1, 1, true),
        of(2, 2, true),
        of(3, 9, false),
        of(4, 5, true),
        of(5, 1, true),
        of(6, 255, true),
    ]
}

thread_local! {
    static REAL: &'static Factory = Factory::leaked(reals());
    static MODEL: &'static Factory = Factory::leaked(models());
}

/// The first byte says whether real networks are replaced, or models with versions.
///
/// # Panics
/// Where no network runs, or one that may not, or the version falls.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    match choices.take() % 4 {
        0 => REAL.with(|factory| factory.besiege::<Real>(choices)),
        _ => MODEL.with(|factory| factory.besiege::<Model>(choices)),
    }
}
