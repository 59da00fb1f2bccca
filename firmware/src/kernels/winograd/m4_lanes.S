@ Weights of 3, 5, 6 and 7 bits in lanes (shared/src/weights.rs) become bytes: nine words, one
@ a tap, for each group of four channels. Begins with wg_function of m4.S.
@ r0 words, r1 bytes, lr taps left; a tap's words from r2 on; r12 half the range.

    .macro wgl_begin name, half
    wg_function \name
    push {r4-r11, lr}
    mov r12, #\half
    mov lr, #9
1:
    .endm

    .macro wgl_end
    add r1, r1, #4
    subs lr, lr, #1
    bne 1b
    pop {r4-r11, pc}
    .endm

    .macro wgl_store r, group
    ssub8 \r, \r, r12
    str \r, [r1, #36*(\group)]
    .endm

@ The lowest bits that a group has of the bits that are left over, then others.
    .macro wgl_low from, mask, shift
    and r10, \from, #\mask
    lsr r10, r10, #\shift
    .endm

    .macro wgl_more from, mask, shift
    and r9, \from, #\mask
    .if \shift
    orr r10, r10, r9, lsr #\shift
    .else
    orr r10, r10, r9
    .endif
    .endm

    .macro wgl_whole from, mask, group
    and \from, \from, #\mask
    wgl_store \from, \group
    .endm

    wgl_begin pressboard_winograd_lanes_7, 0x40404040
    ldm r0!, {r2-r8}
    wgl_low r2, 0x80808080, 7
    wgl_more r3, 0x80808080, 6
    wgl_more r4, 0x80808080, 5
    wgl_more r5, 0x80808080, 4
    wgl_more r6, 0x80808080, 3
    wgl_more r7, 0x80808080, 2
    wgl_more r8, 0x80808080, 1
    wgl_store r10, 7
    .set group, 0
    .irp r, r2, r3, r4, r5, r6, r7, r8
    wgl_whole \r, 0x7f7f7f7f, group
    .set group, group+1
    .endr
    wgl_end

    wgl_begin pressboard_winograd_lanes_6, 0x20202020
    ldm r0!, {r2-r4}
    wgl_low r2, 0xc0c0c0c0, 6
    wgl_more r3, 0xc0c0c0c0, 4
    wgl_more r4, 0xc0c0c0c0, 2
    wgl_store r10, 3
    wgl_whole r2, 0x3f3f3f3f, 0
    wgl_whole r3, 0x3f3f3f3f, 1
    wgl_whole r4, 0x3f3f3f3f, 2
    wgl_end

    wgl_begin pressboard_winograd_lanes_5, 0x10101010
    ldm r0!, {r2-r6}
    wgl_low r2, 0xe0e0e0e0, 5
    wgl_more r3, 0x60606060, 2
    wgl_store r10, 5
    wgl_low r3, 0x80808080, 7
    wgl_more r4, 0xe0e0e0e0, 4
    wgl_more r5, 0x20202020, 1
    wgl_store r10, 6
    wgl_low r5, 0xc0c0c0c0, 6
    wgl_more r6, 0xe0e0e0e0, 3
    wgl_store r10, 7
    .set group, 0
    .irp r, r2, r3, r4, r5, r6
    wgl_whole \r, 0x1f1f1f1f, group
    .set group, group+1
    .endr
    wgl_end

    wgl_begin pressboard_winograd_lanes_3, 0x04040404
    ldm r0!, {r2-r4}
    wgl_low r2, 0xc0c0c0c0, 6
    wgl_more r3, 0x40404040, 4
    wgl_store r10, 6
    wgl_low r3, 0x80808080, 7
    wgl_more r4, 0xc0c0c0c0, 5
    wgl_store r10, 7
    .set group, 0
    .irp r, r2, r3, r4
    wgl_low \r, 0x38383838, 3
    wgl_store r10, group+1
    wgl_whole \r, 0x07070707, group
    .set group, group+2
    .endr
    wgl_end

