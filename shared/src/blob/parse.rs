//! Checking a blob once, and reading it afterwards.

use super::error::{BlobError, Malformed};
use super::exact;
use super::layout::{CRC_AT, HEADER_BYTES, Header, LAYER_BYTES, LayerRecord, MAX_BLOB_LAYERS};
use crate::CRC32;
use crate::act::Act;
use crate::semantics::{REQUANT_BYTES, Requant};
use crate::spec::LayerSpec;

/// A checked blob, borrowed from flash or from a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'a> {
    bytes: &'a [u8],
    header: Header,
}

/// One layer of a checked blob, with its sections.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Its record.
    pub record: LayerRecord,
    pub(super) weights: &'a [u8],
    requants: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Checks all of the structure and the CRC; bytes after the stated length are ignored.
    ///
    /// Work is bounded: one pass over the bytes, for each layer one over the table of its
    /// blocks and multipliers, and one over weights for which a Winograd kernel could be
    /// inexact.
    ///
    /// # Errors
    /// [`BlobError`] names the first thing found wrong and its byte offset.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, BlobError> {
        let header = Header::read(bytes)?;
        let err = |what, at| Err(BlobError { what, at });
        let total = header.total_len as usize;
        if bytes.len() < total {
            return err(Malformed::Truncated, bytes.len() as u32);
        }
        if !total.is_multiple_of(4) || total < HEADER_BYTES {
            return err(Malformed::Length, 8);
        }
        let bytes = &bytes[..total];
        let computed = checksum(bytes);
        if computed != header.crc32 {
            return err(
                Malformed::Crc {
                    stated: header.crc32,
                    computed,
                },
                CRC_AT as u32,
            );
        }
        Self { bytes, header }.check_layers()
    }

    fn check_layers(self) -> Result<Self, BlobError> {
        let h = &self.header;
        let err = |what, at| Err(BlobError { what, at });
        if h.layers == 0 || h.layers > MAX_BLOB_LAYERS {
            return err(Malformed::LayerCount, 22);
        }
        if h.in_c == 0 || h.in_c > 4 {
            return err(Malformed::Chain, 20);
        }
        if let Some(i) = h.r_c[usize::from(h.in_c)..].iter().position(|&r| r != 0) {
            return err(
                Malformed::Reserved,
                (24 + u32::from(h.in_c)).saturating_add(i as u32),
            );
        }
        let tables_end = HEADER_BYTES + LAYER_BYTES * usize::from(h.layers);
        if tables_end > self.bytes.len() {
            return err(Malformed::LayerCount, 22);
        }
        // Sections follow each other in the order of the layers, so that none can overlap.
        let mut floor = tables_end as u32;
        let mut before = None;
        for i in 0..h.layers {
            let record = self.read_record(i)?;
            let at = record_at(i);
            record.spec.check().map_err(|e| BlobError {
                what: Malformed::Layer(e),
                at,
            })?;
            self.check_chain(&record, before.as_ref(), i, at)?;
            check_arena(&record, h.arena_bytes, at)?;
            floor = self.check_sections(&record, floor, at)?;
            before = Some(record);
        }
        if floor as usize != self.bytes.len() {
            return err(Malformed::Length, 8);
        }
        Ok(self)
    }

    fn check_chain(
        &self,
        r: &LayerRecord,
        before: Option<&LayerRecord>,
        i: u16,
        at: u32,
    ) -> Result<(), BlobError> {
        let (h, s) = (&self.header, &r.spec);
        let input_ok = match before {
            None => {
                (s.in_h, s.in_w, s.c_in, s.input, r.in_off)
                    == (h.in_h, h.in_w, h.in_c, Act::Image, 0)
            }
            Some(b) => {
                let (b_h, b_w) = b.spec.out_hw();
                (s.in_h, s.in_w, s.c_in, s.input, r.in_off)
                    == (b_h, b_w, b.spec.c_out, b.spec.output, b.out_off)
            }
        };
        let last = i + 1 == h.layers;
        let output_ok = last == (s.output == Act::I32) && (!last || s.out_hw() == (1, 1));
        if input_ok && output_ok {
            Ok(())
        } else {
            Err(BlobError {
                what: Malformed::Chain,
                at,
            })
        }
    }

    /// Returns the end of the layer's last section.
    fn check_sections(&self, r: &LayerRecord, floor: u32, at: u32) -> Result<u32, BlobError> {
        let err = |what, at| Err(BlobError { what, at });
        if !r.spec.has_weights() {
            let empty = r.weights_off == 0 && r.weights_len == 0 && r.requant_off == 0;
            return if empty {
                Ok(floor)
            } else {
                err(Malformed::Section, at + 32)
            };
        }
        if r.weights_off != floor {
            return err(Malformed::Section, at + 32);
        }
        let requant_len = u32::from(r.spec.c_out) * REQUANT_BYTES as u32;
        let requant_off = r.weights_off.checked_add(r.weights_len);
        if requant_off != Some(r.requant_off) {
            return err(Malformed::Section, at + 40);
        }
        if !r.weights_len.is_multiple_of(4) {
            return err(Malformed::Unaligned, at + 36);
        }
        let end = r.requant_off.checked_add(requant_len);
        let Some(end) = end.filter(|&e| e as usize <= self.bytes.len()) else {
            return err(Malformed::Section, at + 40);
        };
        let layer = self.layer_of(*r);
        layer.check_blocks(at)?;
        layer.check_requants()?;
        match exact::inexact_channel(&layer) {
            Some(channel) => err(Malformed::Inexact { channel }, at + 1),
            None => Ok(end),
        }
    }

    fn read_record(&self, i: u16) -> Result<LayerRecord, BlobError> {
        let at = record_at(i);
        let mut b = [0; LAYER_BYTES];
        let start = at as usize;
        match self.bytes.get(start..start + LAYER_BYTES) {
            Some(bytes) => b.copy_from_slice(bytes),
            None => {
                return Err(BlobError {
                    what: Malformed::LayerCount,
                    at: 22,
                });
            }
        }
        LayerRecord::read(&b, at)
    }

    fn layer_of(&self, record: LayerRecord) -> Layer<'a> {
        let section = |off: u32, len: u32| {
            let start = off as usize;
            self.bytes
                .get(start..start.saturating_add(len as usize))
                .unwrap_or(&[])
        };
        let requant_len = if record.spec.has_weights() {
            u32::from(record.spec.c_out) * REQUANT_BYTES as u32
        } else {
            0
        };
        Layer {
            weights: section(record.weights_off, record.weights_len),
            requants: section(record.requant_off, requant_len),
            record,
        }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The blob's bytes, exactly as long as it states.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the image that the network takes (saturating).
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        // More than fits is more than any image has.
        usize::from(self.header.in_h)
            .saturating_mul(self.header.in_w.into())
            .saturating_mul(self.header.in_c.into())
    }

    /// Logits that the network gives.
    #[must_use]
    pub fn classes(&self) -> u16 {
        let last = self.header.layers.wrapping_sub(1);
        self.layer(last).map_or(0, |l| l.record.spec.c_out)
    }

    /// Layer `i`, or `None` past the last.
    #[must_use]
    pub fn layer(&self, i: u16) -> Option<Layer<'a>> {
        (i < self.header.layers)
            .then(|| self.read_record(i).ok())
            .flatten()
            .map(|r| self.layer_of(r))
    }

    /// The layers in order.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'a>> + use<'a> {
        self.numbered_layers().map(|(_, layer)| layer)
    }

    /// The layers in order, each with its index.
    pub fn numbered_layers(&self) -> impl Iterator<Item = (u16, Layer<'a>)> + use<'a> {
        let blob = *self;
        (0..self.header.layers).filter_map(move |i| Some((i, blob.layer(i)?)))
    }
}

