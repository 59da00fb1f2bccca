//! The updater on a model of the chip's flash, with the power cut at every operation.

mod chip;
mod common;
mod siege;

use chip::{Chip, Snapshot, TEARS, Tear};
use common::bytes_of;
use firmware::update::{Install, Layout, Storage, choose, ledger::Ledger};
use shared::update::{Slot, UpdateError};
use siege::door::{Door, network};
use siege::{BOARD, SMALL};

/// The whole of an update: the network in slices, checked, tried.
fn update(chip: &mut Chip, layout: &Layout, bytes: &[u8]) -> Result<u8, UpdateError> {
    let running = choose(chip, layout, &mut Door::default()).ok();
    let (length, test) = (bytes.len() as u32, u32::from(bytes[0]));
    let slot = running.map(|chosen| chosen.slot);
    let mut install = Install::begin(chip, layout, slot, length, test)?;
    for (n, part) in bytes.chunks(96).enumerate() {
        install.write(chip, layout, 96 * n as u32, part)?;
    }
    install.finish(chip, layout, &mut Door::default())?;
    let chosen = choose(chip, layout, &mut Door::default())?;
    chosen.refused.map_or(Ok(chosen.slot), Err)
}

/// The number of the network that runs after a start.
fn boot(chip: &mut Chip, layout: &Layout) -> Result<u8, UpdateError> {
    let chosen = choose(chip, layout, &mut Door::default())?;
    let bytes = chip.slice(chosen.range(layout));
    Ok(bytes.ok_or(UpdateError::Flash)?[0])
}

fn floor(chip: &mut Chip, layout: &Layout) -> u32 {
    Ledger::read(chip, layout).floor
}

/// The life of a device: networks that come one after the other, from a bare first one.
fn life() -> Vec<Vec<u8>> {
    vec![
        network(1, 1, true),
        network(2, 2, true),
        // Fails its self-test.
        network(3, 3, false),
        network(4, 2, true),
        network(5, 5, true),
    ]
}

/// What runs once update `n` of [`life`] is through.
const AFTER: [u8; 5] = [1, 2, 2, 4, 5];

fn factory(layout: &Layout) -> Chip {
    let chip = Chip::new();
    chip.place(layout.slots[0], &life()[0]);
    chip
}

/// The contents before each update, and after the last.
fn stages(layout: &Layout) -> Vec<Snapshot> {
    let mut chip = factory(layout);
    let mut stages = Vec::new();
    for (n, bytes) in life().iter().enumerate() {
        if n > 0 {
            let passes = bytes[2] == 1;
            assert_eq!(update(&mut chip, layout, bytes).is_ok(), passes, "{n}");
        }
        assert_eq!(boot(&mut chip, layout), Ok(AFTER[n]), "{n}");
        stages.push(chip.snapshot());
    }
    assert_eq!(floor(&mut chip, layout), 5);
    stages
}

/// After a cut in update `n` something that may run runs, and the update can be repeated.
fn recovers(chip: &mut Chip, layout: &Layout, n: usize, what: &str) {
    chip.power_on(None);
    let bytes = &life()[n];
    let runs = boot(chip, layout).unwrap_or_else(|e| panic!("{what}: nothing runs: {e:?}"));
    assert!(
        runs == AFTER[n - 1] || runs == AFTER[n],
        "{what}: {runs} runs"
    );
    let before = floor(chip, layout);
    assert!(before >= u32::from(AFTER[n - 1].min(2)), "{what}: floor");
    assert_eq!(boot(chip, layout), Ok(runs), "{what}: the next start");
    assert_eq!(floor(chip, layout), before, "{what}");
    let again = update(chip, layout, bytes);
    assert_eq!(again.is_ok(), bytes[2] == 1, "{what}: {again:?}");
    assert_eq!(boot(chip, layout), Ok(AFTER[n]), "{what}: repeated");
}

