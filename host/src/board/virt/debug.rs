//! The debug unit of the virtual microcontroller: what a probe reads and writes
//! (ARMv7-M Architecture Reference Manual, chapter C1).

use super::core::{AIRCR, CYCCNT};
use super::machine::Machine;
use rsemu::core::space::MemAttrs;
use rsemu::core::value::Width;

/// Instructions that run per look at the core's status, while it runs.
const SLICE: u32 = 20_000;
/// Comparators of the breakpoint unit.
const BREAKPOINTS: usize = 6;

const DHCSR: u32 = 0xE000_EDF0;
const DCRSR: u32 = 0xE000_EDF4;
const DCRDR: u32 = 0xE000_EDF8;
const DEMCR: u32 = 0xE000_EDFC;
const DFSR: u32 = 0xE000_ED30;
const FP_CTRL: u32 = 0xE000_2000;
const FP_COMP0: u32 = 0xE000_2008;
const FP_LAST: u32 = 0xE000_203C;
const PPB: std::ops::RangeInclusive<u32> = 0xE000_0000..=0xE00F_FFFF;

const C_DEBUGEN: u32 = 1;
const C_HALT: u32 = 2;
const C_STEP: u32 = 4;
const DFSR_HALTED: u32 = 1;
const DFSR_BKPT: u32 = 2;
const DFSR_VCATCH: u32 = 8;

/// A machine with a debug unit. Time passes while the probe looks at the core.
#[derive(Debug)]
pub struct DebugUnit {
    /// The microcontroller.
    pub machine: Machine,
    control: u32,
    transfer: u32,
    monitor: u32,
    fault_status: u32,
    comparators: [u32; BREAKPOINTS],
    comparators_on: bool,
}

