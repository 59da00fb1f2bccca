//! The app's slots with real networks, over messages as they come: the power cut at every
//! operation.

mod chip;
mod common;
mod siege;

use chip::{Chip, TEARS};
use common::bytes_of;
use common::network::Chain;
use shared::bench::Rng;
use shared::update::{Slot, UpdateError, UpdateReply, UpdateRequest};
use siege::model::{self, Model};
use siege::real::{self, Real};
use siege::{BOARD as LAYOUT, Device, Network, SMALL, Siege};

fn networks() -> [Network; 2] {
    [3, 4].map(|seed| real::network(Chain::new(seed).blob))
}

/// A chip with a network in its first slot, as a debug probe leaves it.
fn factory(network: &Network) -> Chip {
    let chip = Chip::new();
    chip.place(LAYOUT.slots[0], &network.bytes);
    chip
}

fn start(chip: &Chip) -> Real {
    Real::start(chip, LAYOUT)
}

#[test]
fn a_network_is_replaced_while_the_device_runs() {
    let [old, new] = networks();
    let chip = factory(&old);
    let mut device = start(&chip);
    assert_eq!(device.running(), Some(old.id));
    assert_eq!(
        device.ask(UpdateRequest::Finish),
        Err(UpdateError::NotBegun)
    );
    let (test, expected) = (new.self_test, new.self_test ^ 1);
    assert_eq!(
        device.update(&new.bytes, expected),
        Err(UpdateError::SelfTest {
            expected,
            got: test
        })
    );
    assert_eq!(device.running(), Some(old.id));
    assert_eq!(
        device.update(&new.bytes, new.self_test),
        Ok(UpdateReply::Running(1))
    );
    assert_eq!(device.running(), Some(new.id));
    let status = device.status();
    assert_eq!(status.running, Some(1));
    assert_eq!(status.slots, [Slot::Bare, Slot::Confirmed { sequence: 2 }]);
    assert_eq!(start(&chip).running(), Some(new.id));
}

#[test]
fn a_damaged_network_never_gets_a_header() {
    let [old, mut new] = networks();
    let chip = factory(&old);
    let mut device = start(&chip);
    new.bytes[100] ^= 4;
    let refused = device.update(&new.bytes, new.self_test);
    assert!(matches!(refused, Err(UpdateError::Blob(_))), "{refused:?}");
    assert_eq!(device.status().slots, [Slot::Bare, Slot::Bare]);
}

#[test]
fn every_cut_leaves_the_old_network_or_the_new_one() {
    let [old, new] = networks();
    let chip = factory(&old);
    let before = chip.snapshot();
    let (mut cuts, mut olds) = (0, 0);
    for tear in TEARS {
        for at in 0.. {
            chip.restore(&before);
            chip.power_on(Some((at, tear)));
            let mut device = start(&chip);
            assert_eq!(device.running(), Some(old.id));
            let _ = device.update(&new.bytes, new.self_test);
            if chip.is_powered() {
                break;
            }
            chip.power_on(None);
            let running = start(&chip).running();
            assert!(
                running == Some(old.id) || running == Some(new.id),
                "{tear:?} at {at}: {running:08x?}"
            );
            cuts += 1;
            olds += u32::from(running == Some(old.id));
        }
    }
    println!("{cuts} cuts, the old network after {olds}");
    assert!(cuts as usize > new.bytes.len(), "a cut at every word");
    assert!(olds < cuts, "some come after the last word");
}

/// 1,000 devices under siege; updates, cuts and refusals.
fn besiege<D: Device>(layout: firmware::update::Layout, networks: &[Network]) -> [u32; 3] {
    let chip = Chip::new();
    chip.place(layout.slots[0], &networks[0].bytes);
    let factory = chip.snapshot();
    let mut sums = [0; 3];
    for seed in 0..1000 {
        chip.restore(&factory);
        chip.stick(None);
        chip.power_on(None);
        let mut siege = Siege::<D, _>::new(Rng::new(seed), &chip, layout, networks);
        for _ in 0..60 {
            siege.step();
        }
        for (sum, n) in sums
            .iter_mut()
            .zip([siege.updates, siege.cuts, siege.refusals])
        {
            *sum += n;
        }
    }
    sums
}

#[test]
fn no_requests_and_no_cuts_leave_a_device_without_a_network_or_with_a_wrong_one() {
    let [old, new] = networks();
    let mut damaged = new.clone();
    damaged.bytes[100] ^= 4;
    damaged.good = false;
    let [updates, cuts, refusals] = besiege::<Real>(LAYOUT, &[old, new, damaged]);
    println!("{updates} updates, {cuts} cuts, {refusals} refusals");
    assert!(updates > 500 && cuts > 1000 && refusals > 1000);
}

/// The same where networks have versions.
#[test]
fn no_requests_and_no_cuts_lower_the_version() {
    let of = model::network;
    let networks = [
        of(1, 1, true),
        of(2, 2, true),
        of(3, 9, false),
        of(4, 5, true),
    ];
    let [updates, cuts, refusals] = besiege::<Model>(SMALL, &networks);
    println!("{updates} updates, {cuts} cuts, {refusals} refusals");
    assert!(updates > 500 && cuts > 1000 && refusals > 1000);
}
