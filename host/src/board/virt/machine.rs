//! The virtual microcontroller: a fast core, a complete one behind it, memories, counts.

use super::bytes::Bytes;
use super::core::{AIRCR, CYCCNT, Core, Flow, Window};
use super::decode::{DecodeCache, Marker};
use super::flash::Flash;
use super::parts::{Parts, address_space};
use super::peripherals::{CSR_IWDG, RCC_CSR};
use super::reads::data_read;
use super::tear::Cut;
use super::watchdog::Watchdog;
use cycle_model::{Instr, Interval, Meter};
use rsemu::core::error::Error as MapError;
use rsemu::core::space::{AddressSpace, MemAttrs};
use rsemu::core::value::Width;
use rsemu::cpu::arm::v7m::isa::Insn;
use rsemu::cpu::arm::v7m::{ArmV7m, Config, Regs};
use std::sync::Arc;

/// `b .` as a halfword.
const BRANCH_TO_ITSELF: u16 = 0xE7FE;

/// Why the core stands still though nobody stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "fault at pc {pc:#010x} (lr {lr:#010x}, CFSR {cfsr:#010x}, HFSR {hfsr:#010x}, fault address {address:#010x})"
)]
pub struct Fault {
    /// Address of the instruction that faulted.
    pub pc: u32,
    /// Link register: who called it.
    pub lr: u32,
    /// Configurable fault status register.
    pub cfsr: u32,
    /// HardFault status register.
    pub hfsr: u32,
    /// Address that a bus fault names, if it does.
    pub address: u32,
}

/// Why the hot loop came back.
enum Stop {
    /// All instructions that it was allowed were executed.
    Budget,
    /// The next instruction is a marker's first.
    Marker,
    /// The next instruction lies outside of memory.
    Unknown,
    /// This instruction, at the PC and counted, is not the fast core's.
    Fallback(Insn),
}

/// A Cortex-M4F with STM32F4 memories. It executes when told to and is deterministic.
#[derive(Debug)]
pub struct Machine {
    pub(super) core: Core,
    pub(super) cpu: ArmV7m,
    pub(super) space: Arc<AddressSpace>,
    flash: Flash,
    watchdog: Watchdog,
    code: [DecodeCache; 2],
    /// The registers that the fast core does not know, as of the last fallback.
    shadow: Regs,
    /// Whether an interrupt may come, so that the fallback must see every instruction.
    interrupts: bool,
    /// Whether nothing but the fallback may execute (tests compare the two).
    pub(super) fallback_only: bool,
    pub(super) halted: bool,
    pub(super) breakpoints: Vec<u32>,
    fault: Option<Fault>,
    wait_states: u32,
    intervals: Vec<Interval>,
    /// What CYCCNT reads once after a marker.
    latched: Option<u32>,
    /// What a write of CYCCNT added to it.
    cyccnt_offset: u32,
}

impl Machine {
    /// A halted machine with erased flash.
    ///
    /// # Errors
    /// Where the memories overlap each other or the peripherals.
    pub fn new(parts: &Parts) -> Result<Self, MapError> {
        let flash = Flash::new(parts.flash.size);
        let sram = Arc::new(Bytes::new(parts.sram_size, 0));
        let space = Arc::new(address_space(parts, &flash, &sram)?);
        let cpu = ArmV7m::new(Config::CORTEX_M4F.with_reset_vtor(parts.flash.base));
        cpu.attach_space(space.clone());
        let flash_window = Window {
            base: parts.flash.base,
            bytes: flash.contents().clone(),
        };
        let sram_window = Window {
            base: parts.sram_base,
            bytes: sram,
        };
        let code = [&flash_window, &sram_window].map(|w| DecodeCache::new(w.base, w.bytes.clone()));
        let core = Core {
            r: [0; 16],
            xpsr: 0,
            s: [0; 32],
            s_valid: false,
            s_changed: false,
            fp_ready: false,
            traps_unaligned: false,
            sram: sram_window,
            flash: flash_window,
            meter: Meter::new(Some(parts.flash)),
        };
        let mut machine = Self {
            core,
            shadow: cpu.regs(),
            cpu,
            space,
            flash,
            watchdog: Watchdog::new(parts.clock_hz),
            code,
            interrupts: false,
            fallback_only: false,
            halted: true,
            breakpoints: Vec::new(),
            fault: None,
            wait_states: parts.wait_states,
            intervals: Vec::new(),
            latched: None,
            cyccnt_offset: 0,
        };
        machine.reset();
        Ok(machine)
    }

