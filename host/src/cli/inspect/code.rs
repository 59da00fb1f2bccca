//! The kernels that a network uses, and what they take of the flash.

use crate::board::{BoardError, BoardSpec, CodeSizes, Firmware, Part};
use crate::cli::table::Table;
use crate::cli::units::{grouped, kib};
use serde_json::{Value, json};
use shared::blob::Blob;
use shared::spec::{Abilities, Ability, LayerSpec};

/// Text and JSON: each kernel with its layers and bytes, and the firmware with only these.
///
/// # Errors
/// Where the board's firmware does not build.
pub(super) fn kernels(
    blob: &Blob,
    names: &[&str],
    board: &BoardSpec,
) -> Result<(String, Value), BoardError> {
    let firmware = Firmware::build(board)?;
    let sizes = CodeSizes::of(&firmware);
    let specs: Vec<LayerSpec> = blob.layers().map(|l| *l.spec()).collect();
    let mut table = Table::new(&["code", "layers", "bytes"], &[0, 1]);
    let mut rows = Vec::new();
    for part in Part::ALL.into_iter().filter(|p| p.is_kernel()) {
        let served = names.iter().zip(&specs).filter(|(_, s)| part.serves(s));
        let layers: Vec<&str> = served.map(|(name, _)| *name).collect();
        if layers.is_empty() {
            continue;
        }
        let bytes = sizes.part(part);
        table.row(vec![
            part.name().into(),
            layers.join(" "),
            grouped(bytes as u64),
        ]);
        rows.push(json!({ "code": part.name(), "layers": layers, "bytes": bytes }));
    }
    let engine = sizes.part(Part::Engine);
    table.row(vec!["engine".into(), String::new(), grouped(engine as u64)]);
    let used = sizes.kernels_of(specs.iter()) + engine;
    let only = sizes.with_only(specs.iter().copied());
    let features: Abilities = specs.iter().map(Ability::of).collect();
    let features: Vec<&str> = features.iter().map(Ability::name).collect();
    let text = format!(
        "{}\nengine and kernels of this network {}; the firmware of {} takes {}, about {} with \
         only these:\n  cargo build --release --no-default-features --features {},bench\n\
         Without `bench` it is smaller still, cannot panic in its message loop, and times no layers.",
        table.render(),
        kib(used as u64),
        board.name,
        kib(sizes.total() as u64),
        kib(only as u64),
        features.join(",")
    );
    let value = json!({
        "build": format!("{:08x}", firmware.build_id),
        "parts": rows,
        "engine_bytes": engine,
        "engine_and_kernels_bytes": used,
        "firmware_bytes": sizes.total(),
        "firmware_with_only_these_bytes": only,
        "features": features,
    });
    Ok((text, value))
}
