//! The STM32F4's flash controller (RM0090, chapter "Embedded Flash memory interface"): the
//! lock, program and erase bits, error flags, and what a cut of power leaves.

use super::bytes::Bytes;
use super::tear::{Cut, Tear};
use rsemu::core::space::{MemAttrs, MemOps, MemResult};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Address of the first register.
pub const FLASH_REGISTERS: u32 = 0x4002_3C00;

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
const ACR: u64 = 0x00;
const KEYR: u64 = 0x04;
const SR: u64 = 0x0C;
const CR: u64 = 0x10;
const CR_PROGRAM: u32 = 1 << 0;
const CR_SECTOR_ERASE: u32 = 1 << 1;
const CR_MASS_ERASE: u32 = 1 << 2;
const CR_START: u32 = 1 << 16;
const CR_LOCK: u32 = 1 << 31;
/// Programming alignment error: a write across a row of 16 bytes.
const SR_ALIGNMENT_ERROR: u32 = 1 << 5;
/// Programming parallelism error: a write of another size than PSIZE says.
const SR_SIZE_ERROR: u32 = 1 << 6;
/// Programming sequence error: a write that the control register does not ask for.
const SR_SEQUENCE_ERROR: u32 = 1 << 7;
const SECTORS: u32 = 12;

#[derive(Debug)]
struct State {
    /// Caches and wait states: remembered, the cycle model knows its own.
    access: u32,
    status: u32,
    control: u32,
    /// How many of the two keys have been given in a row; `None` after a wrong one, which
    /// locks the controller until the next reset.
    keys: Option<usize>,
    /// Words programmed and sectors erased since the last [`Flash::cut_at`].
    operations: u64,
    cut: Option<Cut>,
}

impl State {
    /// As after a reset; a cut that is due stays due.
    fn reset(&mut self) {
        (self.access, self.status, self.control) = (0, 0, CR_LOCK);
        self.keys = Some(0);
    }
}

/// Registers and contents of the flash. Programming clears bits and needs the PG bit,
/// erasing is by sector, nothing happens while the controller is locked.
#[derive(Debug, Clone)]
pub struct Flash {
    contents: Arc<Bytes>,
    state: Arc<Mutex<State>>,
    powered: Arc<AtomicBool>,
}

impl Flash {
    /// Erased flash of `size` bytes, locked.
    pub fn new(size: u32) -> Self {
        let state = State {
            access: 0,
            status: 0,
            control: CR_LOCK,
            keys: Some(0),
            operations: 0,
            cut: None,
        };
        Self {
            contents: Arc::new(Bytes::new(size, 0xFF)),
            state: Arc::new(Mutex::new(state)),
            powered: Arc::new(AtomicBool::new(true)),
        }
    }

    /// What the flash holds.
    pub fn contents(&self) -> &Arc<Bytes> {
        &self.contents
    }

    /// The part of the address space with the registers.
    pub fn registers(&self) -> Registers {
        Registers(self.clone())
    }

    /// Locks the controller, as a reset does.
    pub fn reset(&self) {
        self.lock().reset();
    }

    /// Whether the power is on.
    pub fn is_powered(&self) -> bool {
        self.powered.load(Ordering::Relaxed)
    }

    /// Turns the power on, and plans when it goes: at an operation counted from now.
    pub fn cut_at(&self, cut: Option<Cut>) {
        let mut state = self.lock();
        (state.operations, state.cut) = (0, cut);
        self.powered.store(true, Ordering::Relaxed);
    }

    /// Words programmed and sectors erased since the power was turned on last.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes `range` to what `to` makes of each byte's offset and old value, as far as the
    /// power lasts.
    fn operate(&self, state: &mut State, range: std::ops::Range<u32>, to: impl Fn(u32, u8) -> u8) {
        let tear = state.cut.and_then(|cut| cut.tear_of(state.operations));
        state.operations += 1;
        let mut changed = tear.map(Tear::mask);
        for offset in range {
            let mask = changed.as_mut().map_or(0xFF, |next| next());
            if let Some(old) = self.contents.byte(offset) {
                let new = (old & !mask) | (to(offset, old) & mask);
                self.contents.set_byte(offset, new);
            }
        }
        if tear.is_some() {
            self.powered.store(false, Ordering::Relaxed);
        }
    }

