//! The joint refinement: stage 1's choice held against what stage 2 can do with it, before
//! anything is trained for long.
//!
//! Stage 1 prices flash at one expected width; which widths the flash really takes, and what
//! they do to the cycles, is stage 2's business. So stage 2's fitting is tried on the network
//! that stage 1 chose. Where it finds no widths within the budgets, stage 1's fitting gets less
//! of flash and cycles until it does. Where the flash keeps widths down and a part of the
//! latency is left, and [`Refine::Vary`] was asked for, the same proportions are fitted anew at
//! other expected widths (narrower weights in more channels, or wider ones in fewer) and with
//! weights cut instead of channels. Each of these variants is trained a little, quantized and judged by its integers on the
//! validation images, and the best goes on. What stage 2 leaves unused can only be cycles: flash
//! it fills.

use super::prepare::{describe, exceeded};
use super::setups::{Given, Pruned, prune_reward, prune_setup, quant_reward, quant_setup};
use super::stages::found;
use super::state::Refined;
use super::store::load_rankings;
use super::{Compress, Device, Infeasible, Refine, Settings};
use crate::lower::{calibrate, centre};
use crate::prune::{PruneEnv, element_share, judge, pruned_layers};
use crate::quant::{QuantEnv, Sensitivity};
use crate::reward::{Costs, RewardMode, Targets};
use crate::run::{EpisodeRecord, LayerAction, Progress, Stage, interrupt};
use crate::search::{Best, Candidate, Effort, Environment, TrialConfig, episode_seed};
use crate::vgg::{Vgg, evaluate};
use anyhow::Result;
use std::time::Instant;

/// Number of this stage in seeds.
const STAGE: u64 = 3;
/// Batches of the fine-tuning's size that a variant is trained with before it is judged.
const BATCHES: usize = 100;
/// Share of the cycles that are used well enough.
const USED: f64 = 0.95;
/// How much less of flash and cycles a fit gets, each time that no widths were found.
const LESS: f64 = 0.03;
/// How often it gets less.
const ATTEMPTS: u32 = 8;
/// Other expected widths that are tried on either side of the one that was expected.
const NEIGHBOURS: usize = 2;
/// Actions on elements, at most, of the variants that cut weights instead of channels.
const CUTS: [f32; 2] = [0.5, 0.3];

/// What is changed in fitting stage 1's proportions.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Variant {
    /// Width that flash is priced at.
    width: u8,
    /// Actions on elements are at most this: 1 keeps what stage 1 said.
    elements: f32,
}

impl Variant {
    /// The first is what stage 1 chose.
    fn all(settings: &Settings) -> Vec<Self> {
        let (expected, widths) = (settings.expected_width, &settings.w_widths);
        let below = widths.iter().rev().filter(|w| **w < expected);
        let above = widths.iter().filter(|w| **w > expected);
        let chosen = Self {
            width: expected,
            elements: 1.0,
        };
        let others = below.take(NEIGHBOURS).chain(above.take(NEIGHBOURS));
        let others = others.map(|&width| Self { width, ..chosen });
        let cut = CUTS.map(|elements| Self { elements, ..chosen });
        [chosen].into_iter().chain(others).chain(cut).collect()
    }

    fn label(self) -> String {
        let kept = 100.0 * element_share(self.elements);
        if self.elements < 1.0 {
            format!(
                "{} bits expected, layers cut to {kept:.0} % of their weights where flash asks",
                self.width
            )
        } else {
            format!("{} bits expected", self.width)
        }
    }

    fn asked(self, actions: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let capped = |a: &Vec<f32>| vec![a[0], a[1].min(self.elements)];
        actions.iter().map(capped).collect()
    }
}

/// A pruned network with the widths that fit it.
struct Fitted {
    /// The pruning's actions as applied.
    actions: Vec<Vec<f32>>,
    /// Reconstructed, not trained.
    network: Vgg,
    /// Its channels and densities.
    layers: Vec<LayerAction>,
    /// Mean width of its weights, over the layers.
    width: f64,
    costs: Costs,
    feasible: bool,
}

