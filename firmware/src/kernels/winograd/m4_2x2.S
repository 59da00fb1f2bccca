@ F(2x2,3x3): what differs from m4.S, whose macros this uses.

@ ---- Weights: one channel ---------------------------------------------------------------
@ r2-r10 the taps of a pair, r1 where it goes; s0-s3 as in m4.S, steps 8 and 248 in turn.
    .macro wg2_row a, b, c, row
    str \a, [r1, #16*\row]
    str \c, [r1, #16*(12+\row)]
    sadd16 r0, \a, \c
    sadd16 \a, r0, \b
    ssub16 \b, r0, \b
    str \a, [r1, #16*(4+\row)]
    str \b, [r1, #16*(8+\row)]
    .endm

@ A column of taps: (a, b, c) becomes rows a, sum = a + b + c, b = a - b + c, c.
    .macro wg2_column a, b, c, sum
    sadd16 r0, \a, \c
    sadd16 \sum, r0, \b
    ssub16 \b, r0, \b
    .endm

    wg_function pressboard_winograd_weights2
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
    wg2_column r2, r5, r8, r11
    wg2_column r3, r6, r9, r12
    wg2_column r4, r7, r10, lr
    wg2_row r2, r3, r4, 0
    wg2_row r11, r12, lr, 1
    wg2_row r5, r6, r7, 2
    wg2_row r8, r9, r10, 3
    vmov r2, s3
    vmov r3, s1
    add r1, r1, r2
    eor r2, r2, #0xf0
    vmov s3, r2
    subs r3, r3, #1
    vmov s1, r3
    bne 1b
    pop {r4-r11, pc}

@ ---- Input: one tile ---------------------------------------------------------------------
@ Results: x0, sum, x2, x3; x1 is used up. No lane leaves 16 bits.
    .macro wg2_axis x0, x1, x2, x3, sum
    ssub16 \x0, \x0, \x2
    ssub16 \x3, \x1, \x3
    sadd16 \sum, \x1, \x2
    ssub16 \x2, \x2, \x1
    .endm

    .macro wg2_spill offset, x0, sum, x2, x3
    str \x0, [sp, #\offset]
    str \sum, [sp, #\offset+4]
    str \x2, [sp, #\offset+8]
    str \x3, [sp, #\offset+12]
    .endm

@ Slots as in m4.S; rows 4 and 5 do not exist.
    .macro wg2_input_row row, mask, edge, bytes
    vmov r7, s\row
    vmov r8, s12
    vmov r9, s13
    .if \edge
    vmov r10, s\mask
    .endif
    wg_load r1, 0, \edge, \bytes, [r7]
    wg_load r2, 1, \edge, \bytes, [r7, r8]
    wg_load r3, 2, \edge, \bytes, [r7, r8, lsl #1]
    wg_load r4, 3, \edge, \bytes, [r7, r9]
    add r7, r7, #\bytes
    vmov s\row, r7
    wg_even r5, r1, \bytes
    wg_even r6, r2, \bytes
    wg_even r8, r3, \bytes
    wg_even r9, r4, \bytes
    wg2_axis r5, r6, r8, r9, r11
    wg2_spill 16*\row, r5, r11, r8, r9
    .irp x, r1, r2, r3, r4
    wg_odd \x, \bytes
    .endr
    wg2_axis r1, r2, r3, r4, r11
    wg2_spill 64+16*\row, r1, r11, r3, r4
    .endm

    .macro wg2_input name, edge, bytes
    wg_function \name
    push {r4-r11, lr}
    vldm r0, {s0-s15}
    ldr r0, [r0, #64]
    sub sp, sp, #132
1:
    wg2_input_row 0, 6, \edge, \bytes
    wg2_input_row 1, 7, \edge, \bytes
    wg2_input_row 2, 8, \edge, \bytes
    wg2_input_row 3, 9, \edge, \bytes
    vmov r8, s14
    add r10, r8, r8, lsl #1
    .irp half, 0, 1
    .irp column, 0, 1, 2, 3
    ldr r1, [sp, #64*\half+4*\column]
    ldr r2, [sp, #64*\half+4*\column+16]
    ldr r3, [sp, #64*\half+4*\column+32]
    ldr r4, [sp, #64*\half+4*\column+48]
    wg2_axis r1, r2, r3, r4, r5
    str r1, [r0]
    str r5, [r0, r8]
    str r3, [r0, r8, lsl #1]
    str r4, [r0, r10]
    add r0, r0, r8, lsl #2
    .endr
    sub r0, r0, r8, lsl #4
    add r0, r0, #16
    .endr
    vmov r1, s15
    subs r1, r1, #1
    vmov s15, r1
    bne 1b
    add sp, sp, #132
    pop {r4-r11, pc}
    .endm

    wg2_input pressboard_winograd_input2, 0, 4
    wg2_input pressboard_winograd_edge2, 1, 4
    wg2_input pressboard_winograd_edge2_u4, 1, 2
    wg2_input pressboard_winograd_edge2_u2, 1, 1

@ ---- Output: back to 2x2 sums of 2 channels x 4 tiles, pool, requantize, store ------------
@ s0-s3 places, s4-s9 bias, multiplier and shift of both channels, s10 step to the next row,
@ s11 to the next column (positions count columns first).
    .macro wg2_back
    ldm r0!, {r1-r8}
    add r9, r2, r3
    sub r2, r2, r3
    add r1, r9, r1, lsl #1
    sub r2, r2, r4, lsl #1
    add r9, r6, r7
    sub r6, r6, r7
    add r3, r9, r5, lsl #1
    sub r4, r6, r8, lsl #1
    ldm r0!, {r5-r12}
    add lr, r6, r7
    sub r6, r6, r7
    add r5, lr, r5, lsl #1
    sub r6, r6, r8, lsl #1
    add lr, r10, r11
    sub r10, r10, r11
    add r7, lr, r9, lsl #1
    sub r8, r10, r12, lsl #1
    add lr, r3, r5
    sub r3, r3, r5
    add r1, lr, r1, lsl #1
    sub r3, r3, r7, lsl #1
    add lr, r4, r6
    sub r4, r4, r6
    add r2, lr, r2, lsl #1
    sub r4, r4, r8, lsl #1
    .endm

    .macro wg2_requantize y
    add \y, r9, \y, asr #2
    lsl \y, \y, r11
    smmulr \y, \y, r10
    usat \y, #8, \y
    .endm

    .macro wg2_output name, pool
    wg_function \name
    push {r4-r11, lr}
    ldr r4, [sp, #36]
    vldm r1, {s0-s3}
    vldm r2, {s4-s9}
    vmov s10, r3
    vmov s11, r4
    .irp co, 0, 1
    .irp t, 0, 1, 2, 3
    wg2_back
    .if \co
    vmov r9, s7
    vmov r10, s8
    vmov r11, s9
    .else
    vmov r9, s4
    vmov r10, s5
    vmov r11, s6
    .endif
    vmov r12, s\t
    .if \pool
    cmp r1, r2
    it lt
    movlt r1, r2
    cmp r3, r4
    it lt
    movlt r3, r4
    cmp r1, r3
    it lt
    movlt r1, r3
    wg2_requantize r1
    strb r1, [r12, #\co]
    .else
    vmov r5, s10
    vmov r6, s11
    wg2_requantize r1
    add r5, r5, r12
    wg2_requantize r2
    add r7, r12, r6
    wg2_requantize r3
    add r8, r5, r6
    wg2_requantize r4
    strb r1, [r12, #\co]
    strb r2, [r5, #\co]
    strb r3, [r7, #\co]
    strb r4, [r8, #\co]
    .endif
    .endr
    .endr
    pop {r4-r11, pc}
    .endm

    wg2_output pressboard_winograd_output2, 0
    wg2_output pressboard_winograd_output2_pooled, 1
