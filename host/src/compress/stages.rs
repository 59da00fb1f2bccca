//! The two searches and the two fine-tunings.

use super::prepare::{describe, exceeded};
use super::store::{MODEL, PRUNED, load_rankings, save_quantized};
use super::training::{Job, forget, train};
use super::{Compress, Device, Infeasible, State};
use crate::agent::Agent;
use crate::lower::{Bits, Centred, calibrate, centre};
use crate::nn::OptimizerKind;
use crate::prune::{PruneEnv, PruneSetup, Rankings};
use crate::quant::{QatNet, QuantEnv, QuantSetup, Sensitivity};
use crate::reward::{Reward, RewardMode, Targets};
use crate::run::{EpisodeRecord, Progress, Stage, interrupt};
use crate::search::{
    Best, Environment, SearchData, StageRun, TimedEnvironment, Timings, run_stage,
};
use crate::vgg::{Distillation, Folded, Teacher, TrainConfig, Vgg};
use anyhow::Result;
use std::ops::ControlFlow;

/// State of a fine-tuning between two processes.
const TRAINER: &str = "training.safetensors";

impl<D: Device + 'static> Compress<D> {
    /// Stage 1: channels and elements.
    pub(super) fn prune(&mut self) -> Result<bool> {
        let rankings = load_rankings(self.run.dir())?;
        let reward = Reward {
            mode: if self.settings.reward == RewardMode::Haq {
                RewardMode::Board
            } else {
                self.settings.reward
            },
            targets: self.state.targets,
            accuracy_before: self.state.validation_before,
        };
        let agent = self.saved_agent()?;
        let setup = PruneSetup {
            network: &self.input.network,
            rankings: &rankings,
            data: SearchData {
                train: &self.input.splits.train,
                validation: &self.input.splits.validation,
            },
            trial: self.settings.prune.trial.clone(),
            channel_step: self.settings.channel_step,
            arena_limit: self.arena(),
            mode: reward.mode,
            targets: reward.targets,
            seed: self.settings.seed,
        };
        let mut env = PruneEnv::new(setup, &mut self.latency)?;
        let best = self.state.prune_best.clone();
        let search = Search {
            stage: Stage::Prune,
            label: "1 prune",
            episodes: self.settings.prune.episodes,
            reward: &reward,
        };
        let mut keeper = Keeper {
            run: &mut self.run,
            state: &mut self.state,
            timer: &self.timer,
        };
        let agent = agent.unwrap_or_else(|| {
            self.settings.agent.build(
                env.state_dim(),
                2,
                env.steps(),
                search.episodes,
                self.settings.seed,
            )
        });
        let finished = search.run(&mut env, agent, best, &mut keeper, &self.ui)?;
        self.check_found(finished, self.state.prune_best.clone())
    }

    /// The best pruned network, trained with all training images.
    pub(super) fn finetune_pruned(&mut self) -> Result<bool> {
        let rankings = load_rankings(self.run.dir())?;
        let small = self.best_pruned(&rankings)?;
        let (data, trial) = (self.data(), &self.settings.prune.trial);
        let norm = data.first_train(trial.norm_images);
        small.reestimate_norm(data.train, &norm, trial.batch)?;
        let teacher = self.teacher(Normalized::AsTrained)?;
        let seed = self.settings.seed.wrapping_add(1);
        let tune = self.settings.finetune;
        let steps = tune.steps(data.train.len());
        let checkpoint = self.run.path(TRAINER);
        let job = Job {
            label: "  fine-tune",
            config: TrainConfig {
                lr: tune.lr,
                ..TrainConfig::fine_tune(steps, tune.batch, seed)
            },
            teacher: self.distillation(&teacher),
            checkpoint: &checkpoint,
        };
        if !train(&small, &job, &data, &self.ui)? {
            return Ok(false);
        }
        small.reestimate_norm(
            data.train,
            &data.first_train(4 * trial.norm_images),
            trial.batch,
        )?;
        small.save(&self.run.path(PRUNED), false)?;
        forget(&checkpoint);
        Ok(true)
    }

    /// Stage 2: widths.
    pub(super) fn quantize(&mut self) -> Result<bool> {
        let network = self.pruned()?;
        let data = SearchData {
            train: &self.input.splits.train,
            validation: &self.input.splits.validation,
        };
        let ranges = calibrate(
            &network.network,
            data.train,
            &data.first_train(self.settings.calibration_images),
        );
        let (w, a) = (
            self.settings.w_widths.clone(),
            self.settings.a_widths.clone(),
        );
        if self.state.sensitivity.is_none() {
            let judged = data.first_validation(self.settings.sensitivity_images);
            let mut bar = self.ui.bar("  sensitivity", 1, 0);
            let images = (data.validation, judged.as_slice());
            let progress = |done, of| bar.set(done, &format!("{done} of {of} widths"));
            let s = Sensitivity::measure(
                &network,
                &ranges,
                (&w, &a),
                images,
                &self.input.device,
                progress,
            )?;
            bar.finish("measured");
            self.state.sensitivity = Some(s);
        }
        let sensitivity = self.state.sensitivity.clone().unwrap_or_default();
        let agent = self.saved_agent()?;
        let targets = Targets {
            macs: None,
            ..self.state.targets
        };
        let accuracy_before = self.state.validation_before;
        let reward = Reward {
            mode: self.settings.reward,
            targets,
            accuracy_before,
        };
        let setup = QuantSetup {
            network: &network,
            ranges: &ranges,
            sensitivity: &sensitivity,
            data,
            trial: self.settings.quantize.trial.clone(),
            w_widths: w,
            a_widths: a,
            arena_limit: self.arena(),
            targets,
            seed: self.settings.seed,
            device: &self.input.device,
        };
        let mut env = QuantEnv::new(setup, &mut self.latency)?;
        self.state.cycles_spread = Some(env.cycles_spread());
        let best = self.state.quantize_best.clone();
        let search = Search {
            stage: Stage::Quantize,
            label: "2 quantize",
            episodes: self.settings.quantize.episodes,
            reward: &reward,
        };
        let mut keeper = Keeper {
            run: &mut self.run,
            state: &mut self.state,
            timer: &self.timer,
        };
        let seed = self.settings.seed.wrapping_add(2);
        let agent = agent.unwrap_or_else(|| {
            self.settings
                .agent
                .build(env.state_dim(), 1, env.steps(), search.episodes, seed)
        });
        let finished = search.run(&mut env, agent, best, &mut keeper, &self.ui)?;
        self.check_found(finished, self.state.quantize_best.clone())
    }

    /// The best widths, trained with all training images.
    pub(super) fn finetune_quantized(&mut self) -> Result<bool> {
        let network = self.pruned()?;
        let data = self.data();
        let ranges = calibrate(
            &network.network,
            data.train,
            &data.first_train(self.settings.calibration_images),
        );
        let bits = self.best_bits()?;
        let qat = QatNet::new(&network, &bits, &ranges, &self.input.device)?;
        let teacher = self.teacher(Normalized::Centred)?;
        let tune = self.settings.qat;
        let (steps, seed) = (
            tune.steps(data.train.len()),
            self.settings.seed.wrapping_add(3),
        );
        let checkpoint = self.run.path(TRAINER);
        let job = Job {
            label: "  fine-tune",
            config: TrainConfig {
                lr: tune.lr,
                optimizer: OptimizerKind::Adam { weight_decay: 0.0 },
                ..TrainConfig::fine_tune(steps, tune.batch, seed)
            },
            teacher: self.distillation(&teacher),
            checkpoint: &checkpoint,
        };
        if !train(&qat, &job, &data, &self.ui)? {
            return Ok(false);
        }
        save_quantized(
            &self.run.path(MODEL),
            &qat.centred()?,
            &qat.quants()?,
            &self.input.device,
        )?;
        forget(&checkpoint);
        Ok(true)
    }

    /// The pruned, fine-tuned network, folded and centred.
    pub(super) fn pruned(&self) -> Result<Centred> {
        Ok(centre(
            &Vgg::load(&self.run.path(PRUNED), &self.input.device)?.fold()?,
        ))
    }

    fn best_pruned(&self, rankings: &Rankings) -> Result<Vgg> {
        let best = found(&self.state.prune_best)?;
        let layers = &best.candidate.layers;
        let policy = crate::prune::PrunePolicy {
            channels: layers.iter().filter_map(|l| l.channels).collect(),
            elements: best.candidate.actions.iter().map(|a| a[1]).collect(),
        };
        Ok(policy.apply(&self.input.network, rankings)?)
    }

    fn best_bits(&self) -> Result<Vec<Bits>> {
        let best = found(&self.state.quantize_best)?;
        let bits = |l: &crate::run::LayerAction| Bits {
            w: l.w_bits.unwrap_or(8),
            a: l.a_bits.unwrap_or(8),
        };
        Ok(best.candidate.layers.iter().map(bits).collect())
    }

    /// The given network as a teacher of students that see pictures as `normalized` says:
    /// centred (whole pixels minus whole means) or as it was trained.
    pub(super) fn teacher(&self, normalized: Normalized) -> Result<SavedTeacher> {
        if self.settings.distillation == 0.0 {
            return Ok(SavedTeacher::None);
        }
        let folded = self.input.network.fold()?;
        if self.settings.distill_views {
            return Ok(SavedTeacher::Network(Box::new(match normalized {
                Normalized::AsTrained => folded,
                Normalized::Centred => centre(&folded).network,
            })));
        }
        let data = self.data();
        Ok(SavedTeacher::Logits(
            folded.logits(data.train, &data.train_indices()),
        ))
    }

    pub(super) fn distillation<'t>(&self, teacher: &'t SavedTeacher) -> Option<Distillation<'t>> {
        let source = match teacher {
            SavedTeacher::None => return None,
            SavedTeacher::Logits(logits) => Teacher::Logits(logits),
            SavedTeacher::Network(network) => Teacher::Network(network),
        };
        let (weight, temperature) = (self.settings.distillation, self.settings.temperature);
        Some(Distillation {
            source,
            weight,
            temperature,
        })
    }

    /// Says what the nearest is where nothing feasible was found.
    fn check_found(&self, finished: bool, best: Option<Best>) -> Result<bool> {
        if !finished {
            return Ok(false);
        }
        match best {
            Some(b) if !b.score.feasible && self.settings.reward != RewardMode::AccuracyFlops => {
                let costs = &b.candidate.costs;
                let accuracy = 100.0 * b.candidate.accuracy;
                let nearest = format!("{accuracy:.1} % at {}", describe(costs, &self.limits));
                let exceeded = exceeded(&self.state.targets, costs, &self.limits);
                Err(Infeasible { nearest, exceeded }.into())
            }
            _ => Ok(true),
        }
    }
}

