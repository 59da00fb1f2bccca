//! `fidelity`: how well a run's cheap judgements ranked its candidates.

use super::INTERRUPTED;
use super::compress::inputs_of;
use super::control::check_network;
use super::device::DeviceArgs;
use super::hint::Complaint;
use super::input::InputArgs;
use super::output::Output;
use super::table::Table;
use super::units::grouped;
use crate::compress::{Fidelity, FidelityJob, Settings};
use crate::run::{RunFolder, RunLock, interrupt};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `fidelity`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run whose stage 1 is done.
    run: PathBuf,
    /// Policies to judge, at most: feasible ones within 10 % of the budget, from the second
    /// half of stage 1.
    #[arg(long, value_name = "N", default_value_t = 30)]
    policies: usize,
    /// Further ways of judging, such as 20x64/1000: training steps, pictures a step,
    /// validation pictures.
    #[arg(long, value_name = "STEPSxBATCH/PICTURES", value_delimiter = ',', value_parser = way)]
    cheap: Vec<(usize, usize, usize)>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

fn way(text: &str) -> Result<(usize, usize, usize), String> {
    let parts = || {
        let (training, pictures) = text.split_once('/')?;
        let (steps, batch) = training.split_once('x')?;
        let number = |s: &str| s.parse::<usize>().ok();
        Some((number(steps)?, number(batch)?, number(pictures)?))
    };
    let way = parts().filter(|(_, batch, pictures)| *batch > 0 && *pictures > 0);
    way.ok_or_else(|| format!("`{text}` is no way of judging: write 20x64/1000"))
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    interrupt::install();
    let config = RunFolder::read_config(&args.run)?;
    let _lock = RunLock::take(&args.run)?;
    let settings: Settings = serde_json::from_value(config.settings.clone())
        .with_context(|| format!("{} is of another version", args.run.display()))?;
    let input = args
        .input
        .clone()
        .or(inputs_of(&args.run)?.input)
        .load(&args.device, &output.ui())?;
    check_network(&config, &input, &args.run)?;
    if input.dataset != config.dataset {
        return Err(Complaint::input(format!(
            "its policies were searched on {}, not on {}",
            config.dataset, input.dataset
        ))
        .at(args.run.display())
        .try_("`--data` with the pictures of the run")
        .into());
    }
    let ui = output.ui();
    let job = FidelityJob {
        input: &input,
        run: &args.run,
        config: &config,
        settings: &settings,
        policies: args.policies,
        cheap: &args.cheap,
        ui: &ui,
    };
    let Some(fidelity) = job.run()? else {
        ui.say("stopped; the same command goes on from here");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    output.result(&table(&fidelity));
    output.json(&serde_json::to_value(&fidelity)?);
    Ok(ExitCode::SUCCESS)
}

fn correlation(tau: Option<f64>) -> String {
    tau.map_or("-".into(), |tau| format!("{tau:.3}"))
}

fn table(fidelity: &Fidelity) -> String {
    let head = [
        "judgement",
        "images",
        "of full",
        "seconds",
        "tau",
        "by likelihood",
    ];
    let mut table = Table::new(&head, &[0]);
    let full = fidelity.rows[0].images.max(1) as f64;
    for row in &fidelity.rows {
        table.row(vec![
            row.name.clone(),
            grouped(row.images),
            format!("1/{:.1}", full / row.images.max(1) as f64),
            format!("{:.2}", row.seconds),
            correlation(row.tau),
            correlation(row.tau_likelihood),
        ]);
    }
    format!(
        "{}\n{} policies; tau is Kendall's, of the ranking by accuracy or by\nlikelihood, against the first row's by accuracy",
        table.render(),
        fidelity.policies
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_of_judging_are_read() {
        assert_eq!(way("20x64/1000"), Ok((20, 64, 1000)));
        assert_eq!(way("0x64/100"), Ok((0, 64, 100)));
        for wrong in ["", "20", "20x64", "20x0/5", "20x64/0", "ax1/1"] {
            assert!(way(wrong).is_err(), "{wrong}");
        }
    }
}
