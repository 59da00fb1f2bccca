//! Shares of channels learned in one training: the `gradient` agent of stage 1.
//!
//! Each layer but the last has one number, its share `s`. The channel of rank `r` (0 is the best) is
//! scaled by `σ((s·c − r − ½)/T)`, so the share has a gradient, and the loss gets a penalty
//! where the cycles that the shares stand for, `Σ dense_i · s_{i−1} · s_i` with the cycles that
//! the board measured, exceed the budget. As PLiNIO's pruning (arXiv 2307.09488) and EdMIPS
//! (arXiv 2004.05795) do it; the proportions are then carried out like any other agent's.

use super::env::PruneEnv;
use super::policy::{MIN_CHANNELS, Rankings};
use crate::nn::{OptimizerKind, Parameter, Rng};
use crate::search::MeasureLayer;
use crate::vgg::{Model, TrainConfig, Trainer, Vgg, VggConfig};
use candle_core::{Result, Tensor, Var};
use candle_nn::ops::sigmoid;
use std::ops::ControlFlow;

/// The share that training begins with, as a logit: 0.9.
const START: f32 = 2.2;
/// Channels over which a gate opens, as a share of the layer's.
const SOFTNESS: f64 = 1.0 / 16.0;
/// How steeply cycles above the budget are penalised, relative.
const PENALTY: f64 = 5.0;
/// Adam's learning rate for the weights; shares move this many times faster.
const LR: f64 = 1e-3;
const SHARE_LR_SCALE: f64 = 30.0;

/// A network with a gate on each channel.
struct Gated {
    network: Vgg,
    /// A logit of the share, `[1]`, per layer but the last.
    shares: Vec<Var>,
    /// `r + ½` of each channel, `[c]`, per layer but the last.
    ranks: Vec<Tensor>,
    /// Measured cycles of each layer of the dense network, relative to the budget.
    cycles: Vec<f64>,
}

impl Gated {
    fn new(network: &Vgg, rankings: &Rankings, cycles: Vec<f64>) -> Result<Self> {
        let device = network.device();
        let ranks = rankings.channels.iter().map(|scores| {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            let mut ranks = vec![0f32; scores.len()];
            for (rank, channel) in order.into_iter().enumerate() {
                ranks[channel] = rank as f32 + 0.5;
            }
            Tensor::from_vec(ranks, scores.len(), device)
        });
        let start = || Var::from_vec(vec![START], 1, device);
        Ok(Self {
            ranks: ranks.collect::<Result<_>>()?,
            shares: rankings
                .channels
                .iter()
                .map(|_| start())
                .collect::<Result<_>>()?,
            network: network.duplicate()?,
            cycles,
        })
    }

    /// The share of layer `i`, `[1]`, from the least that actions keep to 1.
    fn share(&self, i: usize) -> Result<Tensor> {
        let least = f64::from(MIN_CHANNELS);
        sigmoid(self.shares[i].as_tensor())?.affine(1.0 - least, least)
    }

    fn gate(&self, i: usize, x: &Tensor) -> Result<Tensor> {
        let c = self.ranks[i].elem_count();
        let open = (self.share(i)? * c as f64)?.broadcast_sub(&self.ranks[i])?;
        let gate = sigmoid(&(open / (c as f64 * SOFTNESS).max(0.5))?)?;
        match x.rank() {
            4 => x.broadcast_mul(&gate.reshape((c, 1, 1, 1))?),
            _ => x.broadcast_mul(&gate.reshape((1, c))?),
        }
    }

    /// Cycles relative to the budget, `[1]`.
    fn cost(&self) -> Result<Tensor> {
        let (mut before, mut cost) = (None::<Tensor>, None::<Tensor>);
        for (i, &cycles) in self.cycles.iter().enumerate() {
            let own = if i < self.shares.len() {
                Some(self.share(i)?)
            } else {
                None
            };
            let both = match (&before, &own) {
                (Some(a), Some(b)) => (a * b)?,
                (Some(s), None) | (None, Some(s)) => s.clone(),
                (None, None) => continue,
            };
            let term = (both * cycles)?;
            cost = Some(match cost {
                Some(sum) => (sum + term)?,
                None => term,
            });
            before = own;
        }
        cost.map_or_else(|| candle_core::bail!("a network without convolutions"), Ok)
    }
}

impl Model for Gated {
    fn config(&self) -> &VggConfig {
        &self.network.config
    }

    fn forward_train(&self, x: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        self.network.forward_train_with(x, |i, y| self.gate(i, &y))
    }

    fn parameters(&self) -> Vec<Parameter> {
        let share = |(i, v)| Parameter::new(format!("share{i}"), v).with_lr_scale(SHARE_LR_SCALE);
        let shares = self.shares.iter().enumerate().map(share);
        self.network
            .parameters()
            .into_iter()
            .chain(shares)
            .collect()
    }

    fn tensors(&self) -> Vec<(String, Var)> {
        let all = self.parameters().into_iter();
        all.map(|p| (p.name, p.var)).collect()
    }

    fn regularizer(&self, _step: usize, _steps: usize) -> Result<Option<Tensor>> {
        let excess = (self.cost()? - 1.0)?.relu()?;
        Ok(Some((excess * PENALTY)?.sum_all()?))
    }
}

