//! The search: one episode after the other, an agent in an environment.
//!
//! [`Environment`] is what both stages are; [`run_stage`] drives it and [`finals`] judges its
//! best candidates again, better. [`price()`] says what a
//! candidate costs before anything is measured, [`Latency`] what the board measured.

mod estimate;
pub mod exact;
mod finals;
mod latency;
mod price;
mod stage;
#[cfg(test)]
mod stage_tests;
mod stored;
mod trial;

pub use estimate::encoded_estimate;
pub use finals::finals;
pub use latency::{Latency, LayerCost, LayerKey, MeasureLayer, Pending, Timing};
pub use price::{Price, price, price_net};
pub use stage::{Found, StageRun, run_stage};
pub use stored::store_net;
pub use trial::{SearchData, TrialConfig, episode_seed};

use crate::reward::{Costs, Quality, Score};
use crate::run::LayerAction;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A network that an agent walks, a step at a time, and what its choices come to.
pub trait Environment {
    /// Steps of an episode.
    fn steps(&self) -> usize;

    /// Features of a state.
    fn state_dim(&self) -> usize;

    /// Numbers of an action.
    fn action_dim(&self) -> usize;

    /// The state at `step`, after `applied` (one action per step before it), in `0..=1`.
    fn state(&self, step: usize, applied: &[Vec<f32>]) -> Vec<f32>;

    /// What is applied of an action: rounded, and clipped where a budget asks for it.
    fn clip(&self, step: usize, applied: &[Vec<f32>], action: &[f32]) -> Vec<f32>;

    /// A whole episode's actions as they are carried out: fitted to the budgets, where the
    /// environment does that. What comes back is what the agent learns from.
    ///
    /// # Errors
    /// Where the board fails.
    fn project(&mut self, actions: Vec<Vec<f32>>) -> anyhow::Result<Vec<Vec<f32>>> {
        Ok(actions)
    }

    /// Actions that are tried in this episode whatever the agent wants: the cheap policies
    /// that any search should know. They count as episodes, and every agent learns from them.
    ///
    /// # Errors
    /// Where the board fails.
    fn guide(&mut self, episode: usize) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        let _ = episode;
        Ok(None)
    }

    /// Other actions, near to `actions`, that meet budgets which these exceed as they were judged.
    /// Asked where a whole search found none.
    ///
    /// # Errors
    /// Where the board fails.
    fn rescue(&mut self, actions: &[Vec<f32>]) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        let _ = actions;
        Ok(None)
    }

    /// What [`Environment::evaluate`] costs: images sent forward plus three times images
    /// trained.
    fn images(&self, effort: Effort) -> u64;

    /// Builds the candidate, trains it a little, measures it. The result depends on the
    /// actions, the episode's number and the effort only, so that a search can be resumed.
    ///
    /// # Errors
    /// Where training diverges or the board fails.
    fn evaluate(
        &mut self,
        episode: usize,
        actions: &[Vec<f32>],
        effort: Effort,
    ) -> anyhow::Result<Candidate>;
}

/// An environment whose layers a board times.
pub trait TimedEnvironment: Environment {
    /// Timings known so far, and how many were measured and how many came from the table.
    fn timings(&self) -> Timings;

    /// How long candidates were judged and the board was waited for, over all episodes so far.
    fn spent(&self) -> Spent {
        Spent::default()
    }

    /// Takes the budgets of the finals, where they are others than those of the episodes.
    /// Returns whether they are: policies have then to be projected anew.
    fn begin_finals(&mut self) -> bool {
        false
    }
}

/// What [`TimedEnvironment::spent`] gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// On short trainings and judgements.
    pub judging: Duration,
    /// Waiting for the board.
    pub waiting: Duration,
}

impl Spent {
    /// Seconds judged and waited since `before`.
    fn since(self, before: Self) -> (f64, f64) {
        let seconds = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64();
        (
            seconds(self.judging, before.judging),
            seconds(self.waiting, before.waiting),
        )
    }
}

/// What [`TimedEnvironment::timings`] gives.
pub type Timings = (Vec<(LayerKey, LayerCost)>, (usize, usize));

/// How thoroughly a candidate is judged. Rewards of different efforts are never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// As the trial's settings say: an episode.
    Episode,
    /// Four times the training steps and all validation images: a finalist.
    Final,
}

/// What came of an episode's actions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The actions as applied, after repair.
    pub actions: Vec<Vec<f32>>,
    /// Accuracy on the validation subset, a fraction.
    #[serde(with = "exact::number")]
    pub accuracy: f64,
    /// Geometric mean of the probabilities that the labels of that subset got.
    #[serde(default, with = "exact::option")]
    pub likelihood: Option<f64>,
    /// What it costs.
    pub costs: Costs,
    /// The same in the network's terms, for log and report.
    pub layers: Vec<LayerAction>,
}

impl Candidate {
    /// What its reward comes from, beside its costs.
    #[must_use]
    pub fn quality(&self) -> Quality {
        Quality {
            accuracy: self.accuracy,
            likelihood: self.likelihood,
        }
    }
}

/// The best candidate so far, as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its episode.
    pub episode: usize,
    /// The candidate.
    pub candidate: Candidate,
    /// Its score.
    pub score: Score,
}
