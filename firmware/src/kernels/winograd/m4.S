@ Exact integer Winograd F(4x4,3x3) for ARMv7E-M with an FPU, whose registers hold counters
@ and intermediate values; the products of F(2x2,3x3) too, whose other stages are in m4_2x2.S. Layouts are in mod.rs, the algebra in shared/src/winograd.rs.
    .syntax unified
    .fpu fpv4-sp-d16

    .macro wg_function name
    .section .text.\name,"ax",%progbits
    .balign 16
    .global \name
    .type \name,%function
    .thumb_func
\name:
    .endm

@ ---- Products: 2 channels x 4 tiles at 36 or 16 positions -----------------------------
@ r0-r3 sums of channel 0, r4-r7 of channel 1; r12 weights, lr tiles. A pair of lanes takes
@ 6 loads (4 and 2 in a row) and 8 SMLAD: 16 cycles for 16 multiplications. The unrolled
@ loop is entered so that the groups need not be a multiple of 8.
@ s0 sum, s1 their end, s2 end of the position's tiles, s3 bytes of a position's tiles,
@ s4 weights of the position, s5 entry.
    .macro wg_pair offset
    ldr r8, [r12, #\offset]
    ldr r9, [r12, #\offset+4]
    ldr r11, [lr, #4]
    ldr r10, [lr], #16
    smlad r1, r8, r11, r1
    smlad r5, r9, r11, r5
    smlad r0, r8, r10, r0
    smlad r4, r9, r10, r4
    ldr r10, [lr, #-8]
    ldr r11, [lr, #-4]
    smlad r2, r8, r10, r2
    smlad r6, r9, r10, r6
    smlad r3, r8, r11, r3
    smlad r7, r9, r11, r7
    .endm

    .macro wg_multiply name, positions
    wg_function \name
    push {r4-r11, lr}
    ldm r0, {r1-r4}             @ weights, tiles, sums, groups
    mov lr, r2
    vmov s0, r3
    add r3, r3, #4*\positions
    vmov s1, r3
    lsl r5, r4, #5
    vmov s3, r5
    ands r6, r4, #7
    it eq
    moveq r6, #8
    movw r7, #:lower16:.Lwg_products\positions
    movt r7, #:upper16:.Lwg_products\positions
    mov r8, #112
    mls r7, r6, r8, r7
    orr r7, r7, #1
    vmov s5, r7
    rsb r6, r6, #8              @ groups that the first turn leaves out
    mov r8, #16*\positions
    mls r1, r6, r8, r1
    vmov s4, r1
1:
    vmov r12, s4
    vmov r8, s3
    vmov r9, s5
    movs r0, #0
    movs r1, #0
    movs r2, #0
    movs r3, #0
    add r8, r8, lr
    vmov s2, r8
    movs r4, #0
    movs r5, #0
    movs r6, #0
    movs r7, #0
    bx r9
    .balign 4
2:
    .set at, 0
    .rept 8
    wg_pair at
    wg_pair at+8
    .set at, at+16*\positions
    .endr
.Lwg_products\positions:
    vmov r8, s2
    add r12, r12, #128*\positions
    cmp lr, r8
    bne 2b
    vmov r8, s0
    vmov r9, s1
    vmov r10, s4
    str r0, [r8, #0*\positions]
    str r1, [r8, #4*\positions]
    str r2, [r8, #8*\positions]
    str r3, [r8, #12*\positions]
    str r4, [r8, #16*\positions]
    str r5, [r8, #20*\positions]
    str r6, [r8, #24*\positions]
    str r7, [r8, #28*\positions]
    add r8, r8, #4
    add r10, r10, #16
    vmov s0, r8
    vmov s4, r10
    cmp r8, r9
    bne 1b
    pop {r4-r11, pc}
    .endm

    wg_multiply pressboard_winograd_multiply, 36
    wg_multiply pressboard_winograd_multiply2, 16

@ ---- Weights: one channel ---------------------------------------------------------------
@ Columns of the taps first, then rows. Unscaled rows (1,0,0), (1,1,1), (1,-1,1), (1,2,4),
@ (1,-2,4), (0,0,1). r2-r10 the taps of a pair, r1 where it goes.
    .macro wg_put r, row, column
    str \r, [r1, #16*(6*\column+\row)]
    .endm

@ A row whose taps are kept; temporaries r0, r11, r12.
    .macro wg_kept a, b, c, row
    wg_put \a, \row, 0
    wg_put \c, \row, 5
    sadd16 r0, \a, \c
    sadd16 r11, r0, \b
    ssub16 r0, r0, \b
    sadd16 r12, \c, \c
    wg_put r11, \row, 1
    wg_put r0, \row, 2
    sadd16 r12, r12, r12
    sadd16 r12, r12, \a
    sadd16 r11, \b, \b
    sadd16 r0, r12, r11
    ssub16 r12, r12, r11
    wg_put r0, \row, 3
    wg_put r12, \row, 4
    .endm

@ A row in r11, r12, lr, which are used up; temporary r0.
    .macro wg_row row
    wg_put r11, \row, 0
    wg_put lr, \row, 5
    sadd16 r0, r11, lr
    sadd16 lr, lr, lr
    sadd16 lr, lr, lr
    sadd16 lr, lr, r11
    sadd16 r11, r0, r12
    ssub16 r0, r0, r12
    wg_put r11, \row, 1
    wg_put r0, \row, 2
    sadd16 r12, r12, r12
    sadd16 r11, lr, r12
    ssub16 lr, lr, r12
    wg_put r11, \row, 3
    wg_put lr, \row, 4
    .endm

@ (a, b, c) becomes (a + c, b, a + 4c).
    .macro wg_column a, b, c
    sadd16 r0, \a, \c
    sadd16 \c, \c, \c
    sadd16 \c, \c, \c
    sadd16 \c, \c, \a
    mov \a, r0
    .endm

@ s0 taps, s1 pairs left, s2 bytes of a tap, s3 step to the next pair, 8 and 568 in turn.
    wg_function pressboard_winograd_weights
    push {r4-r11, lr}
    vmov s0, r0
    vmov s1, r2
    lsl r3, r2, #3
    vmov s2, r3
    mov r3, #8
    vmov s3, r3
1:
    vmov r0, s0
    vmov r11, s2
    add r12, r0, #8
    vmov s0, r12
    add r12, r11, r11, lsl #1
    ldr r2, [r0]
    ldr r3, [r0, r11]
    ldr r4, [r0, r11, lsl #1]
    add r0, r0, r12
    add lr, r0, r12
    ldr r5, [r0]
    ldr r6, [r0, r11]
    ldr r7, [r0, r11, lsl #1]
    ldr r8, [lr]
    ldr r9, [lr, r11]
    ldr r10, [lr, r11, lsl #1]
    wg_kept r2, r3, r4, 0
    wg_kept r8, r9, r10, 5
    wg_column r2, r5, r8
    wg_column r3, r6, r9
    wg_column r4, r7, r10
    sadd16 r11, r2, r5
    sadd16 r12, r3, r6
    sadd16 lr, r4, r7
    wg_row 1
    ssub16 r11, r2, r5
    ssub16 r12, r3, r6
    ssub16 lr, r4, r7
    wg_row 2
    sadd16 r5, r5, r5
    sadd16 r6, r6, r6
    sadd16 r7, r7, r7
    sadd16 r11, r8, r5
    sadd16 r12, r9, r6
    sadd16 lr, r10, r7
    wg_row 3
    ssub16 r11, r8, r5
    ssub16 r12, r9, r6
    ssub16 lr, r10, r7
    wg_row 4
    vmov r2, s3
    vmov r3, s1
    add r1, r1, r2
    eor r2, r2, #0x230
    vmov s3, r2
    subs r3, r3, #1
    vmov s1, r3
    bne 1b
    pop {r4-r11, pc}

@ ---- Input: one tile --------------------------------------------------------------------
@ Two lanes are added as one integer; a carry from the low lane is kept off by adding 0x8000
@ to it in rows 4, 5 and columns 4, 5, which reaches every result once.
@ x0 to x5 become results 0, 1, r7 = 2, x2 = 3, x4 = 4, x5 = 5.
    .macro wg_axis x0, x1, x2, x3, x4, x5
    sub r7, \x4, \x2, lsl #2
    sub \x0, \x0, \x2
    sub \x5, \x5, \x3
    sub \x4, \x4, \x2
    sub \x2, \x3, \x1, lsl #2
    sub \x3, \x3, \x1
    add \x1, r7, \x2
    sub r7, r7, \x2
    add \x0, \x4, \x0, lsl #2
    sub \x5, \x5, \x3, lsl #2
    add \x2, \x4, \x3, lsl #1
    sub \x4, \x4, \x3, lsl #1
    .endm

    .macro wg_spill offset, x0, x1, x2, x4, x5
    str \x0, [sp, #\offset]
    str \x1, [sp, #\offset+4]
    str r7, [sp, #\offset+8]
    str \x2, [sp, #\offset+12]
    str \x4, [sp, #\offset+16]
    str \x5, [sp, #\offset+20]
    .endm

@ A group of four channels of one pixel, or zero where bit `i` of the mask r10 is not set.
    .macro wg_load to, i, edge, bytes, address:vararg
    .if \edge
    tst r10, #1<<\i
    ite ne
    .if \bytes == 4
    ldrne \to, \address
    .elseif \bytes == 2
    ldrhne \to, \address
    .else
    ldrbne \to, \address
    .endif
    moveq \to, #0
    .else
    ldr \to, \address
    .endif
    .endm

@ Channels 0 and 2 of a loaded group.
    .macro wg_even to, from, bytes
    .if \bytes == 4
    uxtb16 \to, \from
    .elseif \bytes == 2
    orr \from, \from, \from, lsl #8
    and \to, \from, #0x000f000f
    .else
    orr \from, \from, \from, lsl #12
    and \to, \from, #0x00030003
    .endif
    .endm

@ Channels 1 and 3 of what wg_even left.
    .macro wg_odd x, bytes
    .if \bytes == 4
    uxtb16 \x, \x, ror #8
    .elseif \bytes == 2
    lsr \x, \x, #4
    and \x, \x, #0x000f000f
    .else
    lsr \x, \x, #2
    and \x, \x, #0x00030003
    .endif
    .endm

@ s0-s5 rows, s6-s11 masks, s12 pixel, s13 three pixels, s14 position, s15 groups left.
    .macro wg_input_row row, mask, edge, bytes
    vmov r7, s\row
    vmov r8, s12
    vmov r9, s13
    .if \edge
    vmov r10, s\mask
    .endif
    add r9, r9, r7
    wg_load r1, 0, \edge, \bytes, [r7]
    wg_load r2, 1, \edge, \bytes, [r7, r8]
    wg_load r3, 2, \edge, \bytes, [r7, r8, lsl #1]
    wg_load r4, 3, \edge, \bytes, [r9]
    wg_load r5, 4, \edge, \bytes, [r9, r8]
    wg_load r6, 5, \edge, \bytes, [r9, r8, lsl #1]
    add r7, r7, #\bytes
    vmov s\row, r7
    wg_even r8, r1, \bytes
    wg_even r9, r2, \bytes
    wg_even r10, r3, \bytes
    wg_even r11, r4, \bytes
    wg_even r12, r5, \bytes
    wg_even lr, r6, \bytes
    .if \row > 3
    add r12, r12, #0x8000
    add lr, lr, #0x8000
    .endif
    wg_axis r8, r9, r10, r11, r12, lr
    wg_spill 24*\row, r8, r9, r10, r12, lr
    .irp x, r1, r2, r3, r4, r5, r6
    wg_odd \x, \bytes
    .endr
    .if \row > 3
    add r5, r5, #0x8000
    add r6, r6, #0x8000
    .endif
    wg_axis r1, r2, r3, r4, r5, r6
    wg_spill 144+24*\row, r1, r2, r3, r5, r6
    .endm

@ r8 bytes of a position, r10 three times, r11 six times.
    .macro wg_input_column half, column
    ldr r1, [sp, #144*\half+4*\column]
    ldr r2, [sp, #144*\half+4*\column+24]
    ldr r3, [sp, #144*\half+4*\column+48]
    ldr r4, [sp, #144*\half+4*\column+72]
    ldr r5, [sp, #144*\half+4*\column+96]
    ldr r6, [sp, #144*\half+4*\column+120]
    add r9, r0, r10
    wg_axis r1, r2, r3, r4, r5, r6
    .irp x, r1, r2, r7, r3, r5, r6
    eor \x, \x, #0x8000
    .endr
    str r1, [r0]
    str r2, [r0, r8]
    str r7, [r0, r8, lsl #1]
    str r3, [r9]
    str r5, [r9, r8]
    str r6, [r9, r8, lsl #1]
    add r0, r0, r11
    .endm

    .macro wg_input name, edge, bytes
    wg_function \name
    push {r4-r11, lr}
    vldm r0, {s0-s15}
    ldr r0, [r0, #64]
    sub sp, sp, #292
1:
    wg_input_row 0, 6, \edge, \bytes
    wg_input_row 1, 7, \edge, \bytes
    wg_input_row 2, 8, \edge, \bytes
    wg_input_row 3, 9, \edge, \bytes
    wg_input_row 4, 10, \edge, \bytes
    wg_input_row 5, 11, \edge, \bytes
    vmov r8, s14
    add r10, r8, r8, lsl #1
    lsl r11, r10, #1
    .irp half, 0, 1
    .irp column, 0, 1, 2, 3, 4, 5
    wg_input_column \half, \column
    .endr
    sub r0, r0, r11, lsl #2
    sub r0, r0, r11, lsl #1
    add r0, r0, #16
    .endr
    vmov r1, s15
    subs r1, r1, #1
    vmov s15, r1
    bne 1b
    add sp, sp, #292
    pop {r4-r11, pc}
    .endm

    wg_input pressboard_winograd_input, 0, 4
    wg_input pressboard_winograd_edge, 1, 4
    wg_input pressboard_winograd_edge_u4, 1, 2
    wg_input pressboard_winograd_edge_u2, 1, 1

