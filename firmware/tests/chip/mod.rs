//! The flash of an STM32F405 whose power can be cut at, or in the middle of, any operation.
//!
//! Programming a word only clears bits, erasing goes by whole sectors, a word is written
//! once between erasures. What a cut leaves of the operation it hits is one of [`TEARS`].

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use firmware::update::{Mapped, Storage};
use shared::bench::Rng;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

/// Bytes of the chip's flash.
pub const BYTES: u32 = 1 << 20;

/// What is left of an operation that lost its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Nothing was done.
    Before,
    /// Some bits changed, which ones the seed says.
    Within(u32),
    /// All was done, and nobody was told.
    After,
}

/// The tears that tests try.
pub const TEARS: [Tear; 4] = [Tear::Before, Tear::Within(1), Tear::Within(2), Tear::After];

/// Why the flash did not do as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub NorFlashErrorKind);

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

struct State {
    /// Contents; leaked, so that running networks may borrow them.
    memory: &'static mut [u8],
    /// Words that were programmed since their sector was erased.
    programmed: Vec<bool>,
    /// Words programmed and sectors erased since the power came on.
    operations: u64,
    /// The operation at which the power is cut.
    cut: Option<(u64, Tear)>,
    powered: bool,
    /// A bit of this byte stays set whatever is programmed.
    stuck: Option<u32>,
}

/// A handle on the chip's flash; clones share it.
#[derive(Clone)]
pub struct Chip(Rc<RefCell<State>>);

/// The contents at one moment.
#[derive(Clone)]
pub struct Snapshot(Vec<u8>, Vec<bool>);

impl Chip {
    /// An erased chip, powered.
    pub fn new() -> Self {
        Self::of(BYTES)
    }

    /// One whose flash ends after `bytes`.
    pub fn of(bytes: u32) -> Self {
        Self(Rc::new(RefCell::new(State {
            memory: vec![0xff; bytes as usize].leak(),
            programmed: vec![false; bytes as usize / 4],
            operations: 0,
            cut: None,
            powered: true,
            stuck: None,
        })))
    }

    /// Turns the power on, with a cut at operation `cut.0`, counted from 0.
    pub fn power_on(&self, cut: Option<(u64, Tear)>) {
        let mut state = self.0.borrow_mut();
        (state.operations, state.cut, state.powered) = (0, cut, true);
    }

    /// Whether the cut has come.
    pub fn is_powered(&self) -> bool {
        self.0.borrow().powered
    }

    /// Makes a bit of the byte at `offset` stay set.
    #[allow(dead_code, reason = "not every test needs it")]
    pub fn stick(&self, offset: Option<u32>) {
        self.0.borrow_mut().stuck = offset;
    }

    /// What the flash holds.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.0.borrow();
        Snapshot(state.memory.to_vec(), state.programmed.clone())
    }

    /// Puts contents back.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut state = self.0.borrow_mut();
        state.memory.copy_from_slice(&snapshot.0);
        state.programmed.copy_from_slice(&snapshot.1);
    }

    /// Writes as a debug probe does, whatever was there.
    pub fn place(&self, offset: u32, bytes: &[u8]) {
        let at = offset as usize;
        let mut state = self.0.borrow_mut();
        state.memory[at..at + bytes.len()].copy_from_slice(bytes);
        state.programmed[at / 4..(at + bytes.len()).div_ceil(4)].fill(true);
    }
}

/// Bytes of the sector that starts at `offset`; `None` where none does.
fn sector(offset: u32) -> Option<u32> {
    let bytes = match offset {
        0..0x1_0000 => 16 << 10,
        0x1_0000..0x2_0000 => 64 << 10,
        _ => 128 << 10,
    };
    offset.is_multiple_of(bytes).then_some(bytes)
}

