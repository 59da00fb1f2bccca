//! `report`: a run's page, made anew from the run's own files.

use super::output::Output;
use crate::report;
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `report`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the run; it need not be finished.
    run: PathBuf,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let path = report::write(&args.run)?;
    output.result(&format!("report  {}", path.display()));
    output.json(&serde_json::json!({ "run": args.run, "report": path }));
    Ok(ExitCode::SUCCESS)
}
