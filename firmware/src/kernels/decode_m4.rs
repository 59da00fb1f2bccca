//! Decoding of streams in assembly, from one macro an encoding.
//!
//! Cycles: of `sparse` 1 a weight and 9 a stored one; of `delta` 0.7 and 14; of `coded` 12 to
//! 17 a symbol, which is one, two or four weights.

use core::arch::global_asm;
use shared::blob::Layer;
use shared::coding::tans::{self, Reader, STATES, weights_per_symbol};
use shared::coding::{Corrupt, bitmap, delta};
use shared::spec::{Encoding, LayerSpec};

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

/// What the loop over a bitmap carries.
#[repr(C)]
struct Bitmap {
    map: *const u32,
    map_end: *const u32,
    /// The word of values after the one at hand.
    values: *const u32,
    /// Behind this the loop stops: it does not look before it reads a word of values.
    values_limit: *const u32,
    out: *mut i16,
    /// What is left of the word at hand.
    word: u32,
}

/// What the loop over gaps needs.
#[repr(C)]
struct Gaps {
    body: *const u32,
    out: *mut i16,
    out_end: *mut i16,
    entries: usize,
    per_word: usize,
    gap_bits: u32,
    w_bits: u32,
}

unsafe extern "C" {
    fn pressboard_coded1(cursor: *mut Cursor) -> u32;
    fn pressboard_coded2(cursor: *mut Cursor) -> u32;
    fn pressboard_coded4(cursor: *mut Cursor) -> u32;
    fn pressboard_zero(out: *mut u32, sixteens: usize);
    fn pressboard_gaps(arguments: *const Gaps) -> u32;
    fn pressboard_bitmap2(cursor: *mut Bitmap);
    fn pressboard_bitmap3(cursor: *mut Bitmap);
    fn pressboard_bitmap4(cursor: *mut Bitmap);
    fn pressboard_bitmap5(cursor: *mut Bitmap);
    fn pressboard_bitmap6(cursor: *mut Bitmap);
    fn pressboard_bitmap7(cursor: *mut Bitmap);
    fn pressboard_bitmap8(cursor: *mut Bitmap);
}

/// Decodes block `block` of `layer` into `out`, `sequence_len` words, `[pair][channel]`.
/// `table` is the decoder's, where the layer is coded.
///
/// # Errors
/// [`Corrupt`]; `out` is then undefined.
pub fn block(
    layer: &Layer,
    block: u16,
    table: Option<&[u32; STATES]>,
    out: &mut [u32],
) -> Result<(), Corrupt> {
    let (spec, shape) = (layer.spec(), layer.block_shape(block));
    let (used, len) = (shape.weights() / 2, out.len());
    let words = out.get_mut(..used).ok_or(Corrupt)?;
    match (spec.encoding, table) {
        (Encoding::Coded, Some(table)) => coded(layer, block, table, words)?,
        (Encoding::Sparse, _) => sparse(layer, block, words)?,
        _ => gaps(spec, layer.block(block), words)?,
    }
    if shape.channels < 2 {
        // A block of one channel has its words one after the other: put zeros between them.
        for i in (0..len / 2).rev() {
            let word = out.get(i).copied().unwrap_or(0);
            if let Some([first, second]) = out.get_mut(2 * i..2 * i + 2) {
                (*first, *second) = (word, 0);
            }
        }
    }
    Ok(())
}

/// The same memory as weights, the low lane first.
fn halfwords(words: &mut [u32]) -> &mut [i16] {
    let (pointer, len) = (words.as_mut_ptr().cast::<i16>(), 2 * words.len());
    // SAFETY: half the size, less alignment, every bit pattern valid; the borrow is handed on.
    unsafe { core::slice::from_raw_parts_mut(pointer, len) }
}

fn zero(out: &mut [u32]) {
    let sixteens = out.len() / 16;
    if sixteens > 0 {
        // SAFETY: writes 16 words each, which are there.
        unsafe { pressboard_zero(out.as_mut_ptr(), sixteens) };
    }
    out.get_mut(16 * sixteens..).unwrap_or(&mut []).fill(0);
}

