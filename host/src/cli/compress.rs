//! `compress`: the main job.

use super::INTERRUPTED;
use super::board::BoardArgs;
use super::control::check_network;
use super::device::DeviceArgs;
use super::hint::Complaint;
use super::input::InputArgs;
use super::output::Output;
use super::settings::Tuning;
use super::summary;
use super::units::{kib, millions, size};
use crate::board::{LatencyTable, TimedBoard};
use crate::compress::{
    Compress, Device, DeviceLimits, EarlierRun, Input, Outcome, Settings, memory_warning,
};
use crate::lower::{Bits, LowerError, check_kernels, specs};
use crate::nn::write_atomically;
use crate::reward::Targets;
use crate::run::{RunConfig, RunFolder, interrupt, memory};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a run was made from, kept in its folder for `--resume`.
const INPUTS: &str = "inputs.json";

/// Options of `compress`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    tuning: Tuning,
    /// Time every layer anew, whatever earlier runs have measured.
    #[arg(long)]
    fresh: bool,
    /// Continue this run, with its own settings, to the result that it would have had.
    #[arg(long, value_name = "RUN", conflicts_with = "from")]
    resume: Option<PathBuf>,
    /// Go on from what this finished run found: its pruned network and its widths are trained
    /// further, in a run of their own, and nothing is searched. Its model, data, board and
    /// settings are kept but for those that are given.
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    /// Folder of all runs.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Inputs {
    #[serde(flatten)]
    pub input: InputArgs,
    #[serde(flatten)]
    pub board: BoardArgs,
}

impl Inputs {
    fn of(args: &Args) -> Self {
        Self {
            input: args.input.clone(),
            board: args.board.clone(),
        }
    }

    /// The same with paths that hold in any working directory.
    fn absolute(self) -> Self {
        Self {
            input: self.input.absolute(),
            ..self
        }
    }

