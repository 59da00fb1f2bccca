//! The network as an agent walks it in stage 1: a step a layer, two numbers a step.

use super::features::{features, per_weight_layer};
use super::policy::{MIN_CHANNELS, PrunePolicy, Rankings, element_share, round_channels};
use super::{LayerLoss, Moments};
use crate::lower::{Bits, Prefer, Storage};
use crate::reward::{Costs, Quality, RewardMode, Targets, clip_action};
use crate::run::LayerAction;
use crate::search::{
    Candidate, Effort, Environment, Latency, MeasureLayer, Price, SearchData, Spent,
    TimedEnvironment, Timings, TrialConfig, episode_seed, price,
};
use crate::vgg::{LayerShape, TrainConfig, Trainer, Vgg, VggConfig, quality};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Widths that cycles and SRAM are priced at before stage 2 chooses.
pub const TIMED: Bits = Bits { w: 8, a: 8 };
/// Widths that flash is priced at, where nothing else is said.
pub const STORED: Bits = Bits { w: 4, a: 8 };
/// Number of this stage in seeds.
const STAGE: u64 = 1;

/// What stays the same for all episodes.
pub struct PruneSetup<'a> {
    /// The trained network.
    pub network: &'a Vgg,
    /// Its rankings.
    pub rankings: &'a Rankings,
    /// What makes up for channels that go; without it they just go.
    pub moments: Option<&'a Moments>,
    /// The images.
    pub data: SearchData<'a>,
    /// How candidates are judged.
    pub trial: TrialConfig,
    /// Channels are rounded to multiples of this.
    pub channel_step: usize,
    /// Bytes of arena that the board has.
    pub arena_limit: u32,
    /// What matters more in how weights are stored.
    pub prefer: Prefer,
    /// Widths that flash is priced at before stage 2 chooses.
    pub stored: Bits,
    /// How actions are clipped beforehand ([`RewardMode::Budget`] only).
    pub mode: RewardMode,
    /// Whether actions are proportions that are fitted to the budgets from both sides.
    pub fill: bool,
    /// The budgets that episodes keep to.
    pub targets: Targets,
    /// Those of the finalists, where they are others.
    pub finals: Option<Targets>,
    /// What narrower convolutions are predicted to lose: the second guide goes by it.
    pub loss: Option<&'a LayerLoss>,
    /// What layers with fewer weights are predicted to lose: the third guide goes by both.
    pub cut: Option<&'a LayerLoss>,
    /// Seed of the run.
    pub seed: u64,
}

impl PruneSetup<'_> {
    /// How candidates would be stored.
    pub(super) fn storage(&self) -> Storage {
        Storage {
            flash: self.targets.flash_bytes.unwrap_or(u64::MAX),
            arena: self.arena_limit,
            cycles: self.targets.cycles,
            prefer: self.prefer,
        }
    }
}

/// Stage 1 as an [`Environment`].
pub struct PruneEnv<'a, M: MeasureLayer + 'static> {
    pub(super) setup: PruneSetup<'a>,
    pub(super) latency: &'a mut Latency<M>,
    pub(super) layers: Vec<LayerShape>,
    /// Normalised features that do not change, a row a layer.
    features: Vec<Vec<f32>>,
    /// Cycles of each layer of the dense network, 0 where it does not fit.
    pub(super) dense_cycles: Vec<u64>,
    /// The dense network's cycles at the widths of flash, relative to those at [`TIMED`].
    pub(super) narrow_ratio: f64,
    /// Spent on judging so far.
    judging: Duration,
}

