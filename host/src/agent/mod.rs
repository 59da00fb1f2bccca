//! Agents that walk a network's layers and choose an action for each.
//!
//! An environment (pruning, quantization) calls [`Agent::begin_episode`], asks [`Agent::act`]
//! once a step, applies what it can of the answer, and hands the whole episode back to
//! [`Agent::end_episode`] with the actions that were really **applied** and the one terminal
//! reward. Actions lie in `[0, 1]`; the environment maps them to channels, elements or widths.
//!
//! [`Ddpg`] is the learner, [`Random`] the baseline at the same cost, [`Prescribed`] plays what
//! the searches without episodes decided. All are deterministic for a seed, whatever the number of threads, and [`Agent::save`] holds everything that a
//! continuation needs to be identical to an unbroken search.

mod adam;
mod ddpg;
mod mlp;
mod noise;
mod normalize;
mod prescribed;
mod random;
mod replay;

use serde::{Deserialize, Serialize};

pub use adam::Adam;
pub use ddpg::{Ddpg, DdpgConfig, DdpgState};
pub use mlp::{Gradients, Mlp, Trace};
pub use noise::{Schedule, truncated_normal};
pub use normalize::MinMax;
pub use prescribed::{Prescribed, PrescribedState};
pub use random::{Random, RandomState};
pub use replay::{Replay, Sample};

/// One step of an episode, as it happened: the state the agent saw and the action that was
/// applied after clipping, rounding and repair, not the one it asked for.
///
/// The step's successor is the next transition of the episode; the last one is terminal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Normalised features, `[state_dim]`.
    pub state: Vec<f32>,
    /// Applied action, `[action_dim]`, each in `[0, 1]`.
    pub action: Vec<f32>,
}

/// How often an agent that draws its actions is asked again for a policy that was not judged
/// before.
const AGAIN: usize = 8;

/// Most features of a state and numbers of an action, samples that an episode is learned from, and
/// episodes, of an agent that is continued: far above what any search has.
const MOST: usize = 1 << 20;

/// What chooses the actions of a search.
pub trait Agent: Send {
    /// Name for logs and reports, such as `"ddpg"`.
    fn name(&self) -> &'static str;

    /// Starts an episode: fixes its exploration.
    fn begin_episode(&mut self);

    /// Starts the same episode over, for the `again`-th time from 1: what its actions came to was
    /// judged before. Returns whether it will act otherwise this time.
    fn begin_again(&mut self, again: usize) -> bool {
        let _ = again;
        false
    }

    /// The action for one step, `[action_dim]`, each in `[0, 1]`.
    ///
    /// # Panics
    /// If `state` has another length than the agent was made for.
    fn act(&mut self, state: &[f32]) -> Vec<f32>;

    /// Ends the episode: `transitions` are all its steps in order, the first layer's too, and
    /// `reward` the raw terminal reward, which every step gets. Learns, where the agent learns.
    ///
    /// # Panics
    /// If there is no transition, or one has other dimensions than the agent was made for.
    fn end_episode(&mut self, transitions: &[Transition], reward: f32);

    /// Whether it can go on.
    ///
    /// # Errors
    /// [`AgentError::Diverged`].
    fn check(&self) -> Result<(), AgentError> {
        Ok(())
    }

    /// Whether the environment's guides take the place of its first episodes.
    fn guided(&self) -> bool {
        true
    }

    /// Episodes finished so far.
    fn episode(&self) -> usize;

    /// The complete state: weights, optimizer moments, replay, baseline, generator, counters.
    /// Meant to be called between episodes.
    fn save(&self) -> AgentState;
}

/// Which agent searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AgentKind {
    /// Deep deterministic policy gradient.
    Ddpg,
    /// Uniform random actions: the baseline at the same cost.
    Random,
    /// The same share of channels everywhere; then all widths at their widest, and 4-bit
    /// weights under 8-bit activations.
    Uniform,
    /// What has small weights goes first: L1 norms, then the weights' own rounding errors.
    Magnitude,
    /// What loses the least accuracy per cycle or byte goes first, each layer measured alone.
    Greedy,
    /// The same with losses predicted from the Fisher information, a diagonal of the Hessian.
    Hessian,
    /// Shares and widths learned in one training, its loss with the measured costs as a
    /// differentiable penalty (EdMIPS, PLiNIO).
    Gradient,
}

