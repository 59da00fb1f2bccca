//! Results of layers whose weights are not stored dense: beside dense ones, and beside the
//! entropy.

use super::cases::Group;
use super::rows::Row;
use super::storage::Stored;
use crate::cli::table::Table;
use serde_json::{Map, Value, json};
use shared::spec::{Encoding, LayerSpec};

/// What storing and decoding a layer's weights takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub stored: Stored,
    /// Cycles of decoding one weight once, the stream in SRAM.
    pub decode: Option<f64>,
    /// Cycles of the layer with dense weights, by its fastest kernel, within the same scratch.
    pub dense_cycles: Option<u64>,
}

impl Storage {
    /// What the row of such a layer has besides. Its cycles are of a stream in SRAM;
    /// `flash_read_cycles` is what its lines take out of flash.
    pub fn json(&self, row: &Row) -> Map<String, Value> {
        let each = |bytes: f64| bytes / self.stored.weights.max(1) as f64;
        let fields = [
            ("bytes_per_weight", json!(each(self.stored.bytes as f64))),
            (
                "table_bytes_per_weight",
                json!(each(self.stored.table as f64)),
            ),
            ("entropy_bytes_per_weight", json!(each(self.stored.entropy))),
            ("decode_cycles_per_weight", json!(self.decode)),
            ("dense_cycles", json!(self.dense_cycles)),
            ("over_dense", json!(self.over_dense(row))),
            (
                "flash_read_cycles",
                json!(self.stored.flash_wait(&row.spec, row.wait_states)),
            ),
        ];
        fields
            .map(|(name, value)| (name.to_string(), value))
            .into_iter()
            .collect()
    }

    /// Cycles beyond those of dense weights, as a share of them, reading the stream out of flash
    /// counted in.
    fn over_dense(&self, row: &Row) -> Option<f64> {
        let dense = self.dense_cycles.filter(|&d| d > 0)?;
        let whole = row.cycles? + self.stored.flash_wait(&row.spec, row.wait_states);
        Some(whole as f64 / dense as f64 - 1.0)
    }
}

/// Puts the fastest dense row of the same layer beside each row that is not dense.
pub(super) fn compare(rows: &mut [Row]) {
    let same = |row: &Row| {
        let s = LayerSpec {
            encoding: Encoding::Dense,
            ..row.case.spec
        };
        (s, row.case.scratch_limit, row.wait_states)
    };
    let dense: Vec<_> = rows
        .iter()
        .filter(|r| r.spec.encoding == Encoding::Dense)
        .filter_map(|r| Some((same(r), r.cycles?)))
        .collect();
    for row in rows.iter_mut().filter(|r| r.storage.is_some()) {
        let wanted = same(row);
        let of_layer = dense.iter().filter(|(layer, _)| *layer == wanted);
        let fastest = of_layer.map(|(_, cycles)| *cycles).min();
        if let Some(storage) = &mut row.storage {
            storage.dense_cycles = fastest;
        }
    }
}

/// Cycles beside dense ones and bytes beside the entropy, a column for each width.
pub(super) fn tables(rows: &[Row], board_wait: u32) -> Vec<String> {
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|r| r.case.group == Group::Storage && r.storage.is_some())
        .collect();
    if rows.is_empty() {
        return vec![];
    }
    let least = rows.iter().map(|r| r.wait_states).min().unwrap_or(0);
    let mut text = vec![];
    let (heading, waits) = match board_wait == least {
        true => (format!("{least}"), vec![least]),
        false => (format!("{least} and {board_wait}"), vec![least, board_wait]),
    };
    text.push(format!(
        "cycles beyond dense weights, {heading} wait states (the streams' lines counted in)\n{}",
        by_width(&rows, least, |row, _| {
            let at = |wait: &u32| over_at(&rows, row, *wait);
            let all: Option<Vec<String>> = waits.iter().map(at).collect();
            Some(format!("{} %", all?.join(" ")))
        })
    ));
    let first: Vec<&Row> = of_first_layer(&rows);
    text.push(format!(
        "cycles of decoding a weight, {least} wait states\n{}",
        by_width(&first, least, |_, s| Some(format!("{:.2}", s.decode?)))
    ));
    text.push(format!(
        "bytes a weight, of entropy and table\n{}",
        by_width(&rows, least, |_, s| {
            let each = |bytes: f64| bytes / s.stored.weights.max(1) as f64;
            let bound = each(s.stored.entropy + s.stored.table as f64);
            Some(format!("{:.3} of {bound:.3}", each(s.stored.bytes as f64)))
        })
    ));
    text
}

/// What `row` takes beyond dense weights with other wait states, in percent.
fn over_at(rows: &[&Row], row: &Row, wait: u32) -> Option<String> {
    let mut same = rows
        .iter()
        .filter(|r| r.wait_states == wait && r.case == row.case);
    let row = same.next()?;
    let over = row.storage?.over_dense(row)?;
    Some(format!("{:+.0}", 100.0 * over))
}

/// Decoding does not depend on the layer: the rows of one of them.
fn of_first_layer<'r>(rows: &[&'r Row]) -> Vec<&'r Row> {
    let name = rows.first().map(|r| r.case.name());
    let rows = rows.iter().copied();
    rows.filter(|r| Some(r.case.name()) == name).collect()
}

fn by_width(rows: &[&Row], wait: u32, cell: impl Fn(&Row, &Storage) -> Option<String>) -> String {
    let mut widths: Vec<u8> = rows.iter().map(|r| r.spec.w_bits).collect();
    widths.sort_unstable_by(|a, b| b.cmp(a));
    widths.dedup();
    let heads = ["layer".to_string()].into_iter();
    let heads: Vec<String> = heads
        .chain(widths.iter().map(|w| format!("w{w}")))
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let mut table = Table::new(&heads, &[0]);
    let line = |row: &Row| format!("{} {}", row.case.name(), row.encoding());
    let mut seen: Vec<String> = Vec::new();
    for row in rows.iter().filter(|r| r.wait_states == wait) {
        let name = line(row);
        if seen.contains(&name) {
            continue;
        }
        let mut cells = vec![name.clone()];
        cells.extend(widths.iter().map(|&w| {
            let mut of_line = rows
                .iter()
                .filter(|r| r.wait_states == wait && line(r) == name);
            let found = of_line.find(|r| r.spec.w_bits == w);
            let text = found.and_then(|r| cell(r, r.storage.as_ref()?));
            text.unwrap_or("-".into())
        }));
        table.row(cells);
        seen.push(name);
    }
    table.render()
}
