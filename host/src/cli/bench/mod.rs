//! `bench`: layers against cycles per multiply-accumulate, every output byte compared.
//!
//! [`cases`] has the built-in table, [`storage`] its part that is not stored dense, [`file`]
//! reads the user's own, [`rows`] and [`storage_rows`] show results.

mod cases;
mod file;
mod rows;
mod storage;
mod storage_rows;

use super::FAILED_CHECK;
use super::board::BoardArgs;
use super::output::Output;
use crate::board::{
    Board, CodeSizes, Extent, Firmware, LayerTiming, TimingError, agrees_with_direct, time_layer,
};
use crate::search::LayerKey;
use anyhow::Result;
use cases::{Case, Group, built_in};
use file::from_file;
use rows::Row;
use serde_json::Value;
use shared::spec::{Encoding, Kernel};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use storage::{Decoding, Stored};
use storage_rows::Storage;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    board: BoardArgs,
    /// Layers to time, as TOML: `[[layer]]` with `shape = "16x16x64->64"` and, where they
    /// differ from the defaults, k, stride, pool, w_bits, a_bits, encoding,
    /// density_percent, scratch_limit, kernel [default: a built-in table; -v shows every
    /// row of it].
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
        whole: args.whole,
        code: CodeSizes::of(&Firmware::build(board.spec())?),
        build: format!("{:08x}", board.build_id()),
        arena,
    };
    let rows = bench.rows(&mut *board, &cases, output)?;
    let text = match args.layers.is_some() || output.is_verbose() {
        true => format!("{}\n\n", rows::every_row(&rows)),
        false => String::new(),
    };
    let summary = rows::summary(&rows, board.spec().flash.wait_states);
    output.result(&format!("{text}{summary}"));
    output.json(&Value::Array(rows.iter().map(Row::to_json).collect()));
    let wrong = rows.iter().any(|r| !r.bit_exact());
    Ok(ExitCode::from(if wrong { FAILED_CHECK } else { 0 }))
}

struct Bench {
    extent: Extent,
    /// Whether all blocks are timed also where some would do.
    whole: bool,
    arena: u32,
    code: CodeSizes,
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
        let (mut known, mut decoding) = (HashMap::new(), Decoding::default());
        let mut bar = output.ui().bar("bench", jobs.len(), 0);
        let mut rows = Vec::new();
        for (i, (case, key)) in jobs.into_iter().enumerate() {
            let found = match known.get(&key) {
                Some(found) => *found,
                None => {
                    let found = self.time(board, &key, self.extent_of(case), output)?;
                    known.insert(key, found);
                    found
                }
            };
            let mut of_key = self.rows_of(board, case, &key, found);
            if key.spec.encoding != Encoding::Dense {
                let stored = Stored::of(&key.spec, key.density_percent);
                for row in &mut of_key {
                    let decode = decoding.per_weight(board, self.arena, case, row.wait_states)?;
                    row.storage = stored.map(|stored| Storage {
                        stored,
                        decode,
                        dense_cycles: None,
                    });
                }
            }
            rows.extend(of_key);
            bar.set(i + 1, &case.name());
        }
        bar.finish(&format!("{} layers timed", known.len()));
        storage_rows::compare(&mut rows);
        Ok(rows)
    }

    /// The table of encodings is long, and the cycles of its layers are affine in the blocks.
    fn extent_of(&self, case: &Case) -> Extent {
        match case.group {
            Group::Storage if !self.whole => Extent::Few,
            _ => self.extent,
        }
    }

    /// `None` where the board's bytes are not those that the definition gives.
    fn time(
        &self,
        board: &mut dyn Board,
        key: &LayerKey,
        extent: Extent,
        output: &Output,
    ) -> Result<Option<LayerTiming>> {
        let timing = match time_layer(board, key, self.arena, extent) {
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
        let spec = timing.map_or(key.spec, |t| t.spec);
        let row = |wait_states, cycles| Row {
            case: case.clone(),
            spec,
            wait_states,
            cycles,
            timing,
            code_bytes: self.code.kernels_of([spec].iter()),
            build: self.build.clone(),
            storage: None,
        };
        let own = board.spec().flash.wait_states;
        let others = [0].iter().chain(case.group.wait_states());
        let others = others.filter(|&&wait| wait != own).filter_map(|&wait| {
            let cycles = timing?.cycles_at(wait)?;
            Some(row(wait, Some(cycles)))
        });
        others.chain([row(own, timing.map(|t| t.cycles))]).collect()
    }
}

/// Whether a kernel that takes a short cut gives what the direct one gives, on this data.
fn same_as_direct(key: &LayerKey) -> Result<bool, TimingError> {
    if key.spec.kernel == Kernel::Direct {
        return Ok(true);
    }
    agrees_with_direct(key)
}