/// How a student's pictures are normalized.
#[derive(Clone, Copy)]
pub(super) enum Normalized {
    /// As the given network's.
    AsTrained,
    /// Whole pixels minus whole means.
    Centred,
}

/// What a fine-tuning learns from besides labels.
pub(super) enum SavedTeacher {
    None,
    Logits(Vec<f32>),
    Network(Box<Folded>),
}

fn found(best: &Option<Best>) -> Result<&Best> {
    best.as_ref()
        .ok_or_else(|| anyhow::anyhow!("the checkpoint has no best candidate of the stage before"))
}

/// What is written after each episode. It borrows parts of [`Compress`], because the
/// environment borrows others.
struct Keeper<'a> {
    run: &'a mut crate::run::RunFolder,
    state: &'a mut State,
    timer: &'a crate::run::PartTimer,
}

impl Keeper<'_> {
    fn keep(
        &mut self,
        record: &EpisodeRecord,
        agent: &dyn Agent,
        best: Option<&Best>,
        timings: Timings,
    ) -> Result<()> {
        let slot = if record.stage == Stage::Prune {
            &mut self.state.prune_best
        } else {
            &mut self.state.quantize_best
        };
        *slot = best.cloned();
        (self.state.timings, self.state.timing_counts) = timings;
        self.run.log(record)?;
        let progress = Progress {
            stage: record.stage,
            step: record.episode + 1,
        };
        let (state, agent) = (serde_json::to_vec(self.state)?, agent.save().to_bytes()?);
        Ok(self.run.checkpoint(
            progress,
            self.timer,
            &[(super::STATE, &state), (super::AGENT, &agent)],
        )?)
    }
}

