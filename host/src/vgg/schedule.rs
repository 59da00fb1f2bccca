//! How a training goes: steps, learning rate, resolution.

use super::VggConfig;
use crate::data::Augment;
use crate::nn::OptimizerKind;
use serde::{Deserialize, Serialize};

/// A part of the training at a lower resolution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// It lasts until this share of the steps.
    pub until: f64,
    /// Height and width of the pictures.
    pub side: usize,
}

/// How a training goes. Together with the data, the network and the seed it decides
/// every bit of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Optimizer steps.
    pub steps: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Share of the steps in which it rises to that, linearly.
    pub warmup: f64,
    /// Share of `lr` that the cosine falls to.
    pub final_lr: f64,
    /// Optimizer, with its momentum and weight decay.
    pub optimizer: OptimizerKind,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// Random crops and reflections; `None` trains on the pictures as they are.
    pub augment: Option<Augment>,
    /// Parts at lower resolution, in order; the rest is at full resolution.
    pub stages: Vec<Stage>,
    /// Share of the weights' moving average that a step leaves, such as 0.999; `None` keeps no
    /// average. [`super::Trainer::take_average`] puts it in the weights' place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Seed of the order of the pictures and of the augmentation.
    pub seed: u64,
}

impl TrainConfig {
    /// Training from scratch: SGD with Nesterov momentum, cosine schedule with warm-up,
    /// label smoothing, and low resolution first (20, 24, 32 pixels over the first 20 %,
    /// 45 % and the rest) where the network takes it.
    pub fn from_scratch(network: &VggConfig, pictures: usize, epochs: f64, seed: u64) -> Self {
        let batch = 128.min(pictures.max(1));
        let full = network.input[0];
        let stage = |until, share: f64| Stage {
            until,
            side: (full as f64 * share) as usize,
        };
        let stages = [stage(0.20, 20.0 / 32.0), stage(0.45, 24.0 / 32.0)];
        let square = network.input[0] == network.input[1];
        Self {
            steps: ((pictures / batch) as f64 * epochs).round() as usize,
            batch,
            lr: 0.1,
            warmup: 0.15,
            final_lr: 0.0,
            optimizer: OptimizerKind::Sgd {
                momentum: 0.9,
                weight_decay: 5e-4,
            },
            label_smoothing: 0.1,
            augment: Some(Augment::default()),
            stages: stages
                .into_iter()
                .filter(|s| square && network.takes_side(s.side))
                .collect(),
            ema: None,
            seed,
        }
    }

    /// The same with so many pictures a step, at most all, over as many epochs; the learning
    /// rate is not changed.
    #[must_use]
    pub fn with_batch(self, pictures: usize, epochs: f64, batch: usize) -> Self {
        let batch = batch.clamp(1, pictures.max(1));
        Self {
            steps: ((pictures / batch) as f64 * epochs).round() as usize,
            batch,
            ..self
        }
    }

    /// A short training of a network that has been trained: a tenth of the learning
    /// rate, full resolution.
    pub fn fine_tune(steps: usize, batch: usize, seed: u64) -> Self {
        Self {
            steps,
            batch,
            lr: 0.02,
            warmup: 0.1,
            final_lr: 0.0,
            optimizer: OptimizerKind::Sgd {
                momentum: 0.9,
                weight_decay: 5e-4,
            },
            label_smoothing: 0.0,
            augment: Some(Augment::default()),
            stages: Vec::new(),
            ema: None,
            seed,
        }
    }

    /// The learning rate of a step: linear warm-up, then a cosine.
    pub fn lr_at(&self, step: usize) -> f64 {
        let position = (step as f64 + 0.5) / self.steps.max(1) as f64;
        if position < self.warmup {
            return self.lr * position / self.warmup;
        }
        let t = (position - self.warmup) / (1.0 - self.warmup).max(1e-9);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * t.min(1.0)).cos());
        self.lr * (self.final_lr + (1.0 - self.final_lr) * cosine)
    }

    /// Height and width of the pictures in a step; `full` is their own.
    pub fn side_at(&self, step: usize, full: usize) -> usize {
        let position = step as f64 / self.steps.max(1) as f64;
        let stage = self.stages.iter().find(|s| position < s.until);
        stage.map_or(full, |s| s.side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let network = VggConfig::preset("vgg-small").expect("known");
        let config = TrainConfig::from_scratch(&network, 45_000, 20.0, 0);
        assert_eq!(config.steps, 351 * 20);
        let rates: Vec<f64> = (0..config.steps).map(|s| config.lr_at(s)).collect();
        let peak = rates.iter().copied().fold(0.0, f64::max);
        assert!((peak - config.lr).abs() < 1e-3);
        assert!(rates[0] < 0.01 && rates[config.steps - 1] < 1e-4);
        let top = rates.iter().position(|r| *r == peak).expect("a peak");
        assert!(rates[..top].is_sorted() && rates[top..].is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn resolution_grows() {
        let network = VggConfig::preset("vgg-small").expect("known");
        let config = TrainConfig::from_scratch(&network, 1280, 10.0, 0);
        let sides: Vec<usize> = [0, 19, 20, 44, 45, 99]
            .map(|s| config.side_at(s, 32))
            .to_vec();
        assert_eq!(sides, [20, 20, 24, 24, 32, 32]);
        let vgg16 = VggConfig::preset("vgg16").expect("known");
        assert!(
            TrainConfig::from_scratch(&vgg16, 1280, 1.0, 0)
                .stages
                .is_empty()
        );
    }
}
