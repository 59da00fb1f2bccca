//! The blob: a compressed network as one file, used in place from flash.
//!
//! `docs/blob-format.md` is normative. [`Blob::new_checked`] looks at everything once; after
//! it, no accessor fails or panics on what a blob contains. [`mod@write`] makes blobs.

mod blocks;
mod error;
mod exact;
mod layout;
mod parse;
pub mod write;

pub use error::{BlobError, Malformed};
pub use layout::{HEADER_BYTES, Header, LAYER_BYTES, LayerRecord, MAGIC, MAX_BLOB_LAYERS, VERSION};
pub use parse::{Blob, Layer};
