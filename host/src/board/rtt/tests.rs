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
    let len = encode(&Request::Hello, &mut scratch, &mut frame).unwrap();
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

#[test]
fn a_device_with_two_slots_starts_again_after_a_fault() {
    let (spec, mut link) = waiting(&Build {
        two_slots: true,
        ..Build::default()
    });
    let mut replies = Vec::new();
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
    // It blinks for a second, then sets RTT up anew, and probe-rs finds its pointers moved.
    let started = Instant::now();
    let moved = loop {
        match link.receive(&mut replies) {
            Ok(()) => assert!(started.elapsed() < Duration::from_secs(120), "stands still"),
            Err(error) => break error,
        }
    };
    let told = matches!(&moved, BoardError::Probe { doing, .. } if *doing == "reading RTT");
    assert!(told, "{moved:?}");
    let block = link.control_block;
    let again = || Rtt::attach_at(&mut core(&mut link.session).unwrap(), block);
    link.rtt = Some(
        std::iter::repeat_with(again)
            .take(1000)
            .find_map(Result::ok)
            .unwrap(),
    );
    let (mut scratch, mut frame) = (vec![0; MAX_REQUEST], vec![0; MAX_REQUEST]);
    let len = encode(&Request::Hello, &mut scratch, &mut frame).unwrap();
    link.send(&frame[..len]).unwrap();
    (0..10_000).for_each(|_| link.receive(&mut replies).unwrap());
    assert!(!replies.is_empty(), "it answers");
}
