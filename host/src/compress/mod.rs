//! The main job: a trained network in, verified firmware data out.
//!
//! [`Compress`] goes through the stages of [`Stage`], each of which leaves a checkpoint:
//! prepare (price of the given network, rankings) → prune → refine (can it be stored, and is
//! there slack?) → fine-tune → quantize → quantization-aware fine-tune → finish (blob, board,
//! figures, report). A stopped run
//! continues to the identical result.

mod agents;
mod control;
mod device;
mod earlier;
mod episodes;
mod fidelity;
mod finish;
mod layers;
mod lowered;
mod prepare;
mod refine;
#[cfg(test)]
mod refine_tests;
mod settings;
mod setups;
mod stages;
mod state;
pub mod store;
mod stored;
mod teacher;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod training;
mod ui;

pub use control::ControlJob;
pub use device::{BoardInference, Device, DeviceLimits};
pub use earlier::{Earlier, EarlierRun};
pub use fidelity::{Fidelity, FidelityJob, kendall_tau};
pub use lowered::{Lowered, post_training_8bit};
pub use settings::{Budgets, FineTune, Refine, SearchSettings, Settings};
pub use state::{Control, RankingChoice, State};
pub use training::{check_memory, memory_warning};
pub use ui::{Bar, Ui, Verbosity};

use crate::agent::{Agent, AgentState};
use crate::data::{Dataset, Splits, Stream};
use crate::lower::Storage;
use crate::prune::Moments;
use crate::run::{Identity, PartTimer, Progress, RunConfig, RunFolder, Stage, Summary};
use crate::search::{Latency, LayerCost, SearchData};
use crate::vgg::Vgg;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use teacher::Teaching;

/// Checkpoint part: [`State`] as JSON.
const STATE: &str = "state";
/// Checkpoint part: the agent of the stage at work.
const AGENT: &str = "agent";

/// What is to be compressed.
pub struct Input {
    /// The trained network.
    pub network: Vgg,
    /// Bytes of its file, which tell models apart.
    pub model_bytes: Vec<u8>,
    /// Its name in reports and folders.
    pub model: String,
    /// Images: all of them, or of a stream a part of each kind.
    pub splits: Splits,
    /// All training images, where they stay on the disk.
    pub stream: Option<Stream>,
    /// Their name in reports.
    pub dataset: String,
    /// Where floats are computed.
    pub device: candle_core::Device,
}

impl Input {
    pub(crate) fn data(&self) -> SearchData<'_> {
        let memory = SearchData::new(&self.splits.train, &self.splits.validation);
        match &self.stream {
            None => memory,
            Some(stream) => SearchData {
                source: stream,
                ..memory
            },
        }
    }

    /// The test images; where the data has none, the validation images stand in.
    pub(crate) fn test_images(&self) -> &Dataset {
        self.splits.test.as_ref().unwrap_or(&self.splits.validation)
    }
}

/// How a run ended.
pub enum Outcome {
    /// All stages are done.
    Done(Box<Summary>),
    /// The user stopped it; it can be resumed.
    Stopped(PathBuf),
}

/// A search found nothing within the budgets.
#[derive(Debug, thiserror::Error)]
#[error("no network was found within the budgets; the nearest has {nearest}\n  exceeds {exceeded}")]
pub struct Infeasible {
    /// Accuracy and costs of the nearest.
    pub nearest: String,
    /// Which budgets it exceeds, with values.
    pub exceeded: String,
}

/// The board gave other logits than the host's integer simulation.
#[derive(Debug, thiserror::Error)]
#[error(
    "the board disagrees with the host's integer simulation on test image {image} (row {row}): {board:?} against {host:?}"
)]
pub struct Disagreement {
    /// Index of the image.
    pub image: usize,
    /// Its row number.
    pub row: u32,
    /// The board's logits.
    pub board: Vec<i32>,
    /// The host's.
    pub host: Vec<i32>,
}

/// A run at work.
pub struct Compress<D: Device + 'static> {
    input: Input,
    settings: Settings,
    limits: DeviceLimits,
    latency: Latency<D>,
    run: RunFolder,
    state: State,
    timer: PartTimer,
    ui: Ui,
    /// Taken when they are first needed.
    moments: Option<Arc<Moments>>,
}