    /// What is not given here is taken from `stored`, or from the configuration beside it.
    fn or(self, mut stored: Self, config: &RunConfig) -> Self {
        stored.board.board.get_or_insert(config.board.clone());
        Self {
            input: self.input.or(stored.input),
            board: self.board.or(stored.board),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    interrupt::install();
    let job = match &args.resume {
        Some(dir) => resume(args, dir, output)?,
        None => start(args, output)?,
    };
    match job.run()? {
        Outcome::Done(summary) => {
            output.result(&summary::text(&summary, Path::new(&summary.run))?);
            output.json(&serde_json::to_value(&summary)?);
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Stopped(dir) => {
            output.ui().say(&interrupt::how_to_resume(&dir));
            output.json(&serde_json::json!({ "stopped": dir }));
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

fn start(args: &Args, output: &Output) -> Result<Compress<TimedBoard>> {
    let (inputs, earlier) = match &args.from {
        None => (Inputs::of(args), None),
        Some(dir) => (
            Inputs::of(args).or(inputs_of(dir)?, &RunFolder::read_config(dir)?),
            Some(EarlierRun::read(dir)?),
        ),
    };
    let settings = match &earlier {
        None => args.tuning.settings()?,
        Some(run) => run.continued(args.tuning.training_of(&run.settings)?),
    };
    // A board that is not there is found out before anything is loaded or built for it.
    crate::board::spec::find(inputs.board.name())?;
    let input = inputs.input.load(&args.device, &output.ui())?;
    if let Some(dir) = &args.from {
        check_network(&RunFolder::read_config(dir)?, &input, dir)?;
    }
    check_kernel_choices(&input, &settings)?;
    if let (true, Some(available)) = (input.device.is_cpu(), memory::available_bytes()) {
        let batch = settings.finetune.batch;
        let warning = memory_warning(&input.network.config, batch, available);
        warning
            .iter()
            .for_each(|w| output.ui().say(&format!("  {w}")));
    }
    let board = open(&inputs.board, &input, args.fresh, output)?;
    let limits = board.limits();
    let mut job = Compress::start(input, settings, board, &args.runs, output.ui())?;
    if let Some(earlier) = &earlier {
        job.take_over(earlier)?;
    }
    keep_inputs(job.dir(), inputs)?;
    announce(job.targets(), &limits, job.dir(), output);
    Ok(job)
}

/// Whether the layers that kernels were chosen for are there, before hours are spent. What
/// pruning leaves of them and their weights is checked at the end.
fn check_kernel_choices(input: &Input, settings: &Settings) -> Result<(), LowerError> {
    let config = &input.network.config;
    let bits = vec![Bits { w: 8, a: 8 }; config.layers().len()];
    let layers = specs(config, &bits)?;
    let layers = layers.iter().map(|l| (l.name.as_str(), &l.spec));
    check_kernels(layers, &settings.kernels)
}

fn resume(args: &Args, dir: &Path, output: &Output) -> Result<Compress<TimedBoard>> {
    if args.tuning != Tuning::default() {
        return Err(Complaint::input("a resumed run keeps its own settings")
            .at(dir.display())
            .try_("`--resume` without other options, or a new run without `--resume`")
            .into());
    }
    let config = RunFolder::read_config(dir)?;
    let inputs = Inputs::of(args).or(inputs_of(dir)?, &config);
    let input = inputs.input.load(&args.device, &output.ui())?;
    let board = open(&inputs.board, &input, args.fresh, output)?;
    let limits = board.limits();
    let job = Compress::resume(input, board, dir, output.ui())?;
    announce(job.targets(), &limits, job.dir(), output);
    Ok(job)
}

/// Writes what the run in `dir` is made from.
pub(super) fn keep_inputs(dir: &Path, inputs: Inputs) -> Result<()> {
    let text = serde_json::to_vec_pretty(&inputs.absolute())?;
    Ok(write_atomically(&dir.join(INPUTS), &text)?)
}

/// What the run was made from; nothing where it was stopped before that was written.
pub(super) fn inputs_of(dir: &Path) -> Result<Inputs> {
    let path = dir.join(INPUTS);
    if !path.is_file() {
        return Ok(Inputs {
            input: InputArgs::default(),
            board: BoardArgs::default(),
        });
    }
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// The board that layers are timed on, announced.
pub(super) fn open(
    args: &BoardArgs,
    input: &Input,
    fresh: bool,
    output: &Output,
) -> Result<TimedBoard> {
    let ui = output.ui();
    let (spec, _) = crate::board::spec::find(args.name())?;
    ui.say(&format!(
        "Pressboard {}: {} on {} for {} ({}, {} MHz, {} flash, {} SRAM)",
        env!("CARGO_PKG_VERSION"),
        input.model,
        input.dataset,
        args.name(),
        spec.chip,
        spec.clock_hz / 1_000_000,
        size(spec.flash.bytes.into()),
        size(spec.sram.bytes.into())
    ));
    if !input.network.config.extra.contains_key("trained_on") {
        ui.say("  nothing says which images this network was trained on: validation may have been seen");
    }
    let table = LatencyTable::open(&LatencyTable::default_path(), fresh)?;
    Ok(TimedBoard::new(args.open_patiently(output)?)?.with_table(table))
}

fn announce(targets: &Targets, limits: &DeviceLimits, dir: &Path, output: &Output) {
    let ms = |cycles: u64| cycles as f64 * 1e3 / limits.clock_hz.max(1) as f64;
    let parts = [
        targets.cycles.map(|c| format!("latency {:.1} ms", ms(c))),
        targets.flash_bytes.map(|b| format!("flash {}", kib(b))),
        targets.sram_bytes.map(|b| format!("sram {}", kib(b))),
        targets.macs.map(|m| format!("MACs {}", millions(m))),
    ];
    let budget: Vec<String> = parts.into_iter().flatten().collect();
    output.ui().say(&format!(
        "  budget  {}          run  {}",
        budget.join("   "),
        dir.display()
    ));
}
