//! The `sparse` encoding: a bitmap of what is not zero, then the values.
//!
//! Bit `k % 32` of bitmap word `k / 32` is set where weight `k` of the block is stored.
//! The values follow, `w_bits` wide in two's complement, `32 / w_bits` to a word, the lowest
//! bits first; a value never crosses a word. Since no value is zero, a word is used up when
//! what is left of it is zero: a decoder counts nothing.

use super::{Corrupt, Fields, signed, word_at};
use crate::index::{ix, low_bits};

/// Words of a block of `weights` weights, of which `nonzero` are stored.
#[must_use]
pub const fn words(weights: usize, nonzero: usize, w_bits: u8) -> usize {
    let per_word = match values_per_word(w_bits) {
        0 => 1,
        some => some,
    };
    weights
        .div_ceil(32)
        .saturating_add(nonzero.div_ceil(per_word))
}

/// Values in a word.
#[must_use]
pub const fn values_per_word(w_bits: u8) -> usize {
    match w_bits {
        0 | 1 => 32,
        bits => 32 / bits as usize,
    }
}

/// Writes a block of weights in block order through `push`, a word at a time.
pub fn encode(weights: &[i8], w_bits: u8, push: &mut dyn FnMut(u32)) {
    let mut map = Fields::new(1, push);
    for &w in weights {
        map.put(u32::from(w != 0));
    }
    map.end();
    let mask = low_bits(w_bits.into());
    let mut values = Fields::new(w_bits.into(), push);
    for &w in weights.iter().filter(|&&w| w != 0) {
        values.put(w as u32 & mask);
    }
    values.end();
}

/// Checks what can be checked of a block before its values are read, and splits it into
/// bitmap and values.
///
/// # Errors
/// [`Corrupt`] where it is no whole number of words, shorter than its bitmap, or marks
/// weights past the last.
pub fn split(block: &[u8], weights: usize) -> Result<(&[u8], &[u8]), Corrupt> {
    let map_words = weights.div_ceil(32);
    let (map, values) = block.split_at_checked(4 * map_words).ok_or(Corrupt)?;
    let past = match weights % 32 {
        0 => 0,
        used => word_at(map, map_words.saturating_sub(1)) >> used,
    };
    if past != 0 || !values.len().is_multiple_of(4) {
        return Err(Corrupt);
    }
    Ok((map, values))
}

/// Decodes a block: calls `put(k, weight)` for each stored one, `k` rising.
///
/// Calls `put` at most `weights` times and only with `k < weights`.
///
/// # Errors
/// [`Corrupt`] as [`split`], or where values are too few or too many. What was put before
/// stays put.
pub fn decode(
    block: &[u8],
    weights: usize,
    w_bits: u8,
    put: impl FnMut(usize, i16),
) -> Result<(), Corrupt> {
    let (map, values) = split(block, weights)?;
    let rest = Rest {
        map: map.as_chunks().0,
        values: values.as_chunks().0,
        next: 0,
        word: 0,
    };
    rest.decode(w_bits, put)
}

/// A block, or what is left of one after a fast loop went through whole words of its bitmap.
#[derive(Clone, Copy, Debug)]
pub struct Rest<'a> {
    /// Words of the bitmap.
    pub map: &'a [[u8; 4]],
    /// All words of values.
    pub values: &'a [[u8; 4]],
    /// The next word of values.
    pub next: usize,
    /// What is left of the one before it.
    pub word: u32,
}

impl Rest<'_> {
    /// Decodes as [`decode`] does; `k` counts from the first bit of [`Rest::map`].
    ///
    /// # Errors
    /// [`Corrupt`] where values are too few or too many.
    pub fn decode(mut self, w_bits: u8, mut put: impl FnMut(usize, i16)) -> Result<(), Corrupt> {
        for (i, marks) in self.map.iter().enumerate() {
            let mut marks = u32::from_le_bytes(*marks);
            while marks != 0 {
                let k = (ix(32) * i + marks.trailing_zeros() as usize).0;
                marks &= marks - 1;
                if self.word == 0 {
                    self.word = u32::from_le_bytes(*self.values.get(self.next).ok_or(Corrupt)?);
                    self.next = self.next.saturating_add(1);
                }
                put(k, signed(self.word, w_bits));
                self.word = self.word.wrapping_shr(w_bits.into());
            }
        }
        if self.word == 0 && self.next == self.values.len() {
            Ok(())
        } else {
            Err(Corrupt)
        }
    }
}
