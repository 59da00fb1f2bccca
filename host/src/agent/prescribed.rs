//! Policies that were decided beforehand: what uniform, magnitude, greedy, Hessian-greedy and
//! gradient searches give, carried out in the same environment as what a learner asks for.

use serde::{Deserialize, Serialize};

use super::{Agent, AgentKind, AgentState, Transition};

/// Plays given policies, one an episode.
#[derive(Clone, Debug)]
pub struct Prescribed {
    state: PrescribedState,
}

/// Everything a [`Prescribed`] is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrescribedState {
    kind: AgentKind,
    /// `[policies, steps, action_dim]`.
    policies: Vec<Vec<Vec<f32>>>,
    episode: usize,
    step: usize,
}

impl Prescribed {
    /// Plays `policies`, `[policies, steps, action_dim]`, on behalf of `kind`; after the last
    /// one the last again.
    ///
    /// # Panics
    /// Where there is no policy, or one without steps.
    pub fn new(kind: AgentKind, policies: Vec<Vec<Vec<f32>>>) -> Self {
        assert!(!policies.is_empty() && policies.iter().all(|p| !p.is_empty()));
        Self::load(PrescribedState {
            kind,
            policies,
            episode: 0,
            step: 0,
        })
    }

    /// Continues from a saved state.
    pub fn load(state: PrescribedState) -> Self {
        Self { state }
    }
}

impl Agent for Prescribed {
    fn name(&self) -> &'static str {
        self.state.kind.name()
    }

    fn begin_episode(&mut self) {
        self.state.step = 0;
    }

    fn act(&mut self, _state: &[f32]) -> Vec<f32> {
        let s = &mut self.state;
        let policy = &s.policies[s.episode.min(s.policies.len() - 1)];
        let action = policy[s.step.min(policy.len() - 1)].clone();
        s.step += 1;
        action
    }

    fn end_episode(&mut self, _transitions: &[Transition], _reward: f32) {
        self.state.episode += 1;
    }

    fn episode(&self) -> usize {
        self.state.episode
    }

    fn guided(&self) -> bool {
        false
    }

    fn save(&self) -> AgentState {
        AgentState::Prescribed(Box::new(self.state.clone()))
    }
}
