//! `compare`: agents side by side on the same network, board and budgets.
//!
//! Each agent's run with each seed is a cell: an ordinary run in a folder of its own, which is
//! kept. The same command again goes on where it was stopped, at any moment, and adds what is
//! new to what is there. Several processes may share a folder: each takes cells that no other has.

use super::board::BoardArgs;
use super::compress::{Inputs, keep_inputs, open};
use super::device::DeviceArgs;
use super::hint::Complaint;
use super::input::InputArgs;
use super::output::Output;
use super::settings::Tuning;
use super::{BAD_INPUT, INTERRUPTED};
use crate::agent::AgentKind;
use crate::compress::{Compress, Infeasible, Outcome, Settings};
use crate::report::RunData;
use crate::report::compare::{Cell, markdown, page};
use crate::run::{RunError, RunFolder, RunLock, files, interrupt, write_atomic};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why a cell has no result, in its folder.
const FAILURE: &str = "failure.txt";

/// Options of `compare`.
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
    /// Who is compared; differences are from the first.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "AGENTS",
          default_values_t = [AgentKind::Ddpg, AgentKind::Random, AgentKind::Uniform,
                              AgentKind::Magnitude, AgentKind::Greedy, AgentKind::Hessian,
                              AgentKind::Gradient])]
    agents: Vec<AgentKind>,
    /// Seeds; agents that do not depend on one run with the first only.
    #[arg(long, value_delimiter = ',', value_name = "SEEDS", default_values_t = [0, 1, 2, 3, 4])]
    seeds: Vec<u64>,
    /// Folder of the cells; the same folder again goes on, and the same command at the same time
    /// makes the cells that are left.
    #[arg(long, value_name = "DIR", default_value = "compare")]
    out: PathBuf,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    if args.tuning.names_agent_or_seed() {
        return Err(
            Complaint::input("a comparison has several agents and seeds")
                .at("--agent, --seed")
                .try_("`--agents` and `--seeds`, with commas")
                .into(),
        );
    }
    interrupt::install();
    let settings = args.tuning.settings()?;
    let plan = plan(&args.agents, &args.seeds);
    let mut elsewhere = Vec::new();
    for (i, (agent, seed)) in plan.iter().enumerate() {
        let dir = cell_dir(&args.out, *agent, *seed);
        let say = format!(
            "cell {} of {}: {} seed {seed}",
            i + 1,
            plan.len(),
            agent.name()
        );
        output.ui().say(&say);
        let mut settings = settings.clone();
        (settings.agent, settings.seed) = (*agent, *seed);
        settings.variational.seed = *seed;
        match finish_cell(args, &dir, settings.with_agents_episodes(), output)? {
            Ended::Yes => {}
            Ended::Elsewhere => elsewhere.push((*agent, *seed)),
            Ended::Stopped => {
                let how = "stopped; the same command goes on from here";
                output.ui().say(how);
                output.json(&json!({ "stopped": args.out }));
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
    }
    // What another process made may have come to its end since.
    elsewhere.retain(|&(agent, seed)| !has_ended(&cell_dir(&args.out, agent, seed)));
    let cells: Vec<Cell> = plan
        .iter()
        .filter(|cell| !elsewhere.contains(cell))
        .map(|&(agent, seed)| read_cell(&args.out, agent, seed))
        .collect::<Result<_>>()?;
    write(&args.out, &cells, &elsewhere, output)
}

/// How far a cell has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It has a result, or the reason why it has none.
    Yes,
    /// The user stopped it.
    Stopped,
    /// Another process makes it.
    Elsewhere,
}

