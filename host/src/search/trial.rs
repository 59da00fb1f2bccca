//! How a candidate is judged: a short training, then a fixed subset of validation images.

use super::Effort;
use crate::data::{Dataset, Source};
use serde::{Deserialize, Serialize};

/// What one evaluation may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialConfig {
    /// Optimizer steps of the short training; with 0 a candidate is judged as it was cut.
    pub steps: usize,
    /// Images a step.
    pub batch: usize,
    /// Highest learning rate of the short training.
    pub lr: f64,
    /// Training images that batch normalization is estimated on anew.
    pub norm_images: usize,
    /// Validation images that give the accuracy: always the first ones.
    pub validation_images: usize,
}

/// Training steps of a finalist, relative to an episode's.
const FINAL_STEPS: usize = 4;

impl TrialConfig {
    /// What a candidate costs with this effort, `validation` images there being: those sent
    /// forward (`statistics` times those for batch normalization) plus three times those
    /// trained.
    #[must_use]
    pub fn images(&self, effort: Effort, validation: usize, statistics: usize) -> u64 {
        let trial = self.with(effort);
        let forward = statistics * trial.norm_images + trial.validation_images.min(validation);
        (forward + 3 * trial.steps * trial.batch) as u64
    }

    /// The same with this effort.
    #[must_use]
    pub fn with(&self, effort: Effort) -> Self {
        match effort {
            Effort::Episode => self.clone(),
            Effort::Final => Self {
                steps: FINAL_STEPS * self.steps,
                validation_images: usize::MAX,
                ..self.clone()
            },
        }
    }
}

/// The images that a search uses.
#[derive(Clone, Copy, Debug)]
pub struct SearchData<'a> {
    /// Rows that weights may learn from: all of them, or of a stream a random part, which
    /// statistics are taken from.
    pub train: &'a Dataset,
    /// All rows that weights may learn from, for trainings.
    pub source: &'a dyn Source,
    /// Rows that rewards come from.
    pub validation: &'a Dataset,
}

impl<'a> SearchData<'a> {
    /// Images that are all in memory.
    #[must_use]
    pub fn new(train: &'a Dataset, validation: &'a Dataset) -> Self {
        Self {
            train,
            source: train,
            validation,
        }
    }

    /// Indices of all training images in [`SearchData::source`].
    #[must_use]
    pub fn train_indices(&self) -> Vec<usize> {
        (0..self.source.count()).collect()
    }

    /// Indices of the first `n` training images in memory.
    #[must_use]
    pub fn first_train(&self, n: usize) -> Vec<usize> {
        (0..self.train.len().min(n)).collect()
    }

    /// Indices of the first `n` validation images; nested for growing `n`.
    #[must_use]
    pub fn first_validation(&self, n: usize) -> Vec<usize> {
        (0..self.validation.len().min(n)).collect()
    }
}

/// The seed of an episode's training: distinct for stages and episodes, so that it depends
/// on nothing that happened before.
#[must_use]
pub fn episode_seed(seed: u64, stage: u64, episode: usize) -> u64 {
    // SplitMix64's finalizer spreads neighbours apart.
    let mut z = seed ^ (stage << 56) ^ ((episode as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_episodes_do_not_collide() {
        let mut seeds: Vec<u64> = (0..2)
            .flat_map(|stage| (0..500).map(move |e| episode_seed(0, stage, e)))
            .collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 1000);
    }
}
