//! The STM32F4's independent watchdog (RM0090, chapter "Independent watchdog"), with its slow
//! oscillator exactly at 32 kHz. It stands still while the core is halted, whatever DBGMCU says.

/// Address of the first register.
const REGISTERS: u32 = 0x4000_3000;
const KR: u32 = 0x0;
const PR: u32 = 0x4;
const RLR: u32 = 0x8;

const KEY_UNLOCK: u32 = 0x5555;
const KEY_FEED: u32 = 0xAAAA;
const KEY_START: u32 = 0xCCCC;

const LSI_HZ: u64 = 32_000;

/// When the watchdog would reset the core.
#[derive(Debug)]
pub struct Watchdog {
    clock_hz: u32,
    prescaler: u32,
    reload: u32,
    unlocked: bool,
    /// In cycles of the core; `None` until it is started.
    deadline: Option<u64>,
}

impl Watchdog {
    /// One that was not started, beside a core of `clock_hz`.
    pub fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz,
            prescaler: 0,
            reload: 0xFFF,
            unlocked: false,
            deadline: None,
        }
    }

    /// As after a reset: off.
    pub fn reset(&mut self) {
        *self = Self::new(self.clock_hz);
    }

    /// What a store of `value` at `address`, anywhere, does to it at cycle `now`.
    pub fn written(&mut self, address: u32, value: u32, now: u64) {
        match address.wrapping_sub(REGISTERS) {
            KR => {
                let feeds = value == KEY_FEED && self.deadline.is_some();
                if feeds || value == KEY_START {
                    self.deadline = Some(now.saturating_add(self.period()));
                }
                self.unlocked = value == KEY_UNLOCK;
            }
            PR if self.unlocked => self.prescaler = value & 7,
            RLR if self.unlocked => self.reload = value & 0xFFF,
            _ => {}
        }
    }

    /// Whether it was started.
    pub fn is_on(&self) -> bool {
        self.deadline.is_some()
    }

    /// The last cycle in which it may be fed; `None` until it is started.
    #[cfg(test)]
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Whether it was not fed in time.
    pub fn has_expired(&self, now: u64) -> bool {
        self.deadline.is_some_and(|deadline| now > deadline)
    }

    /// Cycles of the core from a feed to the reset.
    fn period(&self) -> u64 {
        let divider = 4 << self.prescaler.min(6);
        let ticks = divider * (u64::from(self.reload) + 1);
        ticks * u64::from(self.clock_hz) / LSI_HZ
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_resets_when_it_is_not_fed_and_keeps_its_registers_locked() {
        let mut dog = Watchdog::new(32_000);
        let kr = REGISTERS + KR;
        dog.written(kr, KEY_FEED, 0);
        assert!(!dog.is_on() && !dog.has_expired(u64::MAX));
        // Locked: the first values hold, 4 x 4096 ticks.
        dog.written(REGISTERS + PR, 6, 0);
        dog.written(kr, KEY_START, 100);
        assert!(!dog.has_expired(100 + 4 * 4096));
        assert!(dog.has_expired(101 + 4 * 4096));

        dog.written(kr, KEY_UNLOCK, 100);
        dog.written(REGISTERS + PR, 7, 100);
        dog.written(REGISTERS + RLR, 9, 100);
        dog.written(kr, KEY_FEED, 200);
        assert!(!dog.has_expired(200 + 256 * 10));
        assert!(dog.has_expired(201 + 256 * 10));
        // The key locked them again.
        dog.written(REGISTERS + RLR, 0, 200);
        dog.written(kr, KEY_FEED, 300);
        assert!(!dog.has_expired(300 + 256 * 10));

        dog.reset();
        assert!(!dog.has_expired(u64::MAX));
    }
}
