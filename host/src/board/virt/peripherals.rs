//! The STM32F4's peripherals, as far as start-up code waits for them.

use super::flash::{copy_lanes, word_of};
use rsemu::core::space::{MemAttrs, MemOps, MemResult};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Address of the first peripheral.
pub const PERIPHERALS: u32 = 0x4000_0000;
/// Address of the debug support's registers, beside the core's own: they remember, no more.
pub const DBGMCU: u32 = 0xE004_2000;
/// Clock control and status register, with the causes of the last reset.
pub const RCC_CSR: u32 = 0x4002_3874;
/// The watchdog was the cause.
pub const CSR_IWDG: u32 = 1 << 29;
const CSR_CAUSES: u32 = 0xFF << 24;
const CSR_FORGET: u32 = 1 << 24;
/// Bytes of address space below the flash controller.
pub const PERIPHERALS_BYTES: u64 = 0x2_3C00;

const USART1_SR: u64 = 0x1_1000;
const RCC_CR: u64 = 0x2_3800;
const RCC_CFGR: u64 = 0x2_3808;
const PWR_CSR: u64 = 0x7004;

/// Registers that remember what was written. Of those that hardware changes, the clock's
/// ready bits follow their enables at once and the USART is always ready to send (what it
/// sends is dropped: in process, messages go over RTT).
#[derive(Debug, Default)]
pub struct Peripherals {
    written: Mutex<BTreeMap<u64, u32>>,
}

impl Peripherals {
    fn value(written: &BTreeMap<u64, u32>, register: u64) -> u32 {
        let stored = written.get(&register).copied().unwrap_or(0);
        match register {
            // HSION is set out of reset; HSIRDY, HSERDY and PLLRDY follow their enables.
            RCC_CR => {
                let on = if written.contains_key(&register) {
                    stored
                } else {
                    0x81
                };
                (on & !0x0202_0002) | ((on & 0x0101_0001) << 1)
            }
            RCC_CFGR => (stored & !0xC) | ((stored & 3) << 2),
            // Voltage scaling and the backup regulator are ready.
            PWR_CSR => stored | (1 << 14),
            // Transmit register empty, transmission complete, nothing received.
            USART1_SR => 0xC0,
            _ => stored,
        }
    }
}

impl MemOps for Peripherals {
    fn read(&self, offset: u64, dst: &mut [u8], _: MemAttrs) -> MemResult {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        copy_lanes(Self::value(&written, offset & !3), offset, dst);
        Ok(())
    }

    fn write(&self, offset: u64, src: &[u8], _: MemAttrs) -> MemResult {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let register = offset & !3;
        let mut value = word_of(src);
        if register == u64::from(RCC_CSR - PERIPHERALS) && value & CSR_FORGET != 0 {
            value &= !CSR_CAUSES;
        }
        written.insert(register, value);
        Ok(())
    }
}
