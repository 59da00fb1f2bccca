//! Why a blob is refused.

#[cfg(feature = "signed")]
use crate::envelope::SignatureError;
use crate::spec::SpecError;
use serde::{Deserialize, Serialize};

/// A blob that is refused, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BlobError {
    /// What is wrong.
    pub what: Malformed,
    /// Byte offset in the blob of the field that is wrong.
    pub at: u32,
}

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Malformed {
    /// Shorter than a header, or than the length that it states.
    Truncated,
    /// Does not begin with the magic number: no blob, or erased flash.
    Magic,
    /// Made by another version of the format.
    Version {
        /// The version that it states.
        found: u16,
    },
    /// The stated length is not a multiple of four, or the header's own length is wrong.
    Length,
    /// The checksum does not match: damaged in transfer or in flash.
    Crc {
        /// What the header states.
        stated: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// A reserved field is not zero.
    Reserved,
    /// No layers, or more than the format allows.
    LayerCount,
    /// An unknown kind of layer, kernel, encoding or tensor format.
    UnknownCode,
    /// A layer makes no sense by itself.
    Layer(SpecError),
    /// A layer's input is not the output of the one before it (shape, format or offset),
    /// or the first does not read the image, or the last does not give logits.
    Chain,
    /// An offset is not a multiple of four.
    Unaligned,
    /// A section lies outside the blob, inside the tables, or over another one.
    Section,
    /// A section's length is not what the layer needs.
    SectionLength,
    /// The offsets of a layer's blocks do not rise from the table's end to the section's.
    BlockTable,
    /// A multiplier is zero or negative.
    Multiplier,
    /// The layer's kernel is not exact for the weights of this output channel.
    Inexact {
        /// The channel.
        channel: u16,
    },
    /// A buffer lies outside the stated arena, or over another that is still needed.
    Arena,
    /// The firmware runs signed networks only, and not this one.
    #[cfg(feature = "signed")]
    Signature(SignatureError),
}

impl core::fmt::Display for BlobError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} at byte {}", self.what, self.at)
    }
}

impl core::error::Error for BlobError {}