    fn program(&self, offset: u32, src: &[u8]) {
        if !self.is_powered() {
            return;
        }
        let mut state = self.lock();
        let control = state.control;
        let bits = CR_PROGRAM | CR_SECTOR_ERASE | CR_MASS_ERASE;
        let error = if control & CR_LOCK != 0 || control & bits != CR_PROGRAM {
            SR_SEQUENCE_ERROR
        } else if src.len() != 1 << ((control >> 8) & 3) {
            SR_SIZE_ERROR
        } else if offset / 16 != (offset + src.len() as u32 - 1) / 16 {
            SR_ALIGNMENT_ERROR
        } else {
            let range = offset..offset + src.len() as u32;
            return self.operate(&mut state, range, |at, old| {
                old & src[(at - offset) as usize]
            });
        };
        state.status |= error;
    }

    fn erase(&self, state: &mut State, control: u32) {
        let number = (control >> 3) & 15;
        if control & CR_PROGRAM != 0 || (control & CR_MASS_ERASE == 0 && number >= SECTORS) {
            state.status |= SR_SEQUENCE_ERROR;
            return;
        }
        let range = if control & CR_MASS_ERASE != 0 {
            0..self.contents.len()
        } else {
            sector(number)
        };
        self.operate(state, range, |_, _| 0xFF);
    }

    fn write_control(&self, value: u32) {
        let mut state = self.lock();
        if state.control & CR_LOCK != 0 || !self.is_powered() {
            return;
        }
        state.control = value & !CR_START;
        if value & CR_START != 0 && value & (CR_SECTOR_ERASE | CR_MASS_ERASE) != 0 {
            self.erase(&mut state, value);
        }
    }

    fn write_key(&self, value: u32) {
        let mut state = self.lock();
        // Keys for a controller that is unlocked change nothing.
        let (true, Some(given)) = (state.control & CR_LOCK != 0, state.keys) else {
            return;
        };
        state.keys = (KEYS.get(given) == Some(&value)).then_some(given + 1);
        if state.keys == Some(KEYS.len()) {
            state.keys = Some(0);
            state.control &= !CR_LOCK;
        }
    }
}

/// Offsets of sector `n`: four of 16 KiB, one of 64 KiB, the rest of 128 KiB.
fn sector(n: u32) -> std::ops::Range<u32> {
    let (start, len) = match n {
        0..=3 => (n << 14, 16 << 10),
        4 => (64 << 10, 64 << 10),
        _ => ((n - 4) << 17, 128 << 10),
    };
    start..start + len
}

/// The flash as the core's bus sees it: reads are plain, writes program.
impl MemOps for Flash {
    fn read(&self, offset: u64, dst: &mut [u8], attrs: MemAttrs) -> MemResult {
        self.contents.read(offset, dst, attrs)
    }

    fn write(&self, offset: u64, src: &[u8], _: MemAttrs) -> MemResult {
        self.program(offset as u32, src);
        Ok(())
    }
}

/// The controller's registers on the bus.
#[derive(Debug)]
pub struct Registers(Flash);

impl MemOps for Registers {
    fn read(&self, offset: u64, dst: &mut [u8], _: MemAttrs) -> MemResult {
        let state = self.0.lock();
        let value = match offset & !3 {
            ACR => state.access,
            SR => state.status,
            CR => state.control,
            _ => 0,
        };
        copy_lanes(value, offset, dst);
        Ok(())
    }

    fn write(&self, offset: u64, src: &[u8], _: MemAttrs) -> MemResult {
        let value = word_of(src);
        match offset & !3 {
            ACR => self.0.lock().access = value,
            KEYR => self.0.write_key(value),
            SR => self.0.lock().status &= !value,
            CR => self.0.write_control(value),
            _ => {}
        }
        Ok(())
    }
}

/// Answers a read of part of a register with the bytes it asked for.
pub fn copy_lanes(value: u32, offset: u64, dst: &mut [u8]) {
    let bytes = value.to_le_bytes();
    for (i, byte) in dst.iter_mut().enumerate() {
        *byte = bytes.get((offset as usize & 3) + i).copied().unwrap_or(0);
    }
}

