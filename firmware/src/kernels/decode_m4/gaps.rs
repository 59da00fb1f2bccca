//! Weights with the gaps between them.

use super::{halfwords, zero};
use core::arch::global_asm;
use shared::coding::{Corrupt, delta};
use shared::spec::LayerSpec;

/// What the loop over gaps needs.
#[repr(C)]
struct Gaps {
    body: *const u32,
    out: *mut i16,
    out_end: *mut i16,
    entries: usize,
    per_word: usize,
    gap_bits: u32,
    w_bits: u32,
}

unsafe extern "C" {
    fn pressboard_gaps(arguments: *const Gaps) -> u32;
}

/// Decodes one block of a layer stored by gaps.
///
/// # Errors
/// [`Corrupt`].
pub(super) fn decode(spec: &LayerSpec, block: &[u8], out: &mut [u32]) -> Result<(), Corrupt> {
    let parts = delta::split(block, spec.w_bits)?;
    zero(out);
    let out = halfwords(out).as_mut_ptr_range();
    let arguments = Gaps {
        body: parts.body.as_ptr().cast(),
        out: out.start,
        out_end: out.end,
        entries: parts.entries,
        per_word: delta::entries_per_word(parts.gap_bits, spec.w_bits),
        gap_bits: parts.gap_bits.into(),
        w_bits: spec.w_bits.into(),
    };
    // SAFETY: reads as many words as the entries take, which are the block's, and writes
    // halfwords between `out` and `out_end`.
    match unsafe { pressboard_gaps(&raw const arguments) } {
        0 => Ok(()),
        _ => Err(Corrupt),
    }
}

// r0 body, r1 entries left, r2 out, r3 its end, r4 entries of a word, r5 mask of a gap, r6 and
// r7 shifts that leave a value, r8 bits of an entry, r9 entries left in the word, r10 the word.
global_asm!(
    ".syntax unified
    .section .text.pressboard_gaps,\"ax\",%progbits
    .global pressboard_gaps
    .type pressboard_gaps,%function
    .thumb_func
pressboard_gaps:
    push {r4-r12, lr}
    ldr r1, [r0, #12]
    ldr r2, [r0, #4]
    ldr r3, [r0, #8]
    ldr r4, [r0, #16]
    ldr r9, [r0, #20]
    ldr r7, [r0, #24]
    ldr r0, [r0]
    mov r5, #1
    lsl r5, r5, r9
    sub r5, r5, #1
    add r8, r9, r7
    rsb r6, r8, #32
    rsb r7, r7, #32
1:
    cbz r1, 3f
    ldr r10, [r0], #4
    cmp r1, r4
    ite lo
    movlo r9, r1
    movhs r9, r4
    sub r1, r1, r9
2:
    and r11, r5, r10
    add r2, r2, r11, lsl #1
    lsl r12, r10, r6
    cmp r2, r3
    bhs 4f
    asr r12, r12, r7
    lsr r10, r10, r8
    subs r9, r9, #1
    strh r12, [r2], #2
    bne 2b
    b 1b
3:
    mov r0, #0
    pop {r4-r12, pc}
4:
    mov r0, #1
    pop {r4-r12, pc}
    .size pressboard_gaps, .-pressboard_gaps",
    options(raw)
);
