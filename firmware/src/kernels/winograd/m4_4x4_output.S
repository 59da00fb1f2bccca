@ F(4x4,3x3), the last stage; begins with wg_function of m4.S.

@ ---- Output: back to 4x4 sums, pool, requantize, store -----------------------------------
@ r1 to r6 become y0 = r1, y1 = r5, y2 = r3, y3 = r2, times 24, 12, 6, 6; temporary r7.
    .macro wg_back
    add r7, r2, r3
    sub r2, r2, r3
    add r3, r4, r5
    sub r4, r4, r5
    add r1, r1, r1, lsl #1
    sub r5, r3, r7, lsl #2
    add r6, r6, r6, lsl #1
    add r1, r5, r1, lsl #1
    sub r5, r4, r2, lsl #1
    sub r3, r3, r7
    rsb r2, r2, r4, lsl #1
    add r2, r2, r6, lsl #1
    .endm

    .macro wg_from_sums j, a, b, c, d
    ldm r0!, {r1-r6}
    wg_back
    vmov s\a, r1
    vmov s\b, r5
    vmov s\c, r3
    vmov s\d, r2
    .endm

    .macro wg_from_columns a, b, c, d, e, f
    vmov r1, s\a
    vmov r2, s\b
    vmov r3, s\c
    vmov r4, s\d
    vmov r5, s\e
    vmov r6, s\f
    wg_back
    .endm

    .macro wg_requantize x, y
    lsl \x, \x, r10
    lsl \y, \y, r10
    smmulr \x, \x, r9
    smmulr \y, \y, r9
    usat \x, #8, \x
    usat \y, #8, \y
    .endm

    .macro wg_store_row k0, k1, k2, k3
    mul r1, r1, r11
    mul r5, r5, r11
    mul r3, r3, r11
    mul r2, r2, r11
    add r1, r8, r1, asr #\k0
    add r5, r8, r5, asr #\k1
    add r3, r8, r3, asr #\k2
    add r2, r8, r2, asr #\k3
    wg_requantize r1, r5
    strb r1, [r12]
    add r4, r12, lr
    lsl r3, r3, r10
    lsl r2, r2, r10
    strb r5, [r4]
    add r4, r4, lr
    smmulr r3, r3, r9
    smmulr r2, r2, r9
    usat r3, #8, r3
    strb r3, [r4]
    add r4, r4, lr
    usat r2, #8, r2
    strb r2, [r4]
    add r12, r12, r0
    .endm

    .macro wg_max a, b
    cmp \a, \b
    it lt
    movlt \a, \b
    .endm

    .macro wg_pool_row k0, k1, k2, k3
    mul r1, r1, r11
    mul r5, r5, r11
    mul r3, r3, r11
    mul r2, r2, r11
    asr r1, r1, #\k0
    asr r5, r5, #\k1
    asr r3, r3, #\k2
    asr r2, r2, #\k3
    wg_max r1, r5
    wg_max r3, r2
    .endm

    .macro wg_store_pooled a, b, last
    vmov r5, s\a
    vmov r2, s\b
    wg_max r1, r5
    wg_max r3, r2
    add r1, r1, r8
    add r3, r3, r8
    wg_requantize r1, r3
    strb r1, [r12]
    add r12, r12, lr
    .if \last==0
    sub r5, r0, lr
    .endif
    strb r3, [r12]
    .if \last==0
    add r12, r12, r5
    .endif
    .endm

@ s0-s23 columns, s24 place of the tile's output, s25 the places' end, s26 bias, s27
@ multiplier, s28 the inverse of 9, s29 step to the next column, s30 to the next row, s31
@ channel; on the stack the shift, the next channel's parameters, the first place, the sums.
    .macro wg_output name, pool
    wg_function \name
    push {r4-r11, lr}
    ldr r4, [sp, #36]
    ldr r5, [sp, #40]
    vpush {s16-s31}
    vmov s24, r1    @ out table
    add r5, r1, r5, lsl #2
    vmov s25, r5    @ its end
    movw r6, #0x8E39
    movt r6, #0x38E3    @ 9^-1 mod 2^32
    vmov s28, r6
    vmov s29, r3
    vmov s30, r4
    mov r7, #0
    vmov s31, r7    @ channel 0 or 1
    vldm r2, {s26, s27}    @ bias, mult
    ldr r8, [r2, #8]
    add r2, r2, #12
    sub sp, sp, #16
    str r8, [sp]    @ l
    str r2, [sp, #4]    @ par of channel 1
    str r1, [sp, #8]
1:
    wg_from_sums 0, 0, 6, 12, 18
    wg_from_sums 1, 1, 7, 13, 19
    wg_from_sums 2, 2, 8, 14, 20
    wg_from_sums 3, 3, 9, 15, 21
    wg_from_sums 4, 4, 10, 16, 22
    wg_from_sums 5, 5, 11, 17, 23
    str r0, [sp, #12]
    vmov r1, s24
    vmov r2, s31
    ldr r12, [r1], #4
    ldr r10, [sp]
    vmov s24, r1
    add r12, r12, r2
    vmov r8, s26
    vmov r9, s27
    vmov r11, s28
    vmov lr, s29
    vmov r0, s30
    wg_from_columns 0, 1, 2, 3, 4, 5
    .if \pool
    wg_pool_row 6, 5, 4, 4
    vmov s0, r1
    vmov s1, r3
    .else
    wg_store_row 6, 5, 4, 4
    .endif
    wg_from_columns 6, 7, 8, 9, 10, 11
    .if \pool
    wg_pool_row 5, 4, 3, 3
    wg_store_pooled 0, 1, 0
    .else
    wg_store_row 5, 4, 3, 3
    .endif
    wg_from_columns 12, 13, 14, 15, 16, 17
    .if \pool
    wg_pool_row 4, 3, 2, 2
    vmov s0, r1
    vmov s1, r3
    .else
    wg_store_row 4, 3, 2, 2
    .endif
    wg_from_columns 18, 19, 20, 21, 22, 23
    .if \pool
    wg_pool_row 4, 3, 2, 2
    wg_store_pooled 0, 1, 1
    .else
    wg_store_row 4, 3, 2, 2
    .endif
    vmov r1, s24
    vmov r2, s25
    ldr r0, [sp, #12]
    cmp r1, r2
    bne 1b
    vmov r3, s31
    ldr r2, [sp, #4]
    ldr r1, [sp, #8]
    ldr r7, [sp, #124]    @ channels: 16 locals + 64 VFP + 36 core + 8
    add r3, r3, #1
    cmp r3, r7
    beq 2f
    vmov s31, r3
    ldr r4, [r2]
    ldr r5, [r2, #4]
    ldr r6, [r2, #8]
    add r2, r2, #12
    str r2, [sp, #4]
    vmov s24, r1
    vmov s26, r4
    vmov s27, r5
    str r6, [sp]
    b 1b
2:
    add sp, sp, #16
    vpop {s16-s31}
    pop {r4-r11, pc}
    .endm

    wg_output pressboard_winograd_output, 0
    wg_output pressboard_winograd_output_pooled, 1