fn sparse(layer: &Layer, block: u16, out: &mut [u32]) -> Result<(), Corrupt> {
    let w_bits = layer.spec().w_bits;
    let (map, values) = bitmap::split(layer.block(block), 2 * out.len())?;
    zero(out);
    let map = map.as_chunks::<4>().0;
    let cursor = marked(layer, map, values, out);
    let done = cursor.map as usize - map.as_ptr() as usize;
    let (mut next, mut word) = (
        cursor.values as usize - values.as_ptr() as usize,
        cursor.word,
    );
    if next > 0 {
        // A word is read as soon as the one before it is used up. Where nothing was taken of
        // it yet (taking shifts, so that it gets smaller), it counts as not read.
        let at = cursor.values as usize - layer.weights().as_ptr() as usize - 4;
        let stored = layer.weights().get(at..).and_then(<[u8]>::first_chunk);
        if stored.is_some_and(|&stored| u32::from_le_bytes(stored) == word) {
            (next, word) = (next - 4, 0);
        }
    }
    let rest = bitmap::Rest {
        map: map.get(done / 4..).unwrap_or(&[]),
        values: values.as_chunks().0,
        next: next / 4,
        word,
    };
    let out = halfwords(out).get_mut(8 * done..).unwrap_or(&mut []);
    rest.decode(w_bits, |k, w| {
        if let Some(o) = out.get_mut(k) {
            *o = w;
        }
    })
}

/// Stores what the bitmap marks, as long as no read can leave the section: all of it, but
/// for the last words of the section's last blocks.
fn marked(layer: &Layer, map: &[[u8; 4]], values: &[u8], out: &mut [u32]) -> Bitmap {
    let w_bits = layer.spec().w_bits;
    let section = layer.weights().as_ptr_range();
    // A word of the bitmap takes so many words of values at most, and one is read ahead.
    let most = 32usize.div_ceil(bitmap::values_per_word(w_bits)) + 1;
    let at = (values.as_ptr() as usize).wrapping_sub(section.start as usize);
    let first = section.start.wrapping_add(at).cast::<u32>();
    let range = map.as_ptr_range();
    let mut cursor = Bitmap {
        map: range.start.cast(),
        map_end: range.end.cast(),
        values: first,
        values_limit: section.end.cast::<u32>().wrapping_sub(most),
        out: out.as_mut_ptr().cast(),
        word: 0,
    };
    if at + 4 * (most + 1) > layer.weights().len() {
        return cursor;
    }
    // SAFETY: at least this word of the section lies there, as was just checked.
    cursor.word = unsafe { first.read() };
    cursor.values = first.wrapping_add(1);
    let run = match w_bits {
        2 => pressboard_bitmap2,
        3 => pressboard_bitmap3,
        4 => pressboard_bitmap4,
        5 => pressboard_bitmap5,
        6 => pressboard_bitmap6,
        7 => pressboard_bitmap7,
        _ => pressboard_bitmap8,
    };
    // SAFETY: reads the words of the bitmap, and of values at most `most` from the limit on, all
    // of them in the section; writes the halfwords that the bitmap marks, none of which is past
    // the last weight.
    unsafe { run(&raw mut cursor) };
    cursor
}

fn gaps(spec: &LayerSpec, block: &[u8], out: &mut [u32]) -> Result<(), Corrupt> {
    let parts = delta::split(block, spec.w_bits)?;
    zero(out);
    let out = halfwords(out).as_mut_ptr_range();
    let arguments = Gaps {
        body: parts.body.as_ptr().cast(),
        out: out.start,
        out_end: out.end,
        entries: parts.entries,
        per_word: delta::entries_per_word(parts.gap_bits, spec.w_bits),
        gap_bits: parts.gap_bits.into(),
        w_bits: spec.w_bits.into(),
    };
    // SAFETY: reads as many words as the entries take, which are the block's, and writes
    // halfwords between `out` and `out_end`.
    match unsafe { pressboard_gaps(&raw const arguments) } {
        0 => Ok(()),
        _ => Err(Corrupt),
    }
}

