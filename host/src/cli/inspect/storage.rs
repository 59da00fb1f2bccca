//! How a blob's weights could be stored: bytes and cycles of each encoding, layer by layer;
//! and the same network stored otherwise, as another blob.

use crate::cli::hint::Complaint;
use crate::cli::table::Table;
use crate::cli::units::grouped;
use crate::lower::{
    Candidate, IntNet, Prefer, Storage, choose_encoding, emit, encodings, entropy, plan,
};
use anyhow::Result;
use serde_json::{Value, json};
use shared::coding::tans::TABLE_BYTES;
use shared::spec::Encoding;
use std::path::Path;

/// Ways to store a network anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Store {
    /// Every layer dense.
    Dense,
    /// Every layer sparse.
    Sparse,
    /// Every layer by gaps.
    Delta,
    /// Every layer entropy-coded.
    Coded,
    /// Each layer as it takes the fewest bytes.
    Smallest,
}

/// Text and JSON: bytes, entropy and predicted cycles of each layer with weights.
pub(super) fn candidates(net: &IntNet, arena: u32) -> (String, Value) {
    let heads = [
        "layer", "entropy", "dense", "cycles", "sparse", "cycles", "delta", "cycles", "coded",
        "cycles",
    ];
    let mut table = Table::new(&heads, &[0]);
    let mut rows = Vec::new();
    for layer in net.layers.iter().filter(|l| l.spec.has_weights()) {
        let all = encodings(layer, arena);
        let bound = entropy(&layer.weights) * layer.weights.len() as f64 / 8.0;
        let mut cells = vec![layer.name.clone(), grouped(bound.ceil() as u64)];
        for encoding in Encoding::ALL {
            let found = all.iter().find(|c| c.encoding == encoding);
            cells.extend(match found {
                Some(c) => [grouped(c.bytes as u64), grouped(c.cycles as u64)],
                None => ["-".into(), "-".into()],
            });
        }
        table.row(cells);
        rows.push(json!({
            "name": layer.name,
            "entropy_bytes": bound.ceil() as u64,
            "candidates": all.iter().map(row).collect::<Vec<_>>(),
        }));
    }
    let text = format!(
        "bytes of weights at their entropy and in each encoding, with predicted cycles\n{}",
        table.render()
    );
    (text, Value::Array(rows))
}

fn row(c: &Candidate) -> Value {
    json!({
        "encoding": c.encoding.name(),
        "bytes": c.bytes,
        "predicted_cycles": c.cycles as u64,
    })
}

/// Bytes of arena that a blob may take which states `stated` and is stored otherwise: a coded
/// layer needs its table.
pub(super) fn arena(stated: u32) -> u32 {
    stated + TABLE_BYTES
}

/// Writes `net` stored anew to `out`.
///
/// # Errors
/// Where it does not fit `arena`, or the file cannot be written.
pub(super) fn store(mut net: IntNet, how: Store, arena: u32, out: &Path) -> Result<String> {
    let storage = match how {
        Store::Smallest => Storage::smallest(arena),
        _ => Storage {
            prefer: Prefer::Speed,
            ..Storage::dense(arena)
        },
    };
    choose_encoding(&mut net, &storage);
    let forced = match how {
        Store::Dense | Store::Smallest => None,
        Store::Sparse => Some(Encoding::Sparse),
        Store::Delta => Some(Encoding::Delta),
        Store::Coded => Some(Encoding::Coded),
    };
    let weighted = net.layers.iter_mut().filter(|l| l.spec.has_weights());
    weighted.for_each(|layer| {
        layer.spec.encoding = forced.unwrap_or(layer.spec.encoding);
    });
    let blob = emit(&net, &plan(&net, arena)?)?.blob;
    std::fs::write(out, &blob).map_err(|error| {
        Complaint::input(format!("cannot write the blob: {error}"))
            .at(out.display())
            .try_("another place for --out")
    })?;
    Ok(format!(
        "{}: {} bytes",
        out.display(),
        grouped(blob.len() as u64)
    ))
}
