//! The first layer's products in assembly: two output channels by four pixels.
//!
//! A word of weights is in an FPU register, from which it comes in one cycle; the six words
//! of activations that four pixels read at three taps are loaded once. That makes 39 cycles
//! for 48 multiplications.

use super::narrow::{BlockWeights, Record};
use core::arch::global_asm;

unsafe extern "C" {
    fn pressboard_narrow1(a: *const Record, w: *const BlockWeights, sums: *mut i32, groups: usize);
    fn pressboard_narrow3(a: *const Record, w: *const BlockWeights, sums: *mut i32, groups: usize);
}

/// Sets the two channels' sums of each pixel, `[pixel][2]`; pixel `i` reads records `i` to
/// `i + 2`. With one channel the first three words of a record are not read.
pub fn row(c_in: u16, records: &[Record], weights: &BlockWeights, sums: &mut [i32]) {
    let groups = (sums.len() / 8).min(records.len().saturating_sub(2) / 4);
    if groups == 0 {
        return;
    }
    let (a, w, sums) = (records.as_ptr(), &raw const *weights, sums.as_mut_ptr());
    // SAFETY: a group reads six records and steps four, and writes eight sums; that many
    // groups were just seen to be inside.
    unsafe {
        match c_in {
            1 => pressboard_narrow1(a, w, sums, groups),
            _ => pressboard_narrow3(a, w, sums, groups),
        }
    }
}

// r0 to r7 sums [pixel][channel], r8 to r11 activations, r12 weights, lr records.
// s0 to s27 weights, s28 and s29 biases, s30 where sums go. On the stack: end of records.
global_asm!(
    ".syntax unified
    .fpu fpv4-sp-d16

    .macro narrow_taps even, odd, a, b, c, d
    vmov r12, s\\even
    smlad r0, r12, \\a, r0
    smlad r2, r12, \\b, r2
    smlad r4, r12, \\c, r4
    smlad r6, r12, \\d, r6
    vmov r12, s\\odd
    smlad r1, r12, \\a, r1
    smlad r3, r12, \\b, r3
    smlad r5, r12, \\c, r5
    smlad r7, r12, \\d, r7
    .endm

    .macro narrow_first at
    ldr r8, [lr, #\\at]
    ldr r9, [lr, #\\at+20]
    ldr r10, [lr, #\\at+40]
    ldr r11, [lr, #\\at+60]
    .endm

    @ A word of the records at three taps; s0 to s5 of its weights by name.
    .macro narrow_word at, s0, s1, s2, s3, s4, s5
    narrow_first \\at
    narrow_taps \\s0, \\s1, r8, r9, r10, r11
    ldr r8, [lr, #\\at+80]
    narrow_taps \\s2, \\s3, r9, r10, r11, r8
    ldr r9, [lr, #\\at+100]
    narrow_taps \\s4, \\s5, r10, r11, r8, r9
    .endm

    .macro narrow_sums
    vmov r0, s28
    vmov r1, s29
    vmov r2, s28
    vmov r3, s29
    vmov r4, s28
    vmov r5, s29
    vmov r6, s28
    vmov r7, s29
    .endm

    .macro narrow channels
    .section .text.pressboard_narrow\\channels,\"ax\",%progbits
    .balign 4
    .global pressboard_narrow\\channels
    .type pressboard_narrow\\channels,%function
    .thumb_func
pressboard_narrow\\channels:
    push {r4-r11, lr}
    vpush {s16-s30}
    vldm r1, {s0-s29}
    vmov s30, r2
    mov lr, r0
    mov r12, #80
    mla r3, r3, r12, r0
    push {r3}
1:
    narrow_sums
    .if \\channels == 3
    narrow_word 0, 0, 1, 2, 3, 4, 5
    narrow_word 4, 6, 7, 8, 9, 10, 11
    narrow_word 8, 12, 13, 14, 15, 16, 17
    .endif
    narrow_word 12, 18, 19, 20, 21, 22, 23
    narrow_first 16
    narrow_taps 24, 25, r8, r9, r10, r11
    ldr r8, [lr, #96]
    ldr r9, [lr, #116]
    narrow_taps 26, 27, r10, r11, r8, r9
    vmov r8, s30
    ldr r9, [sp]
    stm r8!, {r0-r7}
    add lr, lr, #80
    vmov s30, r8
    cmp lr, r9
    bne 1b
    add sp, sp, #4
    vpop {s16-s30}
    pop {r4-r11, pc}
    .size pressboard_narrow\\channels, .-pressboard_narrow\\channels
    .endm

    narrow 1
    narrow 3",
    options(raw)
);
