//! The independent watchdog (RM0090, chapter 21): it has an oscillator of its own, and once
//! started only a reset stops it.
//!
//! 256 · 4096 ticks of 17 to 47 kHz are 22 to 62 s, the longest that it can wait.

use crate::reg::{DBGMCU_APB1_FZ, IWDG_KR, IWDG_PR, IWDG_RLR, IWDG_SR, RCC_CSR};

const UNLOCK: u32 = 0x5555;
const FEED: u32 = 0xaaaa;
const START: u32 = 0xcccc;
const DIVIDE_BY_256: u32 = 6;
const LONGEST: u32 = 0xfff;
/// The prescaler or the reload value is on its way to the other clock.
const UPDATING: u32 = 0b11;
/// Stands still while a debugger halts the core.
const STOPPED_BY_DEBUGGER: u32 = 1 << 12;
const WAS_WATCHDOG: u32 = 1 << 29;
const FORGET_CAUSES: u32 = 1 << 24;

/// Tells if the last reset was the watchdog's, and starts it.
pub fn start() {
    if RCC_CSR.read() & WAS_WATCHDOG != 0 {
        defmt::error!("code that did not end: the watchdog has started the board again");
        RCC_CSR.set(FORGET_CAUSES);
    }
    DBGMCU_APB1_FZ.set(STOPPED_BY_DEBUGGER);
    // Starts the oscillator too, without which the other registers do not take their values.
    IWDG_KR.write(START);
    IWDG_KR.write(UNLOCK);
    IWDG_PR.write(DIVIDE_BY_256);
    IWDG_RLR.write(LONGEST);
    // Five ticks of the slow clock, by RM0090; not for ever, since an oscillator may be broken.
    let _ = (0..100_000u32).any(|_| IWDG_SR.read() & UPDATING == 0);
    feed();
}

/// Begins the wait anew.
pub fn feed() {
    IWDG_KR.write(FEED);
}
