//! Information dropout (Achille, Soatto, arXiv 1611.01353): which channels the task needs to
//! hear clearly.
//!
//! A channel's output `f` becomes `f·exp(α·ε)` with `ε ~ N(0, 1)`. How noisy it is depends on
//! the picture: `α = 0.7·sigmoid(gain·mean(f) + bias)`, the mean over the map, gain and bias
//! trained for each channel (the paper's α is a convolution of the layer's input, as large as
//! the layer itself). Noise costs accuracy, clarity costs the divergence from the log-uniform
//! prior, `−ln(α/0.701)` nats: a channel that is worth nothing ends at the bound.
//!
//! Differences to the paper: the divergence is a channel's mean over its map, so that large maps
//! do not count for more than small ones, and its weight rises from 0 over the training, which
//! starts from a network that was trained without noise.

use super::variational::{VariationalConfig, standard_normal};
use crate::data::{Dataset, plain_batch};
use crate::nn::{Parameter, Rng, global_avg_pool};
use crate::search::SearchData;
use crate::vgg::{Model, Progress, Trainer, Vgg, VggConfig, VggError};
use candle_core::{Device, Result, Tensor, Var};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

/// Most that α may be.
const MOST: f64 = 0.7;
/// Where the divergence is zero, just beyond [`MOST`].
const PRIOR: f64 = 0.701;
/// Bias that α starts from: noise of 8 %, which does not yet hurt.
const START: f32 = -2.0;
/// Loss of a nat of one channel: the cross-entropy of a trained network over its channels.
const PRICE: f64 = 1e-3;
/// Learning rate of gains and biases.
const RATE: f64 = 0.03;
/// Pictures that the result is measured on.
const MEASURED: usize = 256;

/// Nats that each channel was found to need.
#[derive(Clone, Debug, PartialEq)]
pub struct Information {
    /// For each layer but the last, each output channel's mean divergence; 0.0014 at the bound.
    pub nats: Vec<Vec<f32>>,
}

impl Information {
    /// Trains the noise from `network`'s weights (a copy; `network` stays as it is), for
    /// `config.steps` steps of `config.batch` images. `observe` sees each step.
    ///
    /// # Errors
    /// Where the data does not fit the network, or the loss is not a number.
    pub fn train(
        network: &Vgg,
        data: &SearchData,
        config: &VariationalConfig,
        mut observe: impl FnMut(&Progress),
    ) -> std::result::Result<Self, VggError> {
        let noisy = Noisy::new(network, config)?;
        Trainer::new(&noisy, config.schedule())?.run(
            data.source,
            &data.train_indices(),
            |_, p| {
                observe(p);
                ControlFlow::Continue(())
            },
        )?;
        let measured = data.first_train(MEASURED);
        Ok(Self {
            nats: noisy.measure(data.train, &measured)?,
        })
    }
}

/// How one layer's α follows its mean.
struct Gate {
    /// `[c, 1]`.
    gain: Var,
    /// `[c, 1]`.
    bias: Var,
}

impl Gate {
    fn new(channels: usize, device: &Device) -> Result<Self> {
        let filled = |value: f32| Var::from_vec(vec![value; channels], (channels, 1), device);
        Ok(Self {
            gain: filled(0.0)?,
            bias: filled(START)?,
        })
    }

    /// α `[c, n]` of a layer's output.
    fn noise(&self, y: &Tensor) -> Result<Tensor> {
        let mean = match y.rank() {
            2 => y.t()?,
            _ => global_avg_pool(y)?.t()?,
        };
        let logit = mean
            .broadcast_mul(self.gain.as_tensor())?
            .broadcast_add(self.bias.as_tensor())?;
        candle_nn::ops::sigmoid(&logit)? * MOST
    }
}

/// Divergence of each α from the prior, in nats.
fn nats(alpha: &Tensor) -> Result<Tensor> {
    (alpha * (1.0 / PRIOR))?.log()?.neg()
}

/// A network whose every channel is drowned in trainable noise.
struct Noisy {
    net: Vgg,
    gates: Vec<Gate>,
    /// Learning rate of the gates relative to the weights'.
    rate: f64,
    /// The last forward pass's divergence, a mean over its pictures.
    divergence: Mutex<Option<Tensor>>,
}

