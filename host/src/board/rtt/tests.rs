//! The real firmware on the virtual board, its stack overflown on purpose.

use super::super::{Build, open, spec};
use super::*;
use probe_rs::MemoryInterface;
use shared::message::{MAX_REQUEST, Request, encode};

/// Bytes of stack that are left to the firmware, less than answering takes.
const LEFT: u32 = 32;

/// A virtual board whose firmware waits for requests.
fn waiting(build: &Build) -> (BoardSpec, ProbeLink) {
    let (spec, _) = spec::find("virtual-stm32f405").unwrap();
    let firmware = Firmware::built(&spec, build).unwrap();
    let machine = Handle::new(open::new_machine(&spec, &firmware).unwrap());
    let chip = machine.clone();
    let probe = Box::new(move || Ok(chip.probe()));
    let mut link = ProbeLink::attach(probe, &spec, firmware, Some(machine), false).unwrap();
    link.load(None).unwrap();
    (0..50).for_each(|_| link.receive(&mut Vec::new()).unwrap());
    (spec, link)
}

#[test]
fn a_stack_that_overflows_faults_below_all_memory() {
    let (spec, mut link) = waiting(&Build::default());
    let mut replies = Vec::new();

    // The waiting firmware goes on at the bottom of its stack.
    let (bottom, top) = (spec.sram.base, spec.sram.base + spec.sram.stack_bytes);
    {
        let mut core = core(&mut link.session).unwrap();
        core.halt(Duration::from_secs(1)).unwrap();
        let register = core.stack_pointer().id();
        let pointer: u32 = core.read_core_reg(register).unwrap();
        assert!(bottom < pointer && pointer < top, "{pointer:#x}");
        let mut frames = vec![0; (top - pointer) as usize];
        core.read_8(pointer.into(), &mut frames).unwrap();
        core.write_8(u64::from(bottom + LEFT), &frames).unwrap();
        core.write_core_reg(register, bottom + LEFT).unwrap();
        core.run().unwrap();
    }
    let (mut scratch, mut frame) = (vec![0; MAX_REQUEST], vec![0; MAX_REQUEST]);
    let len = encode(&Request::Hello, 1, &mut scratch, &mut frame).unwrap();
    let sent = link.send(&frame[..len]);
    let mut looks = (0..10_000).map(|_| link.receive(&mut replies));
    let stopped = sent.err().or_else(|| looks.find_map(Result::err));
    let Some(BoardError::Faulted { fault, function }) = stopped else {
        panic!("{stopped:?}, {} bytes of replies", replies.len());
    };
    assert!(replies.is_empty(), "nothing was answered");
    // A push, or a store of a local, below the lowest byte of SRAM.
    assert!(function.is_some(), "{fault}");
    assert!(fault.cfsr & 0xff00 != 0, "a bus fault: {fault}");
}

/// Looks until `done`, which is told whether the firmware has set RTT up anew: probe-rs then finds
/// pointers moved, where there were any, and attaches again. Whether it was done.
fn look_until(link: &mut ProbeLink, done: impl Fn(&ProbeLink, bool) -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(120) {
        let looked = link.receive(&mut Vec::new());
        let anew = looked.is_err();
        if let Err(error) = looked {
            let moved =
                matches!(&error, BoardError::Probe { doing, .. } if *doing == "reading RTT");
            assert!(moved, "{error:?}");
            let block = link.control_block;
            let again = || Rtt::attach_at(&mut core(&mut link.session).unwrap(), block);
            let mut attached = std::iter::repeat_with(again).take(1000);
            link.rtt = Some(attached.find_map(Result::ok).unwrap());
        }
        if done(link, anew) {
            return true;
        }
    }
    false
}

fn answers(link: &mut ProbeLink) -> bool {
    let (mut scratch, mut frame) = (vec![0; MAX_REQUEST], vec![0; MAX_REQUEST]);
    let len = encode(&Request::Hello, 1, &mut scratch, &mut frame).unwrap();
    link.send(&frame[..len]).unwrap();
    let mut replies = Vec::new();
    (0..10_000).for_each(|_| link.receive(&mut replies).unwrap());
    !replies.is_empty()
}

fn two_slots() -> Build {
    Build {
        two_slots: true,
        ..Build::default()
    }
}

#[test]
fn a_device_with_two_slots_starts_again_after_a_fault() {
    let (spec, mut link) = waiting(&two_slots());
    {
        // The handler's own first instruction: a fault of the machine would stop it for the host.
        let mut core = core(&mut link.session).unwrap();
        core.halt(Duration::from_secs(1)).unwrap();
        let hard_fault = core
            .read_word_32(u64::from(spec.flash.base) + 4 * 3)
            .unwrap();
        let counter = core.program_counter().id();
        core.write_core_reg(counter, hard_fault & !1).unwrap();
        core.run().unwrap();
    }
    // It tells that, and blinks for a second.
    assert!(look_until(&mut link, |_, anew| anew), "it stands still");
    assert!(answers(&mut link));
}

/// The waiting firmware goes on with a loop that never ends, at the bottom of its stack.
fn hang(spec: &BoardSpec, link: &mut ProbeLink) {
    let mut core = core(&mut link.session).unwrap();
    core.halt(Duration::from_secs(1)).unwrap();
    let loops = spec.sram.base;
    // More than one: where the core was halted in an IT block, up to four are passed over.
    core.write_16(loops.into(), &[0xe7fe; 8]).unwrap();
    let counter = core.program_counter().id();
    core.write_core_reg(counter, loops).unwrap();
    core.run().unwrap();
}

#[test]
fn a_device_with_two_slots_starts_again_where_code_does_not_end() {
    let (spec, mut link) = waiting(&two_slots());
    for _ in 0..2 {
        hang(&spec, &mut link);
        let says = |link: &ProbeLink| link.log().iter().any(|line| line.contains("watchdog"));
        assert!(look_until(&mut link, |link, _| says(link)), "it hangs");
        assert!(answers(&mut link));
        // Waiting for requests feeds it.
        let machine = link.machine.clone().unwrap();
        let due = || machine.with(|machine| machine.watchdog().deadline());
        let before = due();
        assert!(before.is_some());
        (0..10).for_each(|_| link.receive(&mut Vec::new()).unwrap());
        assert!(due() > before, "{before:?}");
        // A reset of another cause is not told as its.
        link.log = Log::new(&link.firmware.elf, false).unwrap();
        link.restart().unwrap();
        (0..50).for_each(|_| link.receive(&mut Vec::new()).unwrap());
        assert!(!says(&link), "{:?}", link.log());
    }

    // Without a watchdog it hangs.
    let (spec, mut link) = waiting(&Build::default());
    hang(&spec, &mut link);
    assert!(!answers(&mut link));
}
