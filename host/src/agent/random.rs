//! Random search: the baseline that any learner must beat at the same cost.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Agent, AgentError, AgentState, MOST, Transition};

/// Uniform actions in `[0, 1]`, independent of state and reward.
#[derive(Clone, Debug)]
pub struct Random {
    state: RandomState,
}

/// Everything a [`Random`] is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandomState {
    action_dim: usize,
    episode: usize,
    rng: ChaCha8Rng,
}

impl Random {
    /// Random search over actions of `action_dim` numbers.
    pub fn new(action_dim: usize, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            state: RandomState {
                action_dim,
                episode: 0,
                rng,
            },
        }
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`AgentError::Impossible`] where it cannot be continued.
    pub fn load(state: RandomState) -> Result<Self, AgentError> {
        if state.action_dim > MOST || state.episode > MOST {
            return Err(AgentError::Impossible(
                "more numbers or episodes than a search has",
            ));
        }
        Ok(Self { state })
    }
}

impl RandomState {
    pub(super) fn action_dim(&self) -> usize {
        self.action_dim
    }
}

impl Agent for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn begin_episode(&mut self) {}

    fn begin_again(&mut self, again: usize) -> bool {
        again <= super::AGAIN
    }

    fn act(&mut self, _state: &[f32]) -> Vec<f32> {
        uniform(self.state.action_dim, &mut self.state.rng)
    }

    fn end_episode(&mut self, _transitions: &[Transition], _reward: f32) {
        self.state.episode += 1;
    }

    fn episode(&self) -> usize {
        self.state.episode
    }

    fn save(&self) -> AgentState {
        AgentState::Random(Box::new(self.state.clone()))
    }
}

/// `count` numbers uniform in `[0, 1)`.
pub(super) fn uniform(count: usize, rng: &mut impl Rng) -> Vec<f32> {
    (0..count).map(|_| rng.random()).collect()
}
