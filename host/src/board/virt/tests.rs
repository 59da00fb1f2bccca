//! The fast core is held equal to the complete emulator on random instructions.

use super::{Machine, Parts};
use cycle_model::{FlashGeometry, Instr};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rsemu::cpu::arm::v7m::isa::{self, HintOp, Insn};

const FLASH: u32 = 0x0800_0000;
const SRAM: u32 = 0x2000_0000;
const SRAM_BYTES: u32 = 2048;
const CODE: u32 = FLASH + 0x400;

fn parts() -> Parts {
    let flash = FlashGeometry {
        base: FLASH,
        size: 4096,
        icache_lines: 64,
        dcache_lines: 8,
    };
    Parts {
        flash,
        sram_base: SRAM,
        sram_size: SRAM_BYTES,
        wait_states: 5,
        clock_hz: 168_000_000,
    }
}

/// A fast machine and one that only the complete emulator drives, in the same random state.
fn pair(rng: &mut ChaCha8Rng) -> [Machine; 2] {
    let flash: Vec<u8> = (0..4096).map(|_| rng.random()).collect();
    let sram: Vec<u8> = (0..SRAM_BYTES).map(|_| rng.random()).collect();
    [false, true].map(|fallback_only| {
        let mut machine = Machine::new(&parts()).unwrap();
        machine.place(FLASH, &flash);
        machine.place(SRAM, &sram);
        // Turn the floating-point unit on (CPACR).
        machine
            .cpu
            .with_sys(|sys| sys.write_word(0xE000_ED88, 0xF << 20));
        machine.fallback_only = fallback_only;
        machine.halted = false;
        machine
    })
}

/// A register value: anything, or an address that a load or store can use.
fn register(rng: &mut ChaCha8Rng) -> u32 {
    match rng.random_range(0..8) {
        0 => rng.random(),
        1 => rng.random_range(0..64),
        2 => FLASH + rng.random_range(0..4000),
        3 => (FLASH + rng.random_range(0..4000)) | 1,
        4 => SRAM + rng.random_range(0..SRAM_BYTES),
        _ => SRAM + 4 * rng.random_range(16..SRAM_BYTES / 4 - 16),
    }
}

fn registers(rng: &mut ChaCha8Rng) -> ([u32; 16], u32) {
    let mut r: [u32; 16] = std::array::from_fn(|_| register(rng));
    r[13] = SRAM + 4 * rng.random_range(64..256);
    r[15] = CODE;
    let flags = rng.random::<u32>() & 0xF80F_0000;
    let it: u32 = if rng.random_ratio(1, 4) {
        rng.random_range(1..0xE0)
    } else {
        0
    };
    let it = if it & 15 == 0 { 0 } else { it };
    (r, (1 << 24) | flags | ((it >> 2) << 10) | ((it & 3) << 25))
}

fn instruction(rng: &mut ChaCha8Rng) -> (u16, u16) {
    let first = if rng.random_ratio(1, 3) {
        rng.random()
    } else {
        rng.random_range(0xE800..=0xFFFF)
    };
    (first, rng.random())
}

fn is_tested(insn: Insn) -> bool {
    !matches!(
        insn,
        Insn::Bkpt { .. }
            | Insn::Hint {
                op: HintOp::Wfi | HintOp::Wfe | HintOp::Sev
            }
            | Insn::Msr { .. }
            | Insn::Cps { .. }
    )
}

