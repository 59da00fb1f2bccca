//! Memory that the core reaches directly: flash and SRAM.

use rsemu::core::error::BusError;
use rsemu::core::space::{MemAttrs, MemOps, MemResult};
use std::cell::UnsafeCell;

/// A block of bytes, shared between our own core and the address space of the fallback
/// emulator. Little-endian.
#[derive(Debug)]
pub struct Bytes {
    cells: Box<[UnsafeCell<u8>]>,
}

// SAFETY: a `Machine` owns every handle to its `Bytes`, is driven through `&mut self`
// and hands none of them out, so no two threads reach the cells at once.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// `len` bytes of `fill`.
    pub fn new(len: u32, fill: u8) -> Self {
        Self {
            cells: (0..len).map(|_| UnsafeCell::new(fill)).collect(),
        }
    }

    /// Bytes in the block.
    #[inline]
    pub fn len(&self) -> u32 {
        self.cells.len() as u32
    }

    /// The word at `offset`, or `None` beyond the end.
    #[inline]
    pub fn word(&self, offset: u32) -> Option<u32> {
        if offset > self.len().wrapping_sub(4) || self.len() < 4 {
            return None;
        }
        // SAFETY: four bytes from `offset` lie inside the block, unaligned reads are
        // asked for, and nothing writes meanwhile (see `Sync`).
        Some(unsafe {
            self.cells
                .as_ptr()
                .add(offset as usize)
                .cast::<u32>()
                .read_unaligned()
        })
    }

    /// The halfword at `offset`, or `None` beyond the end.
    #[inline]
    pub fn half(&self, offset: u32) -> Option<u16> {
        if offset > self.len().wrapping_sub(2) || self.len() < 2 {
            return None;
        }
        // SAFETY: as in `word`, with two bytes.
        Some(unsafe {
            self.cells
                .as_ptr()
                .add(offset as usize)
                .cast::<u16>()
                .read_unaligned()
        })
    }

    /// The byte at `offset`, or `None` beyond the end.
    #[inline]
    pub fn byte(&self, offset: u32) -> Option<u8> {
        // SAFETY: the cell exists and nothing writes meanwhile (see `Sync`).
        self.cells
            .get(offset as usize)
            .map(|cell| unsafe { *cell.get() })
    }

    /// Stores a word; `None`, with nothing written, beyond the end.
    #[inline]
    pub fn set_word(&self, offset: u32, value: u32) -> Option<()> {
        if offset > self.len().wrapping_sub(4) || self.len() < 4 {
            return None;
        }
        // SAFETY: four bytes from `offset` lie inside the block, `UnsafeCell` allows the
        // write, and nothing else reads or writes meanwhile (see `Sync`).
        unsafe {
            self.cells
                .as_ptr()
                .add(offset as usize)
                .cast::<u32>()
                .cast_mut()
                .write_unaligned(value)
        };
        Some(())
    }

    /// Stores a halfword; `None`, with nothing written, beyond the end.
    #[inline]
    pub fn set_half(&self, offset: u32, value: u16) -> Option<()> {
        if offset > self.len().wrapping_sub(2) || self.len() < 2 {
            return None;
        }
        // SAFETY: as in `set_word`, with two bytes.
        unsafe {
            self.cells
                .as_ptr()
                .add(offset as usize)
                .cast::<u16>()
                .cast_mut()
                .write_unaligned(value)
        };
        Some(())
    }

    /// Stores a byte; `None` beyond the end.
    #[inline]
    pub fn set_byte(&self, offset: u32, value: u8) -> Option<()> {
        // SAFETY: the cell exists and nothing else reads or writes meanwhile.
        self.cells
            .get(offset as usize)
            .map(|cell| unsafe { *cell.get() = value })
    }
}

/// The address space of the fallback emulator sees the block as a device, so that both
/// cores share one memory.
impl MemOps for Bytes {
    fn read(&self, offset: u64, dst: &mut [u8], _: MemAttrs) -> MemResult {
        for (i, byte) in dst.iter_mut().enumerate() {
            *byte = self
                .byte(offset as u32 + i as u32)
                .ok_or(BusError::BadAccess)?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, src: &[u8], _: MemAttrs) -> MemResult {
        for (i, &byte) in src.iter().enumerate() {
            self.set_byte(offset as u32 + i as u32, byte)
                .ok_or(BusError::BadAccess)?;
        }
        Ok(())
    }
}
