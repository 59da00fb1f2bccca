//! The weight section of a layer: a table of blocks, the model of a coded layer, the blocks.
//!
//! Entry `i` of the table says where block `i` begins, in bytes from the section's start; one
//! more says where the last ends. In a coded layer the upper 10 bits of an entry are the state
//! that the block begins in, and the model lies between table and first block.

use super::tans::{self, Encoder, Model};
use super::{bitmap, delta};
use crate::spec::Encoding;

/// Bits of a coded layer's table entry that are the offset.
pub const OFFSET_BITS: u32 = 32 - tans::LOG_STATES;

/// Bytes that are enough for a section with a table of `entries` blocks, of which `blocks` are
/// written, of at most `weights` weights; `usize::MAX` where that is more.
#[must_use]
pub const fn bound(
    encoding: Encoding,
    w_bits: u8,
    weights: usize,
    entries: usize,
    blocks: usize,
) -> usize {
    let (model, block) = match encoding {
        Encoding::Dense => (0, 0),
        Encoding::Sparse => (0, bytes(bitmap::words(weights, weights, w_bits))),
        // The widest gap is the longest entry, and no block has more entries than weights.
        Encoding::Delta => (
            0,
            bytes(delta::words(weights, *delta::GAP_BITS.end(), w_bits)),
        ),
        Encoding::Coded => (
            2 * tans::SYMBOLS,
            tans::bound(weights / tans::weights_per_symbol(w_bits)),
        ),
    };
    bytes(entries.saturating_add(1))
        .saturating_add(model)
        .saturating_add(blocks.saturating_mul(block))
        .saturating_add(3)
}

const fn bytes(words: usize) -> usize {
    words.saturating_mul(4)
}

/// Writes a section block by block.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    encoding: Encoding,
    w_bits: u8,
    blocks: usize,
    done: usize,
    /// Bytes written.
    at: usize,
    coder: Option<Encoder<'a>>,
}

impl<'a> Writer<'a> {
    /// Begins a section of `blocks` blocks in `out`, which [`bound`] says is long enough.
    /// `None` where it is not, or the encoding is dense, or coded and without a model, which
    /// comes with memory to encode in.
    #[must_use]
    pub fn new(
        encoding: Encoding,
        w_bits: u8,
        blocks: usize,
        model: Option<(&'a Model, &'a mut [u32; tans::STATES])>,
        out: &'a mut [u8],
    ) -> Option<Self> {
        let head = bytes(blocks.saturating_add(1));
        let at = match (&model, encoding) {
            (Some((model, _)), Encoding::Coded) => head.saturating_add(model.bytes()),
            _ => head,
        };
        if out.len() < at {
            return None;
        }
        let coder = match (encoding, model) {
            (Encoding::Dense, _) | (Encoding::Coded, None) => return None,
            (Encoding::Coded, Some((model, work))) => {
                let mut to = out.iter_mut().skip(head);
                model.write(|byte| to.next().into_iter().for_each(|to| *to = byte));
                Some(Encoder::new(model, work))
            }
            (Encoding::Sparse | Encoding::Delta, _) => None,
        };
        Some(Self {
            out,
            encoding,
            w_bits,
            blocks,
            done: 0,
            at,
            coder,
        })
    }

    /// Writes the next block, of weights in block order. `None` where there is no room, or
    /// the encoding cannot express it.
    #[must_use]
    pub fn block(&mut self, weights: &[i8]) -> Option<()> {
        let start = self.at;
        let mut state = 0;
        match &self.coder {
            Some(coder) => {
                let rest = self.out.get_mut(start..)?;
                let (bytes, first) = coder.block(weights, self.w_bits, rest)?;
                state = first;
                self.at = self.at.saturating_add(bytes);
                if self.at >> OFFSET_BITS != 0 {
                    return None;
                }
            }
            None => self.words(weights)?,
        }
        if self.done >= self.blocks {
            return None;
        }
        self.entry(self.done, start, state)?;
        self.done += 1;
        Some(())
    }

    fn words(&mut self, weights: &[i8]) -> Option<()> {
        let (out, at, mut fits) = (&mut *self.out, &mut self.at, true);
        let mut push = |word: u32| match out.get_mut(*at..).and_then(<[u8]>::first_chunk_mut) {
            Some(to) => {
                *to = word.to_le_bytes();
                *at = at.saturating_add(4);
            }
            None => fits = false,
        };
        match self.encoding {
            Encoding::Delta => {
                let (gap_bits, _) = delta::best(weights, self.w_bits)?;
                delta::encode(weights, gap_bits, self.w_bits, &mut push);
            }
            _ => bitmap::encode(weights, self.w_bits, &mut push),
        }
        fits.then_some(())
    }

    fn entry(&mut self, i: usize, offset: usize, state: u32) -> Option<()> {
        let shift = if self.coder.is_some() {
            OFFSET_BITS
        } else {
            31
        };
        let entry = u32::try_from(offset).ok()? | state << shift;
        *self.out.as_chunks_mut().0.get_mut(i)? = entry.to_le_bytes();
        Some(())
    }

    /// Ends the section; returns its bytes, a multiple of 4. `None` where blocks are missing.
    #[must_use]
    pub fn finish(self) -> Option<usize> {
        if self.done != self.blocks {
            return None;
        }
        self.finish_short()
    }

    /// Ends the section like [`Writer::finish`], blocks that are missing left empty: for a
    /// benchmark, which computes all blocks from the first.
    #[must_use]
    pub fn finish_short(mut self) -> Option<usize> {
        for i in self.done..=self.blocks {
            self.entry(i, self.at, 0)?;
        }
        let end = self.at.checked_next_multiple_of(4)?;
        self.out.get_mut(self.at..end)?.fill(0);
        Some(end)
    }
}
