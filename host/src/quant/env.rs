//! The pruned network as an agent walks it in stage 2: for each layer a step for the width
//! of its weights and one for the width of its activations.

use super::qat::QatNet;
use super::sensitivity::Sensitivity;
use crate::agent::MinMax;
use crate::lower::{
    ActivationRanges, Bits, Centred, IntNet, Prefer, Storage, accuracy, quantize, simulate,
};
use crate::nn::OptimizerKind;
use crate::reward::{Costs, Targets};
use crate::run::LayerAction;
use crate::search::{
    Candidate, Effort, Environment, Latency, LayerCost, LayerKey, MeasureLayer, SearchData, Spent,
    TimedEnvironment, Timings, TrialConfig, episode_seed, price, price_net, store_net,
};
use crate::vgg::{LayerKind, LayerShape, TrainConfig, Trainer, quality_of};
use candle_core::Device;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Number of this stage in seeds.
const STAGE: u64 = 2;

/// What stays the same for all episodes.
pub struct QuantSetup<'a> {
    /// The pruned, fine-tuned network, folded and centred.
    pub network: &'a Centred,
    /// Its activations' ranges.
    pub ranges: &'a ActivationRanges,
    /// How much each width of each layer loses by itself.
    pub sensitivity: &'a Sensitivity,
    /// The images.
    pub data: SearchData<'a>,
    /// How candidates are judged.
    pub trial: TrialConfig,
    /// Widths of weights to choose from, rising.
    pub w_widths: Vec<u8>,
    /// Widths of activations to choose from, rising.
    pub a_widths: Vec<u8>,
    /// Bytes of arena that the board has.
    pub arena_limit: u32,
    /// What matters more in how weights are stored.
    pub prefer: Prefer,
    /// The budgets.
    pub targets: Targets,
    /// Whether widths are raised as far as the budgets allow, in the order of the actions.
    pub fill: bool,
    /// Seed of the run.
    pub seed: u64,
    /// Where candidates are trained.
    pub device: &'a Device,
}

impl QuantSetup<'_> {
    /// How candidates are stored.
    fn storage(&self) -> Storage {
        Storage {
            flash: self.targets.flash_bytes.unwrap_or(u64::MAX),
            arena: self.arena_limit,
            cycles: self.targets.cycles,
            prefer: self.prefer,
        }
    }
}

/// Stage 2 as an [`Environment`].
pub struct QuantEnv<'a, M: MeasureLayer + 'static> {
    pub(super) setup: QuantSetup<'a>,
    pub(super) latency: &'a mut Latency<M>,
    pub(super) layers: Vec<LayerShape>,
    density: Vec<f64>,
    features: Vec<Vec<f32>>,
    /// Cycles of layer `i` at weight width `w_widths[k]`, 8-bit activations.
    pub(super) cycles_by_width: Vec<Vec<u64>>,
    /// Spent on training and judging so far.
    judging: Duration,
}

