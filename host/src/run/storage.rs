//! `storage.json`: the result, stored in each way that there is.

use serde::{Deserialize, Serialize};

/// The compressed network with its weights stored in one way; its logits are the same in all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredFigures {
    /// The encoding of all layers, or `chosen` for each layer's own: what was kept.
    pub stored: String,
    /// Bytes of the blob.
    pub blob_bytes: u64,
    /// Bytes of arena.
    pub sram_bytes: u64,
    /// Cycles of one inference on the board, the blob in its flash.
    pub cycles: u64,
}

impl StoredFigures {
    /// What the run kept.
    pub const CHOSEN: &'static str = "chosen";
}