impl<D: Device + 'static> Compress<D> {
    /// Starts a new run below `root`: times the given network's layers, resolves the
    /// budgets, refuses those that the smallest network cannot meet.
    ///
    /// # Errors
    /// [`Infeasible`], or where the board or the disk fail.
    pub fn start(input: Input, settings: Settings, board: D, root: &Path, ui: Ui) -> Result<Self> {
        let mut timer = PartTimer::default();
        timer.switch("prepare");
        let limits = board.limits();
        let mut latency = Latency::new(board);
        let dense = prepare::dense_costs(&input, &limits, &mut latency)?;
        let targets = settings.budgets.targets(
            limits.blob.into(),
            limits.arena.into(),
            &dense,
            limits.clock_hz,
        );
        prepare::check_reachable(&input, &settings, &limits, &targets, &mut latency)?;
        let config = run_config(&input, &settings, &limits, targets)?;
        let run = RunFolder::create(root, &input.model, config)?;
        let state = State {
            dense,
            targets,
            ..State::default()
        };
        Ok(Self {
            input,
            settings,
            limits,
            latency,
            run,
            state,
            timer,
            ui,
            moments: None,
        })
    }

    /// Continues the run in `dir` with its own settings.
    ///
    /// # Errors
    /// Where it is no run, is at work, or was made from another model, data or board.
    pub fn resume(input: Input, board: D, dir: &Path, ui: Ui) -> Result<Self> {
        let run = RunFolder::resume(dir)?;
        let settings: Settings = serde_json::from_value(run.config().settings.clone())?;
        let limits = board.limits();
        run.check_identity(&identity(&input, &settings, &limits)?)?;
        let mut latency = Latency::new(board);
        let mut state = State {
            targets: run.config().targets,
            ..State::default()
        };
        if run.checkpoints().has(STATE) {
            state = serde_json::from_slice(&run.checkpoints().part(STATE)?)?;
            latency.preload(state.timings.clone(), state.timing_counts);
        } else {
            state.dense = prepare::dense_costs(&input, &limits, &mut latency)?;
        }
        let timer = run.timer();
        let at = run.progress();
        ui.say(&format!(
            "resumed at {}, step {}",
            at.stage.label(),
            at.step
        ));
        Ok(Self {
            input,
            settings,
            limits,
            latency,
            run,
            state,
            timer,
            ui,
            moments: None,
        })
    }

    /// The run's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.run.dir()
    }

    /// What the searches have to keep to.
    #[must_use]
    pub fn targets(&self) -> &crate::reward::Targets {
        &self.state.targets
    }

    /// Goes through what is left of the stages.
    ///
    /// # Errors
    /// [`Infeasible`], diverging training, a board that fails or disagrees, a full disk; the
    /// last checkpoint stays and the run can be resumed.
    pub fn run(mut self) -> Result<Outcome> {
        loop {
            let stage = self.run.progress().stage;
            self.timer.switch(stage.label());
            let finished = match stage {
                Stage::Prepare => self.prepare()?,
                Stage::Prune => self.prune()?,
                Stage::Refine => self.refine()?,
                Stage::FinetunePruned => self.finetune_pruned()?,
                Stage::Quantize => self.quantize()?,
                Stage::FinetuneQuantized => self.finetune_quantized()?,
                Stage::Finish | Stage::Done => {
                    return self.finish().map(|s| Outcome::Done(Box::new(s)));
                }
            };
            if !finished {
                return Ok(Outcome::Stopped(self.run.dir().to_path_buf()));
            }
            self.save(
                Progress {
                    stage: stage.next(),
                    step: 0,
                },
                None,
            )?;
        }
    }

    fn save(&mut self, progress: Progress, agent: Option<&dyn Agent>) -> Result<()> {
        self.state.timings = self.latency.known();
        self.state.timing_counts = self.latency.counts();
        let state = serde_json::to_vec(&self.state)?;
        let agent = agent.map(|a| a.save().to_bytes()).transpose()?;
        let mut parts: Vec<(&str, &[u8])> = vec![(STATE, &state)];
        parts.extend(agent.as_deref().map(|bytes| (AGENT, bytes)));
        Ok(self.run.checkpoint(progress, &self.timer, &parts)?)
    }

    fn saved_agent(&self) -> Result<Option<AgentState>> {
        if !self.run.checkpoints().has(AGENT) {
            return Ok(None);
        }
        let bytes = self.run.checkpoints().part(AGENT)?;
        Ok(Some(AgentState::from_bytes(&bytes)?))
    }

    /// Bytes of arena that networks are planned for: the board's, or the budget if less.
    fn arena(&self) -> u32 {
        arena_limit(&self.settings, &self.limits)
    }

    /// How networks are stored in a blob of at most `flash` bytes.
    fn storage(&self, flash: u64) -> Storage {
        Storage {
            flash,
            arena: self.arena(),
            cycles: self.state.targets.cycles,
            prefer: self.settings.prefer,
        }
    }

    fn data(&self) -> SearchData<'_> {
        self.input.data()
    }

    fn teaching(&self) -> Teaching<'_> {
        Teaching {
            input: &self.input,
            settings: &self.settings,
            folder: self.run.dir(),
            ui: &self.ui,
        }
    }
}

fn arena_limit(settings: &Settings, limits: &DeviceLimits) -> u32 {
    let budget = settings.budgets.sram_bytes.unwrap_or(u64::MAX);
    u64::from(limits.arena).min(budget) as u32
}

fn identity(input: &Input, settings: &Settings, limits: &DeviceLimits) -> Result<Identity> {
    let build = format!("{:08x}", limits.build_id);
    Ok(Identity::of(
        &input.model_bytes,
        &(settings, &input.dataset, &limits.name, build),
    )?)
}

fn run_config(
    input: &Input,
    settings: &Settings,
    limits: &DeviceLimits,
    targets: crate::reward::Targets,
) -> Result<RunConfig> {
    Ok(RunConfig {
        run: String::new(),
        created: String::new(),
        version: String::new(),
        identity: identity(input, settings, limits)?,
        model: input.model.clone(),
        dataset: input.dataset.clone(),
        board: limits.name.clone(),
        build_id: format!("{:08x}", limits.build_id),
        clock_hz: limits.clock_hz,
        cycle_source: limits.cycle_source,
        seed: settings.seed,
        agent: settings.agent,
        reward: settings.reward,
        targets,
        prune_episodes: settings.prune.episodes,
        quantize_episodes: settings.quantize.episodes,
        settings: serde_json::to_value(settings)?,
    })
}

/// Sum of measured cycles, layers that do not fit left out.
fn sum_cycles(costs: &[LayerCost]) -> u64 {
    costs
        .iter()
        .map(|c| if let LayerCost::Cycles(c) = c { *c } else { 0 })
        .sum()
}