impl<'a, M: MeasureLayer + 'static> QuantEnv<'a, M> {
    /// Measures every layer at every weight width and prepares the states.
    ///
    /// # Errors
    /// Where the board fails or the firmware cannot run a layer.
    pub fn new(setup: QuantSetup<'a>, latency: &'a mut Latency<M>) -> anyhow::Result<Self> {
        let folded = &setup.network.network;
        let layers: Vec<LayerShape> = folded.layers.iter().map(|l| l.shape).collect();
        let density = folded
            .layers
            .iter()
            .map(|l| nonzero_share(&l.weight))
            .collect::<Vec<_>>();
        let mut env = Self {
            setup,
            latency,
            layers,
            density,
            features: vec![],
            cycles_by_width: vec![],
            judging: Duration::ZERO,
        };
        env.cycles_by_width = env.measure_widths()?;
        env.features = env.features();
        Ok(env)
    }

    /// How much the measured cycles of a layer vary over the widths, at most: 1.0 means not
    /// at all.
    #[must_use]
    pub fn cycles_spread(&self) -> f64 {
        let spread = |row: &Vec<u64>| {
            let (low, high) = (
                row.iter().min().copied().unwrap_or(1),
                row.iter().max().copied().unwrap_or(1),
            );
            high as f64 / low.max(1) as f64
        };
        self.cycles_by_width.iter().map(spread).fold(1.0, f64::max)
    }

    fn measure_widths(&mut self) -> anyhow::Result<Vec<Vec<u64>>> {
        let mut keys: Vec<Vec<LayerKey>> = Vec::new();
        for &w in &self.setup.w_widths {
            let priced = self.price(&vec![Bits { w, a: 8 }; self.layers.len()])?;
            anyhow::ensure!(
                priced.too_large.is_empty(),
                "layer {} does not fit the board's SRAM: it needs {} bytes, there are {}",
                priced.too_large[0].0,
                priced.too_large[0].1,
                self.setup.arena_limit
            );
            let with_weights = priced.keys.into_iter().filter(|k| k.spec.has_weights());
            keys.push(with_weights.collect());
        }
        keys.iter().for_each(|k| self.latency.request(k));
        let mut rows = vec![Vec::new(); self.layers.len()];
        for keys in &keys {
            for (row, cost) in rows.iter_mut().zip(self.latency.costs(keys)?) {
                row.push(if let LayerCost::Cycles(c) = cost {
                    c
                } else {
                    0
                });
            }
        }
        Ok(rows)
    }

    pub(super) fn price(&self, bits: &[Bits]) -> anyhow::Result<crate::search::Price> {
        let config = &self.setup.network.network.config;
        let storage = self.setup.storage();
        Ok(price(config, (bits, bits), &self.density, &storage)?)
    }

    /// Steps come in pairs, weights before activations; the last layer has no activations.
    pub(super) fn place(&self, step: usize) -> (usize, bool) {
        (step / 2, step % 2 == 1)
    }

    pub(super) fn widths(&self, step: usize) -> &[u8] {
        if self.place(step).1 {
            &self.setup.a_widths
        } else {
            &self.setup.w_widths
        }
    }

    fn chosen(&self, step: usize, action: f32) -> u8 {
        let widths = self.widths(step);
        widths[((action * widths.len() as f32) as usize).min(widths.len() - 1)]
    }

    /// The middle of the interval of actions that gives this width.
    fn action_of(&self, step: usize, width: u8) -> f32 {
        let widths = self.widths(step);
        let k = widths
            .iter()
            .position(|&w| w == width)
            .unwrap_or(widths.len() - 1);
        (k as f32 + 0.5) / widths.len() as f32
    }

    /// The widths that `actions` stand for.
    #[must_use]
    pub fn bits(&self, actions: &[Vec<f32>]) -> Vec<Bits> {
        (0..self.layers.len())
            .map(|i| {
                let width = |step: usize| actions.get(step).map_or(8, |a| self.chosen(step, a[0]));
                Bits {
                    w: width(2 * i),
                    a: width(2 * i + 1),
                }
            })
            .collect()
    }

    /// The actions that stand for these widths.
    pub(super) fn actions_of(&self, bits: &[Bits]) -> Vec<Vec<f32>> {
        let action = |step| vec![self.action_of(step, self.width(bits, step))];
        (0..self.steps()).map(action).collect()
    }

    /// The width that `step` decides.
    pub(super) fn width(&self, bits: &[Bits], step: usize) -> u8 {
        match self.place(step) {
            (layer, true) => bits[layer].a,
            (layer, false) => bits[layer].w,
        }
    }

    fn features(&self) -> Vec<Vec<f32>> {
        let total: f64 = self
            .cycles_by_width
            .iter()
            .map(|row| row.last().copied().unwrap_or(0) as f64)
            .sum();
        let layers = &self.setup.network.network.layers;
        let rows: Vec<Vec<f32>> = (0..self.steps())
            .map(|step| {
                let (i, activation) = self.place(step);
                let (l, row) = (&self.layers[i], &self.cycles_by_width[i]);
                let widest = row.last().copied().unwrap_or(1).max(1) as f64;
                let [h, w, c] = l.output();
                let mut values = vec![
                    i as f64,
                    f64::from(u8::from(activation)),
                    f64::from(u8::from(l.kind == LayerKind::Conv)),
                    l.c_in as f64,
                    l.c_out as f64,
                    l.h as f64,
                    l.macs() as f64,
                    l.weights() as f64,
                    (h * w * c) as f64,
                    self.density[i],
                    widest / total.max(1.0),
                    kurtosis(&layers[i].weight),
                ];
                values.extend(row.iter().map(|&c| c as f64 / widest));
                let lowest = if activation {
                    self.setup.sensitivity.activation(i, self.setup.a_widths[0])
                } else {
                    self.setup.sensitivity.weight(i, self.setup.w_widths[0])
                };
                values.push(lowest);
                values.into_iter().map(|v| v as f32).collect()
            })
            .collect();
        let range = MinMax::over(&rows);
        rows.iter().map(|r| range.apply(r)).collect()
    }

    fn lower(&self, bits: &[Bits], episode: usize, trial: &TrialConfig) -> anyhow::Result<IntNet> {
        let setup = &self.setup;
        let qat = QatNet::new(setup.network, bits, setup.ranges, setup.device)?;
        if trial.steps > 0 {
            let seed = episode_seed(setup.seed, STAGE, episode);
            let config = TrainConfig {
                lr: trial.lr,
                optimizer: OptimizerKind::Adam { weight_decay: 0.0 },
                ..TrainConfig::fine_tune(trial.steps, trial.batch, seed)
            };
            let indices = setup.data.train_indices();
            Trainer::new(&qat, config)?.run(setup.data.source, &indices, |_, _| {
                ControlFlow::Continue(())
            })?;
        }
        Ok(quantize(&qat.centred()?, &qat.quants()?)?)
    }

    /// The network of these widths, stored, and what it costs.
    fn stored(
        &mut self,
        bits: &[Bits],
        episode: usize,
        trial: &TrialConfig,
    ) -> anyhow::Result<(IntNet, Costs)> {
        let mut net = self.lower(bits, episode, trial)?;
        store_net(&mut net, &self.setup.storage(), self.latency)?;
        let exact = price_net(&net, self.setup.arena_limit);
        let costs = exact.with_cycles(&self.latency.costs(&exact.keys)?);
        Ok((net, costs))
    }

    /// What the network costs with these actions' widths, its weights rounded as they are.
    ///
    /// # Errors
    /// Where the board fails or the firmware cannot run a layer.
    pub fn untrained_costs(&mut self, actions: &[Vec<f32>]) -> anyhow::Result<Costs> {
        let trial = TrialConfig {
            steps: 0,
            ..self.setup.trial.clone()
        };
        Ok(self.stored(&self.bits(actions), 0, &trial)?.1)
    }
}

