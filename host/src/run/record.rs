//! One line of `log.jsonl`.

use serde::{Deserialize, Serialize};

use super::Stage;
use crate::reward::Costs;

/// What was done to a layer in an episode; only what its stage decides is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerAction {
    /// Name of the layer, such as `conv3` or `fc`.
    pub layer: String,
    /// Output channels kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Share of the remaining weights that are not zero, in `[0, 1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// Weight width in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w_bits: Option<u8>,
    /// Width of the output activations in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a_bits: Option<u8>,
}

/// One episode. All but [`Self::seconds`] and their parts is the same for the same seed, broken or unbroken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeRecord {
    /// Which search, [`Stage::Prune`] or [`Stage::Quantize`]; variants of the refinement
    /// between them are [`Stage::Refine`].
    pub stage: Stage,
    /// Episode within the stage, from 0.
    pub episode: usize,
    /// What a variant of the refinement changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Name of the agent.
    pub agent: String,
    /// The reward it got.
    pub reward: f64,
    /// Accuracy on the fixed validation subset, fraction.
    pub accuracy: f64,
    /// Geometric mean of the probabilities that the labels of that subset got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<f64>,
    /// What the candidate costs.
    pub costs: Costs,
    /// Whether all costs are within their targets.
    pub feasible: bool,
    /// Σ|cost/target − 1| over the targets exceeded.
    pub excess: f64,
    /// Whether it is the best of its stage so far.
    pub best: bool,
    /// Relative error of the summed layer cycles against the network measured whole, where it
    /// was measured: (sum − whole) / whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles_error: Option<f64>,
    /// What it cost: images sent forward plus three times images trained, the first episode
    /// with what went into the agent before; 0 where the policy had been judged before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Applied actions, a layer each.
    pub actions: Vec<LayerAction>,
    /// Wall-clock seconds of the episode.
    pub seconds: f64,
    /// Where they went, where the episode was one of a search and its policy was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_by_part: Option<EpisodeSeconds>,
}

/// Wall-clock seconds of an episode's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpisodeSeconds {
    /// The agent's choice, fitted to the budgets.
    pub choose: f64,
    /// The candidate, made and priced, and what the agent learns of it.
    pub make: f64,
    /// Its short training, where there is one, and its judgement on validation pictures.
    pub judge: f64,
    /// Waiting for the board, in all of them.
    pub board: f64,
}
