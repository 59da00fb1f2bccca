//! The `coded` encoding: tANS, a table-driven entropy coder.
//!
//! A **symbol** is a byte that stands for 1, 2 or 4 weights ([`weights_per_symbol`]), so that
//! narrow weights take fewer steps and what they have to do with each other is used. A layer
//! has one [`Model`]: how many of 1,024 states each symbol owns, its share. From it both
//! sides build the same table. A decoder is in one of the states; the state says the symbol,
//! and how many bits of the stream lead to the next state. Symbols that are too rare for a
//! state of their own are written as [`ESCAPE`], their byte apart from the states' bits.
//!
//! A block is read from both ends: escaped bytes forwards from its start, bits backwards from
//! its end, the highest first. Its last byte is not 0 and its highest set bit is a mark, the
//! bits begin below it. Where a block is whole, the last symbol leaves state 0, and bits and
//! escaped bytes meet.
//!
//! J. Duda, "Asymmetric numeral systems", arXiv 1311.2540; the spread of symbols over states
//! is that of Y. Collet's FSE.

mod decode;
mod encode;
mod model;

pub use decode::{Reader, check_state, decode, start, table};
pub use encode::{Encoder, bound};
pub use model::{Model, SYMBOLS};

use crate::index::low_bits;

/// States, as a power of two.
pub const LOG_STATES: u32 = 10;

/// States of a decoder.
pub const STATES: usize = 1 << LOG_STATES;

/// Bytes of scratch that the decoder's table takes: a word a state.
pub const TABLE_BYTES: u32 = 4 * STATES as u32;

/// The symbol that stands for a byte written apart. No weights have it: it would be −128, or
/// −8 in four bits, or −2 in two, none of which the widths contain.
pub const ESCAPE: u8 = 0x80;

/// Weights that one symbol stands for: four of 2 bits, two of 3 or 4, one of 5 and more.
#[must_use]
pub const fn weights_per_symbol(w_bits: u8) -> usize {
    match w_bits {
        0..=2 => 4,
        3 | 4 => 2,
        _ => 1,
    }
}

/// The symbol of [`weights_per_symbol`] weights, the first in the lowest bits.
#[must_use]
pub fn symbol(weights: &[i8], w_bits: u8) -> u8 {
    let field = 8 / weights_per_symbol(w_bits) as u32;
    let mask = low_bits(field) as u8;
    // From the last, so that the first comes to lie in the lowest bits.
    let fields = weights.iter().rev();
    fields.fold(0, |s, &w| s.unbounded_shl(field) | w as u8 & mask)
}

/// Adds the symbols of `weights` to `counts`.
pub fn count(weights: &[i8], w_bits: u8, counts: &mut [u32; SYMBOLS]) {
    for chunk in weights.chunks(weights_per_symbol(w_bits)) {
        let count = &mut counts[usize::from(symbol(chunk, w_bits))];
        *count = count.saturating_add(1);
    }
}

/// Weight `i` of `symbol`.
#[must_use]
pub const fn weight(symbol: u8, i: usize, w_bits: u8) -> i16 {
    let field = 8 / weights_per_symbol(w_bits);
    super::signed(
        (symbol as u32).wrapping_shr((i.wrapping_mul(field)) as u32),
        field as u8,
    )
}

/// Calls `visit(state, symbol)` for the states in the order in which they are given out: all
/// of symbol 0, of symbol 1 and so on, each state a fixed step after the last one.
fn spread(model: &Model, mut visit: impl FnMut(usize, u8)) {
    const STEP: usize = STATES / 2 + STATES / 8 + 3;
    let mut state = 0;
    for (symbol, &share) in (0..=u8::MAX).zip(model.shares()) {
        for _ in 0..share {
            visit(state, symbol);
            state = (state + STEP) % STATES;
        }
    }
}

#[cfg(test)]
mod tests;