/// The value that a write of up to four bytes carries.
pub fn word_of(src: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().zip(src) {
        *to = *from;
    }
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTRS: MemAttrs = MemAttrs::DEFAULT;

    fn write(registers: &Registers, offset: u64, value: u32) {
        registers
            .write(offset, &value.to_le_bytes(), ATTRS)
            .unwrap();
    }

    const WORDS: u32 = 0b10 << 8;

    fn status(registers: &Registers) -> u32 {
        let mut status = [0; 4];
        registers.read(SR, &mut status, ATTRS).unwrap();
        u32::from_le_bytes(status)
    }

    fn unlock(registers: &Registers) {
        write(registers, KEYR, KEYS[0]);
        write(registers, KEYR, KEYS[1]);
    }

    #[test]
    fn programming_needs_keys_and_only_clears_bits() {
        let flash = Flash::new(1 << 20);
        let registers = flash.registers();
        flash.write(0, &[0; 4], ATTRS).unwrap();
        assert_eq!(flash.contents().word(0), Some(u32::MAX));
        assert_eq!(status(&registers), SR_SEQUENCE_ERROR);

        unlock(&registers);
        write(&registers, CR, CR_PROGRAM | WORDS);
        flash
            .write(0, &0xF0F0_F0F0u32.to_le_bytes(), ATTRS)
            .unwrap();
        flash
            .write(0, &0x0FFF_FFFFu32.to_le_bytes(), ATTRS)
            .unwrap();
        assert_eq!(flash.contents().word(0), Some(0x00F0_F0F0));

        write(&registers, CR, CR_SECTOR_ERASE | CR_START);
        assert_eq!(flash.contents().word(0), Some(u32::MAX));
        write(&registers, CR, CR_LOCK);
        write(&registers, CR, CR_PROGRAM | WORDS);
        flash.write(0, &[0; 4], ATTRS).unwrap();
        assert_eq!(flash.contents().word(0), Some(u32::MAX));
    }

    #[test]
    fn each_mistake_sets_its_flag_and_changes_nothing() {
        let flash = Flash::new(1 << 20);
        let registers = flash.registers();
        unlock(&registers);
        let mistake = |control: u32, offset: u64, bytes: &[u8], flag: u32| {
            write(&registers, CR, control);
            flash.write(offset, bytes, ATTRS).unwrap();
            assert_eq!(status(&registers), flag, "{control:#x} {offset} {bytes:?}");
            write(&registers, SR, flag);
            assert_eq!(status(&registers), 0, "a one clears it");
        };
        mistake(0, 0, &[0; 4], SR_SEQUENCE_ERROR);
        mistake(
            CR_PROGRAM | CR_SECTOR_ERASE | WORDS,
            0,
            &[0; 4],
            SR_SEQUENCE_ERROR,
        );
        mistake(CR_PROGRAM | WORDS, 0, &[0; 2], SR_SIZE_ERROR);
        mistake(CR_PROGRAM, 0, &[0; 4], SR_SIZE_ERROR);
        mistake(CR_PROGRAM | WORDS, 14, &[0; 4], SR_ALIGNMENT_ERROR);
        let no_sector = CR_SECTOR_ERASE | CR_START | 13 << 3;
        mistake(no_sector, 0, &[0; 4], SR_SEQUENCE_ERROR);
        assert!((0..32).all(|at| flash.contents().byte(at) == Some(0xFF)));
        assert_eq!(flash.operations(), 0);
    }

    #[test]
    fn a_wrong_key_locks_until_the_next_reset() {
        let flash = Flash::new(1 << 20);
        let registers = flash.registers();
        write(&registers, KEYR, 7);
        unlock(&registers);
        assert_ne!(flash.lock().control & CR_LOCK, 0);
        flash.reset();
        unlock(&registers);
        assert_eq!(flash.lock().control & CR_LOCK, 0);
    }

    #[test]
    fn a_cut_tears_one_operation_and_stops_the_rest() {
        let flash = Flash::new(1 << 20);
        let registers = flash.registers();
        let start = |tear| {
            flash.cut_at(Some(Cut { at: 1, tear }));
            flash.reset();
            unlock(&registers);
            write(&registers, CR, CR_SECTOR_ERASE | CR_START);
            write(&registers, CR, CR_PROGRAM | WORDS);
            flash.write(0, &[0; 4], ATTRS).unwrap();
            assert!(!flash.is_powered());
            flash.write(4, &[0; 4], ATTRS).unwrap();
            assert_eq!(flash.contents().word(4), Some(u32::MAX));
            flash.contents().word(0).unwrap()
        };
        assert_eq!(start(Tear::Before), u32::MAX);
        assert_eq!(start(Tear::After), 0);
        let torn = start(Tear::Within(1));
        assert!(torn != 0 && torn != u32::MAX, "{torn:#x}");
        flash.cut_at(None);
        assert!(flash.is_powered());
    }

    #[test]
    fn sectors_tile_the_flash() {
        let mut end = 0;
        for n in 0..12 {
            assert_eq!(sector(n).start, end);
            end = sector(n).end;
        }
        assert_eq!(end, 1 << 20);
    }
}