    /// Sets the addresses of the marker functions, between which intervals are counted.
    pub fn set_markers(&mut self, begin: u32, end: u32) {
        for code in &mut self.code {
            code.set_markers(begin & !1, end & !1);
        }
    }

    /// Sets the wait states that CYCCNT counts from now on.
    pub fn set_wait_states(&mut self, wait_states: u32) {
        self.wait_states = wait_states;
    }

    /// The intervals closed since this was last called.
    pub fn take_intervals(&mut self) -> Vec<Interval> {
        std::mem::take(&mut self.intervals)
    }

    /// Instructions executed since the machine was made.
    pub fn instructions(&self) -> u64 {
        self.core.meter.total().instructions
    }

    /// The fault that stopped the core, if one did; a reset clears it.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Runs the reset sequence: the stack pointer and PC come from the vector table.
    pub fn reset(&mut self) {
        self.flash.reset();
        self.watchdog.reset();
        self.cpu.request_reset();
        self.cpu.step();
        self.fault = None;
        self.interrupts = false;
        self.adopt(self.cpu.regs());
        self.core.s_valid = false;
        self.core.s_changed = false;
    }

    /// Executes up to `budget` instructions, or until the core halts. A watchdog that was not
    /// fed resets it here, in front of them.
    pub fn run(&mut self, budget: u32) {
        if !self.halted && self.is_due() {
            self.reset();
            // The cause stays where the firmware may read it.
            let cause = u64::from(CSR_IWDG);
            let _ = self
                .space
                .write(RCC_CSR.into(), Width::U32, cause, MemAttrs::default());
        }
        let mut left = budget;
        while left > 0 && !self.halted && self.flash.is_powered() {
            if self.interrupts || self.fallback_only || !self.breakpoints.is_empty() {
                left -= 1;
                self.step();
                continue;
            }
            match self.burst(&mut left) {
                Stop::Budget => return,
                // `step` takes the marker's reading and executes its first instruction.
                Stop::Marker | Stop::Unknown => {
                    left -= 1;
                    self.step();
                }
                Stop::Fallback(insn) => self.fall_back(&insn),
            }
        }
    }

    /// Executes on the fast core as long as nothing else is needed: the hot loop.
    fn burst(&mut self, left: &mut u32) -> Stop {
        let Self {
            core, code, cpu, ..
        } = self;
        let [flash, sram] = code;
        let (flash_base, flash_len) = (core.flash.base, core.flash.bytes.len());
        while *left > 0 {
            let pc = core.r[15];
            let in_flash = pc.wrapping_sub(flash_base) < flash_len;
            let code = if in_flash { &mut *flash } else { &mut *sram };
            let Some(slot) = code.slot(pc) else {
                return Stop::Unknown;
            };
            if slot.marker != Marker::None {
                return Stop::Marker;
            }
            *left -= 1;
            core.meter.step(pc, slot.instr);
            if core.fp_ready && !core.s_valid && matches!(slot.insn, Insn::Fp(_)) {
                core.fetch_floats(cpu);
            }
            let size = slot.instr.size();
            match core.execute(&slot.insn, size == 2) {
                Flow::Next => core.r[15] = pc.wrapping_add(size),
                Flow::Jump(target) => core.r[15] = target,
                Flow::Fallback => return Stop::Fallback(slot.insn),
            }
        }
        Stop::Budget
    }