impl<M: MeasureLayer + 'static> TimedEnvironment for QuantEnv<'_, M> {
    fn timings(&self) -> Timings {
        (self.latency.known(), self.latency.counts())
    }

    fn spent(&self) -> Spent {
        Spent {
            judging: self.judging,
            waiting: self.latency.waited(),
        }
    }
}

impl<M: MeasureLayer + 'static> Environment for QuantEnv<'_, M> {
    fn steps(&self) -> usize {
        2 * self.layers.len() - 1
    }

    fn state_dim(&self) -> usize {
        self.features[0].len() + 2
    }

    fn action_dim(&self) -> usize {
        1
    }

    fn state(&self, step: usize, applied: &[Vec<f32>]) -> Vec<f32> {
        let before = |back: usize| step.checked_sub(back).map_or(1.0, |i| applied[i][0]);
        let mut state = self.features[step].clone();
        state.extend([before(1), before(2)]);
        state
    }

    fn clip(&self, step: usize, _applied: &[Vec<f32>], action: &[f32]) -> Vec<f32> {
        if self.setup.fill {
            // Snapped to a width when all of them are known.
            return vec![action[0].clamp(0.0, 1.0)];
        }
        vec![self.action_of(step, self.chosen(step, action[0]))]
    }

    fn project(&mut self, actions: Vec<Vec<f32>>) -> anyhow::Result<Vec<Vec<f32>>> {
        let bits = if self.setup.fill {
            self.filled(&actions)?
        } else {
            self.lowered_to_bytes(self.bits(&actions), self.setup.sensitivity, false)?
        };
        let bits = self.lowered_to_cycles(bits)?;
        Ok(self.actions_of(&bits))
    }

