//! `bench`: layers against cycles per multiply-accumulate, every output byte compared.

use super::FAILED_CHECK;
use super::bench_layers::{Case, built_in, from_file};
use super::board::BoardArgs;
use super::output::Output;
use super::table::Table;
use super::units::grouped;
use crate::board::{Board, Extent, Firmware, LayerTiming, TimingError, expected_crc32, time_layer};
use crate::search::LayerKey;
use anyhow::Result;
use serde_json::{Value, json};
use shared::spec::{Kernel, Kind, LayerSpec};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    board: BoardArgs,
    /// Layers to time, as TOML: `[[layer]]` with `shape = "16x16x64->64"` and, where they
    /// differ from the defaults, k, pool, w_bits, a_bits, encoding, density_percent,
    /// scratch_limit, kernel [default: a built-in table].
    #[arg(long, value_name = "FILE")]
    layers: Option<PathBuf>,
    /// Time all blocks of output channels also where some would do.
    #[arg(long)]
    whole: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let cases = match &args.layers {
        Some(path) => from_file(path)?,
        None => built_in(),
    };
    let mut board = args.board.open(output)?;
    let arena = board.hello()?.arena_limit;
    let bench = Bench {
        extent: match args.whole {
            true => Extent::Whole,
            false => Extent::of(board.engine()),
        },
        code_bytes: code_bytes(&*board)?,
        build: format!("{:08x}", board.build_id()),
        arena,
    };
    let rows = bench.rows(&mut *board, &cases, output)?;
    output.result(&text(&rows));
    output.json(&Value::Array(rows.iter().map(Row::to_json).collect()));
    let wrong = rows.iter().any(|r| !r.bit_exact);
    Ok(ExitCode::from(if wrong { FAILED_CHECK } else { 0 }))
}

/// Flash bytes of the firmware, code and constants.
fn code_bytes(board: &dyn Board) -> Result<usize> {
    let firmware = Firmware::build(board.spec())?;
    Ok(firmware.sections.iter().map(|(_, bytes)| bytes.len()).sum())
}

struct Bench {
    extent: Extent,
    arena: u32,
    code_bytes: usize,
    build: String,
}

/// One line of the result.
struct Row {
    layer: String,
    spec: LayerSpec,
    density_percent: u8,
    scratch_limit: u32,
    wait_states: u32,
    /// `None` where the board computed something else.
    cycles: Option<u64>,
    instructions: Option<u64>,
    bit_exact: bool,
    fast: bool,
    extrapolated: bool,
    code_bytes: usize,
    build: String,
}

impl Bench {
    fn rows(&self, board: &mut dyn Board, cases: &[Case], output: &Output) -> Result<Vec<Row>> {
        let mut jobs: Vec<(&Case, LayerKey)> = Vec::new();
        for case in cases {
            let placed = case.placed(self.arena);
            if placed.is_empty() {
                output.ui().say(&format!(
                    "  {} fits neither {} bytes of scratch nor {} of SRAM",
                    case.name(),
                    case.scratch_limit,
                    self.arena
                ));
            }
            jobs.extend(placed.into_iter().map(|key| (case, key)));
        }
        let mut known = HashMap::new();
        let mut bar = output.ui().bar("bench", jobs.len(), 0);
        let mut rows = Vec::new();
        for (i, (case, key)) in jobs.into_iter().enumerate() {
            let found = match known.get(&key) {
                Some(found) => *found,
                None => {
                    let found = self.time(board, &key, output)?;
                    known.insert(key, found);
                    found
                }
            };
            rows.extend(self.rows_of(board, case, &key, found));
            bar.set(i + 1, &case.name());
        }
        bar.finish(&format!("{} layers timed", known.len()));
        Ok(rows)
    }

