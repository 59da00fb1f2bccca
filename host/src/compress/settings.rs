//! Everything that decides what a run does, resolved.

use super::Earlier;
use crate::agent::AgentKind;
use crate::lower::Prefer;
use crate::prune::{ChannelCriterion, STORED, VariationalConfig};
use crate::reward::{Costs, Merit, RewardMode, SpeedModel, Targets};
use crate::search::TrialConfig;
use serde::{Deserialize, Serialize};
use shared::spec::Kernel;

/// Limits in the user's units; what is not given takes method.md's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budgets {
    /// Milliseconds of one inference at the board's clock.
    pub latency_ms: Option<f64>,
    /// Bytes of the blob.
    pub flash_bytes: Option<u64>,
    /// Bytes of the arena.
    pub sram_bytes: Option<u64>,
    /// Dense multiply-accumulates.
    pub macs: Option<u64>,
    /// Least accuracy on the validation images that the result may have, a fraction.
    pub min_accuracy: Option<f64>,
    /// Share of the dense 8-bit network's cycles and MACs, where no latency or MACs are given.
    pub cost_share: Option<f64>,
    /// Share of the dense 8-bit network's blob, where no flash is given.
    pub flash_share: Option<f64>,
}

impl Budgets {
    /// The targets of a search on a board with these limits.
    ///
    /// Given budgets replace the defaults; where a latency is given, MACs are limited only
    /// if they are given too, since they only stand in for it.
    #[must_use]
    pub fn targets(
        &self,
        blob_limit: u64,
        arena_limit: u64,
        dense: &Costs,
        clock_hz: u64,
    ) -> Targets {
        let mut defaults = Targets::for_board(blob_limit, arena_limit, dense);
        let part = |whole: u64, share: f64| (whole as f64 * share).round() as u64;
        if let Some(share) = self.cost_share {
            defaults.macs = Some(part(dense.macs, share));
            defaults.cycles = Some(part(dense.cycles, share));
        }
        let cycles = self
            .latency_ms
            .map(|ms| (ms * clock_hz as f64 / 1e3) as u64);
        let flash = self
            .flash_bytes
            .or(self.flash_share.map(|share| part(dense.flash_bytes, share)));
        Targets {
            macs: self.macs.or(if cycles.is_some() {
                None
            } else {
                defaults.macs
            }),
            flash_bytes: Some(flash.unwrap_or(u64::MAX).min(blob_limit)),
            sram_bytes: Some(self.sram_bytes.unwrap_or(u64::MAX).min(arena_limit)),
            cycles: cycles.or(defaults.cycles),
        }
    }
}

/// One stage's search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchSettings {
    /// Episodes.
    pub episodes: usize,
    /// How a candidate is judged.
    pub trial: TrialConfig,
}

/// How stage 1's choice is refined before it is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Refine {
    /// Not at all.
    Off,
    /// Fitted anew where stage 2 finds no widths that store it within the budgets: smaller, or
    /// (where that does not help) as for other expected widths or with weights cut.
    #[default]
    Store,
    /// Also varied where the flash leaves a part of the latency unused: other expected widths,
    /// and weights cut instead of channels, judged by their integers after a short training.
    Vary,
}

/// One fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FineTune {
    /// Times that every training image is seen.
    pub epochs: f64,
    /// Images a step.
    pub batch: usize,
    /// Highest learning rate.
    pub lr: f64,
}

impl FineTune {
    /// Optimizer steps over `images` images.
    #[must_use]
    pub fn steps(&self, images: usize) -> usize {
        let batch = self.batch.clamp(1, images.max(1));
        ((images / batch) as f64 * self.epochs).round() as usize
    }
}

/// Everything that decides the result of a run, but for model, data and board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Seed of everything random.
    pub seed: u64,
    /// Who searches.
    pub agent: AgentKind,
    /// How candidates are scored.
    pub reward: RewardMode,
    /// What of a candidate's answers is rewarded.
    #[serde(default)]
    pub merit: Merit,
    /// What stage 1 takes for speed; its finalists meet the measured budgets all the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub speed: SpeedModel,
    /// Whether each episode's policy is fitted to the budgets from both sides, so that agents
    /// decide proportions only; not with [`RewardMode::AccuracyFlops`], which has no budgets.
    pub fill: bool,
    /// Limits.
    pub budgets: Budgets,
    /// What matters more in how weights are stored, within the limits.
    #[serde(default)]
    pub prefer: Prefer,
    /// Stage 1.
    pub prune: SearchSettings,
    /// Stage 2.
    pub quantize: SearchSettings,
    /// Candidates of each stage that are judged again, better, before one is kept; 1 keeps
    /// the episodes' best.
    pub finalists: usize,
    /// Channels are rounded to multiples of this.
    pub channel_step: usize,
    /// Width of weights that stage 1 prices flash at, before stage 2 chooses widths.
    #[serde(default = "stored_width", skip_serializing_if = "is_stored_width")]
    pub expected_width: u8,
    /// What is done where stage 2 cannot store stage 1's choice, or leaves a part of the latency.
    #[serde(default, skip_serializing_if = "is_default")]
    pub refine: Refine,
    /// How channels are ranked.
    pub criterion: ChannelCriterion,
    /// Whether the weights that stay make up for the channels that go, by least squares.
    #[serde(default)]
    pub reconstruct: bool,
    /// Training of the noise that ranks weights; 0 steps rank by magnitude.
    pub variational: VariationalConfig,
    /// Fine-tuning after stage 1.
    pub finetune: FineTune,
    /// Quantization-aware fine-tuning after stage 2.
    pub qat: FineTune,
    /// What each bit that a weight takes at its layer's entropy adds to the loss of that
    /// fine-tuning, as the mean over all weights; 0 leaves bytes out of it.
    #[serde(default)]
    pub rate_weight: f64,
    /// Share of the loss that comes from the given network's logits.
    pub distillation: f64,
    /// Whether the given network is asked about each augmented view (and not once about each
    /// picture): more to learn from, at the price of its forward pass.
    pub distill_views: bool,
    /// Temperature of the distillation.
    pub temperature: f64,
    /// Widths of weights that stage 2 may choose, rising.
    pub w_widths: Vec<u8>,
    /// Widths of activations that stage 2 may choose, rising.
    pub a_widths: Vec<u8>,
    /// Training images that activation ranges are taken from.
    pub calibration_images: usize,
    /// Validation images that sensitivities are measured on.
    pub sensitivity_images: usize,
    /// Test images that the board runs before and after.
    pub board_images: (usize, usize),
    /// Whether the given network is fine-tuned likewise, for comparison.
    pub control: bool,
    /// Layers of the result, by name, that a kernel of the user's choice computes; the others
    /// get the one that the board was fastest with.
    #[serde(default)]
    pub kernels: Vec<(String, Kernel)>,
    /// What an earlier run found, where this one goes on from there and searches nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Earlier>,
}