impl DebugUnit {
    /// A debug unit on a machine.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            control: 0,
            transfer: 0,
            monitor: 0,
            fault_status: 0,
            comparators: [0; BREAKPOINTS],
            comparators_on: false,
        }
    }

    /// Lets the core run for a slice, if it runs.
    fn pass_time(&mut self) {
        let ran = !self.machine.halted;
        self.machine.run(SLICE);
        if ran && self.machine.halted {
            self.fault_status |= DFSR_BKPT;
        }
    }

    /// Reads a word of memory or a register.
    pub fn read_word(&mut self, address: u32) -> u32 {
        match address {
            DHCSR => {
                self.pass_time();
                let halted = u32::from(self.machine.halted);
                (self.control & 0xF) | (1 << 16) | (halted << 17)
            }
            DCRDR => self.transfer,
            DEMCR => self.monitor,
            DFSR => self.fault_status,
            FP_CTRL => ((BREAKPOINTS as u32) << 4) | u32::from(self.comparators_on),
            FP_COMP0..=FP_LAST => self
                .comparators
                .get(comparator(address))
                .copied()
                .unwrap_or(0),
            CYCCNT => self.machine.read_cyccnt(),
            _ if PPB.contains(&address) => self
                .machine
                .cpu
                .with_sys(|sys| sys.read_word(address, true))
                .unwrap_or(0),
            _ => self.read_memory(address),
        }
    }

    fn read_memory(&self, address: u32) -> u32 {
        if let Some((memory, offset)) = self.machine.memory(address) {
            return memory.word(offset).unwrap_or(0);
        }
        let word = self
            .machine
            .space
            .read(u64::from(address), Width::U32, MemAttrs::DEBUG);
        word.unwrap_or(0) as u32
    }

    /// Writes a word of memory or a register.
    pub fn write_word(&mut self, address: u32, value: u32) {
        match address {
            DHCSR if value >> 16 == 0xA05F => self.control_core(value),
            DHCSR => {}
            DCRSR => self.transfer_register((value & 0x7F) as u8, value & (1 << 16) != 0),
            DCRDR => self.transfer = value,
            DFSR => self.fault_status &= !value,
            FP_CTRL => {
                self.comparators_on = value & 1 != 0;
                self.update_breakpoints();
            }
            FP_COMP0..=FP_LAST => {
                if let Some(slot) = self.comparators.get_mut(comparator(address)) {
                    *slot = value;
                }
                self.update_breakpoints();
            }
            AIRCR if value & 4 != 0 => self.reset(),
            _ if PPB.contains(&address) => {
                if address == DEMCR {
                    self.monitor = value;
                }
                self.machine
                    .cpu
                    .with_sys(|sys| sys.write_word(address, value));
            }
            _ => self.write_memory(address, value),
        }
    }

    fn write_memory(&mut self, address: u32, value: u32) {
        // Flash is not written by the debugger: that goes through the bus, where it
        // obeys the controller.
        let sram = self.machine.core.sram.base;
        let offset = address.wrapping_sub(sram);
        if self
            .machine
            .core
            .sram
            .bytes
            .set_word(offset, value)
            .is_none()
        {
            let bus = &self.machine.space;
            // A write that nothing answers is dropped, as the debug port would after
            // reporting a bus error that no caller here needs.
            let _ = bus.write(
                u64::from(address),
                Width::U32,
                u64::from(value),
                MemAttrs::DEFAULT,
            );
        }
    }

    /// Reads bytes of memory; time passes, since this is how RTT is polled.
    pub fn read_bytes(&mut self, address: u32, bytes: &mut [u8]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            let at = address.wrapping_add(i as u32);
            *byte = match self.machine.memory(at) {
                Some((memory, offset)) => memory.byte(offset).unwrap_or(0),
                None => (self.read_word(at & !3) >> (8 * (at & 3))) as u8,
            };
        }
    }

    /// Writes bytes of SRAM; elsewhere they are dropped.
    pub fn write_bytes(&mut self, address: u32, bytes: &[u8]) {
        let sram = &self.machine.core.sram;
        for (i, &byte) in bytes.iter().enumerate() {
            let offset = address.wrapping_add(i as u32).wrapping_sub(sram.base);
            let _ = sram.bytes.set_byte(offset, byte);
        }
    }

    fn control_core(&mut self, value: u32) {
        self.control = value & 0xF;
        if value & C_HALT != 0 {
            self.machine.halted = true;
            self.fault_status |= DFSR_HALTED;
        } else if value & C_DEBUGEN != 0 {
            match self.machine.halted && value & C_STEP != 0 {
                true => self.single_step(),
                false => self.machine.halted = false,
            }
        }
    }

    fn single_step(&mut self) {
        let breakpoints = std::mem::take(&mut self.machine.breakpoints);
        self.machine.step();
        self.machine.breakpoints = breakpoints;
        self.machine.halted = true;
        self.fault_status |= DFSR_HALTED;
    }

    fn reset(&mut self) {
        self.machine.reset();
        self.machine.halted = self.monitor & 1 != 0;
        if self.machine.halted {
            self.fault_status |= DFSR_VCATCH;
        }
    }

    /// Moves a core register to or from the transfer register (DCRSR, DCRDR).
    fn transfer_register(&mut self, register: u8, write: bool) {
        self.machine.hand_over();
        let cpu = &self.machine.cpu;
        match (register, write) {
            (0..=14, true) => cpu.set_reg(register, self.transfer),
            (0..=14, false) => self.transfer = cpu.reg(register),
            (15, true) => cpu.set_pc(self.transfer & !1),
            (15, false) => self.transfer = cpu.pc(),
            (16, true) => cpu.set_xpsr(self.transfer),
            (16, false) => self.transfer = cpu.xpsr(),
            (17, true) => cpu.set_reg(13, self.transfer),
            (17, false) => self.transfer = cpu.msp(),
            (18, false) => self.transfer = cpu.psp(),
            (64..=95, true) => cpu.set_s(register - 64, self.transfer),
            (64..=95, false) => self.transfer = cpu.s(register - 64),
            (_, true) => {}
            (_, false) => self.transfer = 0,
        }
        if write {
            let regs = self.machine.cpu.regs();
            self.machine.adopt(regs);
            self.machine.core.s_valid = false;
        }
    }

    fn update_breakpoints(&mut self) {
        let on = self.comparators_on;
        let active = self.comparators.iter().filter(|&&c| on && c & 1 != 0);
        // Bits 31:30 say which halfword of the word matches (FPB version 1).
        let addresses = active.map(|&c| (c & 0x1FFF_FFFC) | if c >> 30 == 2 { 2 } else { 0 });
        self.machine.breakpoints = addresses.collect();
    }
}

fn comparator(address: u32) -> usize {
    ((address - FP_COMP0) / 4) as usize
}
