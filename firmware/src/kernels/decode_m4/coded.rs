//! Entropy-coded weights.

use super::halfwords;
use core::arch::global_asm;
use shared::blob::Layer;
use shared::coding::Corrupt;
use shared::coding::tans::{self, Reader, STATES, weights_per_symbol};
use shared::index::{ix, reach};

/// Bytes before a coded block that may be read: the loop looks at its bits a group of symbols
/// at a time before it asks whether there were as many. Table and model are longer.
const BEFORE: usize = 12;

/// What the loop over symbols carries.
#[repr(C)]
struct Cursor {
    /// One byte before the block.
    bits: *const u8,
    /// Index of the next bit from there.
    bit: i32,
    state: u32,
    escapes: *const u8,
    end: *const u8,
    table: *const u32,
    out: *mut u32,
    /// Groups of symbols.
    groups: usize,
}

unsafe extern "C" {
    fn pressboard_coded1(cursor: *mut Cursor) -> u32;
    fn pressboard_coded2(cursor: *mut Cursor) -> u32;
    fn pressboard_coded4(cursor: *mut Cursor) -> u32;
}

/// Decodes block `block` of an entropy-coded layer with the decoder's `table`.
///
/// # Errors
/// [`Corrupt`].
pub(super) fn decode(
    layer: &Layer,
    block: u16,
    table: &[u32; STATES],
    out: &mut [u32],
) -> Result<(), Corrupt> {
    let bytes = layer.block(block);
    let reader = tans::start(bytes, layer.block_state(block))?;
    let section = layer.weights();
    let start = (bytes.as_ptr() as usize).wrapping_sub(section.as_ptr() as usize);
    if start < BEFORE || (reach(start) + bytes.len()).0 > section.len() {
        return Err(Corrupt);
    }
    let step = weights_per_symbol(layer.spec().w_bits);
    let group = if step == 1 { 8 } else { 4 };
    let groups = out.len() / (step * group / 2);
    let before = section.as_ptr().wrapping_add(start.wrapping_sub(1));
    let range = section.get(start..).unwrap_or(&[]).as_ptr_range();
    let mut cursor = Cursor {
        bits: before,
        bit: reader.bit.saturating_add(8),
        state: reader.state,
        escapes: range.start,
        end: range.start.wrapping_add(bytes.len()),
        table: table.as_ptr(),
        out: out.as_mut_ptr(),
        groups,
    };
    if groups > 0 {
        let run = match step {
            1 => pressboard_coded1,
            2 => pressboard_coded2,
            _ => pressboard_coded4,
        };
        // SAFETY: writes `groups` groups of symbols, which `out` has room for. The state stays
        // below 1,024 whatever the bits are. Bits are read from at most `BEFORE` bytes before
        // the block, which the section has, to its end; escaped bytes from within the block.
        if unsafe { run(&raw mut cursor) } != 0 {
            return Err(Corrupt);
        }
    }
    let reader = Reader {
        block: bytes,
        state: cursor.state,
        bit: cursor.bit.saturating_sub(8),
        escapes: (cursor.escapes as usize).wrapping_sub(range.start as usize),
    };
    rest(
        reader,
        table,
        halfwords(out),
        (ix(groups) * group * step).0,
        layer.spec().w_bits,
    )
}

/// The symbols that are no whole group, and the block's end.
fn rest(
    mut reader: Reader,
    table: &[u32; STATES],
    out: &mut [i16],
    done: usize,
    w_bits: u8,
) -> Result<(), Corrupt> {
    let step = weights_per_symbol(w_bits);
    for weights in out.get_mut(done..).unwrap_or(&mut []).chunks_mut(step) {
        let symbol = reader.next(table)?;
        for (i, w) in weights.iter_mut().enumerate() {
            *w = tans::weight(symbol, i, w_bits);
        }
    }
    reader.finish()
}

// r0 byte before the block, r1 table, r2 out, r3 groups left, r4 next bit, r5 state, r6 bits
// at hand, r7 and r8 entries, r10 7, [sp] cursor.
global_asm!(
    ".syntax unified

    @ Escaped bytes of the entries in r7 and r8. Changes r9, r11, r12.
    .section .text.pressboard_escapes,\"ax\",%progbits
    .type pressboard_escapes,%function
    .thumb_func
pressboard_escapes:
    ldr r12, [sp]
    ldr r9, [r12, #12]
    .irp entry, r7, r8
    tst \\entry, #0x10000
    beq 1f
    ldr r11, [r12, #16]
    cmp r9, r11
    it lo
    ldrblo r11, [r9]
    @ Where none are left the count says so in the end.
    add r9, r9, #1
    bfi \\entry, r11, #8, #8
1:
    .endr
    str r9, [r12, #12]
    bx lr
    .size pressboard_escapes, .-pressboard_escapes

    @ Two symbols into r7 and r8, the pair'th of a group. Each adds 32 too much to the bit's
    @ index: 8 bytes a pair.
    .macro symbols pair
    add r11, r0, r4, asr #3
    bic r12, r10, r4
    ldr r6, [r11, #-3-8*\\pair]
    ldr r7, [r1, r5, lsl #2]
    lsl r6, r6, r12
    lsr r9, r6, r7
    rsb r12, r7, #32
    add r5, r9, r7, lsr #17
    lsl r6, r6, r12
    ldr r8, [r1, r5, lsl #2]
    uxtab r4, r4, r7
    lsr r9, r6, r8
    uxtab r4, r4, r8
    add r5, r9, r8, lsr #17
    orr r9, r7, r8
    lsls r9, r9, #15
    it mi
    blmi pressboard_escapes
    .endm

    .macro store1
    pkhbt r7, r7, r8, lsl #16
    sxtb16 r7, r7, ror #8
    str r7, [r2], #4
    .endm

    .macro store2
    .irp entry, r7, r8
    sbfx r9, \\entry, #8, #4
    sbfx r11, \\entry, #12, #4
    pkhbt r9, r9, r11, lsl #16
    str r9, [r2], #4
    .endr
    .endm

    .macro store4
    .irp entry, r7, r8
    sbfx r9, \\entry, #8, #2
    sbfx r11, \\entry, #10, #2
    pkhbt r9, r9, r11, lsl #16
    sbfx r11, \\entry, #12, #2
    sbfx r12, \\entry, #14, #2
    pkhbt r11, r11, r12, lsl #16
    str r9, [r2], #4
    str r11, [r2], #4
    .endr
    .endm

    .macro coded weights, pairs
    .section .text.pressboard_coded\\weights,\"ax\",%progbits
    .global pressboard_coded\\weights
    .type pressboard_coded\\weights,%function
    .thumb_func
pressboard_coded\\weights:
    push {r4-r11, lr}
    push {r0}
    ldr r1, [r0, #20]
    ldr r2, [r0, #24]
    ldr r3, [r0, #28]
    ldr r4, [r0, #4]
    ldr r5, [r0, #8]
    ldr r0, [r0]
    mov r10, #7
1:
    .set pair, 0
    .rept \\pairs
    symbols pair
    store\\weights
    .set pair, pair+1
    .endr
    subs r4, r4, #64*\\pairs
    bmi 2f
    subs r3, r3, #1
    bne 1b
    mov r1, #0
    b 3f
2:
    mov r1, #1
3:
    pop {r0}
    str r4, [r0, #4]
    str r5, [r0, #8]
    mov r0, r1
    pop {r4-r11, pc}
    .size pressboard_coded\\weights, .-pressboard_coded\\weights
    .endm

    coded 1, 4
    coded 2, 2
    coded 4, 2",
    options(raw)
);