#[test]
fn power_may_go_at_every_operation_of_every_update() {
    for layout in [SMALL, BOARD] {
        let stages = stages(&layout);
        let mut chip = factory(&layout);
        let mut cuts = 0;
        for n in 1..life().len() {
            for tear in TEARS {
                for at in 0.. {
                    chip.restore(&stages[n - 1]);
                    chip.power_on(Some((at, tear)));
                    let _ = update(&mut chip, &layout, &life()[n]);
                    if chip.is_powered() {
                        break;
                    }
                    cuts += 1;
                    recovers(&mut chip, &layout, n, &format!("update {n}, {tear:?} {at}"));
                }
            }
        }
        // A sector's erasure or a word each: 51 words of the network, 8 of the header, 16
        // or 8 of the two marks, 8 of the ledger where the version rises.
        assert!(cuts > 4 * 4 * 68, "{cuts} cuts only");
        println!("{cuts} cuts");
    }
}

/// A cut in an update, another in each operation of the start that follows.
#[test]
fn power_may_go_again_while_a_device_recovers() {
    let stages = stages(&SMALL);
    let mut chip = factory(&SMALL);
    let mut cuts = 0;
    for n in 1..life().len() {
        for tear in TEARS {
            for at in 0.. {
                chip.restore(&stages[n - 1]);
                chip.power_on(Some((at, tear)));
                let _ = update(&mut chip, &SMALL, &life()[n]);
                if chip.is_powered() {
                    break;
                }
                let first = chip.snapshot();
                for second in TEARS {
                    for later in 0.. {
                        chip.restore(&first);
                        chip.power_on(Some((later, second)));
                        let _ = boot(&mut chip, &SMALL);
                        if chip.is_powered() {
                            break;
                        }
                        cuts += 1;
                        let what = format!("update {n}, {tear:?} {at}, {second:?} {later}");
                        recovers(&mut chip, &SMALL, n, &what);
                    }
                }
            }
        }
    }
    assert!(cuts > 1000, "{cuts} second cuts only");
    println!("{cuts} second cuts");
}

/// Power that goes in each self-test, as where a network hangs the device.
#[test]
fn a_network_that_never_comes_through_is_given_up() {
    let mut chip = factory(&SMALL);
    let bytes = network(9, 9, true);
    let mut install = Install::begin(&mut chip, &SMALL, Some(0), 204, 9).unwrap();
    install.write(&mut chip, &SMALL, 0, &bytes).unwrap();
    install
        .finish(&mut chip, &SMALL, &mut Door::default())
        .unwrap();
    // Each attempt begins with eight words of its trial mark; the power goes before the
    // first one of its confirmation.
    for attempt in 0..3 {
        chip.power_on(Some((8, Tear::Before)));
        let mut door = Door::default();
        let _ = choose(&mut chip, &SMALL, &mut door);
        assert_eq!(door.tried, [9], "attempt {attempt}");
        assert!(!chip.is_powered());
    }
    chip.power_on(None);
    let mut door = Door::default();
    let chosen = choose(&mut chip, &SMALL, &mut door).unwrap();
    assert_eq!((chosen.slot, door.tried), (0, vec![]));
    assert!(matches!(chosen.refused, Some(UpdateError::SelfTest { .. })));
    assert_eq!(boot(&mut chip, &SMALL), Ok(1));
}

#[test]
fn a_slot_that_rots_gives_way_to_the_other_one() {
    let mut chip = factory(&SMALL);
    update(&mut chip, &SMALL, &network(2, 1, true)).unwrap();
    update(&mut chip, &SMALL, &network(3, 1, true)).unwrap();
    assert_eq!(boot(&mut chip, &SMALL), Ok(3));
    chip.place(SMALL.slots[0] + 100, &[0; 4]);
    assert_eq!(boot(&mut chip, &SMALL), Ok(2));
    // Its successor goes where the damaged one was.
    assert_eq!(update(&mut chip, &SMALL, &network(4, 1, true)), Ok(0));
    chip.place(SMALL.slots[0] + 100, &[0; 4]);
    chip.place(SMALL.slots[1] + 100, &[0; 4]);
    let nothing = boot(&mut chip, &SMALL);
    assert!(matches!(nothing, Err(UpdateError::Blob(_))), "{nothing:?}");
    // A device without a network takes one.
    assert!(update(&mut chip, &SMALL, &network(5, 1, true)).is_ok());
    assert_eq!(boot(&mut chip, &SMALL), Ok(5));
}