impl<'a, M: MeasureLayer + 'static> PruneEnv<'a, M> {
    /// Measures the dense network and prepares the states.
    ///
    /// # Errors
    /// Where the board fails or the firmware cannot run a layer.
    pub fn new(setup: PruneSetup<'a>, latency: &'a mut Latency<M>) -> anyhow::Result<Self> {
        let layers = setup.network.config.layers();
        let dense = dense_price(&setup.network.config, setup.arena_limit)?;
        let measured = latency.costs(&dense.keys)?;
        let dense_cycles = per_weight_layer(&setup.network.config, &dense, &measured)?;
        let features = features(&layers, &dense, &dense_cycles);
        let narrow = uniform_price(&setup.network.config, setup.stored, setup.arena_limit)?;
        let narrow = narrow.with_cycles(&latency.costs(&narrow.keys)?).cycles;
        let wide = dense.with_cycles(&measured).cycles;
        let narrow_ratio = narrow as f64 / wide.max(1) as f64;
        Ok(Self {
            setup,
            latency,
            layers,
            features,
            dense_cycles,
            narrow_ratio,
            judging: Duration::ZERO,
        })
    }

    /// The policy that `actions` stand for.
    #[must_use]
    pub fn policy(&self, actions: &[Vec<f32>]) -> PrunePolicy {
        policy_of(&self.layers, self.setup.channel_step, actions)
    }

    /// Costs with undecided layers at their lower bounds, cycles by each layer's dense
    /// cycles per MAC: what the budget mode can still reach.
    fn optimistic(&self, applied: &[Vec<f32>]) -> Option<Costs> {
        let mut actions = applied.to_vec();
        actions.resize(self.layers.len(), vec![MIN_CHANNELS, 0.0]);
        let policy = self.policy(&actions);
        let config = self.setup.network.config.with_widths(&policy.channels);
        let density: Vec<f64> = policy.elements.iter().map(|&e| f64::from(e)).collect();
        let n = density.len();
        let p = price(
            &config,
            (&vec![TIMED; n], &vec![self.setup.stored; n]),
            &density,
            &self.setup.storage(),
        )
        .ok()?;
        let narrow = config.layers();
        let cycles = narrow.iter().zip(&self.layers).zip(&self.dense_cycles);
        let cycles = cycles
            .map(|((now, dense), &c)| (c as f64 * now.macs() as f64 / dense.macs() as f64) as u64)
            .sum();
        Some(Costs { cycles, ..p.costs })
    }

    /// From here to the finals, limits MACs instead of cycles: to those of the uniform policy
    /// that meets the budgets as measured. Gives the budgets that episodes then have.
    ///
    /// # Errors
    /// Where the board fails.
    pub fn limit_macs(&mut self) -> anyhow::Result<Targets> {
        let uniform = self.fit(&self.uniform())?;
        let macs = self.macs(&self.policy(&uniform).channels);
        let measured = self.setup.targets;
        self.setup.finals = Some(measured);
        self.setup.targets = Targets {
            macs: Some(measured.macs.unwrap_or(u64::MAX).min(macs)),
            cycles: None,
            ..measured
        };
        Ok(self.setup.targets)
    }

    /// The actions of the uniform policy, where policies are fitted to the budgets.
    pub fn uniform(&self) -> Vec<Vec<f32>> {
        vec![vec![0.5, 1.0]; self.layers.len()]
    }

    fn uniform_policy(&self, share: f32) -> PrunePolicy {
        self.policy(&vec![vec![share, 1.0]; self.layers.len()])
    }

    /// Whether the same share of channels everywhere meets all budgets but flash, measured.
    fn uniform_fits(&mut self, share: f32) -> anyhow::Result<bool> {
        let network = &self.setup.network.config;
        let config = network.with_widths(&self.uniform_policy(share).channels);
        let n = self.layers.len();
        let (timed, stored, dense) = (vec![TIMED; n], vec![self.setup.stored; n], vec![1.0; n]);
        let priced = price(&config, (&timed, &stored), &dense, &self.setup.storage())?;
        let costs = priced.with_cycles(&self.latency.costs(&priced.keys)?);
        let targets = Targets {
            flash_bytes: None,
            ..self.setup.targets
        };
        Ok(targets.feasible(&costs))
    }

    /// Clips one number of the action at `step` so that the budgets that it governs can
    /// still be met: channels for MACs, SRAM and cycles, elements for flash.
    fn clip_to_budget(&self, applied: &[Vec<f32>], action: [f32; 2], number: usize) -> f32 {
        let t = self.setup.targets;
        let governed = if number == 0 {
            Targets {
                flash_bytes: None,
                ..t
            }
        } else {
            Targets {
                flash_bytes: t.flash_bytes,
                ..Targets::default()
            }
        };
        let lower = [MIN_CHANNELS, 0.0][number];
        clip_action(action[number], lower, |value| {
            let mut next = action;
            next[number] = value;
            let mut all = applied.to_vec();
            all.push(next.to_vec());
            self.optimistic(&all)
                .is_some_and(|costs| governed.feasible(&costs))
        })
    }
}

