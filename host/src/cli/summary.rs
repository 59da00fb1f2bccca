//! What `compress` prints in the end: before and after side by side, and what comes next.

use super::table::Table;
use super::units::{grouped, kib, millions, percent};
use crate::run::{NetworkFigures, RunConfig, RunFolder, Summary};
use anyhow::Result;
use std::path::Path;

/// The table and the last lines.
pub(super) fn text(summary: &Summary, dir: &Path) -> Result<String> {
    let config = RunFolder::read_config(dir)?;
    let mut out = table(summary, &config).render();
    for (name, figures) in [("before", &summary.before), ("after", &summary.after)] {
        if let Some(reason) = &figures.board_reason {
            out += &format!("\n  the board could not run the network {name}: {reason}");
        }
    }
    let parts = summary.seconds_by_part.iter();
    let parts: Vec<String> = parts
        .filter(|(_, seconds)| **seconds >= 0.5)
        .map(|(part, seconds)| format!("{part} {seconds:.0} s"))
        .collect();
    out += &format!(
        "\ntime    {:.0} s ({}), {} layers timed, {} from the table",
        summary.seconds,
        parts.join(", "),
        summary.timings_measured,
        summary.timings_cached
    );
    out += &format!("\nreport  {}", summary.report);
    let real = config.board.trim_start_matches("virtual-");
    out += &format!(
        "\nflash   cargo run -p host -- flash {} --board {real}",
        summary.run
    );
    Ok(out)
}

fn table(summary: &Summary, config: &RunConfig) -> Table {
    let (b, a) = (&summary.before, &summary.after);
    let mut table = Table::new(&["", "before", "after", ""], &[0, 3]);
    let mut row = |name: &str, value: fn(&NetworkFigures) -> String, note: String| {
        table.row(vec![format!("  {name}"), value(b), value(a), note]);
    };
    row(
        "accuracy, float",
        |f| percent(f.accuracy_float),
        String::new(),
    );
    row(
        "accuracy, integer",
        |f| percent(f.accuracy_integer),
        String::new(),
    );
    row(
        "accuracy, board",
        |f| f.accuracy_board.map_or("-".into(), percent),
        format!(
            "({} and {} images, every logit equal to the host's)",
            b.images_board, a.images_board
        ),
    );
    row(
        "parameters",
        |f| grouped(f.parameters),
        fewer(b.parameters, a.parameters, "fewer"),
    );
    row(
        "  zeros counted",
        |f| grouped(f.parameters_dense),
        String::new(),
    );
    row("MACs", |f| millions(f.macs), fewer(b.macs, a.macs, "fewer"));
    row(
        "blob",
        |f| kib(f.blob_bytes),
        fewer(b.blob_bytes, a.blob_bytes, "smaller"),
    );
    row("SRAM (arena)", |f| kib(f.sram_bytes), String::new());
    row(
        "cycles",
        |f| millions(f.cycles),
        fewer(b.cycles, a.cycles, "fewer"),
    );
    let clock = config.clock_hz / 1_000_000;
    row(
        "latency",
        |f| format!("{:.2} ms", f.ms),
        format!("({}, {clock} MHz)", config.cycle_source.label()),
    );
    if let Some(control) = &summary.control {
        table.row(vec![
            "  control, float".into(),
            String::new(),
            percent(control.accuracy_float),
            "(the given network after the same fine-tuning)".into(),
        ]);
    }
    table
}

fn fewer(before: u64, after: u64, word: &str) -> String {
    format!("({:.1}x {word})", before as f64 / after.max(1) as f64)
}
