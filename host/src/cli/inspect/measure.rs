//! A network on a board, layer by layer.

use crate::board::{Board, Cycles};
use crate::cli::artifact::{BlobFile, check_flashed};
use crate::cli::table::Table;
use crate::cli::units::grouped;
use anyhow::Result;
use serde_json::{Value, json};
use shared::bench::Rng;

/// Seed of the picture that is run: its cycles are those of any other.
const SEED: u32 = 1;

/// Text and JSON: cycles of each layer, and of each multiply-accumulate.
///
/// # Errors
/// Where the board does not take the blob or fails.
pub(super) fn on_board(
    file: &BlobFile,
    names: &[&str],
    board: &mut dyn Board,
) -> Result<(String, Value)> {
    board.flash(file.bytes())?;
    check_flashed(&board.hello()?, file)?;
    let blob = file.blob();
    let mut rng = Rng::new(SEED);
    let image: Vec<u8> = (0..blob.image_bytes()).map(|_| rng.next() as u8).collect();
    let ran = board.infer(&image, false)?;
    let layers: Vec<Measured> = names
        .iter()
        .zip(blob.layers())
        .zip(&ran.layers)
        .map(|((name, layer), cycles)| Measured {
            name,
            macs: layer.spec().macs(),
            cycles: *cycles,
        })
        .collect();
    let wait = board.spec().flash.wait_states;
    let heads = [
        "layer",
        "MACs",
        "0 wait states",
        "per MAC",
        "on the board",
        "per MAC",
    ];
    let mut table = Table::new(&heads, &[0]);
    layers.iter().for_each(|l| table.row(l.cells()));
    let macs: u64 = layers.iter().map(|l| l.macs).sum();
    let zero: Option<u64> = layers.iter().map(Measured::zero_wait).sum();
    let whole: Option<u64> = layers.iter().map(Measured::whole).sum();
    table.row(vec![
        "all".into(),
        grouped(macs),
        zero.map_or("-".into(), grouped),
        per_mac(zero, macs),
        whole.map_or("-".into(), grouped),
        per_mac(whole, macs),
    ]);
    let text = format!(
        "{}, {} ({wait} wait states on the board)\n{}",
        board.name(),
        board.engine().cycle_source(),
        table.render()
    );
    let rows: Vec<Value> = layers.iter().map(Measured::to_json).collect();
    let value = json!({
        "board": board.name(),
        "cycle_source": board.engine().cycle_source(),
        "wait_states": wait,
        "layers": rows,
        "macs": macs,
        "cycles_zero_wait": zero,
        "cycles": whole,
    });
    Ok((text, value))
}

struct Measured<'a> {
    name: &'a str,
    macs: u64,
    cycles: Option<Cycles>,
}

impl Measured<'_> {
    fn zero_wait(&self) -> Option<u64> {
        self.cycles.and_then(|c| c.zero_wait())
    }

    fn whole(&self) -> Option<u64> {
        self.cycles.map(|c| c.board)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.into(),
            grouped(self.macs),
            self.zero_wait().map_or("-".into(), grouped),
            per_mac(self.zero_wait(), self.macs),
            self.whole().map_or("-".into(), grouped),
            per_mac(self.whole(), self.macs),
        ]
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "macs": self.macs,
            "cycles_zero_wait": self.zero_wait(),
            "cycles": self.whole(),
        })
    }
}

fn per_mac(cycles: Option<u64>, macs: u64) -> String {
    match cycles {
        Some(cycles) if macs > 0 => format!("{:.3}", cycles as f64 / macs as f64),
        _ => "-".into(),
    }
}