impl AgentKind {
    /// Name for logs and the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpg => "ddpg",
            Self::Random => "random",
            Self::Uniform => "uniform",
            Self::Magnitude => "magnitude",
            Self::Greedy => "greedy",
            Self::Hessian => "hessian",
            Self::Gradient => "gradient",
        }
    }

    /// Whether it decides in episodes; the others decide beforehand, and once.
    #[must_use]
    pub fn learns_by_episodes(self) -> bool {
        matches!(self, Self::Ddpg | Self::Random)
    }

    /// Whether it goes by accuracies measured with one layer narrowed at a time.
    #[must_use]
    pub fn measures_channels(self) -> bool {
        matches!(self, Self::Ddpg | Self::Random | Self::Greedy)
    }

    /// Whether its decisions depend on the seed.
    #[must_use]
    pub fn depends_on_seed(self) -> bool {
        self.learns_by_episodes() || self == Self::Gradient
    }

    /// A fresh agent for states of `state_dim` features and actions of `action_dim` numbers,
    /// `steps` steps an episode, scheduled over `episodes` episodes.
    ///
    /// # Panics
    /// For kinds that decide beforehand: they are a [`Prescribed`].
    pub fn build(
        self,
        state_dim: usize,
        action_dim: usize,
        steps: usize,
        episodes: usize,
        seed: u64,
    ) -> Box<dyn Agent> {
        match self {
            Self::Ddpg => Box::new(Ddpg::new(DdpgConfig::new(
                state_dim, action_dim, steps, episodes, seed,
            ))),
            Self::Random => Box::new(Random::new(action_dim, seed)),
            _ => panic!("{} decides beforehand", self.name()),
        }
    }
}

/// An agent's complete state, for checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AgentState {
    /// Of a [`Ddpg`].
    Ddpg(Box<DdpgState>),
    /// Of a [`Random`].
    Random(Box<RandomState>),
    /// Of a [`Prescribed`].
    Prescribed(Box<PrescribedState>),
}

/// Why a saved agent cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The bytes are not a saved agent.
    #[error("agent state cannot be decoded: {0}")]
    Decode(#[from] postcard::Error),
    /// No agent ever is like that.
    #[error("agent state: {0}")]
    Impossible(&'static str),
    /// It learned itself away: its actions would be the same whatever the state.
    #[error("the agent has diverged: its {0} are no finite numbers")]
    Diverged(&'static str),
    /// The parts contradict each other.
    #[error("agent state: {what} has {found} values, its configuration needs {expected}")]
    Shape {
        /// Which part.
        what: &'static str,
        /// Length found.
        found: usize,
        /// Length that the configuration implies.
        expected: usize,
    },
}

impl AgentState {
    /// Features of the states that it was made for, where it looks at them, and numbers of its
    /// actions.
    #[must_use]
    pub fn dimensions(&self) -> (Option<usize>, usize) {
        match self {
            Self::Ddpg(state) => state.dimensions(),
            Self::Random(state) => (None, state.action_dim()),
            Self::Prescribed(state) => (None, state.action_dim()),
        }
    }

    /// Samples that it learns from after an episode: those of an update, times the updates.
    #[must_use]
    pub fn samples_an_episode(&self) -> usize {
        match self {
            Self::Ddpg(state) => state.samples_an_episode(),
            Self::Random(_) | Self::Prescribed(_) => 0,
        }
    }

    /// Compact binary form; floats keep every bit.
    ///
    /// # Errors
    /// [`AgentError::Decode`] if the encoder fails, which plain data never makes it do.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AgentError> {
        Ok(postcard::to_allocvec(self)?)
    }

    /// The inverse of [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`AgentError::Decode`] where the bytes are no saved agent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AgentError> {
        Ok(postcard::from_bytes(bytes)?)
    }

    /// [`Self::load`], for a search whose states and actions have so many numbers.
    ///
    /// # Errors
    /// As there; [`AgentError::Shape`] where it is of another search.
    pub fn load_for(
        self,
        state_dim: usize,
        action_dim: usize,
    ) -> Result<Box<dyn Agent>, AgentError> {
        let (state, action) = self.dimensions();
        let state = ("a step's state", state.unwrap_or(state_dim), state_dim);
        for (what, found, expected) in [state, ("an action", action, action_dim)] {
            if found != expected {
                return Err(AgentError::Shape {
                    what,
                    found,
                    expected,
                });
            }
        }
        self.load()
    }

    /// The agent that continues exactly where [`Agent::save`] was called.
    ///
    /// # Errors
    /// [`AgentError::Shape`] where parts of the state do not fit together,
    /// [`AgentError::Impossible`] where it could not be continued.
    pub fn load(self) -> Result<Box<dyn Agent>, AgentError> {
        Ok(match self {
            Self::Ddpg(state) => Box::new(Ddpg::load(*state)?),
            Self::Random(state) => Box::new(Random::load(*state)?),
            Self::Prescribed(state) => Box::new(Prescribed::load(*state)?),
        })
    }
}

#[cfg(test)]
mod tests;