/// Settings that came later are not written where they say what was always done, so that runs
/// made before them can be resumed.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn stored_width() -> u8 {
    STORED.w
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_stored_width(width: &u8) -> bool {
    *width == STORED.w
}

impl Settings {
    /// What `compress` does when nothing is said, sized to minutes on two cores.
    #[must_use]
    pub fn quick(seed: u64) -> Self {
        let trial = |steps, validation_images, lr| TrialConfig {
            steps,
            batch: 64,
            lr,
            norm_images: 256,
            validation_images,
        };
        Self {
            seed,
            agent: AgentKind::Ddpg,
            reward: RewardMode::Board,
            merit: Merit::Likelihood,
            speed: SpeedModel::Cycles,
            fill: true,
            // The sample has 3,000 images to recover with: a quarter of the cycles, the
            // default of the method, would cost more accuracy than they can give back.
            budgets: Budgets {
                cost_share: Some(0.48),
                flash_share: Some(0.4),
                ..Budgets::default()
            },
            prefer: Prefer::Speed,
            prune: SearchSettings {
                episodes: 40,
                // Reconstructed networks are ranked better untrained than after ten batches.
                trial: trial(0, 1000, 0.06),
            },
            quantize: SearchSettings {
                episodes: 30,
                trial: trial(10, 500, 5e-4),
            },
            finalists: 4,
            channel_step: 8,
            expected_width: STORED.w,
            refine: Refine::Store,
            criterion: ChannelCriterion::BnScale,
            reconstruct: true,
            variational: VariationalConfig {
                steps: 20,
                batch: 64,
                lr_weight: 1e-4,
                lr_noise: 1e-2,
                seed,
            },
            finetune: FineTune {
                epochs: 45.0,
                batch: 64,
                lr: 0.03,
            },
            qat: FineTune {
                epochs: 6.0,
                batch: 64,
                lr: 2e-4,
            },
            rate_weight: 0.0,
            distillation: 0.95,
            distill_views: true,
            temperature: 3.0,
            w_widths: vec![2, 4, 8],
            a_widths: vec![4, 8],
            calibration_images: 256,
            sensitivity_images: 250,
            board_images: (3, 16),
            control: false,
            kernels: vec![],
            earlier: None,
        }
    }
}

impl Settings {
    /// Passes over the training images that the result gets, after both stages and in all the
    /// runs that it goes through.
    #[must_use]
    pub fn epochs(&self) -> f64 {
        let before = self.earlier.as_ref().map_or(0.0, |e| e.epochs);
        before + self.finetune.epochs + self.qat.epochs
    }

    /// Seed of a fine-tuning: another one in each run that goes on from an earlier one.
    pub(super) fn training_seed(&self, stage: u64) -> u64 {
        let generation = self.earlier.as_ref().map_or(0, |e| e.generation);
        self.seed.wrapping_add(stage).wrapping_add(generation << 32)
    }

    /// The same with as many episodes as the agent has policies, where it decides beforehand.
    #[must_use]
    pub fn with_agents_episodes(mut self) -> Self {
        if !self.agent.learns_by_episodes() {
            let flats = if self.agent == AgentKind::Uniform {
                2
            } else {
                1
            };
            (self.prune.episodes, self.quantize.episodes) = (1, flats);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_budgets_replace_the_defaults_but_not_the_board() {
        let dense = Costs {
            macs: 4000,
            cycles: 8000,
            ..Costs::default()
        };
        let t = Budgets::default().targets(900, 100, &dense, 1_000_000);
        assert_eq!(
            (t.macs, t.cycles, t.flash_bytes, t.sram_bytes),
            (Some(1000), Some(2000), Some(900), Some(100))
        );
        let given = Budgets {
            latency_ms: Some(3.0),
            flash_bytes: Some(5000),
            sram_bytes: Some(50),
            ..Budgets::default()
        };
        let t = given.targets(900, 100, &dense, 1_000_000);
        assert_eq!(
            (t.macs, t.cycles, t.flash_bytes, t.sram_bytes),
            (None, Some(3000), Some(900), Some(50))
        );
    }

    #[test]
    fn epochs_are_whole_batches() {
        let f = FineTune {
            epochs: 2.5,
            batch: 64,
            lr: 0.1,
        };
        assert_eq!(f.steps(640), 25);
        assert_eq!(f.steps(3), 3);
    }
}