#[test]
fn versions_never_fall() {
    let mut chip = factory(&SMALL);
    update(&mut chip, &SMALL, &network(2, 7, true)).unwrap();
    let older = update(&mut chip, &SMALL, &network(3, 6, true));
    assert!(matches!(older, Err(UpdateError::Blob(_))), "{older:?}");
    assert_eq!(boot(&mut chip, &SMALL), Ok(2));
    // Not even from the slot that held one: it gives nothing rather than an old network.
    chip.place(SMALL.slots[1] + 100, &[0; 4]);
    assert!(boot(&mut chip, &SMALL).is_err());
    assert!(update(&mut chip, &SMALL, &network(4, 7, true)).is_ok());
    assert_eq!(floor(&mut chip, &SMALL), 7);
}

#[test]
fn a_full_ledger_takes_no_higher_version() {
    let mut chip = factory(&SMALL);
    chip.place(SMALL.ledger, &vec![0; SMALL.ledger_bytes as usize]);
    let higher = update(&mut chip, &SMALL, &network(2, 2, true));
    assert_eq!(higher, Err(UpdateError::Worn));
    assert!(update(&mut chip, &SMALL, &network(3, 0, true)).is_ok());
}

#[test]
fn what_does_not_fit_or_does_not_come_next_is_refused() {
    let mut chip = factory(&SMALL);
    let limit = SMALL.limit();
    for length in [0, limit + 1, u32::MAX] {
        let begun = Install::begin(&mut chip, &SMALL, Some(0), length, 0);
        assert_eq!(begun, Err(UpdateError::Length { limit }));
    }
    let mut install = Install::begin(&mut chip, &SMALL, Some(0), 100, 0).unwrap();
    let mut write = |offset, len| install.write(&mut chip, &SMALL, offset, &vec![5; len]);
    assert_eq!(write(32, 32), Err(UpdateError::Order { next: 0 }));
    assert_eq!(write(0, 30), Err(UpdateError::Order { next: 0 }));
    assert_eq!(write(0, 64), Ok(64));
    assert_eq!(write(0, 64), Ok(64), "sent again");
    assert_eq!(write(32, 32), Ok(64), "sent again");
    for (offset, len) in [(64, 37), (64, 0), (u32::MAX, 2)] {
        assert_eq!(write(offset, len), Err(UpdateError::Length { limit: 100 }));
    }
    let early = install.finish(&mut chip, &SMALL, &mut Door::default());
    assert_eq!(early, Err(UpdateError::Order { next: 64 }));
}

#[test]
fn a_bit_that_does_not_clear_is_named() {
    let mut chip = factory(&SMALL);
    chip.stick(Some(SMALL.slots[1] + 77));
    let mut install = Install::begin(&mut chip, &SMALL, Some(0), 204, 2).unwrap();
    let written = install.write(&mut chip, &SMALL, 0, &[0; 192]);
    assert_eq!(written, Err(UpdateError::Verify { offset: 64 }));
    chip.stick(None);
    assert_eq!(boot(&mut chip, &SMALL), Ok(1));
}

#[test]
fn the_slots_say_what_they_hold() {
    use firmware::update::slot::State;
    let mut chip = factory(&SMALL);
    let slots = |chip: &mut Chip| [0, 1].map(|i| State::read(chip, &SMALL, i).report());
    assert_eq!(slots(&mut chip), [Slot::Bare, Slot::Bare]);
    update(&mut chip, &SMALL, &network(2, 1, true)).unwrap();
    let confirmed = Slot::Confirmed { sequence: 1 };
    assert_eq!(slots(&mut chip), [Slot::Bare, confirmed]);
    let _ = update(&mut chip, &SMALL, &network(3, 1, false));
    let (sequence, attempts) = (2, 1);
    let trial = Slot::Trial { sequence, attempts };
    assert_eq!(slots(&mut chip), [trial, confirmed]);
    Install::begin(&mut chip, &SMALL, Some(1), 9, 0).unwrap();
    assert_eq!(slots(&mut chip), [Slot::Bare, confirmed]);
}
