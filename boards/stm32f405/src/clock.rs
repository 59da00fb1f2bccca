//! 168 MHz from the 8 MHz crystal, or the 16 MHz that the chip starts with.

use crate::reg::{FLASH_ACR, PWR_CR, RCC_APB1ENR, RCC_CFGR, RCC_CR, RCC_PLLCFGR};

/// The core clock as it is.
pub struct Clock {
    pub hz: u32,
    /// From the crystal.
    pub hse: bool,
}

const HSI_HZ: u32 = 16_000_000;
const CORE_HZ: u32 = 168_000_000;

/// 8 MHz / 8 · 336 / 2 = 168 MHz, and 48 MHz for USB, from the HSE.
const PLL: u32 = 8 | 336 << 6 | 1 << 22 | 7 << 24;
/// AHB undivided, APB1 by 4, APB2 by 2: 42 and 84 MHz.
const BUSES: u32 = 0b101 << 10 | 0b100 << 13;
/// Instruction and data cache, prefetch, 5 wait states.
const FLASH: u32 = 1 << 10 | 1 << 9 | 1 << 8 | 5;

const HSE_ON: u32 = 1 << 16;
const HSE_READY: u32 = 1 << 17;
const PLL_ON: u32 = 1 << 24;
const PLL_READY: u32 = 1 << 25;
const SWITCH_PLL: u32 = 0b10;
const SWITCHED_PLL: u32 = 0b10 << 2;

/// Starts the crystal and the PLL; stays on the internal oscillator where either fails.
pub fn init() -> Clock {
    let hsi = Clock {
        hz: HSI_HZ,
        hse: false,
    };
    RCC_APB1ENR.set(1 << 28);
    // Voltage scale 1, without which 168 MHz are not allowed.
    PWR_CR.set(1 << 14);
    RCC_CR.set(HSE_ON);
    if !RCC_CR.wait(HSE_READY) {
        FLASH_ACR.write(FLASH & !7);
        return hsi;
    }
    RCC_PLLCFGR.write(PLL);
    RCC_CR.set(PLL_ON);
    if !RCC_CR.wait(PLL_READY) {
        FLASH_ACR.write(FLASH & !7);
        return hsi;
    }
    FLASH_ACR.write(FLASH);
    // The wait states must be in force before the clock rises.
    let _ = FLASH_ACR.wait(FLASH);
    RCC_CFGR.set(BUSES);
    RCC_CFGR.set(SWITCH_PLL);
    if !RCC_CFGR.wait(SWITCHED_PLL) {
        return hsi;
    }
    Clock {
        hz: CORE_HZ,
        hse: true,
    }
}
