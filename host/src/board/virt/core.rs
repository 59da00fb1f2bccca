//! The registers of the fast core and its way to memory.

use super::bytes::Bytes;
use cycle_model::Meter;
use rsemu::cpu::arm::v7m::ArmV7m;
use std::sync::Arc;

/// Bit of the negative flag in xPSR.
pub const N: u32 = 1 << 31;
/// Bit of the zero flag.
pub const Z: u32 = 1 << 30;
/// Bit of the carry flag.
pub const C: u32 = 1 << 29;
/// Bit of the overflow flag.
pub const V: u32 = 1 << 28;
/// Bit of the sticky saturation flag.
pub const Q: u32 = 1 << 27;
/// Bits of the greater-or-equal flags.
pub const GE: u32 = 0xF << 16;
/// Bits of the IT state.
pub const IT: u32 = (3 << 25) | (0x3F << 10);

/// Address of the DWT's cycle counter.
pub const CYCCNT: u32 = 0xE000_1004;
/// Application Interrupt and Reset Control Register.
pub const AIRCR: u32 = 0xE000_ED0C;

/// What one instruction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on behind it.
    Next,
    /// Go on elsewhere.
    Jump(u32),
    /// Nothing: the fallback emulator must execute it.
    Fallback,
}

/// A memory and the address of its first byte.
#[derive(Debug, Clone)]
pub struct Window {
    /// Address of the first byte.
    pub base: u32,
    /// The memory.
    pub bytes: Arc<Bytes>,
}

/// A Cortex-M4 that executes what firmware mostly consists of, fast, and leaves the rest
/// (system registers, peripherals, faults, floating-point arithmetic) to the fallback.
#[derive(Debug)]
pub struct Core {
    /// R0 to R15. R15 is the address of the instruction, not that plus four.
    pub r: [u32; 16],
    /// xPSR.
    pub xpsr: u32,
    /// S0 to S31, valid while `s_valid`.
    pub s: [u32; 32],
    /// Whether `s` holds the floating-point registers; else only the fallback does.
    pub s_valid: bool,
    /// Whether `s` holds something that the fallback does not have yet.
    pub s_changed: bool,
    /// Whether the floating-point unit is on and has been used.
    pub fp_ready: bool,
    /// Whether unaligned accesses fault (CCR.UNALIGN_TRP).
    pub traps_unaligned: bool,
    /// SRAM.
    pub sram: Window,
    /// Flash.
    pub flash: Window,
    /// Counts what is executed.
    pub meter: Meter,
}

impl Core {
    /// The value that reading register `n` gives: the PC reads as its address plus four.
    #[inline]
    pub fn reg(&self, n: u8) -> u32 {
        let value = self.r[usize::from(n & 15)];
        if n == 15 {
            value.wrapping_add(4)
        } else {
            value
        }
    }

    /// Writes register `n`; writing the PC this way is ignored, as in the fallback.
    #[inline]
    pub fn set(&mut self, n: u8, value: u32) {
        if n != 15 {
            self.r[usize::from(n & 15)] = value;
        }
    }

    /// Sets the negative and zero flags from a result.
    #[inline]
    pub fn set_nz(&mut self, result: u32) {
        self.xpsr = (self.xpsr & !(N | Z)) | (result & N) | (u32::from(result == 0) << 30);
    }

    /// Sets or clears the flag at `bit`.
    #[inline]
    pub fn set_flag(&mut self, bit: u32, on: bool) {
        if on {
            self.xpsr |= bit;
        } else {
            self.xpsr &= !bit;
        }
    }

    /// Whether the flag at `bit` is set.
    #[inline]
    pub fn flag(&self, bit: u32) -> bool {
        self.xpsr & bit != 0
    }

    /// Loads `1 << log2` bytes, counting a read of flash; `None`, with nothing done, where
    /// only the fallback knows what happens.
    #[inline]
    pub fn load(&mut self, address: u32, log2: u32) -> Option<u32> {
        let offset = address.wrapping_sub(self.sram.base);
        if offset < self.sram.bytes.len() {
            return read(&self.sram.bytes, offset, log2);
        }
        let offset = address.wrapping_sub(self.flash.base);
        let value = read(&self.flash.bytes, offset, log2)?;
        self.meter.read(address, 1 << log2);
        Some(value)
    }

    /// Stores `1 << log2` bytes to SRAM; `None`, with nothing done, elsewhere.
    #[inline]
    pub fn store(&mut self, address: u32, log2: u32, value: u32) -> Option<()> {
        let offset = address.wrapping_sub(self.sram.base);
        match log2 {
            0 => self.sram.bytes.set_byte(offset, value as u8),
            1 => self.sram.bytes.set_half(offset, value as u16),
            _ => self.sram.bytes.set_word(offset, value),
        }
    }

    /// Fetches the floating-point registers from the fallback.
    #[cold]
    pub fn fetch_floats(&mut self, cpu: &ArmV7m) {
        for (n, value) in self.s.iter_mut().enumerate() {
            *value = cpu.s(n as u8);
        }
        self.s_valid = true;
    }

    /// Whether `words` words at `address` can be loaded (or, for `store`, stored) here,
    /// so that a multiple transfer either happens whole or not at all.
    pub fn reaches(&self, address: u32, words: u32, store: bool) -> bool {
        let inside = |window: &Window| {
            let offset = address.wrapping_sub(window.base);
            offset < window.bytes.len() && window.bytes.len() - offset >= 4 * words
        };
        address.is_multiple_of(4) && (inside(&self.sram) || (!store && inside(&self.flash)))
    }
}

#[inline]
fn read(bytes: &Bytes, offset: u32, log2: u32) -> Option<u32> {
    match log2 {
        0 => bytes.byte(offset).map(u32::from),
        1 => bytes.half(offset).map(u32::from),
        _ => bytes.word(offset),
    }
}