struct Search<'a> {
    stage: Stage,
    label: &'static str,
    episodes: usize,
    reward: &'a Reward,
}

impl Search<'_> {
    /// Returns whether all episodes were run.
    fn run(
        &self,
        env: &mut dyn TimedEnvironment,
        mut agent: Box<dyn Agent>,
        best: Option<Best>,
        keeper: &mut Keeper,
        ui: &super::Ui,
    ) -> Result<bool> {
        let mut bar = ui.bar(self.label, self.episodes, agent.episode());
        let run = StageRun {
            stage: self.stage,
            reward: self.reward,
            episodes: self.episodes,
        };
        let mut stopped = false;
        let best = run_stage(
            &run,
            env,
            agent.as_mut(),
            best,
            |env, record, agent, best| {
                let timings = env.timings();
                bar.set(record.episode + 1, &summary_of(best, timings.1));
                keeper.keep(record, agent, best, timings)?;
                stopped = interrupt::requested() && record.episode + 1 < self.episodes;
                Ok(if stopped {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            },
        )?;
        if !stopped {
            bar.finish(&format!(
                "{} episodes  {}",
                self.episodes,
                summary_of(best.as_ref(), env.timings().1)
            ));
        }
        Ok(!stopped)
    }
}

fn summary_of(best: Option<&Best>, (measured, from_table): (usize, usize)) -> String {
    let share = 100 * from_table / (measured + from_table).max(1);
    let best = best.map_or_else(String::new, |b| {
        let feasible = if b.score.feasible {
            ""
        } else {
            " (over budget)"
        };
        let c = &b.candidate;
        format!(
            "best {:.1} % at {:.2} M cycles{feasible}",
            100.0 * c.accuracy,
            c.costs.cycles as f64 / 1e6
        )
    });
    format!("{best}  board: {measured} layers timed, {share} % from table")
}
