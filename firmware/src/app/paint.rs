//! Painting memory to see, afterwards, how much of it was used.

use core::ops::Range;

/// What a painted word at `index` holds; depends on the place, so that copies show.
fn pattern(index: usize) -> u32 {
    (index as u32).wrapping_mul(0x9e37_79b1) ^ 0xa5a5_5a5a
}

/// Paints all of `memory`.
pub fn fill(memory: &mut [u8]) {
    for (i, word) in memory.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *word = pattern(i).to_le_bytes();
    }
}

/// Bytes from the start of `memory` up to the end of the last touched word.
#[must_use]
pub fn extent(memory: &[u8]) -> usize {
    let (words, _) = memory.as_chunks::<4>();
    let touched = |(i, word): &(usize, &[u8; 4])| **word != pattern(*i).to_le_bytes();
    let last = words.iter().enumerate().rev().find(touched);
    last.map_or(0, |(i, _)| i.saturating_add(1).saturating_mul(4))
}

const STACK_PATTERN: u32 = 0x57ac_57ac;

/// Paints the unused part of a stack at the addresses `stack`, which grows down.
///
/// # Safety
/// `stack` is the stack that this runs on, aligned to 4, and nothing else lies in it.
#[inline(never)]
pub unsafe fn stack(stack: Range<usize>) {
    let marker = 0u32;
    // Leave what this function and an interrupt might use.
    let end = (&raw const marker as usize).saturating_sub(256);
    let mut at = stack.start;
    while at < end.min(stack.end) {
        // SAFETY: below the current stack pointer, inside the stack, aligned.
        unsafe { core::ptr::write_volatile(at as *mut u32, STACK_PATTERN) };
        at = at.saturating_add(4);
    }
}

/// Most bytes of the stack at `stack` that were ever used since it was painted.
///
/// # Safety
/// As [`stack`].
#[must_use]
pub unsafe fn stack_used(stack: Range<usize>) -> usize {
    let mut at = stack.start;
    // SAFETY: inside the stack, aligned.
    while at < stack.end && unsafe { core::ptr::read_volatile(at as *const u32) } == STACK_PATTERN {
        at = at.saturating_add(4);
    }
    stack.end.saturating_sub(at)
}
