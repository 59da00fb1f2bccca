//! Sparse variational dropout (Molchanov, Ashukha, Vetrov, ICML 2017): which weights drown
//! in the noise that the task allows.
//!
//! Each weight becomes `θ·(1 + √α·ε)`. By local reparameterisation a layer's output is drawn
//! from `N(x∗θ, x²∗σ²)` with `σ² = αθ²`. The loss adds the KL divergence from the
//! log-uniform prior, approximated per weight (eq. 14 there) by
//! `k1 − k1·sigmoid(k2 + k3·ln α) + ½·ln(1 + 1/α)`, weighted from 0 to 1 over the training
//! and divided by the number of training images.

use crate::data::Source;
use crate::nn::{
    OptimizerKind, Parameter, Rng, batch_norm_relu, conv3x3, global_avg_pool, linear, max_pool2,
};
use crate::vgg::{Item, Model, Progress, TrainConfig, Trainer, Vgg, VggConfig, VggError};
use candle_core::{Device, Result, Shape, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

const K1: f64 = 0.63576;
const K2: f64 = 1.87320;
const K3: f64 = 1.48695;

/// Where `ln σ²` starts, relative to `ln θ²`: noise that does not yet hurt.
const START: f64 = -5.0;

/// How long and how fast the noise is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariationalConfig {
    /// Optimizer steps.
    pub steps: usize,
    /// Images a step.
    pub batch: usize,
    /// Learning rate of the weights.
    pub lr_weight: f64,
    /// Learning rate of `ln σ²`.
    pub lr_noise: f64,
    /// Seed of order, augmentation and noise.
    pub seed: u64,
}

impl VariationalConfig {
    /// Adam at a constant rate.
    pub(super) fn schedule(&self) -> TrainConfig {
        TrainConfig {
            optimizer: OptimizerKind::Adam { weight_decay: 0.0 },
            lr: self.lr_weight,
            warmup: 0.0,
            final_lr: 1.0,
            ..TrainConfig::fine_tune(self.steps, self.batch, self.seed)
        }
    }
}

/// The noise that each weight was found to bear.
#[derive(Clone, Debug, PartialEq)]
pub struct Variational {
    /// `ln α` per layer with weights, `[c_out, fan_in]`, in −8..=8; a weight is prunable
    /// from about 3.
    pub log_alpha: Vec<Vec<f32>>,
}

impl Variational {
    /// Trains the noise from `network`'s weights (a copy; `network` stays as it is).
    /// `observe` sees each step.
    ///
    /// # Errors
    /// Where the data does not fit the network, or the loss is not a number.
    pub fn train(
        network: &Vgg,
        data: &dyn Source,
        indices: &[usize],
        config: &VariationalConfig,
        mut observe: impl FnMut(&Progress),
    ) -> std::result::Result<Self, VggError> {
        let noisy = NoisyVgg::new(network, config, indices.len())?;
        Trainer::new(&noisy, config.schedule())?.run(data, indices, |_, p| {
            observe(p);
            ControlFlow::Continue(())
        })?;
        Ok(Self {
            log_alpha: noisy.log_alpha()?,
        })
    }

    /// Scores for [`super::element_masks`]: a weight is kept for a low `ln α`.
    #[must_use]
    pub fn scores(&self) -> Vec<Vec<f32>> {
        self.log_alpha
            .iter()
            .map(|l| l.iter().map(|a| -a).collect())
            .collect()
    }
}

/// A network whose every weight is drowned in trainable multiplicative noise.
struct NoisyVgg {
    net: Vgg,
    log_sigma2: Vec<Var>,
    /// Learning rate of the noise relative to the weights'.
    lr_ratio: f64,
    /// Training images, by which the divergence is divided.
    images: usize,
}

impl NoisyVgg {
    fn new(network: &Vgg, config: &VariationalConfig, images: usize) -> Result<Self> {
        let net = network.duplicate()?;
        let start = |i| -> Result<Var> {
            Var::from_tensor(&(log_square(&net.weight(i).as_detached_tensor())? + START)?)
        };
        let log_sigma2 = (0..net.convs.len() + net.linears.len())
            .map(start)
            .collect::<Result<_>>()?;
        Ok(Self {
            net,
            log_sigma2,
            lr_ratio: config.lr_noise / config.lr_weight,
            images,
        })
    }

