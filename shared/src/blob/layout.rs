//! The header and the layer records, byte by byte.

use super::error::{BlobError, Malformed};
use crate::act::Act;
use crate::spec::{Encoding, Kernel, Kind, LayerSpec, Tiling};

/// The first four bytes of a blob.
pub const MAGIC: [u8; 4] = *b"PRSB";
/// The version of the format that this code reads and writes.
pub const VERSION: u16 = 2;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 48;
/// Bytes of one layer record.
pub const LAYER_BYTES: usize = 64;
/// Most layers that a blob may have.
pub const MAX_BLOB_LAYERS: u16 = 256;

/// The fixed fields at a blob's start; offsets are given in `docs/blob-format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole blob.
    pub total_len: u32,
    /// CRC-32 over every byte of the blob but these four.
    pub crc32: u32,
    /// Input height.
    pub in_h: u16,
    /// Input width.
    pub in_w: u16,
    /// Input channels, 1 to 4.
    pub in_c: u16,
    /// Number of layers.
    pub layers: u16,
    /// What is subtracted from each input channel; entries past `in_c` are zero.
    pub r_c: [u8; 4],
    /// Bytes of arena that inference takes, scratch included, exactly.
    pub arena_bytes: u32,
    /// The last layer's one scale: `logit = accumulator · scale`, as IEEE-754 bits.
    pub logit_scale: u32,
}

/// Byte offset of the checksum, the one field that it leaves out.
pub(super) const CRC_AT: usize = 12;

impl Header {
    /// Reads the 48 bytes; structure is checked by [`super::Blob::new_checked`].
    ///
    /// # Errors
    /// Truncated, wrong magic, another version, reserved fields in use.
    pub fn read(b: &[u8]) -> Result<Self, BlobError> {
        let err = |what, at| BlobError { what, at };
        if b.get(..4).is_some_and(|m| m != MAGIC) {
            return Err(err(Malformed::Magic, 0));
        }
        if b.len() < HEADER_BYTES {
            return Err(err(Malformed::Truncated, b.len() as u32));
        }
        let found = u16_at(b, 4);
        if found != VERSION {
            return Err(err(Malformed::Version { found }, 4));
        }
        if usize::from(u16_at(b, 6)) != HEADER_BYTES {
            return Err(err(Malformed::Length, 6));
        }
        if let Some(i) = b[36..HEADER_BYTES].iter().position(|&x| x != 0) {
            return Err(err(Malformed::Reserved, 36 + i as u32));
        }
        Ok(Self {
            total_len: u32_at(b, 8),
            crc32: u32_at(b, CRC_AT),
            in_h: u16_at(b, 16),
            in_w: u16_at(b, 18),
            in_c: u16_at(b, 20),
            layers: u16_at(b, 22),
            r_c: [b[24], b[25], b[26], b[27]],
            arena_bytes: u32_at(b, 28),
            logit_scale: u32_at(b, 32),
        })
    }

    /// The 48 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut b = [0; HEADER_BYTES];
        b[..4].copy_from_slice(&MAGIC);
        b[4..6].copy_from_slice(&VERSION.to_le_bytes());
        b[6..8].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        b[8..12].copy_from_slice(&self.total_len.to_le_bytes());
        b[12..16].copy_from_slice(&self.crc32.to_le_bytes());
        for (i, v) in [self.in_h, self.in_w, self.in_c, self.layers]
            .into_iter()
            .enumerate()
        {
            b[16 + 2 * i..18 + 2 * i].copy_from_slice(&v.to_le_bytes());
        }
        b[24..28].copy_from_slice(&self.r_c);
        b[28..32].copy_from_slice(&self.arena_bytes.to_le_bytes());
        b[32..36].copy_from_slice(&self.logit_scale.to_le_bytes());
        b
    }

    /// `logit = accumulator · scale`; for display and comparison, never needed to classify.
    #[must_use]
    pub fn scale(&self) -> f32 {
        f32::from_bits(self.logit_scale)
    }
}

/// One layer: what it is, where its buffers lie in the arena and its sections in the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRecord {
    /// What it computes, and how.
    pub spec: LayerSpec,
    /// Arena offset of the input tensor; 0 where that is the image.
    pub in_off: u32,
    /// Arena offset of the output tensor.
    pub out_off: u32,
    /// Arena offset of the scratch.
    pub scratch_off: u32,
    /// Blob offset of the weights; 0 where there are none.
    pub weights_off: u32,
    /// Bytes of the weights.
    pub weights_len: u32,
    /// Blob offset of the biases and multipliers, 8 bytes a channel.
    pub requant_off: u32,
}