fn coded(layer: &Layer, block: u16, table: &[u32; STATES], out: &mut [u32]) -> Result<(), Corrupt> {
    let bytes = layer.block(block);
    let reader = tans::start(bytes, layer.block_state(block))?;
    let section = layer.weights();
    let start = (bytes.as_ptr() as usize).wrapping_sub(section.as_ptr() as usize);
    if start < BEFORE || start + bytes.len() > section.len() {
        return Err(Corrupt);
    }
    let step = weights_per_symbol(layer.spec().w_bits);
    let group = if step == 1 { 8 } else { 4 };
    let groups = 2 * out.len() / (step * group);
    let before = section.as_ptr().wrapping_add(start - 1);
    let range = section.get(start..).unwrap_or(&[]).as_ptr_range();
    let mut cursor = Cursor {
        bits: before,
        bit: reader.bit + 8,
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
        bit: cursor.bit - 8,
        escapes: (cursor.escapes as usize).wrapping_sub(range.start as usize),
    };
    rest(
        reader,
        table,
        halfwords(out),
        groups * group * step,
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

// r0 map, r1 its end, r2 values, r3 their limit, r4 out, r5 values at hand, r6 marks left,
// r7 the highest bit.
global_asm!(
    ".syntax unified

    .section .text.pressboard_zero,\"ax\",%progbits
    .global pressboard_zero
    .type pressboard_zero,%function
    .thumb_func
pressboard_zero:
    mov r2, #0
1:
    .set at, 0
    .rept 16
    str r2, [r0, #at]
    .set at, at+4
    .endr
    add r0, r0, #64
    subs r1, r1, #1
    bne 1b
    bx lr
    .size pressboard_zero, .-pressboard_zero

    .macro value bits
    clz r8, r6
    sbfx r9, r5, #0, #\\bits
    lsr r10, r7, r8
    strh r9, [r4, r8, lsl #1]
    lsrs r5, r5, #\\bits
    it eq
    ldreq r5, [r2], #4
    bics r6, r6, r10
    .endm

    .macro bitmap bits
    .section .text.pressboard_bitmap\\bits,\"ax\",%progbits
    .global pressboard_bitmap\\bits
    .type pressboard_bitmap\\bits,%function
    .thumb_func
pressboard_bitmap\\bits:
    push {r4-r11, lr}
    mov r11, r0
    ldm r0, {r0-r5}
    mov r7, #0x80000000
    b 4f
1:
    ldr r6, [r0], #4
    rbit r6, r6
    cmp r6, #0
    beq 3f
2:
    .rept 3
    value \\bits
    beq 3f
    .endr
    value \\bits
    bne 2b
3:
    add r4, r4, #64
4:
    cmp r2, r3
    bhi 5f
    cmp r0, r1
    bne 1b
5:
    stm r11, {r0-r5}
    pop {r4-r11, pc}
    .size pressboard_bitmap\\bits, .-pressboard_bitmap\\bits
    .endm

    bitmap 2
    bitmap 3
    bitmap 4
    bitmap 5
    bitmap 6
    bitmap 7
    bitmap 8",
    options(raw)
);

// r0 body, r1 entries left, r2 out, r3 its end, r4 entries of a word, r5 mask of a gap, r6 and
// r7 shifts that leave a value, r8 bits of an entry, r9 entries left in the word, r10 the word.
global_asm!(
    ".syntax unified
    .section .text.pressboard_gaps,\"ax\",%progbits
    .global pressboard_gaps
    .type pressboard_gaps,%function
    .thumb_func
pressboard_gaps:
    push {r4-r12, lr}
    ldr r1, [r0, #12]
    ldr r2, [r0, #4]
    ldr r3, [r0, #8]
    ldr r4, [r0, #16]
    ldr r9, [r0, #20]
    ldr r7, [r0, #24]
    ldr r0, [r0]
    mov r5, #1
    lsl r5, r5, r9
    sub r5, r5, #1
    add r8, r9, r7
    rsb r6, r8, #32
    rsb r7, r7, #32
1:
    cbz r1, 3f
    ldr r10, [r0], #4
    cmp r1, r4
    ite lo
    movlo r9, r1
    movhs r9, r4
    sub r1, r1, r9
2:
    and r11, r5, r10
    add r2, r2, r11, lsl #1
    lsl r12, r10, r6
    cmp r2, r3
    bhs 4f
    asr r12, r12, r7
    lsr r10, r10, r8
    subs r9, r9, #1
    strh r12, [r2], #2
    bne 2b
    b 1b
3:
    mov r0, #0
    pop {r4-r12, pc}
4:
    mov r0, #1
    pop {r4-r12, pc}
    .size pressboard_gaps, .-pressboard_gaps",
    options(raw)
);
