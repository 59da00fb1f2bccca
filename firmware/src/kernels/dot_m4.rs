//! The inner loops for Cortex-M4 and its like, in assembly.
//!
//! Two output channels by three pixels: per pair of lanes five loads in a row (6 cycles)
//! and six SMLAD, 12 cycles for 12 multiplications, whatever the distance of the pixels.
//! Pixel 1 and 2 are read at register offsets from pixel 0, whose load steps the pointer,
//! so that the unrolled loop can be entered anywhere: a row's length need not be a multiple
//! of it. What is left of a run goes through loops for two pixels (9 cycles for 8) and one
//! (11 for 8). Every other register holds an accumulator or an operand; counters and
//! pointers that are needed once a row live in FPU registers, or on the stack without them.

use super::dot::Run;
use core::arch::global_asm;
use shared::index::ix;

/// The assembly ran.
pub const FAST: bool = true;

/// Words between two neighbouring pairs of a channel's weights: `[pair][channel]`.
pub const PAIR_STEP: usize = 2;

/// First word of a channel's weights.
#[must_use]
pub const fn channel_start(channel: usize, _len: usize) -> usize {
    channel
}

/// What the assembly takes, in the order in which it loads it.
#[repr(C)]
struct Arguments {
    weights: *const u32,
    activations: *const u32,
    accumulators: *mut i32,
    pixels: usize,
    /// Bytes from one pixel to the next.
    pixel_step: usize,
    pairs: usize,
    rows: usize,
    /// Bytes from the end of a kernel row's weights to the next row.
    weight_gap: usize,
    /// Bytes from the end of a row of taps of one pixel to the next row.
    activation_gap: usize,
    /// Output rows; counted down.
    lines: usize,
    /// Bytes of activations from one output row to the next.
    line_activations: usize,
    /// Bytes of accumulators from one output row to the next.
    line_accumulators: usize,
}

unsafe extern "C" {
    fn pressboard_dot(arguments: *mut Arguments);
}

/// Adds the products of `run` to its accumulators, wrapping.
///
/// A run that would leave one of the slices adds nothing.
#[inline]
pub fn accumulate(run: &Run, weights: &[u32], activations: &[u32], accumulators: &mut [i32]) {
    let inside = run.pixels > 0
        && run.lines > 0
        && run.rows > 0
        && run.pairs > 0
        && run.pairs % 2 == 0
        && run.weights_end() <= weights.len() / 2
        && run.activations_end() <= activations.len()
        && run.accumulators_end() <= accumulators.len();
    if !inside {
        return;
    }
    let mut arguments = Arguments {
        weights: weights.as_ptr().wrapping_add((ix(2) * run.weights).0),
        activations: activations.as_ptr().wrapping_add(run.activations),
        accumulators: accumulators.as_mut_ptr().wrapping_add(run.accumulator),
        pixels: run.pixels,
        pixel_step: (ix(4) * run.pixel_step).0,
        pairs: run.pairs,
        rows: run.rows,
        weight_gap: (ix(8) * (ix(run.weight_row) - run.pairs)).0,
        activation_gap: (ix(4) * (ix(run.activation_row) - run.pairs)).0,
        lines: run.lines,
        line_activations: (ix(4) * run.line_activations).0,
        line_accumulators: (ix(4) * run.line_accumulators).0,
    };
    // SAFETY: all that the loops read and write lies inside the slices, as just checked;
    // `pairs` is even, as the loop for one pixel wants it.
    unsafe { pressboard_dot(&raw mut arguments) };
}

#[cfg(feature = "fpu")]
global_asm!(
    ".fpu fpv4-sp-d16
    .macro slots_open
    .endm
    .macro slots_close
    .endm
    .macro arguments reg
    ldr \\reg, [sp]
    .endm
    .macro get reg, slot
    vmov \\reg, s\\slot
    .endm
    .macro put slot, reg
    vmov s\\slot, \\reg
    .endm",
    options(raw)
);

