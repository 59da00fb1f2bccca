//! The real firmware on the virtual board, its stack overflown on purpose.

use super::super::{open, spec};
use super::*;
use probe_rs::MemoryInterface;
use shared::message::{MAX_REQUEST, Request, encode};

/// Bytes of stack that are left to the firmware, less than answering takes.
const LEFT: u32 = 32;

#[test]
fn a_stack_that_overflows_faults_below_all_memory() {
    let (spec, _) = spec::find("virtual-stm32f405").unwrap();
    let firmware = Firmware::build(&spec).unwrap();
    let machine = Handle::new(open::new_machine(&spec, &firmware).unwrap());
    let chip = machine.clone();
    let probe = Box::new(move || Ok(chip.probe()));
    let mut link = ProbeLink::attach(probe, &spec, firmware, Some(machine), false).unwrap();
    link.load(None).unwrap();
    let mut replies = Vec::new();
    (0..50).for_each(|_| link.receive(&mut replies).unwrap());

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
