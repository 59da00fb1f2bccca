//! `update`: another network onto a device that runs, without touching its firmware.

use super::artifact;
use super::board::{BoardArgs, FirmwareArgs};
use super::key::SignArgs;
use super::output::Output;
use super::units::kib;
use crate::board::self_test_crc32;
use anyhow::Result;
use serde_json::json;
use shared::update::Slot;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `update`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run, or a blob.
    path: PathBuf,
    #[command(flatten)]
    sign: SignArgs,
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    firmware: FirmwareArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let file = artifact::open_blob(&args.path)?;
    let network = args.sign.apply(&file)?;
    let self_test = self_test_crc32(&file.blob())?;
    let build = args.firmware.build(true)?;
    let mut board = args.board.open_built(output, &build)?;
    let before = board.slots()?;
    let after = board.update(&network, self_test)?;
    let hello = board.hello()?;
    artifact::check_flashed(&hello, &file)?;
    let slots = after.slots.map(|slot| describe(&slot));
    output.result(&format!(
        "{}: {} ({}) passed its self-test and runs from slot {}; slots: {}",
        args.board.name(),
        file.path.display(),
        kib(network.len() as u64),
        after.running.unwrap_or_default(),
        slots.join(", ")
    ));
    output.json(&json!({
        "board": args.board.name(),
        "blob": file.path,
        "blob_bytes": network.len(),
        "crc32": file.blob().header().crc32,
        "build_id": hello.build_id,
        "running_before": before.running,
        "running": after.running,
        "slots": slots,
        "floor": after.floor,
    }));
    Ok(ExitCode::SUCCESS)
}

fn describe(slot: &Slot) -> String {
    match slot {
        Slot::Empty => "empty".into(),
        Slot::Bare => "no header".into(),
        Slot::Trial { sequence, attempts } => {
            format!("update {sequence}, not confirmed after {attempts} attempts")
        }
        Slot::Confirmed { sequence } => format!("update {sequence}, confirmed"),
    }
}
