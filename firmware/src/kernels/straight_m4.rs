//! Sets of four channels against a run of activations in assembly, for a plane of 8, 4, 2 or 1
//! bits.
//!
//! A turn takes a word of each channel. 8 bits: 23 cycles for 16 multiplications; 4 bits: 44
//! for 32, 2 bits: 84 for 64, 1 bit: 164 for 128. 3, 5 and 6 bits are the sum of their planes, 7
//! bits are stored as bytes. In planes fields are unsigned, `weight + half`; what that adds, `half`
//! times the sum of the activations, is where sums begin.

use super::straight::{SET, Sets, Source, Taps};
use core::arch::global_asm;
use shared::index::{Reach, ix, reach};

/// Fields are unsigned: `half` times the sum of the activations must be taken off.
pub const UNSIGNED: bool = true;

/// What the assembly takes, in the order in which it loads it; it steps some of it.
#[repr(C)]
struct Pass {
    weights: *const u8,
    /// Bytes from a channel to the next.
    stride: isize,
    activations: *const u32,
    /// Turns; then where they are entered.
    turns: usize,
    sums: *mut i32,
    /// Bytes from a sum to the next.
    direction: isize,
    /// End of the activations.
    end: *const u32,
    /// Bytes from a set to the next.
    step: usize,
    sets: usize,
    /// Bits by which sums are shifted before anything is added.
    shift: usize,
}

unsafe extern "C" {
    fn pressboard_straight8(pass: *mut Pass);
    fn pressboard_straight4(pass: *mut Pass);
    fn pressboard_straight2(pass: *mut Pass);
    fn pressboard_straight1(pass: *mut Pass);
}

/// Adds the products of a pixel's taps to the sums of sets of channels.
///
/// What would leave one of the slices adds nothing.
pub fn run(source: &Source, taps: &Taps, sets: Sets, sums: &mut [i32]) {
    let w_bits = source.spec.stored_bits();
    match w_bits {
        2 => plane::<2>(source, taps, sets, (0, 0), sums),
        4 => plane::<4>(source, taps, sets, (0, 0), sums),
        3 | 5 | 6 => {
            // Upwards, so that what is there is shifted by what comes; sums begin with 0.
            let behind = |wider: u8| {
                let planes = [4, 2].into_iter().filter(|b| w_bits & wider & b != 0);
                let elements = source.spec.sequence_len() as usize;
                planes.fold(0, |bytes, b| {
                    let plane = reach(4) * words(elements, b.into());
                    (plane + bytes).0
                })
            };
            if w_bits & 1 != 0 {
                plane::<1>(source, taps, sets, (behind(6), 1), sums);
            }
            if w_bits & 2 != 0 {
                plane::<2>(source, taps, sets, (behind(4), 2), sums);
            }
            if w_bits & 4 != 0 {
                plane::<4>(source, taps, sets, (0, 4), sums);
            }
        }
        _ => plane::<8>(source, taps, sets, (0, 0), sums),
    }
}

/// Words of so many weights in a plane.
fn words(elements: usize, bits: usize) -> usize {
    elements.saturating_mul(bits).div_ceil(32)
}

/// The plane of `BITS` bits that starts at byte `at` of each channel; sums are shifted first.
#[inline(never)]
fn plane<const BITS: usize>(
    source: &Source,
    taps: &Taps,
    sets: Sets,
    (at, shift): (usize, usize),
    sums: &mut [i32],
) {
    let (turns, row) = (words(taps.len, BITS), (reach(taps.weight_row) * BITS).0 / 8);
    let lanes = (reach(turns) * 16).0 / BITS;
    let last_row = taps.rows.saturating_sub(1);
    let from = reach((reach(taps.weight) * BITS).0 / 8) + at;
    let ends = [
        from + reach(last_row) * row + reach(4) * turns,
        reach(last_row) * taps.activation_row + taps.activation + lanes,
    ];
    let channel = source.spec.dense_channel_bytes() as usize;
    let inside = ends[0].0 <= channel
        && ends[1].0 <= source.activations.len()
        && inside(source, &sets, sums.len());
    if taps.rows == 0 || turns == 0 || !inside {
        return;
    }
    for r in 0..taps.rows {
        let at = ix(r) * taps.activation_row + taps.activation;
        let activations = source.activations.as_ptr().wrapping_add(at.0);
        let at = ix(r) * row + from.0 + sets.first;
        let mut pass = Pass {
            weights: source.weights.as_ptr().wrapping_add(at.0),
            stride: sets.stride,
            activations,
            turns,
            sums: sums.as_mut_ptr().wrapping_add(sets.sum),
            direction: 4 * sets.direction(),
            end: activations.wrapping_add(lanes),
            step: sets.step,
            sets: sets.count,
            shift: if r == 0 { shift } else { 0 },
        };
        let pass = &raw mut pass;
        // SAFETY: each turn reads a word of each channel's plane and the lanes that meet it,
        // each set adds to its sums; all of it was just seen to be inside of the slices.
        unsafe {
            match BITS {
                8 => pressboard_straight8(pass),
                4 => pressboard_straight4(pass),
                2 => pressboard_straight2(pass),
                _ => pressboard_straight1(pass),
            }
        }
    }
}

