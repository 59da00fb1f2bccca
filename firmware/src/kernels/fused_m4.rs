//! One output pixel: weights of 8, 4 and 2 bits multiplied straight out of flash.
//!
//! A fully connected layer uses each weight once, so unpacking into scratch does not pay.
//! Per channel and pair: 8 bits take 13 cycles for 8 multiplications, 4 bits 24 for 16, 2
//! bits 46 for 32. Below 8 bits the fields are unsigned, `weight + half`; what that adds,
//! `half` times the sum of the activations, is taken off afterwards.

use super::lanes::unpair;
use core::arch::global_asm;
use shared::weights::{DenseChannel, pair_elements};

unsafe extern "C" {
    fn pressboard_fused8(acc: *mut i32, weights: *const [*const u8; 2], a: *const u32, n: usize);
    fn pressboard_fused4(acc: *mut i32, weights: *const [*const u8; 2], a: *const u32, n: usize);
    fn pressboard_fused2(acc: *mut i32, weights: *const [*const u8; 2], a: *const u32, n: usize);
}

/// Whether weights of this width can be multiplied straight from the dense encoding.
#[must_use]
pub const fn applies(w_bits: u8) -> bool {
    matches!(w_bits, 2 | 4 | 8)
}

/// Pairs of a channel that lie in whole words of the encoding, of `pairs` in all.
const fn whole(w_bits: u8, pairs: usize) -> usize {
    let step = match w_bits {
        2 => 8,
        4 => 4,
        _ => 2,
    };
    pairs & !(step - 1)
}

/// What the offset of the weights' fields adds to every sum: `half · Σ activations`, over
/// those that meet whole words.
#[must_use]
pub fn excess(w_bits: u8, activations: &[u32]) -> i32 {
    if w_bits >= 8 {
        return 0;
    }
    let activations = activations
        .get(..whole(w_bits, activations.len()))
        .unwrap_or(&[]);
    let sum = activations.iter().fold(0, |sum: i32, &a| {
        let [low, high] = unpair(a).map(i32::from);
        sum.wrapping_add(low + high)
    });
    sum << (w_bits - 1)
}

/// The products of two channels' dense weights and `activations`, `excess` taken off.
///
/// `activations` are lanes, as many as the weights' pairs.
pub fn products(
    weights: [DenseChannel; 2],
    bytes: [&[u8]; 2],
    w_bits: u8,
    activations: &[u32],
    excess: i32,
) -> [i32; 2] {
    let done = whole(w_bits, activations.len());
    let turns = done * usize::from(w_bits) / 16;
    let mut sums = [excess.wrapping_neg(); 2];
    if turns > 0 && bytes.iter().all(|b| b.len() >= 4 * turns) {
        let pointers = bytes.map(<[u8]>::as_ptr);
        let (a, w) = (activations.as_ptr(), &raw const pointers);
        // SAFETY: each turn reads a word of both channels and the activations of its pairs,
        // all of which exist, as checked.
        unsafe {
            match w_bits {
                2 => pressboard_fused2(sums.as_mut_ptr(), w, a, turns),
                4 => pressboard_fused4(sums.as_mut_ptr(), w, a, turns),
                _ => pressboard_fused8(sums.as_mut_ptr(), w, a, turns),
            }
        }
    }
    let rest = activations.get(done..).unwrap_or(&[]);
    if rest.is_empty() {
        return sums;
    }
    for (sum, w) in sums.iter_mut().zip(weights) {
        for (j, &a) in rest.iter().enumerate() {
            let (low, high) = pair_elements(done + j);
            let [a0, a1] = unpair(a).map(i32::from);
            let products = a0 * i32::from(w.get(low)) + a1 * i32::from(w.get(high));
            *sum = sum.wrapping_add(products);
        }
    }
    sums
}

// r0, r1 weights, r2 activations, r3 turns left, r4, r5 sums, r12 mask.
global_asm!(
    ".syntax unified

    @ Entered in the middle, so that the turns need not be a multiple of \\unroll.
    .macro fused bits, log, unroll, size, turn
    .section .text.pressboard_fused\\bits,\"ax\",%progbits
    .global pressboard_fused\\bits
    .type pressboard_fused\\bits,%function
    .thumb_func
pressboard_fused\\bits:
    push {r0, r4-r11, lr}
    ldr r4, [r0]
    ldr r5, [r0, #4]
    ldm r1, {r0, r1}
    .if \\bits == 4
    mov r12, #0x000f000f
    .endif
    .if \\bits == 2
    mov r12, #0x00030003
    .endif
    ands r6, r3, #\\unroll-1
    it eq
    moveq r6, #\\unroll
    add r3, r3, #\\unroll-1
    lsr r3, r3, #\\log
    mov r7, #\\size
    movw r8, #:lower16:.Lfused\\bits
    movt r8, #:upper16:.Lfused\\bits
    mls r8, r6, r7, r8
    orr r8, r8, #1
    bx r8
    .balign 4
1:
    .rept \\unroll
    \\turn
    .endr
.Lfused\\bits:
    subs r3, r3, #1
    bne 1b
    pop {r0}
    str r4, [r0]
    str r5, [r0, #4]
    pop {r4-r11, pc}
    .size pressboard_fused\\bits, .-pressboard_fused\\bits
    .endm

    .macro turn8
    ldr r6, [r0], #4
    ldr r7, [r1], #4
    ldr r8, [r2], #4
    ldr r9, [r2], #4
    sxtb16 r10, r6
    sxtb16 r11, r7
    sxtb16 r6, r6, ror #8
    sxtb16 r7, r7, ror #8
    smlad r4, r10, r8, r4
    smlad r5, r11, r8, r5
    smlad r4, r6, r9, r4
    smlad r5, r7, r9, r5
    .endm

    .macro pair_of bits, j, a
    .if (\\j)
    and r10, r12, r6, ror #\\bits*(\\j)
    and r11, r12, r7, ror #\\bits*(\\j)
    .else
    and r10, r12, r6
    and r11, r12, r7
    .endif
    smlad r4, r10, \\a, r4
    smlad r5, r11, \\a, r5
    .endm

    .macro turn_of bits, pairs
    ldr r6, [r0], #4
    ldr r7, [r1], #4
    ldr r8, [r2], #4
    ldr r9, [r2], #4
    pair_of \\bits, 0, r8
    pair_of \\bits, 1, r9
    .set j, 2
    .rept \\pairs/2-1
    ldr r8, [r2], #4
    ldr r9, [r2], #4
    pair_of \\bits, j, r8
    pair_of \\bits, j+1, r9
    .set j, j+2
    .endr
    .endm
    .macro turn4
    turn_of 4, 4
    .endm
    .macro turn2
    turn_of 2, 8
    .endm

    fused 8, 3, 8, 48, turn8
    fused 4, 2, 4, 88, turn4
    fused 2, 1, 2, 168, turn2",
    options(raw)
);
