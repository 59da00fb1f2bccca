//! Making a blob: the writer fills in sections, offsets, lengths and the checksum.

use super::layout::{CRC_AT, HEADER_BYTES, Header, LAYER_BYTES, LayerRecord};
use super::parse::checksum;
use crate::semantics::{REQUANT_BYTES, Requant};

/// One layer to write: its record (section offsets are filled in) and its sections.
#[derive(Clone, Copy, Debug)]
pub struct LayerData<'a> {
    /// Spec and arena offsets; `weights_off`, `weights_len`, `requant_off` are ignored.
    pub record: LayerRecord,
    /// The weight section, padded to whole words: for the sparse encoding the block table
    /// and the blocks, else the blocks alone. Empty for a layer without weights.
    pub weights: &'a [u8],
    /// One entry an output channel, or none for a layer without weights.
    pub requants: &'a [Requant],
}

/// Bytes of the blob that [`write()`] makes of `layers`.
#[must_use]
pub fn blob_bytes(layers: &[LayerData]) -> usize {
    let sections: usize = layers
        .iter()
        .map(|l| l.weights.len() + l.requants.len() * REQUANT_BYTES)
        .sum();
    HEADER_BYTES + layers.len() * LAYER_BYTES + sections
}

/// Writes a blob into `out`, which must be exactly [`blob_bytes`] long.
///
/// `header`'s `total_len`, `crc32` and `layers` are filled in. What comes out is only as
/// right as what goes in: check it with [`super::Blob::new_checked`].
///
/// # Panics
/// Where `out` has another length.
pub fn write(mut header: Header, layers: &[LayerData], out: &mut [u8]) {
    assert_eq!(
        out.len(),
        blob_bytes(layers),
        "the output buffer has another length"
    );
    header.total_len = out.len() as u32;
    header.layers = layers.len() as u16;
    let mut at = HEADER_BYTES + layers.len() * LAYER_BYTES;
    for (i, layer) in layers.iter().enumerate() {
        let mut record = layer.record;
        (record.weights_off, record.weights_len, record.requant_off) = (0, 0, 0);
        if record.spec.has_weights() {
            record.weights_off = at as u32;
            record.weights_len = layer.weights.len() as u32;
            out[at..at + layer.weights.len()].copy_from_slice(layer.weights);
            at += layer.weights.len();
            record.requant_off = at as u32;
            for r in layer.requants {
                out[at..at + REQUANT_BYTES].copy_from_slice(&r.to_bytes());
                at += REQUANT_BYTES;
            }
        }
        let start = HEADER_BYTES + i * LAYER_BYTES;
        out[start..start + LAYER_BYTES].copy_from_slice(&record.to_bytes());
    }
    out[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    let crc = checksum(out);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}
