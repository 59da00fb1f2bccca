//! Policies that were decided beforehand: what uniform, magnitude, greedy, Hessian-greedy and
//! gradient searches give, carried out in the same environment as what a learner asks for.

use serde::{Deserialize, Serialize};

use super::{Agent, AgentError, AgentKind, AgentState, MOST, Transition};

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
        let state = PrescribedState {
            kind,
            policies,
            episode: 0,
            step: 0,
        };
        Self { state }
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`AgentError::Impossible`] where there is nothing to play, or actions differ in their
    /// numbers.
    pub fn load(state: PrescribedState) -> Result<Self, AgentError> {
        let policies = &state.policies;
        if policies.is_empty() || policies.iter().any(Vec::is_empty) {
            return Err(AgentError::Impossible("a policy without steps"));
        }
        let dim = state.action_dim();
        if policies.iter().flatten().any(|action| action.len() != dim) {
            return Err(AgentError::Impossible("actions differ in their numbers"));
        }
        if state.episode.max(state.step) > MOST {
            return Err(AgentError::Impossible("more episodes than a search has"));
        }
        Ok(Self { state })
    }
}

impl PrescribedState {
    #[cfg(test)]
    pub(super) fn new(kind: AgentKind, policies: Vec<Vec<Vec<f32>>>) -> Self {
        Self {
            kind,
            policies,
            episode: 0,
            step: 0,
        }
    }

    pub(super) fn action_dim(&self) -> usize {
        let first = self.policies.first().and_then(|policy| policy.first());
        first.map_or(0, Vec::len)
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