    /// Executes one instruction, or halts in front of a breakpoint.
    pub(super) fn step(&mut self) {
        let pc = self.core.r[15];
        let in_flash = pc.wrapping_sub(self.core.flash.base) < self.core.flash.bytes.len();
        let Some(&slot) = self.code[usize::from(!in_flash)].slot(pc) else {
            return self.step_unknown(pc);
        };
        if slot.marker != Marker::None {
            self.mark(slot.marker, pc);
        }
        if self.breakpoints.contains(&pc) {
            self.halted = true;
            return;
        }
        if matches!(slot.insn, Insn::Bkpt { .. }) {
            return self.fall_back(&slot.insn);
        }
        self.core.meter.step(pc, slot.instr);
        if self.interrupts || self.fallback_only {
            return self.fall_back(&slot.insn);
        }
        if self.core.fp_ready && !self.core.s_valid && matches!(slot.insn, Insn::Fp(_)) {
            self.core.fetch_floats(&self.cpu);
        }
        match self.core.execute(&slot.insn, slot.instr.size() == 2) {
            Flow::Next => self.core.r[15] = pc.wrapping_add(slot.instr.size()),
            Flow::Jump(target) => self.core.r[15] = target,
            Flow::Fallback => self.fall_back(&slot.insn),
        }
    }

    /// Takes the reading of a marker. CYCCNT reads exactly this at the next read, so that
    /// the difference the firmware takes is the interval.
    fn mark(&mut self, marker: Marker, pc: u32) {
        match marker {
            Marker::Begin => self.core.meter.begin(pc),
            Marker::End => {
                let interval = self.core.meter.end(pc);
                self.intervals.push(interval);
            }
            Marker::None => return,
        }
        self.latched = Some(self.cycles_now());
    }

    fn cycles_now(&self) -> u32 {
        self.cycles() as u32
    }

    /// Cycles since the machine was made.
    fn cycles(&self) -> u64 {
        let total = self.core.meter.total();
        total.flash_cycles(self.wait_states).unwrap_or(0)
    }

    /// Whether the watchdog resets the core now. A core that branches to itself does nothing
    /// else until then, so that nobody needs to wait.
    fn is_due(&self) -> bool {
        let stands = || {
            let read = |at| {
                self.memory(at)
                    .and_then(|(memory, offset)| memory.half(offset))
            };
            !self.interrupts && read(self.core.r[15]) == Some(BRANCH_TO_ITSELF)
        };
        self.watchdog.is_on() && (self.watchdog.has_expired(self.cycles()) || stands())
    }

    /// What reading CYCCNT gives: the reading of a marker just passed, else of now.
    pub(super) fn read_cyccnt(&mut self) -> u32 {
        let cycles = self.latched.take().unwrap_or_else(|| self.cycles_now());
        cycles.wrapping_add(self.cyccnt_offset)
    }

    /// An instruction outside memory, or at its very end: the fallback faults on it.
    fn step_unknown(&mut self, pc: u32) {
        self.core.meter.step(pc, Instr::default());
        self.fall_back(&Insn::Undefined);
    }

    /// Lets the complete emulator execute the instruction at the PC.
    fn fall_back(&mut self, insn: &Insn) {
        if matches!(insn, Insn::Bkpt { .. }) {
            self.halted = true;
            return;
        }
        if let Some((address, value)) = self.stored(insn) {
            // A request for a reset, with its key (ARMv7-M, B3.2.6).
            if address == AIRCR && value & 0xFFFF_0004 == 0x05FA_0004 {
                return self.reset();
            }
            let now = self.cycles();
            self.watchdog.written(address, value, now);
        }
        let pc = self.core.r[15];
        let read = data_read(insn, &self.core);
        if let Some((address, len)) = read {
            self.core.meter.read(address, len);
        }
        let touches_cyccnt =
            read.is_none() && super::reads::address_of(insn, &self.core) == Some(CYCCNT);
        if touches_cyccnt {
            let value = self.read_cyccnt();
            self.cpu.with_sys(|sys| sys.dwt_cyccnt = value);
        }
        let exception = self.core.xpsr & 0x1FF;
        self.hand_over();
        self.cpu.step();
        self.adopt(self.cpu.regs());
        self.core.s_valid &= !matches!(insn, Insn::Fp(_)) && self.core.xpsr & 0x1FF == exception;
        if touches_cyccnt {
            self.note_cyccnt_write(insn);
        }
        let entered = self.core.xpsr & 0x1FF;
        if (entered != exception && (3..=6).contains(&entered)) || self.cpu.is_locked_up() {
            self.record_fault(pc);
        }
    }

    /// Address and value of a single store, if `insn` is one.
    fn stored(&self, insn: &Insn) -> Option<(u32, u32)> {
        let Insn::LoadStore {
            load: false, rt, ..
        } = *insn
        else {
            return None;
        };
        Some((
            super::reads::address_of(insn, &self.core)?,
            self.core.reg(rt),
        ))
    }