    /// The first two episodes are the flat networks: all widths at their widest, then 4-bit
    /// weights under the widest activations.
    fn guide(&mut self, episode: usize) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        let w = match episode {
            0 => self.setup.w_widths.last().copied(),
            1 => self.setup.w_widths.iter().copied().find(|&w| w >= 4),
            _ => None,
        };
        Ok(w.map(|w| self.flat(w)))
    }

    fn rescue(&mut self, actions: &[Vec<f32>]) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        let nearer = self.rescued(self.bits(actions))?;
        Ok(nearer.map(|bits| self.actions_of(&bits)))
    }

    fn images(&self, effort: Effort) -> u64 {
        let validation = self.setup.data.validation.len();
        self.setup.trial.images(effort, validation, 0)
    }

    fn evaluate(
        &mut self,
        episode: usize,
        actions: &[Vec<f32>],
        effort: Effort,
    ) -> anyhow::Result<Candidate> {
        let trial = self.setup.trial.with(effort);
        let bits = self.bits(actions);
        let expected = self.price(&bits)?;
        // The board works while the candidate trains; encodings may still change.
        self.latency.request(&expected.keys);
        let (start, waited) = (Instant::now(), self.latency.waited());
        let (net, costs) = self.stored(&bits, episode, &trial)?;
        let judged = self.setup.data.validation;
        let n = judged.len().min(trial.validation_images);
        let logits = simulate(&net, &judged.images[..n * judged.image_bytes()])?;
        let scaled: Vec<f32> = logits.iter().map(|&l| l as f32 * net.logit_scale).collect();
        let labels = judged.labels[..n].iter().copied();
        let quality = quality_of(&scaled, labels, net.classes());
        let waited = self.latency.waited() - waited;
        self.judging += start.elapsed().saturating_sub(waited);
        let actions = self.actions_of(&bits);
        let folded = &self.setup.network.network;
        let layers = bits.iter().enumerate().map(|(i, b)| LayerAction {
            layer: folded.config.layer_name(i),
            channels: None,
            density: None,
            w_bits: Some(b.w),
            a_bits: (i + 1 < bits.len()).then_some(b.a),
        });
        Ok(Candidate {
            actions,
            // By the integers themselves: scaling may make equals of them.
            accuracy: accuracy(&logits, &judged.labels[..n]),
            likelihood: quality.likelihood,
            costs,
            layers: layers.collect(),
        })
    }
}

fn nonzero_share(weights: &[f32]) -> f64 {
    weights.iter().filter(|&&w| w != 0.0).count() as f64 / weights.len().max(1) as f64
}

/// Fourth moment over squared variance: how much a few large weights stand out.
fn kurtosis(weights: &[f32]) -> f64 {
    let n = weights.len().max(1) as f64;
    let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
    let moment = |p: i32| {
        weights
            .iter()
            .map(|&w| (f64::from(w) - mean).powi(p))
            .sum::<f64>()
            / n
    };
    moment(4) / moment(2).powi(2).max(1e-30)
}
