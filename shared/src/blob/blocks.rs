//! The blocks of a layer's weights: where they lie, whether their table holds, what is in
//! them.

use super::error::{BlobError, Malformed};
use super::parse::Layer;
use crate::coding::section::OFFSET_BITS;
use crate::coding::tans::{self, Model, STATES};
use crate::coding::{BlockShape, Corrupt, bitmap, delta};
use crate::index::ix;
use crate::spec::Encoding;
use crate::weights::StoredChannel;

impl<'a> Layer<'a> {
    /// The stored bytes of block `i`; empty past the last.
    #[must_use]
    pub fn block(&self, i: u16) -> &'a [u8] {
        let range = match self.spec().encoding {
            Encoding::Dense => {
                let channel = ix(self.spec().dense_channel_bytes() as usize);
                let full = usize::from(self.spec().kernel.block_channels());
                let (here, start) = (usize::from(self.block_channels(i)), usize::from(i));
                let start = channel * full * start;
                start.0..(start + channel * here).0
            }
            Encoding::Sparse | Encoding::Delta | Encoding::Coded => {
                self.offset(i)..self.offset(i.saturating_add(1))
            }
        };
        self.weights.get(range).unwrap_or(&[])
    }

    /// Channels and length of block `i`.
    #[must_use]
    pub fn block_shape(&self, i: u16) -> BlockShape {
        BlockShape {
            channels: self.block_channels(i).into(),
            sequence_len: self.spec().sequence_len() as usize,
        }
    }

    /// The state that block `i` of a coded layer begins in.
    #[must_use]
    pub fn block_state(&self, i: u16) -> u32 {
        self.entry(i).unwrap_or(0) >> OFFSET_BITS
    }

    /// The bytes of a coded layer's model; empty for others.
    #[must_use]
    pub fn model(&self) -> &'a [u8] {
        if self.spec().encoding != Encoding::Coded {
            return &[];
        }
        let range = self.table_end()..self.offset(0);
        self.weights.get(range).unwrap_or(&[])
    }

    /// Fills the table that decodes a coded layer; does nothing for others.
    ///
    /// # Errors
    /// [`Corrupt`] where the model does not add up.
    #[inline(never)] // Its kilobyte of stack is free again when the layer runs.
    pub fn decoder_table(&self, table: &mut [u32; STATES]) -> Result<(), Corrupt> {
        if self.spec().encoding == Encoding::Coded {
            tans::table(Model::read(self.model())?, table);
        }
        Ok(())
    }

    /// Decodes block `i`: calls `put(channel, element, weight)`, for the weights that are
    /// stored. `table` is what [`Layer::decoder_table`] filled.
    ///
    /// # Errors
    /// [`Corrupt`] where the stream does not add up. What was put before stays put.
    pub fn decode_block(
        &self,
        i: u16,
        table: &[u32; STATES],
        mut put: impl FnMut(usize, usize, i16),
    ) -> Result<(), Corrupt> {
        if self.spec().encoding != Encoding::Coded {
            return self.decode_plain(i, put);
        }
        let shape = self.block_shape(i);
        let (bytes, state) = (self.block(i), self.block_state(i));
        let put = |k, w| {
            let (channel, element) = shape.place(k);
            put(channel, element, w);
        };
        tans::decode(
            bytes,
            state,
            table,
            shape.weights(),
            self.spec().w_bits,
            put,
        )
    }

    /// Decodes block `i` of a layer that is not coded, see [`Layer::decode_block`].
    pub(super) fn decode_plain(
        &self,
        i: u16,
        mut put: impl FnMut(usize, usize, i16),
    ) -> Result<(), Corrupt> {
        let (s, bytes, shape) = (self.spec(), self.block(i), self.block_shape(i));
        let (weights, w_bits) = (shape.weights(), s.w_bits);
        let put_at = |put: &mut dyn FnMut(usize, usize, i16), k: usize, w: i16| {
            let (channel, element) = shape.place(k);
            put(channel, element, w);
        };
        match s.encoding {
            Encoding::Dense => {
                let stored = bytes.chunks_exact((s.dense_channel_bytes() as usize).max(1));
                for (channel, bytes) in (0..shape.channels).zip(stored) {
                    if let Some(stored) = StoredChannel::new(s, bytes) {
                        (0..s.sequence_len()).for_each(|e| put(channel, e as usize, stored.get(e)));
                    }
                }
                Ok(())
            }
            Encoding::Sparse => {
                bitmap::decode(bytes, weights, w_bits, |k, w| put_at(&mut put, k, w))
            }
            Encoding::Delta => delta::decode(bytes, weights, w_bits, |k, w| put_at(&mut put, k, w)),
            // Not without its table.
            Encoding::Coded => Err(Corrupt),
        }
    }

    fn table_end(&self) -> usize {
        4 * (usize::from(self.spec().blocks()) + 1)
    }

    /// Entry `i` of the block table.
    fn entry(&self, i: u16) -> Option<u32> {
        let word = self.weights.as_chunks().0.get(usize::from(i))?;
        (i <= self.spec().blocks()).then(|| u32::from_le_bytes(*word))
    }

    /// Where block `i` begins, in bytes from the section's start; past every end where there
    /// is no such entry.
    fn offset(&self, i: u16) -> usize {
        let mask = match self.spec().encoding {
            Encoding::Coded => (1 << OFFSET_BITS) - 1,
            _ => u32::MAX,
        };
        self.entry(i).map_or(usize::MAX, |e| (e & mask) as usize)
    }

    pub(super) fn check_blocks(&self, at: u32) -> Result<(), BlobError> {
        let s = self.spec();
        let length = Err(BlobError {
            what: Malformed::SectionLength,
            at: at + 36,
        });
        if s.encoding == Encoding::Dense {
            let need = u64::from(s.dense_channel_bytes()) * u64::from(s.c_out);
            return if need == self.weights.len() as u64 {
                Ok(())
            } else {
                length
            };
        }
        if self.weights.len() < self.table_end() {
            return length;
        }
        match (0..=s.blocks()).find(|&i| !self.entry_holds(i)) {
            None => Ok(()),
            Some(i) => Err(BlobError {
                what: Malformed::BlockTable,
                at: self.record.weights_off.saturating_add(4 * u32::from(i)),
            }),
        }
    }

    /// Whether entry `i` lies where it may: after the one before it, the first behind the
    /// table (and the model), the last at the section's end.
    fn entry_holds(&self, i: u16) -> bool {
        let (coded, offset) = (self.spec().encoding == Encoding::Coded, self.offset(i));
        let first = match (i.checked_sub(1), coded) {
            (None, false) => offset == self.table_end(),
            (None, true) => offset > self.table_end(),
            (Some(before), false) => offset >= self.offset(before),
            // Each coded block has at least the byte with its mark.
            (Some(before), true) => offset > self.offset(before),
        };
        let aligned = coded || offset.is_multiple_of(4);
        let last = i < self.spec().blocks()
            || match self.weights.get(offset..) {
                Some(padding) => {
                    padding.len() < 4
                        && padding.iter().all(|&b| b == 0)
                        && (coded || padding.is_empty())
                }
                None => false,
            };
        first && aligned && last && offset <= self.weights.len()
    }
}
