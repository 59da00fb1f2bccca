@ What the stages of F(4x4,3x3) and F(2x2,3x3) share: products, and loading of activations.
@ ARMv7E-M with an FPU, whose registers hold counters and intermediate values. Layouts are in
@ mod.rs, the algebra in shared/src/winograd.rs.
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
@ 6 loads (4 and 2 in a row) and 8 SMLAD: 16 cycles for 16 multiplications. SMUAD begins sums.
    .macro wg_pair offset, op, a0, a1, a2, a3, b0, b1, b2, b3
    ldr r8, [r12, #\offset]
    ldr r9, [r12, #\offset+4]
    ldr r11, [lr, #4]
    ldr r10, [lr], #16
    \op r1, r8, r11 \a1
    \op r5, r9, r11 \b1
    \op r0, r8, r10 \a0
    \op r4, r9, r10 \b0
    ldr r10, [lr, #-8]
    ldr r11, [lr, #-4]
    \op r2, r8, r10 \a2
    \op r6, r9, r10 \b2
    \op r3, r8, r11 \a3
    \op r7, r9, r11 \b3
    .endm

@ A turn of the unrolled loop is 16 pairs; the first turn of a position may be entered late,
@ so that pairs need not be a multiple of 16. The carry says whether a turn follows: neither
@ loads nor products change it. With one turn it is clear from comparing with the end.
@ s0 sum, s1 their end, s2 turns to come less one, s3 what turns after the first step weights
@ by, s4 turns after the first less one, s5 how a position begins, s6 how
@ its sums begin, s7 entry.
    .macro wg_multiply name, positions
    wg_function \name
    push {r4-r11, lr}
    ldm r0, {r1-r5}             @ weights, tiles, sums, groups of 2 pairs, adds to sums?
    mov lr, r2
    mov r12, r1
    vmov s0, r3
    add r6, r3, #4*\positions
    vmov s1, r6
    subs r4, r4, #1
    lsr r7, r4, #3              @ turns after the first
    and r4, r4, #7
    rsb r4, r4, #7              @ groups that the first turn leaves out
    mov r8, #16*\positions
    mls r12, r4, r8, r12
    mov r8, #128*\positions
    mul r8, r7, r8
    vmov s3, r8
    add r12, r12, r8
    sub r8, r7, #1
    vmov s4, r8
    movw r8, #:lower16:.Lwg_turn\positions
    movt r8, #:upper16:.Lwg_turn\positions
    mov r9, #112
    mla r9, r4, r9, r8
    orr r9, r9, #1
    vmov s7, r9
    @ How sums begin: added to, by SMUAD where the first turn is whole, else cleared.
    adr r9, 7f
    adr r10, 6f
    adr r11, 5f
    cmp r5, #0
    it ne
    movne r10, r9
    orr r5, r5, r4
    cmp r5, #0
    it eq
    moveq r10, r11
    orr r10, r10, #1
    vmov s6, r10
    adr r9, 4f
    orr r9, r9, #1
    cmp r7, #0
    it eq
    moveq r9, r10
    vmov s5, r9
    cmp r3, r6
    vmov r9, s5
    bx r9
    .balign 4
4:  @ Several turns.
    vmov r8, s3
    vmov r9, s6
    vmov.f32 s2, s4
    sub r12, r12, r8
    cmp r9, #0
    bx r9
    .balign 4
5:
    wg_pair 0, smuad
    b 3f
    .balign 4
6:
    movs r0, #0
    movs r1, #0
    movs r2, #0
    movs r3, #0
    vmov r9, s7
    movs r4, #0
    movs r5, #0
    movs r6, #0
    movs r7, #0
    bx r9
    .balign 4
7:
    vmov r8, s0
    ldr r0, [r8, #0*\positions]
    ldr r1, [r8, #4*\positions]
    ldr r2, [r8, #8*\positions]
    ldr r3, [r8, #12*\positions]
    ldr r4, [r8, #16*\positions]
    ldr r5, [r8, #20*\positions]
    ldr r6, [r8, #24*\positions]
    ldr r7, [r8, #28*\positions]
    vmov r9, s7
    bx r9
    .balign 4
2:  @ Another turn.
    vmov r8, s2
    add r12, r12, #128*\positions
    subs r8, r8, #1
    vmov s2, r8
.Lwg_turn\positions:
    wg_pair 0, smlad, ",r0", ",r1", ",r2", ",r3", ",r4", ",r5", ",r6", ",r7"
3:
    .set at, 8
    .rept 15
    wg_pair at, smlad, ",r0", ",r1", ",r2", ",r3", ",r4", ",r5", ",r6", ",r7"
    .if at % 16
    .set at, at-8+16*\positions
    .else
    .set at, at+8
    .endif
    .endr
    bcs 2b
    vmov r8, s0
    vmov r9, s1
    str r0, [r8, #0*\positions]
    str r1, [r8, #4*\positions]
    str r2, [r8, #8*\positions]
    str r3, [r8, #12*\positions]
    str r4, [r8, #16*\positions]
    str r5, [r8, #20*\positions]
    str r6, [r8, #24*\positions]
    str r7, [r8, #28*\positions]
    add r8, r8, #4
    add r12, r12, #16
    vmov s0, r8
    cmp r8, r9
    beq 8f
    vmov r9, s5
    bx r9
8:
    pop {r4-r11, pc}
    .endm

@ ---- Activations: a group of four channels of one pixel ---------------------------------
@ Zero where bit `i` of the mask r10 is not set.
    .macro wg_load_if to, i, address:vararg
    tst r10, #1<<\i
    ite ne
    ldrne \to, \address
    moveq \to, #0
    .endm

@ ---- Weights: the nine taps of two channels in r2-r10 -------------------------------------
@ From lanes: s0 taps, stepped by 8; s2 bytes of a tap. Temporaries r0, r11, r12, lr.
    .macro wg_plain_taps
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
    .endm

@ From nine words of bytes at s0: channels 0 and 2, or 1 and 3, which step s0 too.
    .macro wg_stored_bytes odd
    vmov r0, s0
    .if \odd
    ldm r0!, {r2-r10}
    vmov s0, r0
    .irp r, r2, r3, r4, r5, r6, r7, r8, r9, r10
    sxtb16 \r, \r, ror #8
    .endr
    .else
    ldm r0, {r2-r10}
    .irp r, r2, r3, r4, r5, r6, r7, r8, r9, r10
    sxtb16 \r, \r
    .endr
    .endif
    .endm

@ From nine words of fields at s0, less half their range, in lanes of 8 bits.
    .macro wg_stored_fields shift, mask, half, last
    vmov r0, s0
    .if \last
    ldm r0!, {r2-r10}
    vmov s0, r0
    .else
    ldm r0, {r2-r10}
    .endif
    mov lr, #\mask
    mov r12, #\half
    .irp r, r2, r3, r4, r5, r6, r7, r8, r9, r10
    .if \shift
    and \r, lr, \r, lsr #\shift
    .else
    and \r, lr, \r
    .endif
    ssub8 \r, \r, r12
    .endr
    .endm

@ Turns of the loops that read stored words: s0 words, s1 units left.
    .macro wg_begin name
    wg_function \name
    push {r4-r11, lr}
    vmov s0, r0
    vmov s1, r2
1:
    .endm

    .macro wg_end step
    .set base, 0
    vmov r0, s1
    add r1, r1, #\step
    subs r0, r0, #1
    vmov s1, r0
    bne 1b
    pop {r4-r11, pc}
    .endm