#[test]
fn fast_core_equals_the_complete_emulator() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut handled = 0;
    for _ in 0..150 {
        let mut machines = pair(&mut rng);
        for _ in 0..1000 {
            let (first, second) = instruction(&mut rng);
            if !is_tested(isa::decode(first, second)) {
                continue;
            }
            let (r, xpsr) = registers(&mut rng);
            for machine in &mut machines {
                machine.place(CODE, &first.to_le_bytes());
                machine.place(CODE + 2, &second.to_le_bytes());
                machine.core.r = r;
                machine.core.xpsr = xpsr;
                machine.step();
                machine.hand_over();
            }
            let [fast, complete] = &machines;
            let what = format!(
                "{first:04x} {second:04x} {:?} from {r:08x?} xpsr {xpsr:08x}",
                isa::decode(first, second)
            );
            assert_eq!(fast.core.r, complete.core.r, "{what}");
            assert_eq!(fast.core.xpsr, complete.core.xpsr, "{what}");
            for n in 0..32 {
                assert_eq!(fast.cpu.s(n), complete.cpu.s(n), "s{n}: {what}");
            }
            for offset in (0..SRAM_BYTES).step_by(4) {
                assert_eq!(
                    fast.core.sram.bytes.word(offset),
                    complete.core.sram.bytes.word(offset),
                    "{what}"
                );
            }
            assert_eq!(fast.fault(), complete.fault(), "{what}");
            if fast.fault().is_some() {
                for machine in &mut machines {
                    machine.reset();
                    machine.halted = false;
                }
            } else {
                handled += 1;
            }
        }
    }
    assert!(
        handled > 60_000,
        "only {handled} instructions ran without a fault"
    );
}

/// Places instructions at [`CODE`] and makes them the reset target.
fn machine_running(code: &[u16]) -> Machine {
    let mut machine = Machine::new(&parts()).unwrap();
    machine.place(FLASH, &(SRAM + SRAM_BYTES).to_le_bytes());
    machine.place(FLASH + 4, &(CODE | 1).to_le_bytes());
    for (i, halfword) in code.iter().enumerate() {
        machine.place(CODE + 2 * i as u32, &halfword.to_le_bytes());
    }
    machine.reset();
    machine.halted = false;
    machine
}

#[test]
fn a_marked_stretch_is_an_interval_and_cyccnt_differs_by_it() {
    // ldr r7,[pc,#24]; nop; bl begin; ldr r0,[r7]; nop; bl end; ldr r1,[r7]; b . ; begin: bx lr; end: nop; bx lr
    let code = [
        0x4F07, 0xBF00, 0xF000, 0xF806, 0x6838, 0xBF00, 0xF000, 0xF804, 0x6839, 0xE7FE, 0x4770,
        0xBF00, 0xBF00, 0x4770, 0xBF00, 0xBF00, 0x1004, 0xE000,
    ];
    let mut machine = machine_running(&code);
    machine.cpu.with_sys(|sys| {
        sys.write_word(0xE000_EDFC, 1 << 24);
        sys.write_word(0xE000_1000, 1);
    });
    machine.set_markers(CODE + 20, CODE + 24);
    machine.run(14);
    let intervals = machine.take_intervals();
    // bx 1+2, ldr 2, nop 1, bl 1+2; lines 0x410 (begin) and 0x400 (back), both cold.
    assert_eq!(intervals.len(), 1);
    assert_eq!((intervals[0].instructions, intervals[0].cycles), (4, 9));
    assert_eq!(intervals[0].flash_cycles(5), Some(9 + 5 * 2));
    assert_eq!(machine.core.r[1].wrapping_sub(machine.core.r[0]), 19);
}

#[test]
fn a_fault_stops_the_core_and_names_the_instruction() {
    for (code, pc) in [
        // udf #1
        (vec![0xBF00, 0xDE01], CODE + 2),
        // movs r0,#0; ldr r0,[r0]
        (vec![0x2000, 0x6800], CODE + 2),
        // ldr r0,[pc]; bx r0 to nowhere
        (vec![0x4800, 0x4700, 0x0001, 0x6000], 0x6000_0000),
    ] {
        let mut machine = machine_running(&code);
        machine.run(1000);
        assert!(machine.halted);
        assert_eq!(machine.fault().map(|fault| fault.pc), Some(pc));
    }
}

#[test]
fn code_that_changes_is_decoded_again() {
    let mut machine = machine_running(&[0x2001, 0xE7FD]);
    machine.run(2);
    assert_eq!(machine.core.r[0], 1);
    machine.place(CODE, &0x2002u16.to_le_bytes());
    machine.run(2);
    assert_eq!(machine.core.r[0], 2);
    assert_eq!(Instr::decode(0x2002, 0).size(), 2);
}