impl<'a> Layer<'a> {
    /// A layer that is in no blob, as a benchmark makes it; `weights` and `requants` are
    /// laid out as in a blob. Nothing is checked: reading past the end gives nothing.
    #[must_use]
    pub fn detached(record: LayerRecord, weights: &'a [u8], requants: &'a [u8]) -> Self {
        Self {
            record,
            weights,
            requants,
        }
    }

    /// What it computes.
    #[must_use]
    pub fn spec(&self) -> &LayerSpec {
        &self.record.spec
    }

    /// The whole weight section, block table included.
    #[must_use]
    pub fn weights(&self) -> &'a [u8] {
        self.weights
    }

    /// All biases and multipliers, [`REQUANT_BYTES`] a channel.
    #[must_use]
    pub fn requants(&self) -> &'a [u8] {
        self.requants
    }

    /// Output channels that block `i` holds: a full block's, or what is left.
    #[must_use]
    pub fn block_channels(&self, i: u16) -> u16 {
        let full = self.spec().kernel.block_channels();
        self.spec()
            .c_out
            .saturating_sub(i.saturating_mul(full))
            .min(full)
    }

    /// Bias and multiplier of output channel `channel`; zeros past the last.
    #[must_use]
    #[inline]
    pub fn requant(&self, channel: u16) -> Requant {
        let at = usize::from(channel) * REQUANT_BYTES;
        match self.requants.get(at..at + REQUANT_BYTES) {
            Some(&[a, b, c, d, e, f, g, h]) => Requant::from_bytes([a, b, c, d, e, f, g, h]),
            _ => Requant::default(),
        }
    }

    /// Biases and multipliers of the two output channels of block `i`, of a kernel whose blocks
    /// have two; zeros past the last.
    #[must_use]
    #[inline]
    pub fn block_requants(&self, i: u16) -> [Requant; 2] {
        let first = i.saturating_mul(2);
        [first, first.saturating_add(1)].map(|channel| self.requant(channel))
    }

    fn check_requants(&self) -> Result<(), BlobError> {
        if self.spec().output == Act::I32 {
            return Ok(());
        }
        for c in 0..self.spec().c_out {
            if !self.requant(c).is_valid() {
                let offset = u32::from(c) * REQUANT_BYTES as u32 + 4;
                let at = self.record.requant_off.saturating_add(offset);
                return Err(BlobError {
                    what: Malformed::Multiplier,
                    at,
                });
            }
        }
        Ok(())
    }
}

