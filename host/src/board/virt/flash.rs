//! The STM32F4's flash controller, as far as a programming algorithm needs it
//! (RM0090, chapter "Embedded Flash memory interface").

use super::bytes::Bytes;
use rsemu::core::space::{MemAttrs, MemOps, MemResult};
use std::sync::Arc;
use std::sync::Mutex;

/// Address of the first register.
pub const FLASH_REGISTERS: u32 = 0x4002_3C00;

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
const KEYR: u64 = 0x04;
const SR: u64 = 0x0C;
const CR: u64 = 0x10;
const CR_PROGRAM: u32 = 1 << 0;
const CR_SECTOR_ERASE: u32 = 1 << 1;
const CR_MASS_ERASE: u32 = 1 << 2;
const CR_START: u32 = 1 << 16;
const CR_LOCK: u32 = 1 << 31;
/// Write protection error: a write or an erase while locked or not asked for.
const SR_WRITE_ERROR: u32 = 1 << 4;

#[derive(Debug)]
struct State {
    status: u32,
    control: u32,
    /// How many of the two keys have been given in a row.
    keys: usize,
}

/// Registers and contents of the flash. Programming clears bits and needs the PG bit,
/// erasing is by sector, nothing happens while the controller is locked.
#[derive(Debug, Clone)]
pub struct Flash {
    contents: Arc<Bytes>,
    state: Arc<Mutex<State>>,
}

impl Flash {
    /// Erased flash of `size` bytes, locked.
    pub fn new(size: u32) -> Self {
        let state = State {
            status: 0,
            control: CR_LOCK,
            keys: 0,
        };
        Self {
            contents: Arc::new(Bytes::new(size, 0xFF)),
            state: Arc::new(Mutex::new(state)),
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

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn program(&self, offset: u32, src: &[u8]) {
        let mut state = self.lock();
        if state.control & CR_LOCK != 0 || state.control & CR_PROGRAM == 0 {
            state.status |= SR_WRITE_ERROR;
            return;
        }
        for (i, &byte) in src.iter().enumerate() {
            let at = offset + i as u32;
            if let Some(old) = self.contents.byte(at) {
                self.contents.set_byte(at, old & byte);
            }
        }
    }

    fn erase(&self, control: u32) {
        let range = if control & CR_MASS_ERASE != 0 {
            0..self.contents.len()
        } else {
            sector((control >> 3) & 15)
        };
        for offset in range {
            self.contents.set_byte(offset, 0xFF);
        }
    }

    fn write_control(&self, value: u32) {
        let mut state = self.lock();
        if state.control & CR_LOCK != 0 {
            return;
        }
        state.control = value & !CR_START;
        if value & CR_START != 0 && value & (CR_SECTOR_ERASE | CR_MASS_ERASE) != 0 {
            self.erase(value);
        }
    }

    fn write_key(&self, value: u32) {
        let mut state = self.lock();
        state.keys = if KEYS.get(state.keys) == Some(&value) {
            state.keys + 1
        } else {
            0
        };
        if state.keys == KEYS.len() {
            state.keys = 0;
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

    #[test]
    fn programming_needs_keys_and_only_clears_bits() {
        let flash = Flash::new(1 << 20);
        let registers = flash.registers();
        flash.write(0, &[0; 4], ATTRS).unwrap();
        assert_eq!(flash.contents().word(0), Some(u32::MAX));
        let mut status = [0; 4];
        registers.read(SR, &mut status, ATTRS).unwrap();
        assert_eq!(u32::from_le_bytes(status), SR_WRITE_ERROR);

        write(&registers, KEYR, KEYS[0]);
        write(&registers, KEYR, KEYS[1]);
        write(&registers, CR, CR_PROGRAM);
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
        write(&registers, CR, CR_PROGRAM);
        flash.write(0, &[0; 4], ATTRS).unwrap();
        assert_eq!(flash.contents().word(0), Some(u32::MAX));
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
