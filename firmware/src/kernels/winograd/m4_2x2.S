@ F(2x2,3x3); begins with macros of m4.S.

    wg_multiply pressboard_winograd_multiply2, 16

@ ---- Weights: one channel ---------------------------------------------------------------
@ r2-r10 the taps of a pair, r1 + `base` where it goes.
    .macro wg2_row a, b, c, row
    str \a, [r1, #base+16*\row]
    str \c, [r1, #base+16*(12+\row)]
    sadd16 r0, \a, \c
    sadd16 \a, r0, \b
    ssub16 \b, r0, \b
    str \a, [r1, #base+16*(4+\row)]
    str \b, [r1, #base+16*(8+\row)]
    .endm

@ A column of taps: (a, b, c) becomes rows a, sum = a + b + c, b = a - b + c, c.
    .macro wg2_column bits, a, b, c, sum
    sadd\bits r0, \a, \c
    sadd\bits \sum, r0, \b
    ssub\bits \b, r0, \b
    .endm

    .macro wg2_columns bits
    wg2_column \bits, r2, r5, r8, r11
    wg2_column \bits, r3, r6, r9, r12
    wg2_column \bits, r4, r7, r10, lr
    .endm

    .macro wg2_rows row
    \row r2, r3, r4, 0
    \row r11, r12, lr, 1
    \row r5, r6, r7, 2
    \row r8, r9, r10, 3
    .endm

@ From lanes. s0-s3 as in m4_4x4.S, steps 8 and 248 in turn.
    wg_function pressboard_winograd_weights2
    push {r4-r11, lr}
    vmov s0, r0
    vmov s1, r2
    vmov s2, r3
    mov r3, #8
    vmov s3, r3
1:
    wg_plain_taps
    wg2_columns 16
    wg2_rows wg2_row
    vmov r2, s3
    vmov r3, s1
    add r1, r1, r2
    eor r2, r2, #0xf0
    vmov s3, r2
    subs r3, r3, #1
    vmov s1, r3
    bne 1b
    pop {r4-r11, pc}

@ Two units a turn; of an odd number the first turn does one. Entered with s0 words, r1
@ place, r2 units.
    .macro wg2_bytes at
    .set base, \at
    wg_stored_bytes 0
    wg2_columns 16
    wg2_rows wg2_row
    .set base, \at+8
    wg_stored_bytes 1
    wg2_columns 16
    wg2_rows wg2_row
    .set base, 0
    .endm

    wg_function pressboard_winograd_weights2_byte
    push {r4-r11, lr}
    vmov s0, r0
    add r3, r1, r2, lsl #8      @ end of the places
    vmov s1, r3
    tst r2, #1
    beq 1f
    sub r1, r1, #256
    b 2f
1:
    wg2_bytes 0
2:
    wg2_bytes 256
    vmov r0, s1
    add r1, r1, #512
    cmp r1, r0
    bne 1b
    pop {r4-r11, pc}

@ From fields of 4 or 2 bits, all of it in lanes of 8 bits, which hold 9 times 8: four
@ channels at a time, of which the last two go `far` behind the others.
    .macro wg2_put x, row, column
    sxtb16 r0, \x
    str r0, [r1, #base+16*(4*\column+\row)]
    sxtb16 r0, \x, ror #8
    str r0, [r1, #base+far+16*(4*\column+\row)]
    .endm

    .macro wg2_narrow_row a, b, c, row
    wg2_put \a, \row, 0
    wg2_put \c, \row, 3
    sadd8 r0, \a, \c
    sadd8 \a, r0, \b
    ssub8 \b, r0, \b
    wg2_put \a, \row, 1
    wg2_put \b, \row, 2
    .endm

    .macro wg2_fields shift, mask, half, last
    wg_stored_fields \shift, \mask, \half, \last
    wg2_columns 8
    wg2_rows wg2_narrow_row
    .endm

    wg_begin pressboard_winograd_weights2_nibble
    .set far, 256
    wg2_fields 0, 0x0f0f0f0f, 0x08080808, 0
    .set base, 8
    wg2_fields 4, 0x0f0f0f0f, 0x08080808, 1
    wg_end 512

    wg_begin pressboard_winograd_weights2_crumb
    .set far, 512
    wg2_fields 0, 0x03030303, 0x02020202, 0
    .set base, 8
    wg2_fields 2, 0x03030303, 0x02020202, 0
    .set base, 256
    wg2_fields 4, 0x03030303, 0x02020202, 0
    .set base, 264
    wg2_fields 6, 0x03030303, 0x02020202, 1
    wg_end 1024

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

@ Slots as in m4_4x4.S; rows 4 and 5 do not exist.
    .macro wg2_input_row row, mask, border
    vmov r7, s\row
    vmov r8, s12
    vmov r9, s13
    .if \border
    vmov r10, s\mask
    cmp r10, #0
    beq .Lwg2_absent_\row
    wg_load_if r1, 0, [r7]
    .else
    ldr r1, [r7]
    .endif
    ldr r2, [r7, r8]
    ldr r3, [r7, r8, lsl #1]
    .if \border
    wg_load_if r4, 3, [r7, r9]
    .else
    ldr r4, [r7, r9]
    .endif
    add r7, r7, #4
    vmov s\row, r7
    uxtb16 r5, r1
    uxtb16 r6, r2
    uxtb16 r8, r3
    uxtb16 r9, r4
    wg2_axis r5, r6, r8, r9, r11
    wg2_spill 16*\row, r5, r11, r8, r9
    .irp x, r1, r2, r3, r4
    uxtb16 \x, \x, ror #8
    .endr
    wg2_axis r1, r2, r3, r4, r11
    wg2_spill 64+16*\row, r1, r11, r3, r4
    .if \border
.Lwg2_there_\row:
    .endif
    .endm

@ A row that does not exist.
    .macro wg2_absent_row row
.Lwg2_absent_\row:
    mov r1, #0
    .irp at, 0, 4, 8, 12, 64, 68, 72, 76
    str r1, [sp, #\at+16*\row]
    .endr
    b .Lwg2_there_\row
    .endm

@ Both halves' columns, the same for all inputs.
    wg_function pressboard_winograd_columns2
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
    bx lr

    .macro wg2_input name, border
    wg_function \name
    push {r4-r11, lr}
    vldm r0, {s0-s15}
    ldr r0, [r0, #64]
    sub sp, sp, #132
1:
    wg2_input_row 0, 6, \border
    wg2_input_row 1, 7, \border
    wg2_input_row 2, 8, \border
    wg2_input_row 3, 9, \border
    bl pressboard_winograd_columns2
    vmov r1, s15
    subs r1, r1, #1
    vmov s15, r1
    bne 1b
    add sp, sp, #132
    pop {r4-r11, pc}
    .if \border
    .irp row, 0, 1, 2, 3
    wg2_absent_row \row
    .endr
    .endif
    .endm

    wg2_input pressboard_winograd_input2, 0
    wg2_input pressboard_winograd_border2, 1

@ ---- Output: back to 2x2 sums of channels x 4 tiles, pool, requantize, store --------------
@ s0 the next place, s1 the first, s2 their end, s3 the second channel's parameters, s4-s6
@ bias, multiplier and shift, s7 channel, s8 channels, s10 step to the next row, s11 to the
@ next column (positions count columns first).
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
    ldr r5, [sp, #44]
    vldm r2!, {s4-s6}
    vmov s0, r1
    vmov s1, r1
    add r6, r1, #16
    vmov s2, r6
    vmov s3, r2
    mov r6, #0
    vmov s7, r6
    vmov s8, r5
    vmov s10, r3
    vmov s11, r4
1:
    wg2_back
    vmov lr, s0
    vmov r5, s7
    ldr r12, [lr], #4
    vmov r9, s4
    vmov r10, s5
    vmov r11, s6
    vmov s0, lr
    add r12, r12, r5
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
    strb r1, [r12]
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
    strb r1, [r12]
    strb r2, [r5]
    strb r3, [r7]
    strb r4, [r8]
    .endif
    vmov r5, s2
    cmp lr, r5
    bne 1b
    vmov r5, s7
    vmov r6, s8
    add r5, r5, #1
    cmp r5, r6
    beq 2f
    vmov s7, r5
    vmov lr, s1
    vmov r6, s3
    vmov s0, lr
    vldm r6, {s4-s6}
    b 1b
2:
    pop {r4-r11, pc}
    .endm

    wg2_output pressboard_winograd_output2, 0
    wg2_output pressboard_winograd_output2_pooled, 1
