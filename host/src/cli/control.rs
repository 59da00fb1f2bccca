//! `control`: what the given network gains from the fine-tuning that its compressed relative got.

use super::INTERRUPTED;
use super::compress::inputs_of;
use super::device::DeviceArgs;
use super::hint::Complaint;
use super::input::InputArgs;
use super::output::Output;
use super::units::percent;
use crate::compress::{Control, ControlJob, Input, Settings};
use crate::nn::write_atomically;
use crate::run::{
    ControlFigures, Identity, RunConfig, RunFolder, RunLock, Summary, files, interrupt,
};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Folder of the training's state, in the run's.
const FOLDER: &str = "control";

/// Options of `control`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the finished run; its summary gets the control's accuracy.
    run: PathBuf,
    /// Passes over the training pictures [default: as many as the compressed network got].
    #[arg(long, value_name = "EPOCHS")]
    epochs: Option<f64>,
    /// Folder for the training's state, which is several times the network's size and lets
    /// the command go on where it was stopped [default: RUN/control].
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    interrupt::install();
    let config = RunFolder::read_config(&args.run)?;
    let mut summary = read_summary(&args.run)?;
    let _lock = RunLock::take(&args.run)?;
    let settings: Settings = serde_json::from_value(config.settings.clone())
        .with_context(|| format!("{} is of another version", args.run.display()))?;
    let input = args
        .input
        .clone()
        .or(inputs_of(&args.run)?.input)
        .load(&args.device, &output.ui())?;
    check_network(&config, &input, &args.run)?;
    let folder = args.work.clone().unwrap_or_else(|| args.run.join(FOLDER));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let ui = output.ui();
    let job = ControlJob {
        input: &input,
        settings: &settings,
        folder: &folder,
        ui: &ui,
    };
    let epochs = args.epochs.unwrap_or_else(|| job.epochs());
    if !(epochs.is_finite() && epochs > 0.0) {
        return Err(Complaint::input(format!("{epochs} epochs are none"))
            .at("--epochs")
            .into());
    }
    let Some(control) = job.train(epochs)? else {
        output.ui().say(&format!(
            "stopped; the same command goes on from {}",
            folder.display()
        ));
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let figures = save(args, &mut summary, &control, &input)?;
    job.forget();
    show(&summary, &figures, output)?;
    Ok(ExitCode::SUCCESS)
}

fn read_summary(run: &Path) -> Result<Summary> {
    let path = run.join(files::SUMMARY);
    if !path.is_file() {
        return Err(
            Complaint::input("the run is not finished: it has no summary")
                .at(path.display())
                .try_(format!("`compress --resume {}`", run.display()))
                .into(),
        );
    }
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Whether the run was made from this network.
pub(super) fn check_network(config: &RunConfig, input: &Input, run: &Path) -> Result<()> {
    let given = Identity::of(&input.model_bytes, &())?;
    if given.model == config.identity.model {
        return Ok(());
    }
    Err(Complaint::input(format!(
        "the run was made from another {} (fingerprint {}, not {})",
        config.model, config.identity.model, given.model
    ))
    .at(run.display())
    .try_("`--model` with the network that was compressed")
    .into())
}

/// Puts the control's figures into the run's summary and its report.
fn save(
    args: &Args,
    summary: &mut Summary,
    control: &Control,
    input: &Input,
) -> Result<ControlFigures> {
    let figures = control.figures(input);
    summary.control = Some(figures);
    let mut text = serde_json::to_vec_pretty(summary)?;
    text.push(b'\n');
    write_atomically(&args.run.join(files::SUMMARY), &text)?;
    // Kept results may be without what the report is made of.
    if args.run.join(files::REPORT).is_file() {
        crate::report::write(&args.run)?;
    }
    Ok(figures)
}

fn show(summary: &Summary, figures: &ControlFigures, output: &Output) -> Result<()> {
    let accuracies = [
        summary.before.accuracy_float,
        figures.accuracy_float,
        summary.after.accuracy_float,
    ];
    let [before, control, after] = accuracies.map(percent);
    output.result(&format!(
        "control {control} of the test pictures after {:.1} epochs; given {before}, compressed {after}",
        figures.epochs.unwrap_or_default()
    ));
    output.json(&serde_json::to_value(summary)?);
    Ok(())
}