/// CRC-32 over everything but the checksum's own four bytes.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut digest = CRC32.digest();
    digest.update(&bytes[..CRC_AT]);
    digest.update(&bytes[CRC_AT + 4..]);
    digest.finalize()
}

fn record_at(i: u16) -> u32 {
    (HEADER_BYTES + LAYER_BYTES * usize::from(i)) as u32
}

/// Input, output and scratch lie in the arena, aligned, and apart from each other.
fn check_arena(r: &LayerRecord, arena: u32, at: u32) -> Result<(), BlobError> {
    let s = &r.spec;
    let buffers = [
        (r.in_off, s.input_bytes(), 20),
        (r.out_off, s.output_bytes(), 24),
        (r.scratch_off, s.scratch_bytes(), 28),
    ];
    let err = |what, field: u32| {
        let at = at.saturating_add(field);
        Err(BlobError { what, at })
    };
    for (i, &(off, len, field)) in buffers.iter().enumerate() {
        if off % 4 != 0 {
            return err(Malformed::Unaligned, field);
        }
        let end = off.checked_add(len).filter(|&e| e <= arena);
        let apart = |&(o, l, _): &(u32, u32, u32)| {
            l == 0 || len == 0 || off >= o.saturating_add(l) || off.saturating_add(len) <= o
        };
        if end.is_none() || !buffers.iter().take(i).all(apart) {
            return err(Malformed::Arena, field);
        }
    }
    Ok(())
}