    fn log_alpha(&self) -> Result<Vec<Vec<f32>>> {
        let noise = self.log_sigma2.iter().enumerate();
        noise
            .map(|(i, v)| {
                let a = log_alpha(
                    &self.net.weight(i).as_detached_tensor(),
                    &v.as_detached_tensor(),
                )?;
                a.flatten_all()?.to_vec1()
            })
            .collect()
    }

    /// Sum over all weights of the KL divergence from the prior.
    fn divergence(&self) -> Result<Tensor> {
        let mut total = Tensor::zeros((), candle_core::DType::F32, self.net.device())?;
        for (i, noise) in self.log_sigma2.iter().enumerate() {
            let a = log_alpha(self.net.weight(i).as_tensor(), noise.as_tensor())?;
            let sigmoid = candle_nn::ops::sigmoid(&((&a * K3)? + K2)?)?;
            let tail = ((a.neg()?.exp()? + 1.0)?.log()? * 0.5)?;
            total = (total + ((sigmoid * -K1)? + K1)?.add(&tail)?.sum_all()?)?;
        }
        Ok(total)
    }

    fn conv(&self, i: usize, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let conv = &self.net.convs[i];
        let mean = conv3x3(x, conv.weight.as_tensor())?;
        let variance = conv3x3(&x.sqr()?, &self.log_sigma2[i].as_tensor().exp()?)?;
        let y = with_noise(&mean, &variance, rng)?;
        match &conv.norm {
            Some(n) => Ok(batch_norm_relu(&y, n.gamma.as_tensor(), n.beta.as_tensor(), n.eps)?.0),
            None => y.relu(),
        }
    }

    fn linear(&self, i: usize, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let l = &self.net.linears[i];
        let noise = self.log_sigma2[self.net.convs.len() + i].as_tensor();
        let mean = linear(x, l.weight.as_tensor(), l.bias.as_tensor())?;
        let variance = x.sqr()?.matmul(&noise.exp()?.t()?)?;
        with_noise(&mean, &variance, rng)
    }
}

impl Model for NoisyVgg {
    fn config(&self) -> &VggConfig {
        &self.net.config
    }

    fn forward_train(&self, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let (mut x, mut layer) = (x.clone(), 0);
        for item in &self.net.config.cfg {
            x = match item {
                Item::MaxPool => max_pool2(&x)?,
                Item::AvgPool => {
                    let pooled = global_avg_pool(&x)?.t()?.contiguous()?;
                    let (c, n) = pooled.dims2()?;
                    pooled.reshape((c, n, 1, 1))?
                }
                Item::Conv(_) => {
                    layer += 1;
                    self.conv(layer - 1, &x, rng)?
                }
            };
        }
        let n = x.dim(1)?;
        let mut x = x.transpose(0, 1)?.contiguous()?.reshape((n, ()))?;
        for i in 0..self.net.linears.len() {
            if i > 0 {
                x = x.relu()?;
            }
            x = self.linear(i, &x, rng)?;
        }
        Ok(x)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let noise = self.log_sigma2.iter().enumerate();
        let noise =
            noise.map(|(i, v)| Parameter::new(format!("noise{i}"), v).with_lr_scale(self.lr_ratio));
        self.net.parameters().into_iter().chain(noise).collect()
    }

    fn tensors(&self) -> Vec<(String, Var)> {
        self.parameters()
            .into_iter()
            .map(|p| (p.name, p.var))
            .collect()
    }

    fn regularizer(&self, step: usize, steps: usize) -> Result<Option<Tensor>> {
        let weight = (step + 1) as f64 / steps as f64 / self.images as f64;
        Ok(Some((self.divergence()? * weight)?))
    }
}

fn log_square(w: &Tensor) -> Result<Tensor> {
    (w.sqr()? + 1e-8)?.log()
}

fn log_alpha(w: &Tensor, log_sigma2: &Tensor) -> Result<Tensor> {
    (log_sigma2 - log_square(w)?)?.clamp(-8.0, 8.0)
}

/// Values that one generator stream draws: fixed, so that the noise does not depend on the
/// number of threads.
const NOISE_BLOCK: usize = 1 << 15;