impl<M: MeasureLayer + 'static> PruneEnv<'_, M> {
    /// The actions that a training of `batches` batches gives, and what it cost in images.
    ///
    /// # Errors
    /// Where the loss is not a number.
    pub fn learned(
        &self,
        rankings: &Rankings,
        batches: usize,
        seed: u64,
    ) -> anyhow::Result<(Vec<Vec<f32>>, u64)> {
        let targets = &self.setup.targets;
        // Where only MACs are limited they stand in for cycles.
        let cycles: Vec<f64> = match (targets.cycles, targets.macs) {
            (Some(limit), _) => relative(self.dense_cycles.iter().copied(), limit),
            (None, Some(limit)) => relative(self.layers.iter().map(|l| l.macs()), limit),
            (None, None) => vec![0.0; self.layers.len()],
        };
        let gated = Gated::new(self.setup.network, rankings, cycles)?;
        let batch = self.setup.trial.batch;
        let config = TrainConfig {
            lr: LR,
            optimizer: OptimizerKind::Adam { weight_decay: 0.0 },
            ..TrainConfig::fine_tune(batches, batch, seed)
        };
        let data = &self.setup.data;
        Trainer::new(&gated, config)?.run(data.source, &data.train_indices(), |_, _| {
            ControlFlow::Continue(())
        })?;
        let mut actions = Vec::with_capacity(self.layers.len());
        for i in 0..self.layers.len() {
            let share = match i < gated.shares.len() {
                true => gated.share(i)?.to_vec1::<f32>()?[0],
                false => 1.0,
            };
            actions.push(vec![share, 1.0]);
        }
        Ok((actions, 3 * (batches * batch) as u64))
    }
}

fn relative(costs: impl Iterator<Item = u64>, limit: u64) -> Vec<f64> {
    costs.map(|c| c as f64 / limit.max(1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn gated() -> Gated {
        let config = VggConfig::preset("vgg-small").expect("known");
        let network = Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid");
        let channels = network.convs.iter().map(|c| {
            let n = c.weight.dims()[0];
            (0..n).map(|i| (i * 7 % n) as f32).collect()
        });
        let rankings = Rankings {
            channels: channels.collect(),
            elements: vec![],
        };
        Gated::new(&network, &rankings, vec![0.5; 7]).expect("builds")
    }

    #[test]
    fn gates_open_for_the_best_channels_first() -> Result<()> {
        let gated = gated();
        gated.shares[0].set(&Tensor::new(&[0f32], &Device::Cpu)?)?;
        let ones = Tensor::ones((32, 1, 1, 1), candle_core::DType::F32, &Device::Cpu)?;
        let gates: Vec<f32> = gated.gate(0, &ones)?.flatten_all()?.to_vec1()?;
        let mut order: Vec<usize> = (0..32).collect();
        order.sort_by_key(|i| std::cmp::Reverse(i * 7 % 32));
        assert!(order.windows(2).all(|w| gates[w[0]] > gates[w[1]]));
        // A share of 0.55: 17.6 channels.
        let open: f32 = gates.iter().sum();
        assert!((open - 17.6).abs() < 0.1, "{open}");
        Ok(())
    }

    #[test]
    fn hidden_layers_are_gated_by_feature() -> Result<()> {
        let config = VggConfig {
            hidden: vec![12],
            ..VggConfig::preset("vgg-small").expect("known")
        };
        let network = Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid");
        let l1 = crate::prune::ChannelCriterion::L1;
        let rankings = Rankings {
            channels: crate::prune::channel_scores(&network, l1, None)?,
            elements: vec![],
        };
        assert_eq!(rankings.channels[6].len(), 12);
        let gated = Gated::new(&network, &rankings, vec![0.5; 8])?;
        gated.shares[6].set(&Tensor::new(&[0f32], &Device::Cpu)?)?;
        let ones = Tensor::ones((3, 12), candle_core::DType::F32, &Device::Cpu)?;
        let rows = gated.gate(6, &ones)?.to_vec2::<f32>()?;
        let open: f32 = rows[0].iter().sum();
        assert!(rows[0] == rows[2] && (open - 6.6).abs() < 0.2, "{open}");
        // The forward pass asks for every gate, the hidden layer's included.
        let x = Tensor::from_vec(
            Rng::new(2).normals(3 * 2 * 1024),
            (3, 2, 32, 32),
            &Device::Cpu,
        )?;
        let loss = gated
            .forward_train(&x, &mut Rng::new(0))?
            .sqr()?
            .sum_all()?;
        let grads = loss.backward()?;
        assert!(gated.shares.iter().all(|share| grads.get(share).is_some()));
        Ok(())
    }

    #[test]
    fn the_penalty_has_a_gradient_for_every_share() -> Result<()> {
        let gated = gated();
        let penalty = gated.regularizer(0, 1)?.expect("a term");
        assert!(penalty.to_scalar::<f32>()? > 0.0);
        let grads = penalty.backward()?;
        for share in &gated.shares {
            let g = grads.get(share).expect("a gradient").to_vec1::<f32>()?[0];
            assert!(g > 0.0, "smaller shares cost less: {g}");
        }
        Ok(())
    }
}