/// The cell's lock, or nothing where another process has it.
fn lock(dir: &Path) -> Result<Option<RunLock>> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    match RunLock::take(dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(RunError::InUse { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Agents and seeds to run, seed by seed, so that what is there can be compared.
fn plan(agents: &[AgentKind], seeds: &[u64]) -> Vec<(AgentKind, u64)> {
    let mut plan: Vec<(AgentKind, u64)> = Vec::new();
    for (i, &seed) in seeds.iter().enumerate() {
        for &agent in agents {
            let wanted = i == 0 || agent.depends_on_seed();
            if wanted && !plan.contains(&(agent, seed)) {
                plan.push((agent, seed));
            }
        }
    }
    plan
}

fn cell_dir(out: &Path, agent: AgentKind, seed: u64) -> PathBuf {
    out.join(format!("{}-{seed}", agent.name()))
}

/// What is in a cell's folder, by name.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut entries: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    entries.sort();
    entries
}

/// The run in a cell's folder, if it has got as far as a configuration.
fn run_in(dir: &Path) -> Option<PathBuf> {
    entries(dir)
        .into_iter()
        .find(|run| run.join(files::CONFIG).is_file())
}

/// Whether there is a result, or the reason why there is none.
fn has_ended(dir: &Path) -> bool {
    let summary = |run: PathBuf| run.join(files::SUMMARY).is_file();
    dir.join(FAILURE).is_file() || run_in(dir).is_some_and(summary)
}

/// Runs a cell, or what is left of it.
fn finish_cell(args: &Args, dir: &Path, settings: Settings, output: &Output) -> Result<Ended> {
    let Some(_lock) = lock(dir)? else {
        output.ui().say("  another process makes this one");
        return Ok(Ended::Elsewhere);
    };
    if dir.join(FAILURE).is_file() {
        return Ok(Ended::Yes);
    }
    let existing = run_in(dir);
    if existing.is_none() {
        entries(dir)
            .iter()
            .for_each(|run| RunFolder::discard_unbegun(run));
    }
    if let Some(run) = &existing {
        let found = RunFolder::read_config(run)?.settings;
        if found != serde_json::to_value(&settings)? {
            return Err(Complaint::input("this cell was made with other settings")
                .at(run.display())
                .try_("the options that it was made with, or another `--out`")
                .into());
        }
        if run.join(files::SUMMARY).is_file() {
            return Ok(Ended::Yes);
        }
    }
    let input = args.input.load(&args.device, &output.ui())?;
    let board = open(&args.board, &input, false, output)?;
    let ended = match &existing {
        Some(run) => Compress::resume(input, board, run, output.ui()),
        None => Compress::start(input, settings, board, dir, output.ui()).and_then(|job| {
            let (input, board) = (args.input.clone(), args.board.clone());
            keep_inputs(job.dir(), Inputs { input, board })?;
            Ok(job)
        }),
    }
    .and_then(Compress::run);
    match ended {
        Ok(Outcome::Done(_)) => Ok(Ended::Yes),
        Ok(Outcome::Stopped(_)) => Ok(Ended::Stopped),
        // Not to find anything is a result too, and the other cells have theirs.
        Err(error) if error.is::<Infeasible>() => {
            output.ui().say(&format!("{error}"));
            write_atomic(&dir.join(FAILURE), format!("{error}\n").as_bytes())?;
            Ok(Ended::Yes)
        }
        Err(error) => Err(error),
    }
}

fn read_cell(out: &Path, agent: AgentKind, seed: u64) -> Result<Cell> {
    let dir = cell_dir(out, agent, seed);
    Ok(Cell {
        agent: agent.name().into(),
        seed,
        depends_on_seed: agent.depends_on_seed(),
        data: run_in(&dir).map(|run| RunData::read(&run)).transpose()?,
        failure: std::fs::read_to_string(dir.join(FAILURE)).ok(),
    })
}

/// Writes and shows the table of `cells`, and says which are left to other processes.
fn write(
    out: &Path,
    cells: &[Cell],
    elsewhere: &[(AgentKind, u64)],
    output: &Output,
) -> Result<ExitCode> {
    let table = markdown(cells);
    let [md, html] = ["compare.md", "compare.html"].map(|name| out.join(name));
    write_atomic(&md, table.as_bytes())?;
    write_atomic(&html, page(cells).as_bytes())?;
    output.result(&format!("{table}\nreport  {}", html.display()));
    let rows = cells.iter().map(|c| {
        json!({ "agent": c.agent, "seed": c.seed, "accuracy": c.accuracy(), "failure": c.failure })
    });
    let rows: Vec<_> = rows.collect();
    let names = elsewhere.iter().map(|(a, s)| format!("{}-{s}", a.name()));
    let names: Vec<String> = names.collect();
    if !names.is_empty() {
        output.ui().say(&format!(
            "another process makes {}; when it is done, its table has all cells that it was asked for",
            names.join(", ")
        ));
    }
    output.json(&json!({ "cells": rows, "elsewhere": names, "report": html, "table": md }));
    let nothing = !cells.is_empty() && cells.iter().all(|c| c.failure.is_some());
    Ok(if nothing {
        ExitCode::from(BAD_INPUT)
    } else {
        ExitCode::SUCCESS
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deterministic_agents_run_once_and_nothing_runs_twice() {
        let agents = [AgentKind::Ddpg, AgentKind::Uniform, AgentKind::Ddpg];
        let wanted = [
            (AgentKind::Ddpg, 3),
            (AgentKind::Uniform, 3),
            (AgentKind::Ddpg, 4),
        ];
        assert_eq!(plan(&agents, &[3, 4, 3]), wanted);
    }
}