/// Whether the channels of all sets are stored whole, and their sums among `sums`.
fn inside(source: &Source, sets: &Sets, sums: usize) -> bool {
    let bytes = source.spec.dense_channel_bytes() as usize;
    let Some(last) = sets.count.checked_sub(1) else {
        return false;
    };
    [0, SET[3]].into_iter().all(|i| {
        [0, last].into_iter().all(|set| {
            let last = |first: Reach, stride: isize| {
                let away = i.checked_mul(stride)?;
                first.0.checked_add_signed(away)
            };
            let first = last(reach(set) * sets.step + sets.first, sets.stride);
            let sum = last(reach(set) * 8 + sets.sum, sets.direction());
            let stored = first.is_some_and(|at| (reach(at) + bytes).0 <= source.weights.len());
            stored && sum.is_some_and(|at| at < sums)
        })
    })
}

// r0 to r3 sums, r4 weights, r5 stride, r6 activations; r10, r11, r12, lr a word of each
// channel; r7 a pair of lanes of weights, r8 (and at 8 bits r9) of activations, else r9 the mask.
// On the stack: end of activations, then what `Pass` is.
global_asm!(
    ".syntax unified

    @ Entered in the middle, so that the turns need not be a multiple of \\unroll.
    .macro straight bits, unroll, size, turn
    .section .text.pressboard_straight\\bits,\"ax\",%progbits
    .balign 4
    .global pressboard_straight\\bits
    .type pressboard_straight\\bits,%function
    .thumb_func
pressboard_straight\\bits:
    push {r4-r11, lr}
    ldr r1, [r0, #24]
    push {r0, r1}
    .if \\unroll > 1
    ldr r8, [r0, #12]
    ands r8, r8, #\\unroll-1
    it eq
    moveq r8, #\\unroll
    mov r7, #\\size
    movw r9, #:lower16:.Lstraight\\bits
    movt r9, #:upper16:.Lstraight\\bits
    mls r8, r8, r7, r9
    orr r8, r8, #1
    str r8, [r0, #12]
    .endif
    mov r12, r0
1:
    ldm r12, {r4-r9}
    ldr r0, [r8]
    ldr r1, [r8, r9]
    ldr r2, [r8, r9, lsl #1]
    ldr r3, [r8, r9, lsl #2]
    ldr r10, [r12, #36]
    .irp sum, r0, r1, r2, r3
    lsl \\sum, \\sum, r10
    .endr
    .if \\bits == 4
    mov r9, #0x000f000f
    .elseif \\bits == 2
    mov r9, #0x00030003
    .elseif \\bits == 1
    mov r9, #0x00010001
    .endif
    .if \\unroll > 1
    bx r7
    .endif
    .balign 4
2:
    .rept \\unroll
    \\turn
    .endr
.Lstraight\\bits:
    ldr r7, [sp, #4]
    cmp r6, r7
    bne 2b
    ldr r12, [sp]
    ldr r9, [r12, #20]
    ldr r8, [r12, #16]
    ldr r4, [r12]
    ldr r5, [r12, #28]
    ldr r6, [r12, #32]
    str r0, [r8]
    str r1, [r8, r9]
    str r2, [r8, r9, lsl #1]
    str r3, [r8, r9, lsl #2]
    add r4, r4, r5
    add r8, r8, #32
    subs r6, r6, #1
    str r4, [r12]
    str r8, [r12, #16]
    str r6, [r12, #32]
    bne 1b
    add sp, sp, #8
    pop {r4-r11, pc}
    .size pressboard_straight\\bits, .-pressboard_straight\\bits
    .endm

    .macro rows_turn8
    ldr r9, [r6, #4]
    ldr r11, [r4, r5]
    ldr r12, [r4, r5, lsl #1]
    ldr lr, [r4, r5, lsl #2]
    ldr r8, [r6], #8
    ldr r10, [r4], #4
    sxtb16 r7, r10
    smlad r0, r7, r8, r0
    sxtb16 r7, r11
    smlad r1, r7, r8, r1
    sxtb16 r7, r12
    smlad r2, r7, r8, r2
    sxtb16 r7, lr
    smlad r3, r7, r8, r3
    sxtb16 r7, r10, ror #8
    smlad r0, r7, r9, r0
    sxtb16 r7, r11, ror #8
    smlad r1, r7, r9, r1
    sxtb16 r7, r12, ror #8
    smlad r2, r7, r9, r2
    sxtb16 r7, lr, ror #8
    smlad r3, r7, r9, r3
    .endm

    .macro rows_pair shift
    .set sum, 0
    .irp word, r10, r11, r12, lr
    .if \\shift
    and r7, r9, \\word, ror #\\shift
    .else
    and r7, r9, \\word
    .endif
    .if sum == 0
    smlad r0, r7, r8, r0
    .elseif sum == 1
    smlad r1, r7, r8, r1
    .elseif sum == 2
    smlad r2, r7, r8, r2
    .else
    smlad r3, r7, r8, r3
    .endif
    .set sum, sum+1
    .endr
    .endm

    .macro rows_turn bits
    ldr r11, [r4, r5]
    ldr r12, [r4, r5, lsl #1]
    ldr lr, [r4, r5, lsl #2]
    ldr r8, [r6], #4
    ldr r10, [r4], #4
    rows_pair 0
    .set at, \\bits
    .rept 16/\\bits-1
    ldr r8, [r6], #4
    rows_pair at
    .set at, at+\\bits
    .endr
    .endm
    .macro rows_turn4
    rows_turn 4
    .endm
    .macro rows_turn2
    rows_turn 2
    .endm
    .macro rows_turn1
    rows_turn 1
    .endm

    straight 8, 16, 88, rows_turn8
    straight 4, 4, 160, rows_turn4
    straight 2, 2, 304, rows_turn2
    straight 1, 1, 592, rows_turn1",
    options(raw)
);