    /// Where the firmware wrote CYCCNT, counts on from what it wrote.
    fn note_cyccnt_write(&mut self, insn: &Insn) {
        if let Insn::LoadStore { load: false, .. } = insn {
            let written = self.cpu.with_sys(|sys| sys.dwt_cyccnt);
            self.cyccnt_offset = written.wrapping_sub(self.cycles_now());
            self.latched = None;
        }
    }

    /// Gives the fast core's registers to the fallback.
    pub(super) fn hand_over(&mut self) {
        let mut regs = self.shadow;
        regs.r = self.core.r;
        regs.xpsr = self.core.xpsr;
        let process_stack = regs.control & 2 != 0 && regs.xpsr & 0x1FF == 0;
        *(if process_stack {
            &mut regs.psp
        } else {
            &mut regs.msp
        }) = regs.r[13];
        self.cpu.set_regs(regs);
        if self.core.s_changed {
            for (n, &value) in self.core.s.iter().enumerate() {
                self.cpu.set_s(n as u8, value);
            }
            self.core.s_changed = false;
        }
    }

    /// Takes the registers back from the fallback.
    pub(super) fn adopt(&mut self, regs: Regs) {
        self.shadow = regs;
        self.core.r = regs.r;
        self.core.xpsr = regs.xpsr;
        self.core.fp_ready = regs.control & 4 != 0;
        let (interrupts, traps_unaligned) = self.cpu.with_sys(|sys| {
            (
                sys.syst_csr & 1 != 0 || sys.highest_pending().is_some(),
                sys.ccr & 8 != 0,
            )
        });
        self.interrupts = interrupts;
        self.core.traps_unaligned = traps_unaligned;
    }

    fn record_fault(&mut self, pc: u32) {
        let (cfsr, hfsr, address) = self.cpu.with_sys(|sys| (sys.cfsr, sys.hfsr, sys.bfar));
        let lr = self.shadow.r[14];
        self.fault = Some(Fault {
            pc,
            lr,
            cfsr,
            hfsr,
            address,
        });
        self.halted = true;
    }

    /// The memory that holds `address`, and the offset in it.
    pub(super) fn memory(&self, address: u32) -> Option<(&Bytes, u32)> {
        [&self.core.sram, &self.core.flash]
            .into_iter()
            .find_map(|window| {
                let offset = address.wrapping_sub(window.base);
                (offset < window.bytes.len()).then_some((&*window.bytes, offset))
            })
    }

    /// Whether the power is on.
    pub fn is_powered(&self) -> bool {
        self.flash.is_powered()
    }

    /// Plans when the power goes, at an operation of the flash counted from now, or that it
    /// does not.
    pub fn cut_power_at(&mut self, cut: Option<Cut>) {
        self.flash.cut_at(cut);
    }

    /// Turns the power on, with SRAM as it happens to be, and resets.
    pub fn power_on(&mut self) {
        let sram = &self.core.sram.bytes;
        let mut rng = shared::bench::Rng::new(self.flash.operations() as u32);
        for offset in (0..sram.len()).step_by(4) {
            sram.set_word(offset, rng.next());
        }
        self.flash.cut_at(None);
        self.reset();
    }

    /// Words programmed and sectors erased since the last [`cut_power_at`](Self::cut_power_at).
    pub fn flash_operations(&self) -> u64 {
        self.flash.operations()
    }

    /// The independent watchdog. For tests.
    #[cfg(test)]
    pub fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// The byte of memory at `address`; 0 where there is none. For tests.
    #[cfg(test)]
    pub fn flash_byte(&self, address: u32) -> u8 {
        self.memory(address)
            .and_then(|(memory, offset)| memory.byte(offset))
            .unwrap_or(0)
    }

    /// Replaces contents of flash without a programming algorithm; addresses beyond it are
    /// ignored. For tests.
    #[cfg(test)]
    pub fn place(&mut self, address: u32, bytes: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            if let Some((memory, offset)) = self.memory(address.wrapping_add(i as u32)) {
                memory.set_byte(offset, byte);
            }
        }
    }
}
