//! What a checkpoint holds besides the agent: decisions and measurements so far.

use super::device::BoardInference;
use crate::prune::LayerLoss;
use crate::quant::Sensitivity;
use crate::reward::{Costs, Score, Targets};
use crate::search::{Best, Candidate, Found, LayerCost, LayerKey};
use serde::{Deserialize, Serialize};

/// Decisions and measurements so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The given network at 8 bits, dense, as the board runs it.
    pub dense: Costs,
    /// The budgets, resolved.
    pub targets: Targets,
    /// Test images that the board ran with the given network; empty where it does not fit.
    pub board_before: Vec<BoardInference>,
    /// Why the board ran none.
    pub refusal_before: Option<String>,
    /// How weights are ranked, and what spoke for it.
    pub ranking: Option<RankingChoice>,
    /// Accuracy of the given network on the images that rewards come from.
    #[serde(with = "crate::search::exact::number")]
    pub validation_before: f64,
    /// Predicted losses of narrower convolutions, for the agents that go by them.
    pub channel_loss: Option<LayerLoss>,
    /// Predicted losses of layers with fewer weights, for the agents that measure.
    #[serde(default)]
    pub element_loss: Option<LayerLoss>,
    /// What the stage at work has found.
    pub found: Found,
    /// Accuracy of the quantized, fine-tuned network on all validation images.
    pub validation_after: Option<f64>,
    /// Stage 1's best.
    pub prune_best: Option<Best>,
    /// Variants of it that the refinement has judged.
    #[serde(default)]
    pub refined: Vec<Refined>,
    /// Losses of single widths.
    pub sensitivity: Option<Sensitivity>,
    /// Stage 2's best.
    pub quantize_best: Option<Best>,
    /// How much the cycles of a layer vary over the widths, at most.
    pub cycles_spread: Option<f64>,
    /// Timings in use.
    pub timings: Vec<(LayerKey, LayerCost)>,
    /// How many of them were measured, and how many came from the table.
    pub timing_counts: (usize, usize),
    /// Test logits of the given network after the same fine-tuning.
    pub control: Option<Control>,
}

/// A variant of stage 1's best, trained a little and quantized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refined {
    /// Which of the variants.
    pub variant: usize,
    /// The pruning: its actions, channels and densities.
    pub pruning: Candidate,
    /// What it came to with the widths that fit it.
    pub score: Score,
}

/// The given network after the same fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Float logits of the test images.
    pub logits: Vec<f32>,
    /// Images that it was trained on, repetitions counted.
    pub images_trained: u64,
}

/// Which ranking of weights was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankingChoice {
    /// Whether the variational one was better.
    pub variational: bool,
    /// Validation accuracy with half of each layer's weights cut by magnitude.
    pub accuracy_magnitude: f64,
    /// The same, cut by variational noise; `None` where none was trained.
    pub accuracy_variational: Option<f64>,
    /// Spearman correlation of both rankings by layer.
    pub correlation: Vec<f64>,
}