impl LayerRecord {
    /// A record of `spec` at no place, for a layer that is in no blob.
    #[must_use]
    pub const fn of(spec: LayerSpec) -> Self {
        Self {
            spec,
            in_off: 0,
            out_off: 0,
            scratch_off: 0,
            weights_off: 0,
            weights_len: 0,
            requant_off: 0,
        }
    }

    /// Reads one record that starts at byte `at` of the blob.
    ///
    /// # Errors
    /// Unknown codes and reserved fields in use, with their offset.
    pub(super) fn read(b: &[u8; LAYER_BYTES], at: u32) -> Result<Self, BlobError> {
        let code = |i: usize| BlobError {
            what: Malformed::UnknownCode,
            at: at + i as u32,
        };
        if b[11] != 0 {
            return Err(BlobError {
                what: Malformed::Reserved,
                at: at + 11,
            });
        }
        if let Some(i) = b[52..].iter().position(|&x| x != 0) {
            return Err(BlobError {
                what: Malformed::Reserved,
                at: at + 52 + i as u32,
            });
        }
        let spec = LayerSpec {
            kind: Kind::from_code(b[0]).ok_or(code(0))?,
            kernel: Kernel::from_code(b[1]).ok_or(code(1))?,
            encoding: Encoding::from_code(b[2]).ok_or(code(2))?,
            w_bits: b[3],
            input: Act::from_code(b[4]).ok_or(code(4))?,
            output: Act::from_code(b[5]).ok_or(code(5))?,
            k_h: b[6],
            k_w: b[7],
            stride: b[8],
            pad: b[9],
            pool: b[10],
            in_h: u16_at(b, 12),
            in_w: u16_at(b, 14),
            c_in: u16_at(b, 16),
            c_out: u16_at(b, 18),
            strip_rows: u16_at(b, 44),
            tiling: Tiling {
                quads: u16_at(b, 46),
                channels: u16_at(b, 48),
                blocks: u16_at(b, 50),
            },
        };
        let [in_off, out_off, scratch_off] = [20, 24, 28].map(|i| u32_at(b, i));
        let [weights_off, weights_len, requant_off] = [32, 36, 40].map(|i| u32_at(b, i));
        Ok(Self {
            spec,
            in_off,
            out_off,
            scratch_off,
            weights_off,
            weights_len,
            requant_off,
        })
    }

    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LAYER_BYTES] {
        let (s, mut b) = (&self.spec, [0; LAYER_BYTES]);
        b[0] = s.kind as u8;
        b[1] = s.kernel as u8;
        b[2] = s.encoding as u8;
        b[3] = s.w_bits;
        b[4] = s.input.code();
        b[5] = s.output.code();
        b[6..11].copy_from_slice(&[s.k_h, s.k_w, s.stride, s.pad, s.pool]);
        for (i, v) in [s.in_h, s.in_w, s.c_in, s.c_out].into_iter().enumerate() {
            b[12 + 2 * i..14 + 2 * i].copy_from_slice(&v.to_le_bytes());
        }
        let offsets = [
            self.in_off,
            self.out_off,
            self.scratch_off,
            self.weights_off,
            self.weights_len,
            self.requant_off,
        ];
        for (i, v) in offsets.into_iter().enumerate() {
            b[20 + 4 * i..24 + 4 * i].copy_from_slice(&v.to_le_bytes());
        }
        let t = s.tiling;
        let cuts = [s.strip_rows, t.quads, t.channels, t.blocks];
        for (i, v) in cuts.into_iter().enumerate() {
            b[44 + 2 * i..46 + 2 * i].copy_from_slice(&v.to_le_bytes());
        }
        b
    }
}

pub(super) fn u16_at(b: &[u8], i: usize) -> u16 {
    u16::from_le_bytes([b[i], b[i + 1]])
}

/// Little-endian; 0 where it is not all there, which no caller lets happen.
fn u32_at(b: &[u8], i: usize) -> u32 {
    match b.get(i..).and_then(<[u8]>::first_chunk) {
        Some(&word) => u32::from_le_bytes(word),
        None => 0,
    }
}
