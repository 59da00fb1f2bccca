//! The two searches and the two fine-tunings.

use super::agents::{PruneKnowledge, QuantKnowledge, prune_agent, quant_agent};
use super::episodes::{Keeper, Search};
use super::prepare::{describe, exceeded};
use super::setups::{Given, Pruned, prune_reward, prune_setup, quant_reward, quant_setup};
use super::store::{MODEL, PRUNED, load_rankings, save_quantized};
use super::teacher::Normalized;
use super::training::{Job, check_memory, forget, train};
use super::{Compress, Device, Infeasible};
use crate::lower::{Bits, Centred, accuracy, calibrate, centre};
use crate::nn::OptimizerKind;
use crate::prune::{
    Moments, PruneEnv, PrunePolicy, RECONSTRUCTION_IMAGES, Rankings, element_share,
};
use crate::quant::{QatNet, QuantEnv, Sensitivity};
use crate::reward::{Reward, RewardMode, SpeedModel};
use crate::run::Stage;
use crate::search::{Best, Environment, Found};
use crate::vgg::{TrainConfig, Vgg, evaluate};
use anyhow::Result;
use std::sync::Arc;

/// State of a fine-tuning between two processes.
const TRAINER: &str = "training.safetensors";

impl<D: Device + 'static> Compress<D> {
    /// Stage 1: channels and elements.
    pub(super) fn prune(&mut self) -> Result<bool> {
        if let Some(earlier) = self.settings.earlier.clone() {
            return self.check_earlier(&earlier);
        }
        let rankings = load_rankings(self.run.dir())?;
        let before = self.state.validation_before;
        let reward = prune_reward(&self.settings, self.state.targets, before);
        let moments = self.moments()?;
        let (loss, cost) = self.channel_loss(&rankings, moments.as_deref())?;
        let (cut, cut_cost) = self.element_loss(&rankings)?;
        let taken = moments.as_ref().map_or(0, |_| self.moments_images() as u64);
        let kind = self.settings.agent;
        let agent = self.saved_agent()?;
        let given = Given {
            rankings: &rankings,
            moments: moments.as_deref(),
            loss: loss.as_ref(),
            cut: cut.as_ref(),
        };
        let arena = self.arena();
        let setup = prune_setup(&self.input, &self.settings, arena, &reward, given);
        let mut env = PruneEnv::new(setup, &mut self.latency)?;
        let agent = agent.map(|saved| saved.load_for(env.state_dim(), env.action_dim()));
        let agent = agent.transpose()?;
        let searched = match self.settings.speed {
            SpeedModel::Cycles => reward,
            SpeedModel::Macs => {
                let targets = env.limit_macs()?;
                self.ui.say(&format!(
                    "{:11} by MACs: {:.2} M, as many as the uniform policy has within the budget",
                    "1 prune",
                    targets.macs.unwrap_or_default() as f64 / 1e6
                ));
                Reward { targets, ..reward }
            }
        };
        let search = Search {
            stage: Stage::Prune,
            label: "1 prune",
            episodes: self.settings.prune.episodes,
            finalists: self.settings.finalists,
            reward: &searched,
            finals_reward: &reward,
        };
        let mut keeper = Keeper {
            run: &mut self.run,
            state: &mut self.state,
            timer: &self.timer,
        };
        let know = PruneKnowledge {
            rankings: &rankings,
            loss: loss.as_ref(),
            cost: cost + cut_cost + taken,
            seed: self.settings.seed,
        };
        let agent = match agent {
            // What it cost beforehand is in the log already.
            Some(agent) => (agent, 0),
            None => prune_agent(kind, &mut env, search.episodes, &know)?,
        };
        let best = search.run(&mut env, agent, &mut keeper, &self.ui)?;
        let finished = self.check_found(best.as_ref())?;
        self.state.prune_best = best;
        self.state.found = Found::default();
        Ok(finished)
    }

    /// The best pruned network, trained with all training images.
    pub(super) fn finetune_pruned(&mut self) -> Result<bool> {
        let small = match &self.settings.earlier {
            Some(earlier) => self.earlier_network(earlier)?,
            None => self.best_pruned(&load_rankings(self.run.dir())?)?,
        };
        let (data, trial) = (self.data(), &self.settings.prune.trial);
        let norm = data.first_train(trial.norm_images);
        small.reestimate_norm(data.train, &norm, trial.batch)?;
        let all = data.first_validation(data.validation.len());
        let judge =
            |net: &Vgg| -> Result<f64> { Ok(evaluate(&net.fold()?, data.validation, &all)) };
        let (given, untrained) = (small.duplicate()?, judge(&small)?);
        let teacher = self.teaching().prepare(Normalized::AsTrained)?;
        let seed = self.settings.training_seed(1);
        let tune = self.settings.finetune;
        let steps = tune.steps(data.source.count());
        let checkpoint = self.run.path(TRAINER);
        let job = Job {
            label: "  fine-tune",
            config: TrainConfig {
                lr: tune.lr,
                ..TrainConfig::fine_tune(steps, tune.batch, seed)
            },
            teacher: self.teaching().distillation(&teacher),
            checkpoint: &checkpoint,
        };
        check_memory(&small.config, &job.config, &self.input.device)?;
        if !train(&small, &job, &data, &self.ui)? {
            return Ok(false);
        }
        small.reestimate_norm(
            data.train,
            &data.first_train(4 * trial.norm_images),
            trial.batch,
        )?;
        let accuracy = judge(&small)?;
        let better = accuracy >= untrained;
        if !better {
            self.say_kept(untrained, accuracy);
        }
        let (kept, accuracy) = match better {
            true => (&small, accuracy),
            false => (&given, untrained),
        };
        kept.save(&self.run.path(PRUNED), false)?;
        forget(&checkpoint);
        self.say_validation(accuracy);
        Ok(true)
    }

    /// Stage 2: widths.
    pub(super) fn quantize(&mut self) -> Result<bool> {
        if self.settings.earlier.is_some() {
            return Ok(true);
        }
        let network = self.pruned()?;
        let data = self.input.data();
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
            let progress = |done, of| bar.set_of(done, of, "widths");
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
        let (agent, kind) = (self.saved_agent()?, self.settings.agent);
        let before = self.state.validation_before;
        let reward = quant_reward(&self.settings, self.state.targets, before);
        let pruned = Pruned {
            network: &network,
            ranges: &ranges,
            sensitivity: &sensitivity,
        };
        let (arena, trial) = (self.arena(), self.settings.quantize.trial.clone());
        let setup = quant_setup(&self.input, &self.settings, arena, &reward, trial, pruned);
        let mut env = QuantEnv::new(setup, &mut self.latency)?;
        let agent = agent.map(|saved| saved.load_for(env.state_dim(), env.action_dim()));
        let agent = agent.transpose()?;
        self.state.cycles_spread = Some(env.cycles_spread());
        let search = Search {
            stage: Stage::Quantize,
            label: "2 quantize",
            episodes: self.settings.quantize.episodes,
            finalists: self.settings.finalists,
            reward: &reward,
            finals_reward: &reward,
        };
        let mut keeper = Keeper {
            run: &mut self.run,
            state: &mut self.state,
            timer: &self.timer,
        };
        let know = QuantKnowledge {
            network: &network,
            ranges: &ranges,
            sensitivity: &sensitivity,
            widths: (&w, &a),
            data,
            device: &self.input.device,
            sensitivity_images: self.settings.sensitivity_images,
            batch: self.settings.quantize.trial.batch,
            seed: self.settings.seed.wrapping_add(2),
        };
        let agent = match agent {
            Some(agent) => (agent, 0),
            None => quant_agent(kind, &env, search.episodes, &know)?,
        };
        let best = search.run(&mut env, agent, &mut keeper, &self.ui)?;
        let finished = self.check_found(best.as_ref())?;
        self.state.quantize_best = best;
        self.state.found = Found::default();
        Ok(finished)
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
        let rate = self.settings.rate_weight;
        let fresh = || QatNet::new(&network, &bits, &ranges, &self.input.device);
        let mut qat = fresh()?.with_rate(rate);
        let untrained = self.validation(&qat)?;
        let teacher = self.teaching().prepare(Normalized::Centred)?;
        let tune = self.settings.qat;
        let (steps, seed) = (
            tune.steps(data.source.count()),
            self.settings.training_seed(3),
        );
        let checkpoint = self.run.path(TRAINER);
        let job = Job {
            label: "  fine-tune",
            config: TrainConfig {
                lr: tune.lr,
                optimizer: OptimizerKind::Adam { weight_decay: 0.0 },
                ..TrainConfig::fine_tune(steps, tune.batch, seed)
            },
            teacher: self.teaching().distillation(&teacher),
            checkpoint: &checkpoint,
        };
        if !train(&qat, &job, &data, &self.ui)? {
            return Ok(false);
        }
        let mut accuracy = self.validation(&qat)?;
        if accuracy < untrained && rate == 0.0 {
            // At wide widths there is little to repair, and training may do harm.
            self.say_kept(untrained, accuracy);
            (qat, accuracy) = (fresh()?, untrained);
        }
        save_quantized(
            &self.run.path(MODEL),
            &qat.centred()?,
            &qat.quants()?,
            &self.input.device,
        )?;
        forget(&checkpoint);
        self.say_validation(accuracy);
        self.state.validation_after = Some(accuracy);
        Ok(true)
    }

    /// Accuracy on all validation images.
    fn validation(&self, net: &QatNet) -> Result<f64> {
        let data = self.data();
        let all = data.first_validation(data.validation.len());
        let logits = net.logits(data.validation, &all)?;
        Ok(accuracy(&logits, &data.validation.labels))
    }

    /// Training did harm: what it was given is kept.
    fn say_kept(&self, untrained: f64, trained: f64) {
        let [was, is] = [untrained, trained].map(|a| 100.0 * a);
        self.ui.say(&format!(
            "{:11} kept as before it: {was:.2} % of the validation pictures, {is:.2} % after",
            ""
        ));
    }

    fn say_validation(&self, accuracy: f64) {
        let images = self.input.splits.validation.len();
        self.ui.say(&format!(
            "{:11} {:.2} % of {images} validation pictures",
            "",
            100.0 * accuracy
        ));
    }

    /// The pruned, fine-tuned network, folded and centred.
    pub(super) fn pruned(&self) -> Result<Centred> {
        Ok(centre(
            &Vgg::load(&self.run.path(PRUNED), &self.input.device)?.fold()?,
        ))
    }

    pub(super) fn best_pruned(&mut self, rankings: &Rankings) -> Result<Vgg> {
        let moments = self.moments()?;
        let best = found(&self.state.prune_best)?;
        let layers = &best.candidate.layers;
        let elements = best.candidate.actions.iter();
        let policy = PrunePolicy {
            channels: layers.iter().filter_map(|l| l.channels).collect(),
            // Not the density that came of it: masks cut what is not zero already.
            elements: elements.map(|a| element_share(a[1])).collect(),
        };
        Ok(policy.apply_reconstructed(&self.input.network, rankings, moments.as_deref())?)
    }

    /// What channels that go are made up for with, where the settings say so.
    pub(super) fn moments(&mut self) -> Result<Option<Arc<Moments>>> {
        if !self.settings.reconstruct {
            return Ok(None);
        }
        if self.moments.is_none() {
            let bar = self.ui.bar("  moments", 1, 0);
            let moments = Moments::of(&self.input.network, &self.data())?;
            bar.finish(&format!("of {} pictures", self.moments_images()));
            self.moments = Some(Arc::new(moments));
        }
        Ok(self.moments.clone())
    }

    /// Training pictures that they are taken from.
    fn moments_images(&self) -> usize {
        self.input.splits.train.len().min(RECONSTRUCTION_IMAGES)
    }

    fn best_bits(&self) -> Result<Vec<Bits>> {
        if let Some(earlier) = &self.settings.earlier {
            return Ok(earlier.bits.clone());
        }
        let best = found(&self.state.quantize_best)?;
        let bits = |l: &crate::run::LayerAction| Bits {
            w: l.w_bits.unwrap_or(8),
            a: l.a_bits.unwrap_or(8),
        };
        Ok(best.candidate.layers.iter().map(bits).collect())
    }

    /// Whether a stage was finished with a result (and not stopped); says what the nearest is
    /// where nothing feasible was found.
    fn check_found(&self, best: Option<&Best>) -> Result<bool> {
        match best {
            None => Ok(false),
            Some(b) if !b.score.feasible && self.settings.reward != RewardMode::AccuracyFlops => {
                let costs = &b.candidate.costs;
                let accuracy = 100.0 * b.candidate.accuracy;
                let nearest = format!("{accuracy:.1} % at {}", describe(costs, &self.limits));
                let exceeded = exceeded(&self.state.targets, costs, &self.limits);
                Err(Infeasible { nearest, exceeded }.into())
            }
            Some(_) => Ok(true),
        }
    }
}

pub(super) fn found(best: &Option<Best>) -> Result<&Best> {
    best.as_ref()
        .ok_or_else(|| anyhow::anyhow!("the checkpoint has no best candidate of the stage before"))
}
