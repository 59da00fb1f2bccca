//! Decoding of streams in assembly, a file an encoding.
//!
//! Cycles: of `sparse` 1 a weight and 9 a stored one; of `delta` 0.7 and 14; of `coded` 12 to
//! 17 a symbol, which is one, two or four weights.

mod bitmap;
mod coded;
mod gaps;

use core::arch::global_asm;
use shared::blob::Layer;
use shared::coding::Corrupt;
use shared::coding::tans::STATES;
use shared::spec::Encoding;

unsafe extern "C" {
    fn pressboard_zero(out: *mut u32, sixteens: usize);
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
        (Encoding::Coded, Some(table)) => coded::decode(layer, block, table, words)?,
        (Encoding::Sparse, _) => bitmap::decode(layer, block, words)?,
        _ => gaps::decode(spec, layer.block(block), words)?,
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

// r0 out, r1 sixteens of words left.
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
    .size pressboard_zero, .-pressboard_zero",
    options(raw)
);