impl State {
    /// Counts an operation that changes `range` as `change` says.
    fn operate(&mut self, range: Range<usize>, change: impl Fn(&mut [u8])) -> Result<(), Failed> {
        let torn = match self.cut {
            _ if !self.powered => return Err(Failed(NorFlashErrorKind::Other)),
            Some((at, tear)) if at == self.operations => Some(tear),
            _ => None,
        };
        self.operations += 1;
        let part = &mut self.memory[range];
        match torn {
            Some(Tear::Before) => {}
            Some(Tear::Within(seed)) => {
                let mut rng = Rng::new(seed ^ self.operations as u32);
                let mut whole = part.to_vec();
                change(&mut whole);
                for (old, new) in part.iter_mut().zip(whole) {
                    let changed = rng.next() as u8;
                    *old = (*old & !changed) | (new & changed);
                }
            }
            Some(Tear::After) | None => change(part),
        }
        if torn.is_some() {
            self.powered = false;
            return Err(Failed(NorFlashErrorKind::Other));
        }
        Ok(())
    }

    fn program(&mut self, at: usize, word: &[u8]) -> Result<(), Failed> {
        assert!(
            !self.programmed[at / 4],
            "the word at {at:#x} is written twice"
        );
        let old: Vec<u8> = self.memory[at..at + 4].to_vec();
        let stuck = self.stuck.map(|s| (s as usize).wrapping_sub(at));
        let result = self.operate(at..at + 4, |bytes| {
            for (i, (bits, new)) in bytes.iter_mut().zip(word).enumerate() {
                *bits &= new;
                if stuck == Some(i) {
                    *bits |= 0x10;
                }
            }
        });
        // What was never begun may be written later.
        self.programmed[at / 4] = result.is_ok() || self.memory[at..at + 4] != old[..];
        result
    }
}

impl ErrorType for Chip {
    type Error = Failed;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        let state = self.0.borrow();
        let range = offset as usize..offset as usize + bytes.len();
        if !state.powered {
            return Err(Failed(NorFlashErrorKind::Other));
        }
        let from = state.memory.get(range);
        bytes.copy_from_slice(from.ok_or(Failed(NorFlashErrorKind::OutOfBounds))?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.borrow().memory.len()
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 16 << 10;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        let mut state = self.0.borrow_mut();
        let mut at = from;
        while at < to {
            let bytes = sector(at).ok_or(Failed(NorFlashErrorKind::NotAligned))?;
            if at + bytes > state.memory.len() as u32 {
                return Err(Failed(NorFlashErrorKind::OutOfBounds));
            }
            let range = at as usize..(at + bytes) as usize;
            state.operate(range.clone(), |bytes| bytes.fill(0xff))?;
            state.programmed[range.start / 4..range.end / 4].fill(false);
            at += bytes;
        }
        if at == to {
            Ok(())
        } else {
            Err(Failed(NorFlashErrorKind::NotAligned))
        }
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        let mut state = self.0.borrow_mut();
        if !offset.is_multiple_of(4) || !bytes.len().is_multiple_of(4) {
            return Err(Failed(NorFlashErrorKind::NotAligned));
        }
        if offset as usize + bytes.len() > state.memory.len() {
            return Err(Failed(NorFlashErrorKind::OutOfBounds));
        }
        for (n, word) in bytes.chunks(4).enumerate() {
            state.program(offset as usize + 4 * n, word)?;
        }
        Ok(())
    }
}

impl Storage for Chip {
    fn slice(&self, range: Range<u32>) -> Option<&[u8]> {
        self.mapped(range)
    }
}

impl<'a> Mapped<'a> for Chip {
    fn mapped(&self, range: Range<u32>) -> Option<&'a [u8]> {
        let state = self.0.borrow();
        let part = state.memory.get(range.start as usize..range.end as usize)?;
        // SAFETY: the memory is leaked and so lives on; tests drop what they borrow before
        // they write to it.
        Some(unsafe { std::slice::from_raw_parts(part.as_ptr(), part.len()) })
    }
}
