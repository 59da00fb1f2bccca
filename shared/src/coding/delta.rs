//! The `delta` encoding: each stored weight with the number of zeros before it.
//!
//! A block begins with a word: the number of entries in its lower 24 bits, the width of a
//! gap in its upper 8. Entries follow, `32 / (gap_bits + w_bits)` to a word, the lowest bits
//! first, never across words: the gap in the lower bits, the value in two's complement above
//! it. An entry says: skip `gap` weights, which are zero, then comes the value. Longer gaps
//! take entries whose value is 0. Weights after the last entry are zero.

use super::{Corrupt, Fields, signed, word_at};
use crate::index::low_bits;

/// Widths of gaps.
pub const GAP_BITS: core::ops::RangeInclusive<u8> = 1..=8;

/// Most entries of a block.
const MAX_ENTRIES: usize = (1 << 24) - 1;

/// Entries in a word.
#[must_use]
pub const fn entries_per_word(gap_bits: u8, w_bits: u8) -> usize {
    match gap_bits as usize + w_bits as usize {
        0 => 32,
        bits => 32 / bits,
    }
}

/// Entries that a block takes.
#[must_use]
pub fn entries(weights: &[i8], gap_bits: u8) -> usize {
    let mut entries = 0usize;
    each_entry(weights, gap_bits, |_, _| {
        entries = entries.saturating_add(1)
    });
    entries
}

/// Calls `visit(gap, weight)` for each entry.
fn each_entry(weights: &[i8], gap_bits: u8, mut visit: impl FnMut(u32, i8)) {
    let (longest, mut gap) = (low_bits(gap_bits.into()), 0);
    for &w in weights {
        if w == 0 && gap < longest {
            gap += 1;
        } else {
            visit(gap, w);
            gap = 0;
        }
    }
}

/// Words of a block of so many entries.
#[must_use]
pub const fn words(entries: usize, gap_bits: u8, w_bits: u8) -> usize {
    entries
        .div_ceil(match entries_per_word(gap_bits, w_bits) {
            0 => 1,
            some => some,
        })
        .saturating_add(1)
}

/// The width of gaps that makes a block shortest, and its words; `None` where it has more
/// entries than the header can say.
#[must_use]
pub fn best(weights: &[i8], w_bits: u8) -> Option<(u8, usize)> {
    let candidate = |gap_bits| {
        let entries = entries(weights, gap_bits);
        (entries <= MAX_ENTRIES).then(|| (gap_bits, words(entries, gap_bits, w_bits)))
    };
    GAP_BITS
        .filter_map(candidate)
        .min_by_key(|&(_, words)| words)
}

/// Writes a block of weights in block order through `push`, a word at a time.
pub fn encode(weights: &[i8], gap_bits: u8, w_bits: u8, push: &mut dyn FnMut(u32)) {
    push(entries(weights, gap_bits) as u32 | u32::from(gap_bits) << 24);
    let (gap_bits, w_bits) = (u32::from(gap_bits), u32::from(w_bits));
    let mask = low_bits(w_bits);
    let mut words = Fields::new(gap_bits.saturating_add(w_bits), push);
    each_entry(weights, gap_bits as u8, |gap, w| {
        words.put(gap | (w as u32 & mask).unbounded_shl(gap_bits));
    });
    words.end();
}

/// The parts of a block.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Entries.
    pub entries: usize,
    /// Width of a gap.
    pub gap_bits: u8,
    /// Words of entries.
    pub body: &'a [u8],
}

/// Checks a block's header against its length.
///
/// # Errors
/// [`Corrupt`] where they disagree, or the gap's width is none.
pub fn split(block: &[u8], w_bits: u8) -> Result<Parts<'_>, Corrupt> {
    let (head, body) = block.split_at_checked(4).ok_or(Corrupt)?;
    let head = word_at(head, 0);
    let (entries, gap_bits) = ((head & 0xff_ffff) as usize, (head >> 24) as u8);
    if !GAP_BITS.contains(&gap_bits) || block.len() != 4 * words(entries, gap_bits, w_bits) {
        return Err(Corrupt);
    }
    Ok(Parts {
        entries,
        gap_bits,
        body,
    })
}

/// Decodes a block: calls `put(k, weight)` for each entry, `k` rising and below `weights`.
///
/// # Errors
/// [`Corrupt`] as [`split`], or where the gaps lead past the last weight. What was put
/// before stays put.
pub fn decode(
    block: &[u8],
    weights: usize,
    w_bits: u8,
    mut put: impl FnMut(usize, i16),
) -> Result<(), Corrupt> {
    let parts = split(block, w_bits)?;
    let bits = u32::from(parts.gap_bits) + u32::from(w_bits);
    let (gap_mask, mut left, mut k) = ((1u32 << (parts.gap_bits & 15)) - 1, parts.entries, 0usize);
    for word in parts.body.as_chunks::<4>().0 {
        let mut word = u32::from_le_bytes(*word);
        let here = left.min(entries_per_word(parts.gap_bits, w_bits));
        left = left.saturating_sub(here);
        for _ in 0..here {
            k = k.saturating_add((word & gap_mask) as usize);
            if k >= weights {
                return Err(Corrupt);
            }
            put(k, signed(word >> (parts.gap_bits & 15), w_bits));
            word = word.wrapping_shr(bits);
            k = k.saturating_add(1);
        }
    }
    Ok(())
}
