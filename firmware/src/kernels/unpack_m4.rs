//! Unpacking of weights in assembly, one loop a width, all from one macro.
//!
//! Cycles a weight: 1.6 at 8 bits, 1.8 at 4, 1.7 at 2, 2.6 to 3.6 at the others.

use core::arch::global_asm;
use shared::index::{ix, reach};

unsafe extern "C" {
    fn pressboard_unpack8(source: *const u8, out: *mut u32, steps: usize);
    fn pressboard_unpack2(planes: *const [*const u8; 3], out: *mut u32, steps: usize);
    fn pressboard_unpack3(planes: *const [*const u8; 3], out: *mut u32, steps: usize);
    fn pressboard_unpack4(planes: *const [*const u8; 3], out: *mut u32, steps: usize);
    fn pressboard_unpack5(planes: *const [*const u8; 3], out: *mut u32, steps: usize);
    fn pressboard_unpack6(planes: *const [*const u8; 3], out: *mut u32, steps: usize);
    fn pressboard_unpack7(planes: *const [*const u8; 3], out: *mut u32, steps: usize);
}

/// Pairs that one turn of a width's loop writes.
const fn step(w_bits: u8) -> usize {
    match w_bits {
        2 | 4 | 6 | 8 => 8,
        _ => 16,
    }
}

/// Unpacks as many whole steps as `pairs` has; returns the pairs done.
///
/// `planes` are the planes of 4, 2 and 1 bits (for 8 bits, the first holds the bytes),
/// `out` the words from the channel's first pair on, with a word between two pairs.
pub fn steps(w_bits: u8, planes: [&[u8]; 3], pairs: usize, out: &mut [u32]) -> usize {
    let n = step(w_bits);
    let steps = pairs / n;
    let bits = |plane: u8| match w_bits {
        2..=7 if w_bits & plane == 0 => 0,
        2..=7 => usize::from(plane),
        _ if plane == 4 => 8,
        _ => 0,
    };
    let inside = [4, 2, 1]
        .into_iter()
        .zip(planes)
        .all(|(plane, bytes)| (reach(n / 4) * steps * bits(plane)).0 <= bytes.len());
    if steps == 0 || !inside || out.len() < (reach(2 * n) * steps).0.saturating_sub(1) {
        return 0;
    }
    let (pointers, to) = (planes.map(<[u8]>::as_ptr), out.as_mut_ptr());
    let all = &raw const pointers;
    // SAFETY: each loop reads `bits · 2 · n · steps / 8` bytes of each plane and writes every
    // second word of `2 · n · steps - 1`, which was checked just now.
    unsafe {
        match w_bits {
            2 => pressboard_unpack2(all, to, steps),
            3 => pressboard_unpack3(all, to, steps),
            4 => pressboard_unpack4(all, to, steps),
            5 => pressboard_unpack5(all, to, steps),
            6 => pressboard_unpack6(all, to, steps),
            7 => pressboard_unpack7(all, to, steps),
            _ => pressboard_unpack8(pointers[0], to, steps),
        }
    }
    (ix(n) * steps).0
}

global_asm!(
    ".syntax unified

    .section .text.pressboard_unpack8,\"ax\",%progbits
    .global pressboard_unpack8
    .type pressboard_unpack8,%function
    .thumb_func
pressboard_unpack8:
    push {r4-r8, lr}
1:
    ldr r3, [r0], #4
    ldr r4, [r0], #4
    ldr r5, [r0], #4
    ldr r6, [r0], #4
    .set at, 0
    .irp w, r3, r4, r5, r6
    sxtb16 r7, \\w
    sxtb16 r8, \\w, ror #8
    str r7, [r1, #at]
    str r8, [r1, #at+8]
    .set at, at+16
    .endr
    add r1, r1, #64
    subs r2, r2, #1
    bne 1b
    pop {r4-r8, pc}
    .size pressboard_unpack8, .-pressboard_unpack8

    @ r11 or r12 = the field at `shift` of \\word, put to the bits from `low` on.
    .macro field word, mask, shift, low
    .if \\low
    .if \\shift
    and r12, \\mask, \\word, ror #\\shift
    .else
    and r12, \\mask, \\word
    .endif
    orr r11, r11, r12, lsl #\\low
    .else
    .if \\shift
    and r11, \\mask, \\word, ror #\\shift
    .else
    and r11, \\mask, \\word
    .endif
    .endif
    .endm

    .macro unpack bits, pairs
    .section .text.pressboard_unpack\\bits,\"ax\",%progbits
    .global pressboard_unpack\\bits
    .type pressboard_unpack\\bits,%function
    .thumb_func
pressboard_unpack\\bits:
    push {r4-r11, lr}
    mov r3, r1
    mov lr, r2
    ldm r0, {r0-r2}
    mov r4, #0x000f000f
    mov r5, #0x00030003
    mov r6, #0x00010001
    lsl r7, r6, #\\bits-1
1:
    .set j, 0
    .rept \\pairs
    .if \\bits & 4
    .if j % 4 == 0
    ldr r8, [r0], #4
    .endif
    field r8, r4, 4*(j%4), 0
    .endif
    .if \\bits & 2
    .if j % 8 == 0
    ldr r9, [r1], #4
    .endif
    field r9, r5, 2*(j%8), (\\bits&4)
    .endif
    .if \\bits & 1
    .if j % 16 == 0
    ldr r10, [r2], #4
    .endif
    field r10, r6, (j%16), (\\bits&6)
    .endif
    ssub16 r11, r11, r7
    str r11, [r3, #8*j]
    .set j, j+1
    .endr
    add r3, r3, #8*\\pairs
    subs lr, lr, #1
    bne 1b
    pop {r4-r11, pc}
    .size pressboard_unpack\\bits, .-pressboard_unpack\\bits
    .endm

    unpack 2, 8
    unpack 3, 16
    unpack 4, 8
    unpack 5, 16
    unpack 6, 8
    unpack 7, 16",
    options(raw)
);
