//! The command line: one file per sub-command.
//!
//! [`main`] parses, runs the command and turns an error into three lines (`hint`) and an
//! exit code. Results go to the standard output, progress to the standard error; with
//! `--json` the last line of the standard output is one JSON value and nothing else is there.

mod artifact;
mod bench;
mod board;
mod boards;
mod compare;
mod compress;
mod control;
mod device;
mod export;
mod fidelity;
mod flash;
mod hint;
mod input;
mod inspect;
mod key;
mod lower;
mod output;
mod report;
mod settings;
mod stages;
mod summary;
mod table;
mod train;
mod units;
mod update;
mod verify;

use clap::{Parser, Subcommand};
use output::Output;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a check that failed.
const FAILED_CHECK: u8 = 1;
/// Exit code for bad usage or input.
const BAD_INPUT: u8 = 2;
/// Exit code of work that Ctrl-C stopped, as shells expect it.
const INTERRUPTED: u8 = 130;

/// Compress a trained VGG for a microcontroller, with its latency measured on the board.
///
/// Without a sub-command, `compress` runs on the bundled network and pictures.
#[derive(Debug, Parser)]
#[command(name = "host", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compress a network for a board; what runs where nothing is said.
    #[command(args_override_self = true)]
    Compress(Box<compress::Args>),
    /// Run several agents with several seeds and compare what they find.
    #[command(args_override_self = true)]
    Compare(Box<compare::Args>),
    /// Fine-tune the given network as its compressed relative was, for comparison.
    Control(control::Args),
    /// See how well the cheap judgements of a run ranked its candidates.
    Fidelity(fidelity::Args),
    /// Train a VGG on pictures.
    Train(train::Args),
    /// Write a model under torchvision's or Hugging Face's names.
    Export(export::Args),
    /// Write a network's blob without a search, for inspection.
    Lower(Box<lower::Args>),
    /// Time layers on a board: cycles per multiply-accumulate.
    Bench(bench::Args),
    /// Write firmware and a blob to a board.
    Flash(flash::Args),
    /// Put another network onto a device that runs, without reflashing its firmware.
    Update(update::Args),
    /// Make a pair of keys, so that devices run only what you sign.
    Key(key::Args),
    /// Sign a blob.
    Sign(key::SignFileArgs),
    /// Compare a board's logits with the host's integer simulation.
    Verify(verify::Args),
    /// List the boards that are known and the probes that are connected.
    Boards(boards::Args),
    /// Show the layers of a blob, a run or a model.
    Inspect(inspect::Args),
    /// Write a run's report.html anew.
    Report(report::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.output;
    run(cli).unwrap_or_else(|error| {
        let explained = hint::explain(&error);
        eprintln!("{explained}");
        output.json(&explained.to_json());
        ExitCode::from(explained.code)
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let output = &cli.output;
    match cli.command {
        Some(Command::Compress(args)) => compress::run(&args, output),
        Some(Command::Compare(args)) => compare::run(&args, output),
        Some(Command::Control(args)) => control::run(&args, output),
        Some(Command::Fidelity(args)) => fidelity::run(&args, output),
        Some(Command::Train(args)) => train::run(&args, output),
        Some(Command::Export(args)) => export::run(&args, output),
        Some(Command::Lower(args)) => lower::run(&args, output),
        Some(Command::Bench(args)) => bench::run(&args, output),
        Some(Command::Flash(args)) => flash::run(&args, output),
        Some(Command::Update(args)) => update::run(&args, output),
        Some(Command::Key(args)) => key::run(&args, output),
        Some(Command::Sign(args)) => key::sign(&args, output),
        Some(Command::Verify(args)) => verify::run(&args, output),
        Some(Command::Boards(args)) => boards::run(&args, output),
        Some(Command::Inspect(args)) => inspect::run(&args, output),
        Some(Command::Report(args)) => report::run(&args, output),
        None => {
            // Without a sub-command all options of `compress` have their defaults.
            let command = Cli::parse_from(["host", "compress"]).command;
            run(Cli {
                output: *output,
                command,
            })
        }
    }
}

/// A flag that Ctrl-C sets, for long work to look at.
fn interrupt_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let setter = flag.clone();
    ctrlc::set_handler(move || setter.store(true, Ordering::SeqCst))?;
    Ok(flag)
}