fn with_noise(mean: &Tensor, variance: &Tensor, rng: &mut Rng) -> Result<Tensor> {
    let noise = standard_normal(mean.shape(), mean.device(), rng)?;
    mean + ((variance + 1e-8)?.sqrt()? * noise)?
}

/// Noise of this shape from `N(0, 1)`.
pub(super) fn standard_normal(shape: &Shape, device: &Device, rng: &mut Rng) -> Result<Tensor> {
    let seed = rng.below(u32::MAX as usize) as u64;
    let mut noise = vec![0f32; shape.elem_count()];
    noise
        .par_chunks_mut(NOISE_BLOCK)
        .enumerate()
        .for_each(|(i, block)| {
            let mut rng = Rng::stream(seed, i as u64);
            block.iter_mut().for_each(|v| *v = rng.normal());
        });
    Tensor::from_vec(noise, shape, device)
}

/// Spearman's rank correlation of two equally long lists, −1 to 1; ties get ranks in order.
#[must_use]
pub fn rank_correlation(a: &[f32], b: &[f32]) -> f64 {
    let ranks = |v: &[f32]| {
        let mut order: Vec<usize> = (0..v.len()).collect();
        order.sort_by(|&i, &j| v[i].total_cmp(&v[j]).then(i.cmp(&j)));
        let mut rank = vec![0f64; v.len()];
        order
            .into_iter()
            .enumerate()
            .for_each(|(r, i)| rank[i] = r as f64);
        rank
    };
    let n = a.len() as f64;
    if n < 2.0 {
        return 1.0;
    }
    let squared: f64 = ranks(a)
        .iter()
        .zip(ranks(b))
        .map(|(x, y)| (x - y) * (x - y))
        .sum();
    1.0 - 6.0 * squared / (n * (n * n - 1.0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::vgg::VggConfig;

    #[test]
    fn rank_correlation_of_known_lists() {
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]), 1.0);
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), -1.0);
    }

    /// A network of one convolution of eight channels, with random weights.
    pub fn one_convolution() -> Vgg {
        let preset = VggConfig::preset("vgg-small").expect("known");
        let config = VggConfig {
            cfg: vec![Item::Conv(8), Item::AvgPool],
            input: [8, 8, 3],
            num_classes: 2,
            ..preset
        };
        Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid")
    }

    /// Trains it until its weights are of use.
    pub fn train(net: &Vgg, data: &Dataset) {
        let plain = TrainConfig {
            augment: None,
            lr: 0.05,
            ..TrainConfig::fine_tune(60, 32, 0)
        };
        let indices: Vec<usize> = (0..data.len()).collect();
        let mut trainer = Trainer::new(net, plain).expect("builds");
        trainer
            .run(data, &indices, |_, _| ControlFlow::Continue(()))
            .expect("trains");
    }

    /// An input that is always zero says nothing, so its weights must be found noisy.
    #[test]
    fn weights_that_do_not_matter_get_noisy() -> Result<()> {
        let net = one_convolution();
        let mut images = Vec::new();
        for i in 0..64usize {
            for p in 0..64usize {
                // Class 1 is bright in channel 0; channel 2 sits at its mean, so at zero.
                images.extend([if i % 2 == 1 { 220 } else { 40 }, (p * 37 % 256) as u8, 114]);
            }
        }
        let labels = (0..64).map(|i| i % 2).collect();
        let class_names = vec!["dark".into(), "bright".into()];
        let data = Dataset {
            images,
            labels,
            rows: (0..64).collect(),
            class_names,
            h: 8,
            w: 8,
            c: 3,
        };
        let indices: Vec<usize> = (0..64).collect();
        train(&net, &data);
        let config = VariationalConfig {
            steps: 200,
            batch: 32,
            lr_weight: 1e-4,
            lr_noise: 5e-2,
            seed: 0,
        };
        let found = Variational::train(&net, &data, &indices, &config, |_| ()).expect("trains");
        let mean = |c: usize| -> f32 {
            let rows = found.log_alpha[0].chunks_exact(27);
            rows.map(|r| r[c * 9..c * 9 + 9].iter().sum::<f32>())
                .sum::<f32>()
                / 72.0
        };
        assert!(
            mean(2) > mean(0) + 0.2,
            "useless {} against useful {}",
            mean(2),
            mean(0)
        );
        Ok(())
    }
}
