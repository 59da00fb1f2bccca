//! Weights stored in fewer bytes than their width asks for.
//!
//! Kernels unpack the weights of a block of two output channels before they multiply, so
//! how weights are stored and how they are multiplied part ways. Three encodings store a
//! block as a stream of its own, decodable alone: [`bitmap`] and [`delta`] leave zeros out,
//! [`tans`] spends as many bits on a weight as it is rare. All three see a block as one
//! list of weights in **block order** ([`BlockShape`]), which is the order of the fast
//! kernels' scratch.
//!
//! What is here is the definition: every decoder, the firmware's assembly too, gives the
//! same weights. Decoders read nothing outside the bytes that they are given, end after as
//! many steps as there are weights. Neither they nor encoders panic: a board encodes too, to
//! time a layer.

pub mod bitmap;
pub mod delta;
pub mod section;
pub mod tans;

use crate::weights::pair_elements;

/// A stream that no encoder wrote: its counts, lengths or states do not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// The weights of a block and their order in a stream: `[pair][channel][lane]`.
///
/// Pair `j` of a channel has two lanes, elements `4·(j/2) + j%2` and that plus 2 of its
/// sequence, see [`crate::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockShape {
    /// Output channels, 1 or 2.
    pub channels: usize,
    /// Length of a channel's sequence, a multiple of 4.
    pub sequence_len: usize,
}

impl BlockShape {
    /// Weights of the block, padding counted.
    #[must_use]
    pub const fn weights(&self) -> usize {
        self.channels.saturating_mul(self.sequence_len)
    }

    /// Channel and element of the weight at `index` of the stream.
    #[must_use]
    pub const fn place(&self, index: usize) -> (usize, usize) {
        let (word, lane) = (index / 2, index % 2);
        // Blocks have one or two channels; no division that could fail.
        let (pair, channel) = if self.channels < 2 {
            (word, 0)
        } else {
            (word / 2, word % 2)
        };
        let (low, high) = pair_elements(pair);
        (channel, if lane == 0 { low } else { high })
    }

    /// The block's weights in stream order, from one sequence a channel.
    ///
    /// # Panics
    /// Where the sequences are fewer or shorter than the block says.
    pub fn in_order<'a>(&'a self, sequences: &'a [&[i8]]) -> impl Iterator<Item = i8> + 'a {
        (0..self.weights()).map(|index| {
            let (channel, element) = self.place(index);
            sequences[channel][element]
        })
    }
}

/// Fields of one width put into words, the first in the lowest bits, never across words.
struct Fields<'a> {
    push: &'a mut dyn FnMut(u32),
    bits: u32,
    word: u32,
    used: u32,
}

impl<'a> Fields<'a> {
    /// Words of fields of `bits`, 1 to 32, that go to `push`.
    fn new(bits: u32, push: &'a mut dyn FnMut(u32)) -> Self {
        Self {
            push,
            bits: bits.max(1),
            word: 0,
            used: 0,
        }
    }

    /// Puts a field, which has no bits above its width.
    fn put(&mut self, field: u32) {
        self.word |= field.unbounded_shl(self.used);
        self.used = self.used.saturating_add(self.bits);
        if self.used.saturating_add(self.bits) > u32::BITS {
            self.end();
        }
    }

    /// Ends the last word, if it is begun.
    fn end(&mut self) {
        if self.used > 0 {
            (self.push)(self.word);
            (self.word, self.used) = (0, 0);
        }
    }
}

/// Little-endian word `i` of `bytes`; 0 past the end.
fn word_at(bytes: &[u8], i: usize) -> u32 {
    match bytes.as_chunks().0.get(i) {
        Some(&word) => u32::from_le_bytes(word),
        None => 0,
    }
}

/// The low `bits` of `field` as a signed number.
const fn signed(field: u32, bits: u8) -> i16 {
    let unused = 32 - (bits as u32 & 31);
    (field.wrapping_shl(unused) as i32).wrapping_shr(unused) as i16
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    #[test]
    fn block_order_visits_every_weight_once_in_the_order_of_scratch() {
        for channels in [1, 2] {
            let shape = BlockShape {
                channels,
                sequence_len: 12,
            };
            let mut seen = vec![false; shape.weights()];
            for index in 0..shape.weights() {
                let (channel, element) = shape.place(index);
                assert!(channel < channels && element < 12);
                seen[channel * 12 + element] = true;
            }
            assert!(seen.iter().all(|&s| s));
        }
        let two = BlockShape {
            channels: 2,
            sequence_len: 8,
        };
        let first: vec::Vec<_> = (0..8).map(|i| two.place(i)).collect();
        let expected = [
            (0, 0),
            (0, 2),
            (1, 0),
            (1, 2),
            (0, 1),
            (0, 3),
            (1, 1),
            (1, 3),
        ];
        assert_eq!(first, expected);
    }
}
