//! Weights that a bitmap marks.

use super::{halfwords, zero};
use core::arch::global_asm;
use shared::blob::Layer;
use shared::coding::{Corrupt, bitmap};
use shared::index::{ix, reach};

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

unsafe extern "C" {
    fn pressboard_bitmap2(cursor: *mut Bitmap);
    fn pressboard_bitmap3(cursor: *mut Bitmap);
    fn pressboard_bitmap4(cursor: *mut Bitmap);
    fn pressboard_bitmap5(cursor: *mut Bitmap);
    fn pressboard_bitmap6(cursor: *mut Bitmap);
    fn pressboard_bitmap7(cursor: *mut Bitmap);
    fn pressboard_bitmap8(cursor: *mut Bitmap);
}

/// Decodes block `block` of a sparse layer.
///
/// # Errors
/// [`Corrupt`].
pub(super) fn decode(layer: &Layer, block: u16, out: &mut [u32]) -> Result<(), Corrupt> {
    let w_bits = layer.spec().w_bits;
    let (map, values) = bitmap::split(layer.block(block), 2 * out.len())?;
    zero(out);
    let map = map.as_chunks::<4>().0;
    let cursor = marked(layer, map, values, out);
    let after = |at: *const u32, start: *const u8| (at as usize).wrapping_sub(start as usize);
    let done = after(cursor.map, map.as_ptr().cast());
    let (mut next, mut word) = (after(cursor.values, values.as_ptr()), cursor.word);
    if next > 0 {
        // A word is read as soon as the one before it is used up. Where nothing was taken of
        // it yet (taking shifts, so that it gets smaller), it counts as not read.
        let at = after(cursor.values, layer.weights().as_ptr()).wrapping_sub(4);
        let stored = layer.weights().get(at..).and_then(<[u8]>::first_chunk);
        if stored.is_some_and(|&stored| u32::from_le_bytes(stored) == word) {
            (next, word) = (next.saturating_sub(4), 0);
        }
    }
    let rest = bitmap::Rest {
        map: map.get(done / 4..).unwrap_or(&[]),
        values: values.as_chunks().0,
        next: next / 4,
        word,
    };
    let out = halfwords(out)
        .get_mut((ix(8) * done).0..)
        .unwrap_or(&mut []);
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
    let most = 32usize.div_ceil(bitmap::values_per_word(w_bits).max(1)) + 1;
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
    if (reach(at) + 4 * (most + 1)).0 > layer.weights().len() {
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

// r0 map, r1 its end, r2 values, r3 their limit, r4 out, r5 values at hand, r6 marks left,
// r7 the highest bit.
global_asm!(
    ".syntax unified

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
