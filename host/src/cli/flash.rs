//! `flash`: firmware and a blob onto a board.

use super::artifact;
use super::board::{BoardArgs, FirmwareArgs};
use super::key::SignArgs;
use super::output::Output;
use super::units::kib;
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `flash`.
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
    let build = args.firmware.build(false)?;
    let mut board = args.board.open_built(output, &build)?;
    board.flash(&network)?;
    let hello = board.hello()?;
    artifact::check_flashed(&hello, &file)?;
    output.result(&format!(
        "{}: {} ({}) is in flash, checksum {:08x}; firmware {:08x}, arena {} of {}",
        args.board.name(),
        file.path.display(),
        kib(network.len() as u64),
        file.blob().header().crc32,
        hello.build_id,
        kib(file.blob().header().arena_bytes.into()),
        kib(hello.arena_limit.into())
    ));
    output.result(&format!(
        "verify  cargo run -p host -- verify {} --board {}",
        args.path.display(),
        args.board.name()
    ));
    output.json(&json!({
        "board": args.board.name(),
        "blob": file.path,
        "blob_bytes": network.len(),
        "crc32": file.blob().header().crc32,
        "build_id": hello.build_id,
        "arena_bytes": file.blob().header().arena_bytes,
        "arena_limit": hello.arena_limit,
    }));
    Ok(ExitCode::SUCCESS)
}