impl Noisy {
    fn new(network: &Vgg, config: &VariationalConfig) -> Result<Self> {
        let net = network.duplicate()?;
        let layers = net.config.layers();
        let inner = layers.split_last().map_or(&[][..], |(_, inner)| inner);
        let gates = inner.iter().map(|l| Gate::new(l.c_out, net.device()));
        Ok(Self {
            gates: gates.collect::<Result<_>>()?,
            net,
            rate: RATE / config.lr_weight,
            divergence: Mutex::new(None),
        })
    }

    /// Mean divergence of each channel over pictures without noise.
    fn measure(&self, data: &Dataset, indices: &[usize]) -> Result<Vec<Vec<f32>>> {
        let x = plain_batch(data, indices, &self.net.config.normalization);
        let shape = (data.c, indices.len(), data.h, data.w);
        let x = Tensor::from_vec(x, shape, self.net.device())?;
        let mut all = Vec::with_capacity(self.gates.len());
        self.net.forward_train_with(&x, |i, y| {
            all.push(nats(&self.gates[i].noise(&y)?)?.mean(1)?.to_vec1()?);
            Ok(y)
        })?;
        Ok(all)
    }
}

impl Model for Noisy {
    fn config(&self) -> &VggConfig {
        &self.net.config
    }

    fn forward_train(&self, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let mut total: Option<Tensor> = None;
        let logits = self.net.forward_train_with(x, |i, y| {
            let alpha = self.gates[i].noise(&y)?;
            let nats = nats(&alpha)?.mean(1)?.sum_all()?;
            total = Some(match total.take() {
                Some(before) => (before + nats)?,
                None => nats,
            });
            let alpha = match y.rank() {
                2 => alpha.t()?,
                _ => alpha.unsqueeze(2)?.unsqueeze(3)?,
            };
            &y * standard_normal(y.shape(), y.device(), rng)?
                .broadcast_mul(&alpha)?
                .exp()?
        })?;
        let mut kept = self
            .divergence
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = total;
        Ok(logits)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let gates = self.gates.iter().enumerate().flat_map(|(i, gate)| {
            [("gain", &gate.gain), ("bias", &gate.bias)].map(|(name, var)| {
                Parameter::new(format!("gate{i}.{name}"), var).with_lr_scale(self.rate)
            })
        });
        self.net.parameters().into_iter().chain(gates).collect()
    }

    fn tensors(&self) -> Vec<(String, Var)> {
        let all = self.parameters().into_iter();
        all.map(|p| (p.name, p.var)).collect()
    }

    fn regularizer(&self, step: usize, steps: usize) -> Result<Option<Tensor>> {
        let mut kept = self
            .divergence
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let weight = PRICE * (step + 1) as f64 / steps as f64;
        kept.take().map(|total| total * weight).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::halves;
    use crate::prune::variational::tests::{one_convolution, train};

    /// Channels that nothing looks at must be found to need less than those that decide.
    #[test]
    fn channels_that_do_not_matter_get_noisy() -> Result<()> {
        let net = one_convolution();
        let data = halves(64, 1);
        train(&net, &data);
        // Nobody listens to the odd channels.
        let l = &net.linears[0].weight;
        let heard: Vec<f32> = (0..16).map(|i| f32::from(i % 2 == 0)).collect();
        let heard = Tensor::from_vec(heard, (2, 8), &Device::Cpu)?;
        l.set(&(l.as_detached_tensor() * heard)?)?;
        let config = VariationalConfig {
            steps: 150,
            batch: 32,
            lr_weight: 1e-6,
            lr_noise: 1e-2,
            seed: 0,
        };
        let images = SearchData::new(&data, &data);
        let found = Information::train(&net, &images, &config, |_| ()).expect("trains");
        assert_eq!(found.nats.len(), 1, "the last layer is not pruned");
        let nats = &found.nats[0];
        let mean = |odd: usize| (0..4).map(|i| nats[2 * i + odd]).sum::<f32>() / 4.0;
        assert!(mean(1) < 0.7 * mean(0), "{nats:?}");
        let again = Information::train(&net, &images, &config, |_| ()).expect("trains");
        assert_eq!(found, again);
        Ok(())
    }
}
