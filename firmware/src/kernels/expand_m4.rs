//! 8-bit activations to lanes in assembly: 1.5 cycles each.

use core::arch::global_asm;

/// Activations of a turn.
const TURN: usize = 32;

unsafe extern "C" {
    fn pressboard_expand8(input: *const u8, out: *mut u32, turns: usize);
}

/// Expands whole turns of activations; returns the bytes done, two words of lanes for four.
pub fn eight(input: &[u8], out: &mut [u32]) -> usize {
    let turns = (input.len() / TURN).min(2 * out.len() / TURN);
    if turns > 0 {
        let (input, out) = (input.as_ptr(), out.as_mut_ptr());
        // SAFETY: a turn reads 32 bytes and writes 16 words; so many are in both slices.
        unsafe { pressboard_expand8(input, out, turns) };
    }
    turns * TURN
}

// The input may lie at any address, which LDR can read and LDM cannot.
global_asm!(
    ".syntax unified
    .section .text.pressboard_expand8,\"ax\",%progbits
    .global pressboard_expand8
    .type pressboard_expand8,%function
    .thumb_func
pressboard_expand8:
    push {r4-r8, lr}
1:
    .set at, 0
    .rept 2
    ldr r4, [r0, #4]
    ldr r5, [r0, #8]
    ldr r6, [r0, #12]
    ldr r3, [r0], #16
    .irp word, r3, r4, r5, r6
    uxtb16 r7, \\word
    uxtb16 r8, \\word, ror #8
    str r7, [r1, #at]
    str r8, [r1, #at+4]
    .set at, at+8
    .endr
    .endr
    add r1, r1, #64
    subs r2, r2, #1
    bne 1b
    pop {r4-r8, pc}
    .size pressboard_expand8, .-pressboard_expand8",
    options(raw)
);
