@ F(4x4,3x3): products, weights and input; begins with macros of m4.S.

    wg_multiply pressboard_winograd_multiply, 36

@ ---- Weights: one channel ---------------------------------------------------------------
@ Columns of the taps first, then rows. Unscaled rows (1,0,0), (1,1,1), (1,-1,1), (1,2,4),
@ (1,-2,4), (0,0,1). r2-r10 the taps of a pair, r1 + `base` where it goes.
    .set base, 0
    .macro wg_put r, row, column
    str \r, [r1, #base+16*(6*\column+\row)]
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

@ (a, b, c) becomes (a + c, b, a + 4c), in lanes of 16 or 8 bits.
    .macro wg_column bits, a, b, c
    sadd\bits r0, \a, \c
    sadd\bits \c, \c, \c
    sadd\bits \c, \c, \c
    sadd\bits \c, \c, \a
    mov \a, r0
    .endm

@ r11, r12, lr = a row of taps in r2-r10, \op of the columns' first or last results and b.
    .macro wg_combine op, a0, a1, a2
    \op r11, \a0, r5
    \op r12, \a1, r6
    \op lr, \a2, r7
    .endm

    .macro wg_columns bits
    wg_column \bits, r2, r5, r8
    wg_column \bits, r3, r6, r9
    wg_column \bits, r4, r7, r10
    .endm

    .macro wg_double bits
    sadd\bits r5, r5, r5
    sadd\bits r6, r6, r6
    sadd\bits r7, r7, r7
    .endm

    .macro wg_transform
    wg_kept r2, r3, r4, 0
    wg_kept r8, r9, r10, 5
    wg_columns 16
    wg_combine sadd16, r2, r3, r4
    wg_row 1
    wg_combine ssub16, r2, r3, r4
    wg_row 2
    wg_double 16
    wg_combine sadd16, r8, r9, r10
    wg_row 3
    wg_combine ssub16, r8, r9, r10
    wg_row 4
    .endm

@ From lanes. s0 taps, s1 pairs left, s2 bytes of a tap, s3 step to the next pair, 8 and 568
@ in turn.
    wg_function pressboard_winograd_weights
    push {r4-r11, lr}
    vmov s0, r0
    vmov s1, r2
    vmov s2, r3
    mov r3, #8
    vmov s3, r3
1:
    wg_plain_taps
    wg_transform
    vmov r2, s3
    vmov r3, s1
    add r1, r1, r2
    eor r2, r2, #0x230
    vmov s3, r2
    subs r3, r3, #1
    vmov s1, r3
    bne 1b
    pop {r4-r11, pc}

@ From stored bytes, nine words of four channels a turn.
    wg_begin pressboard_winograd_weights_byte
    wg_stored_bytes 0
    wg_transform
    .set base, 8
    wg_stored_bytes 1
    wg_transform
    wg_end 576

@ From stored fields of 4 bits, four channels at a time: as far as the columns in lanes of 8
@ bits, which hold 7 times 8. Channels 0 and 2 of a word go first, two groups of four on the
@ others.
    .macro wg_widen half, a, b, c
    .if \half
    sxtb16 r11, \a, ror #8
    sxtb16 r12, \b, ror #8
    sxtb16 lr, \c, ror #8
    .else
    sxtb16 r11, \a
    sxtb16 r12, \b
    sxtb16 lr, \c
    .endif
    .endm

    .macro wg_wide_row half, a, b, c, row
    wg_widen \half, \a, \b, \c
    .set base, base+576*\half
    wg_row \row
    .set base, base-576*\half
    .endm

    .macro wg_wide_rows half
    wg_combine sadd8, r2, r3, r4
    wg_wide_row \half, r11, r12, lr, 1
    wg_combine ssub8, r2, r3, r4
    wg_wide_row \half, r11, r12, lr, 2
    .endm

    .macro wg_wide_rows_2 half
    wg_combine sadd8, r8, r9, r10
    wg_wide_row \half, r11, r12, lr, 3
    wg_combine ssub8, r8, r9, r10
    wg_wide_row \half, r11, r12, lr, 4
    .endm

    .macro wg_nibbles shift
    wg_stored_fields \shift, 0x0f0f0f0f, 0x08080808, (\shift == 4)
    .irp half, 0, 1
    wg_wide_row \half, r2, r3, r4, 0
    wg_wide_row \half, r8, r9, r10, 5
    .endr
    wg_columns 8
    wg_wide_rows 0
    wg_wide_rows 1
    wg_double 8
    wg_wide_rows_2 0
    wg_wide_rows_2 1
    .endm

    wg_begin pressboard_winograd_weights_nibble
    wg_nibbles 0
    .set base, 8
    wg_nibbles 4
    wg_end 1152

@ From stored fields of 2 bits: all of it in lanes of 8 bits, which hold 49 times 2. A word
@ has four times four channels: s2 bits to shift by, s3 step to the next four, 8 and 568 in
@ turn.
    .macro wg_narrow_put x, t, row, column
    sxtb16 \t, \x
    str \t, [r1, #16*(6*\column+\row)]
    sxtb16 \t, \x, ror #8
    str \t, [r1, #1152+16*(6*\column+\row)]
    .endm

@ A row that is kept; temporaries x, y, z, t.
    .macro wg_narrow_row a, b, c, row, x, y, z, t
    wg_narrow_put \a, \t, \row, 0
    wg_narrow_put \c, \t, \row, 5
    sadd8 \x, \a, \c
    sadd8 \y, \x, \b
    ssub8 \x, \x, \b
    wg_narrow_put \y, \t, \row, 1
    wg_narrow_put \x, \t, \row, 2
    sadd8 \x, \c, \c
    sadd8 \y, \b, \b
    sadd8 \x, \x, \x
    sadd8 \x, \x, \a
    sadd8 \z, \x, \y
    ssub8 \x, \x, \y
    wg_narrow_put \z, \t, \row, 3
    wg_narrow_put \x, \t, \row, 4
    .endm

    wg_function pressboard_winograd_weights_crumb
    push {r4-r11, lr}
    vmov s0, r0
    vmov s1, r2
    mov r2, #0
    vmov s2, r2
    mov r2, #8
    vmov s3, r2
1:
    vmov r0, s0
    vmov r11, s2
    ldm r0, {r2-r10}
    mov lr, #0x03030303
    mov r12, #0x02020202
    .irp r, r2, r3, r4, r5, r6, r7, r8, r9, r10
    lsr \r, \r, r11
    and \r, \r, lr
    ssub8 \r, \r, r12
    .endr
    wg_narrow_row r2, r3, r4, 0, r0, r11, r12, lr
    wg_narrow_row r8, r9, r10, 5, r0, r11, r12, lr
    wg_columns 8
    vmov s4, r8
    vmov s5, r9
    vmov s6, r10
    wg_combine sadd8, r2, r3, r4
    wg_narrow_row r11, r12, lr, 1, r0, r8, r9, r10
    ssub8 r2, r2, r5
    ssub8 r3, r3, r6
    ssub8 r4, r4, r7
    wg_narrow_row r2, r3, r4, 2, r0, r8, r9, r10
    vmov r8, s4
    vmov r9, s5
    vmov r10, s6
    wg_double 8
    wg_combine sadd8, r8, r9, r10
    wg_narrow_row r11, r12, lr, 3, r0, r2, r3, r4
    ssub8 r8, r8, r5
    ssub8 r9, r9, r6
    ssub8 r10, r10, r7
    wg_narrow_row r8, r9, r10, 4, r0, r2, r3, r4
    vmov r2, s2
    vmov r3, s3
    add r2, r2, #2
    add r1, r1, r3
    eor r3, r3, #0x230
    vmov s2, r2
    vmov s3, r3
    cmp r2, #8
    bne 1b
    mov r2, #0
    vmov s2, r2
    vmov r4, s0
    vmov r5, s1
    add r1, r1, #1152
    add r4, r4, #36
    vmov s0, r4
    subs r5, r5, #1
    vmov s1, r5
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

@ s0-s5 rows, s6-s11 masks, s12 pixel, s13 three pixels, s14 position, s15 groups left. With
@ `border`, rows may be absent, and the first and last pixel of those that are there.
    .macro wg_input_row row, mask, border
    vmov r7, s\row
    vmov r8, s12
    vmov r9, s13
    .if \border
    vmov r10, s\mask
    cmp r10, #0
    beq .Lwg_absent_\row
    .endif
    add r9, r9, r7
    .if \border
    wg_load_if r1, 0, [r7]
    .else
    ldr r1, [r7]
    .endif
    ldr r2, [r7, r8]
    ldr r3, [r7, r8, lsl #1]
    ldr r4, [r9]
    ldr r5, [r9, r8]
    .if \border
    wg_load_if r6, 5, [r9, r8, lsl #1]
    .else
    ldr r6, [r9, r8, lsl #1]
    .endif
    add r7, r7, #4
    vmov s\row, r7
    uxtb16 r8, r1
    uxtb16 r9, r2
    uxtb16 r10, r3
    uxtb16 r11, r4
    uxtb16 r12, r5
    uxtb16 lr, r6
    .if \row > 3
    add r12, r12, #0x8000
    add lr, lr, #0x8000
    .endif
    wg_axis r8, r9, r10, r11, r12, lr
    wg_spill 24*\row, r8, r9, r10, r12, lr
    .irp x, r1, r2, r3, r4, r5, r6
    uxtb16 \x, \x, ror #8
    .endr
    .if \row > 3
    add r5, r5, #0x8000
    add r6, r6, #0x8000
    .endif
    wg_axis r1, r2, r3, r4, r5, r6
    wg_spill 144+24*\row, r1, r2, r3, r5, r6
    .if \border
.Lwg_there_\row:
    .endif
    .endm

@ A row that does not exist: zeros, with what rows 4 and 5 are given.
    .macro wg_absent_row row
.Lwg_absent_\row:
    .if \row > 3
    mov r1, #0x8000
    .else
    mov r1, #0
    .endif
    .irp at, 0, 4, 8, 12, 16, 20, 144, 148, 152, 156, 160, 164
    str r1, [sp, #\at+24*\row]
    .endr
    b .Lwg_there_\row
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

@ Both halves' columns, the same for all inputs.
    wg_function pressboard_winograd_columns
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
    bx lr

    .macro wg_input name, border
    wg_function \name
    push {r4-r11, lr}
    vldm r0, {s0-s15}
    ldr r0, [r0, #64]
    sub sp, sp, #292
1:
    wg_input_row 0, 6, \border
    wg_input_row 1, 7, \border
    wg_input_row 2, 8, \border
    wg_input_row 3, 9, \border
    wg_input_row 4, 10, \border
    wg_input_row 5, 11, \border
    bl pressboard_winograd_columns
    vmov r1, s15
    subs r1, r1, #1
    vmov s15, r1
    bne 1b
    add sp, sp, #292
    pop {r4-r11, pc}
    .if \border
    .irp row, 0, 1, 2, 3, 4, 5
    wg_absent_row \row
    .endr
    .endif
    .endm

    wg_input pressboard_winograd_input, 0
    wg_input pressboard_winograd_border, 1
