//! Results of `bench`: as JSON for programs, as tables for people.

use super::cases::{Case, Group, KIB};
use super::storage_rows::{self, Storage};
use crate::board::LayerTiming;
use crate::cli::table::Table;
use crate::cli::units::grouped;
use serde_json::{Value, json};
use shared::spec::{Kind, LayerSpec};

/// One line of the result: a layer, a kernel, a count of wait states.
pub(super) struct Row {
    pub case: Case,
    pub spec: LayerSpec,
    pub wait_states: u32,
    /// `None` where the board computed something else.
    pub cycles: Option<u64>,
    pub timing: Option<LayerTiming>,
    /// Flash of the kernel with all its stages.
    pub code_bytes: usize,
    pub build: String,
    /// What storing and decoding its weights takes, where they are not dense.
    pub storage: Option<Storage>,
}

impl Row {
    pub fn bit_exact(&self) -> bool {
        self.timing.is_some()
    }

    fn per_mac(&self) -> Option<f64> {
        let macs = self.spec.macs().max(1) as f64;
        self.cycles.map(|c| c as f64 / macs)
    }

    /// Encoding and density in words.
    pub fn encoding(&self) -> String {
        match self.case.density_percent {
            100 => self.spec.encoding.name().to_string(),
            density => format!("{} {density} %", self.spec.encoding.name()),
        }
    }

    pub fn to_json(&self) -> Value {
        let s = &self.spec;
        let mut row = json!({
            "layer": self.case.name(),
            "kind": match s.kind {
                Kind::Conv => "conv",
                Kind::FullyConnected => "fully_connected",
                Kind::GlobalAvgPool => "global_avg_pool",
            },
            "kernel": s.kernel.name(),
            "encoding": s.encoding.name(),
            "density_percent": self.case.density_percent,
            "pool": s.pool == 2,
            "w_bits": s.w_bits,
            "a_bits": s.output.bits(),
            "wait_states": self.wait_states,
            "instructions": self.timing.and_then(|t| t.instructions),
            "cycles": self.cycles,
            "cycles_per_mac": self.per_mac(),
            "scratch_bytes": s.scratch_bytes(),
            "scratch_limit": self.case.scratch_limit,
            "code_bytes": self.code_bytes,
            "build": self.build,
            "bit_exact": self.bit_exact(),
        });
        if let (Some(row), Some(storage)) = (row.as_object_mut(), &self.storage) {
            row.extend(storage.json(self));
        }
        row
    }
}

/// All rows, one a line.
pub(super) fn every_row(rows: &[Row]) -> String {
    let heads = [
        "layer", "kernel", "encoding", "w", "a", "scratch", "of", "wait", "cycles", "per MAC", "",
    ];
    let mut table = Table::new(&heads, &[0, 1, 2, 10]);
    for row in rows {
        let s = &row.spec;
        table.row(vec![
            layer(row),
            s.kernel.name().into(),
            row.encoding(),
            s.w_bits.to_string(),
            s.output.bits().to_string(),
            grouped(s.scratch_bytes().into()),
            grouped(row.case.scratch_limit.into()),
            row.wait_states.to_string(),
            row.cycles.map_or("-".into(), grouped),
            number(row.per_mac()),
            notes(row).join(", "),
        ]);
    }
    table.render()
}

/// Per group and layer the fastest kernel's cycles per MAC, a column for each width of
/// weights; then sums.
pub(super) fn summary(rows: &[Row], board_wait: u32) -> String {
    let mut text = Vec::new();
    for group in Group::ALL {
        let rows: Vec<&Row> = rows.iter().filter(|r| r.case.group == group).collect();
        if !rows.is_empty() {
            text.push(format!(
                "{}\n{}",
                group.title(),
                group_table(&rows, board_wait)
            ));
        }
    }
    text.extend(storage_rows::tables(rows, board_wait));
    text.extend(sums(rows));
    text.push(spread(rows));
    let wrong = rows.iter().filter(|r| !r.bit_exact());
    text.extend(wrong.map(|r| format!("{} {}: NOT BIT-EXACT", layer(r), r.spec.kernel.name())));
    text.join("\n\n")
}