    /// `None` where the board's bytes are not those that the definition gives.
    fn time(
        &self,
        board: &mut dyn Board,
        key: &LayerKey,
        output: &Output,
    ) -> Result<Option<LayerTiming>> {
        let timing = match time_layer(board, key, self.arena, self.extent) {
            Ok(timing) => timing,
            Err(error @ TimingError::Mismatch { .. }) => {
                output.ui().say(&format!("  {error}"));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        Ok(same_as_direct(key)?.then_some(timing))
    }

    fn rows_of(
        &self,
        board: &dyn Board,
        case: &Case,
        key: &LayerKey,
        timing: Option<LayerTiming>,
    ) -> Vec<Row> {
        let row = |wait_states, cycles| Row {
            layer: case.name(),
            spec: timing.map_or(key.spec, |t| t.spec),
            density_percent: key.density_percent,
            scratch_limit: case.scratch_limit,
            wait_states,
            cycles,
            instructions: timing.and_then(|t| t.instructions),
            bit_exact: timing.is_some(),
            fast: timing.is_some_and(|t| t.fast),
            extrapolated: timing.is_some_and(|t| t.extrapolated),
            code_bytes: self.code_bytes,
            build: self.build.clone(),
        };
        let own = row(board.spec().flash.wait_states, timing.map(|t| t.cycles));
        let zero_wait = timing.and_then(|t| t.zero_wait);
        zero_wait
            .map(|cycles| row(0, Some(cycles)))
            .into_iter()
            .chain([own])
            .collect()
    }
}

/// Whether a kernel that takes a short cut gives what the direct one gives, on this data.
fn same_as_direct(key: &LayerKey) -> Result<bool, TimingError> {
    if key.spec.kernel == Kernel::Direct {
        return Ok(true);
    }
    let direct = LayerSpec {
        kernel: Kernel::Direct,
        strip_rows: key.spec.conv_out().0,
        ..key.spec
    };
    let direct = LayerKey {
        spec: direct,
        ..*key
    };
    Ok(expected_crc32(key)? == expected_crc32(&direct)?)
}

impl Row {
    fn per_mac(&self) -> Option<f64> {
        let macs = self.spec.macs().max(1) as f64;
        self.cycles.map(|c| c as f64 / macs)
    }

    fn to_json(&self) -> Value {
        let s = &self.spec;
        json!({
            "layer": self.layer,
            "kind": match s.kind {
                Kind::Conv => "conv",
                Kind::FullyConnected => "fully_connected",
                Kind::GlobalAvgPool => "global_avg_pool",
            },
            "kernel": s.kernel.name(),
            "encoding": s.encoding.name(),
            "density_percent": self.density_percent,
            "pool": s.pool == 2,
            "w_bits": s.w_bits,
            "a_bits": s.output.bits(),
            "wait_states": self.wait_states,
            "instructions": self.instructions,
            "cycles": self.cycles,
            "cycles_per_mac": self.per_mac(),
            "macs": s.macs(),
            "strip_rows": s.strip_rows,
            "scratch_bytes": s.scratch_bytes(),
            "scratch_limit": self.scratch_limit,
            "code_bytes": self.code_bytes,
            "build": self.build,
            "fast": self.fast,
            "extrapolated": self.extrapolated,
            "bit_exact": self.bit_exact,
        })
    }
}

fn text(rows: &[Row]) -> String {
    let heads = [
        "layer", "kernel", "encoding", "w", "a", "scratch", "of", "wait", "cycles", "per MAC", "",
    ];
    let mut table = Table::new(&heads, &[0, 1, 2, 10]);
    for row in rows {
        let s = &row.spec;
        let encoding = match row.density_percent {
            100 => s.encoding.name().to_string(),
            density => format!("{} {density} %", s.encoding.name()),
        };
        let mut notes = vec![];
        if !row.bit_exact {
            notes.push("NOT BIT-EXACT");
        } else if !row.fast {
            notes.push("portable kernel");
        }
        if row.extrapolated {
            notes.push("extrapolated");
        }
        table.row(vec![
            format!("{}{}", row.layer, if s.pool == 2 { " max2" } else { "" }),
            s.kernel.name().into(),
            encoding,
            s.w_bits.to_string(),
            s.output.bits().to_string(),
            grouped(s.scratch_bytes().into()),
            grouped(row.scratch_limit.into()),
            row.wait_states.to_string(),
            row.cycles.map_or("-".into(), grouped),
            row.per_mac().map_or("-".into(), |c| format!("{c:.3}")),
            notes.join(", "),
        ]);
    }
    format!("{}\n{}", table.render(), spread(rows))
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
            "{} layers at {wait} wait states: {:.3} to {:.3} cycles per MAC, median {:.3}",
            all.len(),
            at(0),
            at(all.len().saturating_sub(1)),
            at(all.len() / 2)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