#[cfg(not(feature = "fpu"))]
global_asm!(
    ".macro slots_open
    sub sp, sp, #48
    .endm
    .macro slots_close
    add sp, sp, #48
    .endm
    .macro arguments reg
    ldr \\reg, [sp, #48]
    .endm
    .macro get reg, slot
    ldr \\reg, [sp, #4*\\slot]
    .endm
    .macro put slot, reg
    str \\reg, [sp, #4*\\slot]
    .endm",
    options(raw)
);

// Slots: 0 entry into the unrolled loop, 1 bytes of weights in a row, 2 their end, 3 kernel rows,
// 4 rows left, 5 weight gap, 6 activation gap, 7 first pixel's activations, 8 weights,
// 9 accumulators, 10 pixels left, 11 units of work in a row.
global_asm!(
    ".syntax unified
    .section .text.pressboard_dot,\"ax\",%progbits
    .balign 16
    .global pressboard_dot
    .type pressboard_dot,%function
    .thumb_func

    @ One pair of lanes: r6, r7 weights, r8 to r10 pixels, r11 their distance.
    .macro unit3
    ldr r9, [lr, r11]
    ldr r10, [lr, r11, lsl #1]
    ldr r8, [lr], #4
    ldr r7, [r12, #4]
    ldr r6, [r12], #8
    smlad r2, r6, r9, r2
    smlad r3, r7, r9, r3
    smlad r4, r6, r10, r4
    smlad r5, r7, r10, r5
    smlad r0, r6, r8, r0
    smlad r1, r7, r8, r1
    .endm

    .macro unit2
    ldr r9, [lr, r11]
    ldr r8, [lr], #4
    ldr r7, [r12, #4]
    ldr r6, [r12], #8
    smlad r2, r6, r9, r2
    smlad r3, r7, r9, r3
    smlad r0, r6, r8, r0
    smlad r1, r7, r8, r1
    .endm

    @ Two pairs of one pixel.
    .macro unit1
    ldr r8, [lr, #4]
    ldr r4, [r12, #4]
    ldr r5, [r12, #8]
    ldr r6, [r12, #12]
    ldr r7, [lr], #8
    ldr r3, [r12], #16
    smlad r0, r5, r8, r0
    smlad r1, r6, r8, r1
    smlad r0, r3, r7, r0
    smlad r1, r4, r7, r1
    .endm

    @ Entry for r0 units a row into a loop of `unroll` (a power of two) units of `size` bytes.
    .macro plan unroll, size, start, end
    ands r1, r0, #\\unroll-1
    it eq
    moveq r1, #\\unroll
    mov r3, #\\size
    movw r5, #:lower16:\\end
    movt r5, #:upper16:\\end
    mls r5, r1, r3, r5
    orr r5, r5, #1
    put 0, r5
    .endm

    @ All kernel rows of one group of pixels, whose accumulators are loaded.
    .macro group unroll, unit, start, end
    get lr, 7
    get r12, 8
    get r9, 3
    put 4, r9
10:
    get r8, 1
    get r9, 0
    add r8, r8, r12
    put 2, r8
    bx r9
    .balign 4
\\start:
    .rept \\unroll
    \\unit
    .endr
\\end:
    get r8, 2
    cmp r12, r8
    bne \\start
    get r8, 4
    get r9, 5
    get r10, 6
    subs r8, r8, #1
    put 4, r8
    add r12, r12, r9
    add lr, lr, r10
    bne 10b
    .endm

pressboard_dot:
    push {r0, r4-r11, lr}
    slots_open
5:
    ldm r0, {r4-r12}
    put 8, r4
    put 7, r5
    put 9, r6
    put 10, r7
    put 11, r9
    put 3, r10
    put 5, r11
    put 6, r12
    lsl r3, r9, #3
    put 1, r3
    mov r11, r8
    cmp r7, #3
    blt 2f
    mov r0, r9
    plan 16, 44, .Ldot3, .Ldot3_end
1:
    get r8, 9
    ldm r8, {r0-r5}
    group 16, unit3, .Ldot3, .Ldot3_end
    get r8, 9
    get r9, 7
    get r6, 10
    stm r8!, {r0-r5}
    add r10, r11, r11, lsl #1
    put 9, r8
    subs r6, r6, #3
    add r9, r9, r10
    put 10, r6
    put 7, r9
    cmp r6, #3
    bge 1b
    mov r7, r6
2:
    cmp r7, #1
    blt 4f
    beq 3f
    get r0, 11
    plan 16, 32, .Ldot2, .Ldot2_end
    get r8, 9
    ldm r8, {r0-r3}
    group 16, unit2, .Ldot2, .Ldot2_end
    get r8, 9
    stm r8, {r0-r3}
    b 4f
3:
    get r0, 11
    lsr r0, r0, #1
    plan 8, 40, .Ldot1, .Ldot1_end
    get r8, 9
    ldm r8, {r0-r1}
    group 8, unit1, .Ldot1, .Ldot1_end
    get r8, 9
    stm r8, {r0-r1}
4:
    arguments r0
    ldr r1, [r0, #4]
    ldr r2, [r0, #8]
    ldr r3, [r0, #36]
    ldr r4, [r0, #40]
    ldr r5, [r0, #44]
    add r1, r1, r4
    add r2, r2, r5
    subs r3, r3, #1
    str r1, [r0, #4]
    str r2, [r0, #8]
    str r3, [r0, #36]
    bne 5b
    slots_close
    pop {r0, r4-r11, pc}
    .size pressboard_dot, .-pressboard_dot",
    options(raw)
);