fn group_table(rows: &[&Row], board_wait: u32) -> String {
    let widths: Vec<u8> = (2..=8)
        .rev()
        .filter(|w| rows.iter().any(|r| r.spec.w_bits == *w))
        .collect();
    let least = rows.iter().map(|r| r.wait_states).min().unwrap_or(0);
    let mut heads = vec!["layer".to_string(), "scratch of".into(), "kernel".into()];
    heads.extend(widths.iter().map(|w| format!("w{w}")));
    heads.push(format!("{board_wait} wait"));
    heads.push("scratch".into());
    let mut table = Table::new(
        &heads.iter().map(String::as_str).collect::<Vec<_>>(),
        &[0, 2],
    );
    let mut seen = Vec::new();
    for row in rows {
        let line = line_of(row);
        if seen.contains(&line) {
            continue;
        }
        let of_line = |w: u8, wait: u32| {
            let rows = rows.iter().filter(|r| line_of(r) == line);
            fastest(rows.filter(|r| r.spec.w_bits == w && r.wait_states == wait))
        };
        let first = widths.iter().find_map(|&w| of_line(w, least));
        let with_wait = widths.iter().find_map(|&w| of_line(w, board_wait));
        let mut cells = vec![line.0.clone(), format!("{} KiB", line.1 / KIB)];
        cells.push(first.map_or("-".into(), |r| r.spec.kernel.name().into()));
        cells.extend(
            widths
                .iter()
                .map(|&w| number(of_line(w, least).and_then(Row::per_mac))),
        );
        cells.push(number(with_wait.and_then(Row::per_mac)));
        cells.push(first.map_or("-".into(), |r| grouped(r.spec.scratch_bytes().into())));
        table.row(cells);
        seen.push(line);
    }
    table.render()
}

/// What rows of one line of the summary have in common.
fn line_of(row: &Row) -> (String, u32) {
    (layer(row), row.case.scratch_limit)
}

fn fastest<'r>(rows: impl Iterator<Item = &'r &'r Row>) -> Option<&'r Row> {
    rows.copied()
        .filter(|r| r.cycles.is_some())
        .min_by_key(|r| r.cycles)
}

/// The whole network's cycles per MAC, each layer by its fastest kernel.
fn sums(rows: &[Row]) -> Vec<String> {
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|r| r.case.group == Group::ResNet8)
        .collect();
    let mut configurations: Vec<(u8, u32)> = Vec::new();
    let mut waits: Vec<u32> = rows.iter().map(|r| r.wait_states).collect();
    waits.sort_unstable();
    waits.dedup();
    for row in &rows {
        let configuration = (row.spec.w_bits, row.case.scratch_limit);
        if !configurations.contains(&configuration) {
            configurations.push(configuration);
        }
    }
    let lines = configurations.into_iter().map(|(w_bits, limit)| {
        let of = |wait: u32| {
            let rows = rows.iter().filter(|r| {
                (r.spec.w_bits, r.case.scratch_limit, r.wait_states) == (w_bits, limit, wait)
            });
            total(rows.copied().collect())
        };
        let each = waits.iter().map(|&wait| match of(wait) {
            Some((cycles, macs)) => {
                format!("{:.3} at {wait} wait states", cycles as f64 / macs as f64)
            }
            None => format!("- at {wait} wait states"),
        });
        format!(
            "ResNet-8's layers, {w_bits} bits, {} KiB of scratch, cycles per MAC: {}",
            limit / KIB,
            each.collect::<Vec<_>>().join(", ")
        )
    });
    lines.collect()
}

/// Cycles and MACs of all layers; `None` where one is missing.
fn total(rows: Vec<&Row>) -> Option<(u64, u64)> {
    let mut layers: Vec<String> = rows.iter().map(|r| layer(r)).collect();
    layers.dedup();
    layers.iter().try_fold((0, 0), |(cycles, macs), name| {
        let of_layer = rows.iter().filter(|r| layer(r) == *name);
        let row = fastest(of_layer)?;
        let times = row.case.times;
        Some((cycles + times * row.cycles?, macs + times * row.spec.macs()))
    })
}

fn layer(row: &Row) -> String {
    let s = &row.spec;
    let pool = if s.pool == 2 { " max2" } else { "" };
    let act = match s.output.bits() {
        8 => String::new(),
        bits => format!(" a{bits}"),
    };
    let encoding = match row.encoding().as_str() {
        "dense" => String::new(),
        other => format!(" {other}"),
    };
    format!("{}{pool}{act}{encoding}", row.case.name())
}

fn notes(row: &Row) -> Vec<&'static str> {
    match row.timing {
        None => vec!["NOT BIT-EXACT"],
        Some(timing) => {
            let portable = (!timing.fast).then_some("portable kernel");
            let extrapolated = timing.extrapolated.then_some("extrapolated");
            portable.into_iter().chain(extrapolated).collect()
        }
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.3}"))
}

/// Least, median and most cycles per MAC, for each count of wait states.
fn spread(rows: &[Row]) -> String {
    let mut states: Vec<u32> = rows.iter().map(|r| r.wait_states).collect();
    states.sort_unstable();
    states.dedup();
    let lines = states.into_iter().map(|wait| {
        let rows = rows.iter().filter(|r| r.wait_states == wait);
        let mut all: Vec<f64> = rows.filter_map(Row::per_mac).collect();
        all.sort_by(f64::total_cmp);
        let at = |q: usize| all.get(q).copied().unwrap_or(f64::NAN);
        format!(
            "{} rows at {wait} wait states: {:.3} to {:.3} cycles per MAC, median {:.3}",
            all.len(),
            at(0),
            at(all.len().saturating_sub(1)),
            at(all.len() / 2)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
