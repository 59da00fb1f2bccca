//! Storing 8-bit outputs in assembly: 6 cycles an output, 18 a pooled one.

use core::arch::global_asm;

/// What a row's stores share.
#[repr(C)]
pub struct Store {
    /// Multipliers of the two channels.
    pub m: [i32; 2],
    /// Shifts of the two channels.
    pub shift: [u32; 2],
    /// Bytes from one pixel to the next.
    pub pixel: usize,
}

unsafe extern "C" {
    fn pressboard_output8(acc: *const i32, row: *mut u8, store: *const Store, pixels: usize);
    fn pressboard_output8_pool(
        acc: *const i32,
        row: *mut u8,
        store: *const Store,
        pixels: usize,
        second: *const i32,
    );
}

/// Stores accumulators, `[pool][conv_w][2]`, as two bytes at each pixel of `row`.
pub fn two_bytes(store: &Store, pool: bool, acc: &[i32], row: &mut [u8]) {
    let room = match row.len().checked_sub(2) {
        Some(rest) => rest / store.pixel.max(1) + 1,
        None => 0,
    };
    let (first, second) = match pool {
        true => acc.split_at_checked(acc.len() / 2).unwrap_or((acc, &[])),
        false => (acc, acc),
    };
    let there = if pool {
        second.len().min(first.len()) / 4
    } else {
        acc.len() / 2
    };
    let pixels = room.min(there);
    if pixels == 0 {
        return;
    }
    let (acc, row, store) = (first.as_ptr(), row.as_mut_ptr(), &raw const *store);
    // SAFETY: a pixel reads two accumulators, or four in each of two rows, and writes two
    // bytes; so many of them were just seen to be inside of all slices.
    unsafe {
        match pool {
            true => pressboard_output8_pool(acc, row, store, pixels, second.as_ptr()),
            false => pressboard_output8(acc, row, store, pixels),
        }
    }
}

// r0 accumulators, r1 row, r3 pixels left, r8 to r11 multipliers and shifts, r12 a pixel's bytes.
global_asm!(
    ".syntax unified

    .macro quantize_two a, b
    lsl \\a, \\a, r10
    lsl \\b, \\b, r11
    smmulr \\a, \\a, r8
    smmulr \\b, \\b, r9
    usat \\a, #8, \\a
    usat \\b, #8, \\b
    orr \\a, \\a, \\b, lsl #8
    .endm

    .macro larger a, b
    cmp \\a, \\b
    it lt
    movlt \\a, \\b
    .endm

    .section .text.pressboard_output8,\"ax\",%progbits
    .global pressboard_output8
    .type pressboard_output8,%function
    .thumb_func
pressboard_output8:
    push {r4-r11, lr}
    ldm r2, {r8-r12}
    subs r3, r3, #4
    blt 2f
1:
    .rept 2
    ldm r0!, {r4-r7}
    quantize_two r4, r5
    quantize_two r6, r7
    strh r4, [r1]
    strh r6, [r1, r12]
    add r1, r1, r12, lsl #1
    .endr
    subs r3, r3, #4
    bge 1b
2:
    adds r3, r3, #4
    beq 4f
3:
    ldm r0!, {r4-r5}
    quantize_two r4, r5
    strh r4, [r1]
    add r1, r1, r12
    subs r3, r3, #1
    bne 3b
4:
    pop {r4-r11, pc}
    .size pressboard_output8, .-pressboard_output8

    .section .text.pressboard_output8_pool,\"ax\",%progbits
    .global pressboard_output8_pool
    .type pressboard_output8_pool,%function
    .thumb_func
pressboard_output8_pool:
    push {r4-r11, lr}
    ldm r2, {r8-r12}
    ldr r2, [sp, #36]
1:
    ldm r0!, {r4-r7}
    larger r4, r6
    larger r5, r7
    .rept 2
    ldm r2!, {r6, r7}
    larger r4, r6
    larger r5, r7
    .endr
    quantize_two r4, r5
    strh r4, [r1]
    add r1, r1, r12
    subs r3, r3, #1
    bne 1b
    pop {r4-r11, pc}
    .size pressboard_output8_pool, .-pressboard_output8_pool",
    options(raw)
);
