//! `boards`: what is known, and what is connected.

use super::output::Output;
use super::table::Table;
use super::units::kib;
use crate::board::stack::{EXCEPTION_FRAME, StackBound};
use crate::board::{BoardSpec, Firmware, can_use_qemu, connected_probes, qemu_hint, spec};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Options of `boards`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Build each board's firmware and show the most stack that it can take, call by call.
    #[arg(long)]
    stack: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let (boards, probes) = (spec::all()?, connected_probes());
    let heads = [
        "board",
        "chip",
        "clock",
        "SRAM",
        "stack",
        "blob up to",
        "wait states",
        "runs on",
    ];
    let mut table = Table::new(&heads, &[0, 1, 7]);
    let mut rows = Vec::new();
    let mut stacks = String::new();
    for board in &boards {
        let bound = args.stack.then(|| Firmware::build(board)).transpose()?;
        let bound = bound.map(|firmware| firmware.stack);
        if let Some(bound) = &bound {
            stacks += &stack_text(board, bound);
        }
        for name in spec::names(board) {
            let emulated = name.starts_with(spec::VIRTUAL_PREFIX);
            let engine = match (emulated, can_use_qemu(board)) {
                (false, _) => "a debug probe",
                (true, true) => "QEMU",
                (true, false) => "this process",
            };
            table.row(vec![
                name.clone(),
                board.chip.clone(),
                format!("{} MHz", board.clock_hz / 1_000_000),
                kib(board.sram.bytes.into()),
                kib(board.sram.stack_bytes.into()),
                kib(board.blob.bytes.into()),
                board.flash.wait_states.to_string(),
                engine.into(),
            ]);
            rows.push(json!({
                "name": name,
                "description": board.description,
                "chip": board.chip,
                "clock_hz": board.clock_hz,
                "sram_bytes": board.sram.bytes,
                "stack_bytes": board.sram.stack_bytes,
                "stack_bound": bound,
                "blob_bytes": board.blob.bytes,
                "wait_states": board.flash.wait_states,
                "virtual": emulated,
                "engine": engine,
            }));
        }
    }
    let mut text = table.render();
    text += &match &probes[..] {
        [] => "\nno debug probe is connected".to_string(),
        some => format!("\nconnected: {}", some.join("; ")),
    };
    if boards
        .iter()
        .any(|b| b.emulated.is_some() && !can_use_qemu(b))
    {
        text += &format!(
            "\nno qemu-system-arm found, which makes virtual boards fast ({})",
            qemu_hint()
        );
    }
    output.result(&(text + &stacks));
    output.json(&json!({ "boards": rows, "probes": probes }));
    Ok(ExitCode::SUCCESS)
}

fn stack_text(board: &BoardSpec, bound: &StackBound) -> String {
    let limit = board.sram.stack_bytes;
    let percent = 100.0 * f64::from(bound.bytes) / f64::from(limit);
    let mut text = format!(
        "\n\n{}: at most {} of {limit} bytes of stack ({percent:.1} %)",
        board.name, bound.bytes
    );
    for (function, frame) in &bound.path {
        text += &format!("\n{frame:>8}  {function}");
    }
    text + &format!("\n{EXCEPTION_FRAME:>8}  an exception's frame")
}