impl<D: Device + 'static> Compress<D> {
    /// Between the stages: stage 1's choice as it is, or a variant that is better in integers.
    pub(super) fn refine(&mut self) -> Result<bool> {
        self.refine_at_most(usize::MAX)
    }

    /// The same; false also where more than `most` variants were left to try.
    pub(super) fn refine_at_most(&mut self, most: usize) -> Result<bool> {
        let s = &self.settings;
        let fitted = s.fill && s.reward != RewardMode::AccuracyFlops && s.earlier.is_none();
        if s.refine == Refine::Off || !fitted {
            return Ok(true);
        }
        let vary = s.refine == Refine::Vary;
        let (rankings, moments) = (load_rankings(self.run.dir())?, self.moments()?);
        let given = Given {
            rankings: &rankings,
            moments: moments.as_deref(),
            loss: None,
            cut: None,
        };
        let chosen = found(&self.state.prune_best)?.clone();
        let variants = Variant::all(&self.settings);
        let first = self.storable(given, &chosen.candidate.actions, variants[0], true)?;
        if let Ok(first) = &first
            && !(vary && self.slack(first))
        {
            let costs = describe(&first.costs, &self.limits);
            self.ui.say(&format!(
                "{:11} widths of {:.1} bits store it: {costs}",
                "  refine", first.width
            ));
            if first.actions != chosen.candidate.actions {
                self.state.prune_best = Some(self.unjudged(&chosen, first)?);
            }
            return Ok(true);
        }
        let nearest = match &first {
            Ok(first) => first.costs,
            Err(nearest) => *nearest,
        };
        let until = self.run.progress().step.saturating_add(most);
        if !self.try_variants(given, &chosen, first.ok(), (&variants, until))? {
            return Ok(false);
        }
        self.keep_best(&chosen, &variants, &nearest)?;
        Ok(true)
    }

    /// Judges those variants that are left; false where the user stopped it.
    fn try_variants(
        &mut self,
        given: Given,
        chosen: &Best,
        mut first: Option<Fitted>,
        (variants, until): (&[Variant], usize),
    ) -> Result<bool> {
        let done = self.run.progress().step;
        let mut bar = self.ui.bar("  refine", variants.len(), done);
        for (i, &variant) in variants.iter().enumerate().skip(done) {
            let start = Instant::now();
            let fitted = match i {
                0 => first.take(),
                _ => self
                    .storable(given, &chosen.candidate.actions, variant, false)?
                    .ok(),
            };
            let known = |f: &Fitted| {
                let refined = &self.state.refined;
                refined.iter().any(|r| r.pruning.actions == f.actions)
            };
            let label = variant.label();
            let message = match fitted {
                None => format!("{label}: no widths store it"),
                Some(fitted) if known(&fitted) => format!("{label}: as another variant"),
                Some(fitted) => {
                    let record = self.judge_variant(i, variant, fitted, start)?;
                    self.run.log(&record)?;
                    format!("{label}: {:.1} %", 100.0 * record.accuracy)
                }
            };
            bar.set(i + 1, &message);
            self.ui.detail(&message);
            let progress = Progress {
                stage: Stage::Refine,
                step: i + 1,
            };
            self.save(progress, None)?;
            let stop = interrupt::requested() || i + 1 >= until;
            if stop && i + 1 < variants.len() {
                return Ok(false);
            }
        }
        let judged = self.state.refined.len();
        bar.finish(&format!(
            "{judged} variants trained for {BATCHES} batches and quantized"
        ));
        Ok(true)
    }

    /// Puts the best variant in the place of stage 1's choice.
    fn keep_best(&mut self, chosen: &Best, variants: &[Variant], nearest: &Costs) -> Result<()> {
        let better = |a: &Refined, b: &Refined| b.score.beats(&a.score);
        let refined = self.state.refined.iter();
        let Some(best) = refined.reduce(|a, b| if better(a, b) { b } else { a }) else {
            return Err(Infeasible {
                nearest: describe(nearest, &self.limits),
                exceeded: exceeded(&self.state.targets, nearest, &self.limits),
            }
            .into());
        };
        let as_chosen = self.state.refined.iter().find(|r| r.variant == 0);
        let against = match as_chosen {
            Some(c) if c.variant != best.variant => {
                format!(", as chosen {:.1} %", 100.0 * c.pruning.accuracy)
            }
            _ => String::new(),
        };
        self.ui.say(&format!(
            "{:11} {}: {:.1} % in integers{against}",
            "",
            variants[best.variant].label(),
            100.0 * best.pruning.accuracy,
        ));
        self.state.prune_best = Some(Best {
            episode: chosen.episode,
            candidate: best.pruning.clone(),
            score: best.score,
        });
        Ok(())
    }

    /// Whether the flash keeps widths down while cycles are left.
    fn slack(&self, fitted: &Fitted) -> bool {
        let widest = self.settings.w_widths.last().copied().unwrap_or(8);
        let cycles = self.state.targets.cycles;
        let unused = cycles.is_none_or(|c| (fitted.costs.cycles as f64) < USED * c as f64);
        unused && fitted.width < f64::from(widest)
    }

    /// The variant's fit, made to smaller budgets until stage 2 finds widths for it; or what
    /// the nearest costs. With `as_is` the actions are first tried as they are.
    fn storable(
        &mut self,
        given: Given,
        actions: &[Vec<f32>],
        variant: Variant,
        as_is: bool,
    ) -> Result<Result<Fitted, Costs>> {
        let asked = variant.asked(actions);
        let mut nearest: Option<Costs> = None;
        let attempts = [None].into_iter().filter(|_| as_is);
        let from = u32::from(as_is);
        for less in attempts.chain((from..=ATTEMPTS).map(Some)) {
            let fitted = self.fit_variant(given, &asked, variant, less)?;
            if fitted.feasible {
                return Ok(Ok(fitted));
            }
            let excess = |costs: &Costs| self.state.targets.excess(costs);
            self.ui.detail(&format!(
                "no widths for {}: {}",
                variant.label(),
                describe(&fitted.costs, &self.limits)
            ));
            if nearest.is_none_or(|n| excess(&fitted.costs) < excess(&n)) {
                nearest = Some(fitted.costs);
            }
        }
        Ok(Err(nearest.unwrap_or_default()))
    }

    /// `asked` fitted to the budgets less `less` times [`LESS`] (taken as they are where that
    /// is `None`), with the widths that stage 2 finds for it.
    fn fit_variant(
        &mut self,
        given: Given,
        asked: &[Vec<f32>],
        variant: Variant,
        less: Option<u32>,
    ) -> Result<Fitted> {
        let settings = Settings {
            expected_width: variant.width,
            ..self.settings.clone()
        };
        let targets = tightened(&self.state.targets, less.unwrap_or(0));
        let reward = prune_reward(&settings, targets, self.state.validation_before);
        let arena = self.arena();
        let setup = prune_setup(&self.input, &settings, arena, &reward, given);
        let mut env = PruneEnv::new(setup, &mut self.latency)?;
        let actions = match less {
            Some(_) => env.project(asked.to_vec())?,
            None => asked.to_vec(),
        };
        let policy = env.policy(&actions);
        let network =
            policy.apply_reconstructed(&self.input.network, given.rankings, given.moments)?;
        let (data, trial) = (self.data(), &self.settings.prune.trial);
        let norm = data.first_train(trial.norm_images);
        network.reestimate_norm(data.train, &norm, trial.batch)?;
        let (width, costs) = self.widths_for(&network, |env, actions| {
            let bits = env.bits(actions);
            let sum: f64 = bits.iter().map(|b| f64::from(b.w)).sum();
            Ok((sum / bits.len() as f64, env.untrained_costs(actions)?))
        })?;
        let targets = quant_reward(&self.settings, self.state.targets, 0.0).targets;
        Ok(Fitted {
            actions,
            layers: pruned_layers(&network)?,
            network,
            width,
            feasible: targets.feasible(&costs),
            costs,
        })
    }

    /// Hands `look` stage 2's environment of `network` and the actions of the flattest widths
    /// that fit: activations as wide as they come, then weights.
    fn widths_for<T>(
        &mut self,
        network: &Vgg,
        look: impl FnOnce(&mut QuantEnv<D>, &[Vec<f32>]) -> Result<T>,
    ) -> Result<T> {
        let centred = centre(&network.fold()?);
        let data = self.input.data();
        let images = data.first_train(self.settings.calibration_images);
        let ranges = calibrate(&centred.network, data.train, &images);
        let sensitivity = Sensitivity::default();
        let pruned = Pruned {
            network: &centred,
            ranges: &ranges,
            sensitivity: &sensitivity,
        };
        let before = self.state.validation_before;
        let reward = quant_reward(&self.settings, self.state.targets, before);
        let (arena, trial) = (self.arena(), self.settings.quantize.trial.clone());
        let setup = quant_setup(&self.input, &self.settings, arena, &reward, trial, pruned);
        let mut env = QuantEnv::new(setup, &mut self.latency)?;
        let flat = env.flat(self.settings.w_widths[0]);
        let actions = env.project(flat)?;
        look(&mut env, &actions)
    }

    /// Trains a variant, quantizes it, judges it; keeps the result.
    fn judge_variant(
        &mut self,
        index: usize,
        variant: Variant,
        fitted: Fitted,
        start: Instant,
    ) -> Result<EpisodeRecord> {
        let Fitted {
            actions,
            network,
            layers,
            ..
        } = fitted;
        let trial = TrialConfig {
            steps: BATCHES,
            batch: self.settings.finetune.batch,
            ..self.settings.prune.trial.clone()
        };
        // The same images in the same order for all.
        let seed = episode_seed(self.settings.seed, STAGE, 0);
        judge(&network, &trial, &self.data(), seed)?;
        let (joint, images) = self.widths_for(&network, |env, actions| {
            let joint = env.evaluate(0, actions, Effort::Final)?;
            Ok((joint, env.images(Effort::Final)))
        })?;
        let validation = self.input.splits.validation.len();
        let before = self.state.validation_before;
        let reward = quant_reward(&self.settings, self.state.targets, before);
        let score = reward.score(joint.quality(), &joint.costs);
        let so_far = self.state.refined.iter().map(|r| r.score);
        let best = so_far.into_iter().all(|other| score.beats(&other));
        let record = EpisodeRecord {
            stage: Stage::Refine,
            episode: index,
            variant: Some(variant.label()),
            agent: self.settings.agent.name().to_string(),
            reward: score.reward,
            accuracy: joint.accuracy,
            likelihood: joint.likelihood,
            costs: joint.costs,
            feasible: score.feasible,
            excess: score.excess,
            best,
            cycles_error: None,
            images: Some(images + trial.images(Effort::Episode, validation, 2)),
            actions: joined(&layers, &joint.layers),
            seconds: start.elapsed().as_secs_f64(),
            seconds_by_part: None,
        };
        self.state.refined.push(Refined {
            variant: index,
            pruning: Candidate {
                actions,
                layers,
                ..joint
            },
            score,
        });
        Ok(record)
    }

    /// A fit that had to be made to less, in the place of what was chosen.
    fn unjudged(&self, chosen: &Best, fitted: &Fitted) -> Result<Best> {
        let data = self.data();
        let judged = data.first_validation(self.settings.prune.trial.validation_images);
        Ok(Best {
            candidate: Candidate {
                actions: fitted.actions.clone(),
                accuracy: evaluate(&fitted.network.fold()?, data.validation, &judged),
                likelihood: None,
                costs: fitted.costs,
                layers: fitted.layers.clone(),
            },
            ..chosen.clone()
        })
    }
}

/// `less` times [`LESS`] less of flash and cycles.
fn tightened(targets: &Targets, less: u32) -> Targets {
    let share = 1.0 - LESS * f64::from(less);
    let part = |whole: u64| (whole as f64 * share) as u64;
    Targets {
        flash_bytes: targets.flash_bytes.map(part),
        cycles: targets.cycles.map(part),
        ..*targets
    }
}

/// The pruning's channels and densities with the widths.
fn joined(pruning: &[LayerAction], widths: &[LayerAction]) -> Vec<LayerAction> {
    let rows = pruning.iter().zip(widths);
    rows.map(|(p, w)| LayerAction {
        w_bits: w.w_bits,
        a_bits: w.a_bits,
        ..p.clone()
    })
    .collect()
}