impl<M: MeasureLayer + 'static> TimedEnvironment for PruneEnv<'_, M> {
    fn timings(&self) -> Timings {
        (self.latency.known(), self.latency.counts())
    }

    fn spent(&self) -> Spent {
        Spent {
            judging: self.judging,
            waiting: self.latency.waited(),
        }
    }

    fn begin_finals(&mut self) -> bool {
        let other = self.setup.finals.take();
        if let Some(targets) = other {
            self.setup.targets = targets;
        }
        other.is_some()
    }
}

impl<M: MeasureLayer + 'static> Environment for PruneEnv<'_, M> {
    fn steps(&self) -> usize {
        self.layers.len()
    }

    fn state_dim(&self) -> usize {
        self.features[0].len() + 6
    }

    fn action_dim(&self) -> usize {
        2
    }

    fn state(&self, step: usize, applied: &[Vec<f32>]) -> Vec<f32> {
        let total: u64 = self.layers.iter().map(LayerShape::macs).sum();
        let policy = policy_of(&self.layers, self.setup.channel_step, applied);
        let now = self
            .setup
            .network
            .config
            .with_widths(&policy.channels)
            .layers();
        let removed: u64 = (0..step)
            .map(|i| self.layers[i].macs() - now[i].macs())
            .sum();
        let ahead: u64 = self.layers[step..].iter().map(LayerShape::macs).sum();
        let before = |back: usize| {
            step.checked_sub(back)
                .map_or(&[1.0, 1.0][..], |i| &applied[i])
        };
        let mut state = self.features[step].clone();
        state.extend([removed as f32 / total as f32, ahead as f32 / total as f32]);
        state.extend(before(1).iter().chain(before(2)));
        state
    }

    fn clip(&self, step: usize, applied: &[Vec<f32>], action: &[f32]) -> Vec<f32> {
        let (shape, last) = (&self.layers[step], step + 1 == self.layers.len());
        let mut wanted = [
            action[0].clamp(MIN_CHANNELS, 1.0),
            action[1].clamp(0.0, 1.0),
        ];
        if last {
            // Logits stay.
            wanted[0] = 1.0;
        }
        if self.setup.mode == RewardMode::Budget {
            if !last {
                wanted[0] = self.clip_to_budget(applied, wanted, 0);
            }
            wanted[1] = self.clip_to_budget(applied, wanted, 1);
        }
        if self.setup.fill {
            // Rounded when all proportions are known.
            return wanted.to_vec();
        }
        let kept = round_channels(wanted[0], shape.c_out, self.setup.channel_step);
        let channels = if last {
            1.0
        } else {
            kept as f32 / shape.c_out as f32
        };
        vec![channels, wanted[1]]
    }

    fn project(&mut self, actions: Vec<Vec<f32>>) -> anyhow::Result<Vec<Vec<f32>>> {
        if self.setup.fill {
            self.fit(&actions)
        } else {
            Ok(actions)
        }
    }

    /// The first episode is the uniform policy: the same share everywhere, the largest that
    /// meets the budgets of MACs, SRAM and measured cycles, no weights cut.
    ///
    /// The second one, where losses were predicted, is the greedy policy by them; the third one
    /// the same with weights cut instead of channels, where the flash asks for either.
    fn guide(&mut self, episode: usize) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        if episode > 0 {
            let loss = self.setup.loss;
            return Ok(match episode {
                1 => loss.map(|loss| self.greedy(loss)),
                2 => match (loss, self.setup.cut) {
                    (Some(loss), Some(cut)) => self.sparse_greedy(loss, cut)?,
                    _ => None,
                },
                _ => None,
            });
        }
        if self.setup.fill {
            return Ok(Some(self.uniform()));
        }
        // From the smallest network to the largest, each once.
        let mut shares: Vec<f32> = (10..=100).map(|percent| percent as f32 / 100.0).collect();
        shares.dedup_by_key(|share| self.uniform_policy(*share).channels);
        let (mut best, mut end) = (0, shares.len());
        while end - best > 1 {
            let middle = usize::midpoint(best, end);
            if self.uniform_fits(shares[middle])? {
                best = middle;
            } else {
                end = middle;
            }
        }
        Ok(Some(vec![vec![shares[best], 1.0]; self.layers.len()]))
    }

    fn images(&self, effort: Effort) -> u64 {
        let (trial, data) = (&self.setup.trial, &self.setup.data);
        let statistics = if trial.steps > 0 { 2 } else { 1 };
        trial.images(effort, data.validation.len(), statistics)
    }

    fn evaluate(
        &mut self,
        episode: usize,
        actions: &[Vec<f32>],
        effort: Effort,
    ) -> anyhow::Result<Candidate> {
        let policy = self.policy(actions);
        let setup = &self.setup;
        let small = policy.apply_reconstructed(setup.network, setup.rankings, setup.moments)?;
        let density = densities(&small)?;
        let n = density.len();
        let priced = price(
            &small.config,
            (&vec![TIMED; n], &vec![setup.stored; n]),
            &density,
            &setup.storage(),
        )?;
        // The board works while the candidate trains.
        self.latency.request(&priced.keys);
        let seed = episode_seed(setup.seed, STAGE, episode);
        let start = Instant::now();
        let judged = judge(&small, &setup.trial.with(effort), &setup.data, seed)?;
        self.judging += start.elapsed();
        let costs = priced.with_cycles(&self.latency.costs(&priced.keys)?);
        Ok(Candidate {
            actions: actions.to_vec(),
            accuracy: judged.accuracy,
            likelihood: judged.likelihood,
            costs,
            layers: pruned_layers(&small)?,
        })
    }
}

