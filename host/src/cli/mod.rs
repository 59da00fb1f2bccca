//! The command line: one file per sub-command.

mod train;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code for bad usage or input.
const BAD_INPUT: u8 = 2;
/// Exit code of work that Ctrl-C stopped, as shells expect it.
const INTERRUPTED: u8 = 130;

/// Compress a trained VGG for a microcontroller, with its latency measured on the board.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a VGG on pictures.
    Train(train::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Train(args) => train::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(BAD_INPUT)
    })
}

/// A flag that Ctrl-C sets, for long work to look at.
fn interrupt_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let setter = flag.clone();
    ctrlc::set_handler(move || setter.store(true, Ordering::SeqCst))?;
    Ok(flag)
}