/// The dense network's price at [`TIMED`] widths, for cycles, SRAM and flash alike.
///
/// # Errors
/// Where the firmware cannot run a layer.
pub fn dense_price(config: &VggConfig, limit: u32) -> anyhow::Result<Price> {
    uniform_price(config, TIMED, limit)
}

fn uniform_price(config: &VggConfig, bits: Bits, limit: u32) -> anyhow::Result<Price> {
    let n = config.layers().len();
    let bits = vec![bits; n];
    let storage = Storage::dense(limit);
    Ok(price(config, (&bits, &bits), &vec![1.0; n], &storage)?)
}

/// Trains a pruned network a little; gives the quality of its answers on the trial's validation
/// images.
///
/// # Errors
/// Where the training diverges.
pub fn judge(
    small: &Vgg,
    trial: &TrialConfig,
    data: &SearchData,
    seed: u64,
) -> anyhow::Result<Quality> {
    let norm = data.first_train(trial.norm_images);
    small.reestimate_norm(data.train, &norm, trial.batch)?;
    if trial.steps > 0 {
        let config = TrainConfig {
            lr: trial.lr,
            ..TrainConfig::fine_tune(trial.steps, trial.batch, seed)
        };
        let mut trainer = Trainer::new(small, config)?;
        trainer.run(data.source, &data.train_indices(), |_, _| {
            ControlFlow::Continue(())
        })?;
        small.reestimate_norm(data.train, &norm, trial.batch)?;
    }
    let judged = data.first_validation(trial.validation_images);
    Ok(quality(&small.fold()?, data.validation, &judged))
}

fn policy_of(layers: &[LayerShape], step: usize, actions: &[Vec<f32>]) -> PrunePolicy {
    let mut policy = PrunePolicy {
        channels: vec![],
        elements: vec![],
    };
    for (i, shape) in layers.iter().enumerate() {
        let action = actions.get(i).map_or(&[1.0, 1.0][..], |a| a);
        if i + 1 < layers.len() {
            policy
                .channels
                .push(round_channels(action[0], shape.c_out, step));
        }
        policy.elements.push(element_share(action[1]));
    }
    policy
}

/// What was done to each layer of a pruned network: channels and density.
///
/// # Errors
/// Where a mask cannot be read.
pub fn pruned_layers(small: &Vgg) -> candle_core::Result<Vec<LayerAction>> {
    let (shapes, density) = (small.config.layers(), densities(small)?);
    let layers = shapes.iter().enumerate().map(|(i, shape)| LayerAction {
        layer: small.config.layer_name(i),
        channels: (i + 1 < shapes.len()).then_some(shape.c_out),
        density: Some(density[i]),
        w_bits: None,
        a_bits: None,
    });
    Ok(layers.collect())
}

/// Share of each layer's weights that its mask keeps.
fn densities(network: &Vgg) -> candle_core::Result<Vec<f64>> {
    let share = |mask: &Option<candle_core::Tensor>| match mask {
        Some(m) => Ok(f64::from(m.mean_all()?.to_scalar::<f32>()?)),
        None => Ok(1.0),
    };
    network.masks.iter().map(share).collect()
}
