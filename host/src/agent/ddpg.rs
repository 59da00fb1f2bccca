//! Deep deterministic policy gradient (Lillicrap et al., arXiv 1509.02971), as AMC uses it, with
//! the schedule of short searches.
//!
//! Differences to AMC's public code, all on purpose: the replay holds every step, the first
//! layer's too, with the action that was applied; the reward is stored raw and the moving
//! baseline is subtracted once, in the target, and the rest is divided by the spread of what is
//! remembered; the schedule follows the number of episodes. Two terms keep the actor from
//! running into a corner of its range on the word of a critic that has seen a few dozen
//! episodes (it did: see docs/search.md): its logits are pulled towards 0, and its actions
//! towards those of the best episodes so far (self-imitation, arXiv 1806.05635).

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    Adam, Agent, AgentError, AgentState, MOST, Mlp, Replay, Sample, Schedule, Transition,
    mlp::parameter_count, random::uniform, truncated_normal,
};

/// Least spread that rewards are divided by: one image of five hundred and less is noise.
const LEAST_SPREAD: f32 = 0.01;
/// Normalised rewards beyond are clipped: how bad a bad policy is teaches nothing.
const REWARD_CLIP: f32 = 3.0;
/// Best episodes whose actions the actor is pulled towards.
const ELITE: usize = 3;
/// Replay length in episodes, as AMC's.
const REPLAY_EPISODES: usize = 100;
/// Growth of the noise each time an episode's policy was judged before: 0.05 is 0.5 after six.
const WIDEN: f32 = 1.5;
/// Most samples of an update of an agent that is continued; more would take gigabytes.
const MOST_BATCH: usize = 1 << 12;
/// From this many episodes on, the actor takes smaller steps.
const LONG_SEARCH: usize = 300;

/// Sizes and schedule of a [`Ddpg`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DdpgConfig {
    /// Features of a state.
    pub state_dim: usize,
    /// Numbers in an action.
    pub action_dim: usize,
    /// Units of both hidden layers, in actor and critic.
    pub hidden: usize,
    /// Samples an update.
    pub batch: usize,
    /// Updates after each episode, from the last one of the warm-up on.
    pub updates: usize,
    /// Samples remembered.
    pub replay: usize,
    /// Discount γ.
    pub discount: f32,
    /// How far target networks move towards the trained ones at each update, τ.
    pub tau: f32,
    /// Adam's learning rate of the actor.
    pub actor_rate: f32,
    /// Adam's learning rate of the critic.
    pub critic_rate: f32,
    /// Pull of the actor's logits towards 0.
    pub logit_decay: f32,
    /// Pull of the actor towards the actions of the best episodes.
    pub imitation: f32,
    /// Weight of the newest episode in the moving baseline, once it is more than an average.
    pub baseline_rate: f32,
    /// Warm-up and noise.
    pub schedule: Schedule,
    /// Seed of initial weights, noise and sampling.
    pub seed: u64,
}

impl DdpgConfig {
    /// The schedule for `episodes` episodes of `steps` steps: max(4·steps, 50) updates of 64
    /// samples an episode, γ 1, τ 0.01, Adam 1e-3 for both networks, but 1e-4 for the actor of
    /// searches of 300 episodes and more; [`Schedule::over`] for warm-up and noise.
    pub fn new(
        state_dim: usize,
        action_dim: usize,
        steps: usize,
        episodes: usize,
        seed: u64,
    ) -> Self {
        Self {
            state_dim,
            action_dim,
            hidden: 300,
            batch: 64,
            updates: (4 * steps).max(50),
            replay: (REPLAY_EPISODES * steps).max(1),
            discount: 1.0,
            tau: 0.01,
            actor_rate: if episodes >= LONG_SEARCH { 1e-4 } else { 1e-3 },
            critic_rate: 1e-3,
            logit_decay: 0.02,
            imitation: 1.0,
            baseline_rate: 0.1,
            schedule: Schedule::over(episodes),
            seed,
        }
    }

    fn actor_sizes(&self) -> [usize; 4] {
        [self.state_dim, self.hidden, self.hidden, self.action_dim]
    }

    /// relu(W_s·s + W_a·a) is one layer over the concatenation of s and a.
    fn critic_sizes(&self) -> [usize; 4] {
        let input = self.state_dim.saturating_add(self.action_dim);
        [input, self.hidden, self.hidden, 1]
    }
}

/// Everything a [`Ddpg`] is between two calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DdpgState {
    config: DdpgConfig,
    actor: Mlp,
    actor_target: Mlp,
    actor_adam: Adam,
    critic: Mlp,
    critic_target: Mlp,
    critic_adam: Adam,
    replay: Replay,
    baseline: f32,
    episode: usize,
    /// Deviation of this episode's noise; `None` while actions are uniform.
    sigma: Option<f32>,
    rng: ChaCha8Rng,
}

#[cfg(test)]
impl DdpgState {
    /// The critic's value of one action.
    pub(super) fn value(&self, state: &[f32], action: &[f32]) -> f32 {
        self.critic.forward(&self.join(state, action), 1).output()[0]
    }

    /// The same with something changed.
    pub(super) fn change(&mut self, change: &dyn Fn(&mut DdpgConfig), replay: Option<Replay>) {
        change(&mut self.config);
        self.replay = replay.unwrap_or_else(|| self.replay.clone());
    }

    /// The same with a configuration that its networks contradict.
    pub(super) fn with_hidden(mut self, hidden: usize) -> Self {
        self.config.hidden = hidden;
        self
    }
}

/// The learner.
#[derive(Clone, Debug)]
pub struct Ddpg {
    state: DdpgState,
}

impl Ddpg {
    /// An untrained agent.
    pub fn new(config: DdpgConfig) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let actor = Mlp::new(&config.actor_sizes(), &mut rng);
        let critic = Mlp::new(&config.critic_sizes(), &mut rng);
        Self {
            state: DdpgState {
                actor_target: actor.clone(),
                actor_adam: Adam::new(actor.parameters().len(), config.actor_rate),
                actor,
                critic_target: critic.clone(),
                critic_adam: Adam::new(critic.parameters().len(), config.critic_rate),
                critic,
                replay: Replay::new(config.replay),
                baseline: 0.0,
                episode: 0,
                sigma: config.schedule.sigma(0),
                rng,
                config,
            },
        }
    }

    /// Continues from a saved state, identically to the agent that was saved.
    ///
    /// # Errors
    /// [`AgentError::Shape`] where a network or its optimizer has another size than the
    /// configuration says; [`AgentError::Impossible`] and
    /// [`AgentError::Diverged`] where it could not be continued.
    pub fn load(state: DdpgState) -> Result<Self, AgentError> {
        let check = |what, expected: &[usize], net: &Mlp, adam: &Adam| {
            let count = parameter_count(expected);
            for found in [net.parameters().len(), adam.len()] {
                if found != count || net.sizes() != expected {
                    return Err(AgentError::Shape {
                        what,
                        found,
                        expected: count,
                    });
                }
            }
            Ok(())
        };
        let c = &state.config;
        if [c.state_dim, c.action_dim, c.hidden, c.batch].contains(&0) {
            return Err(AgentError::Impossible(
                "states, actions, layers or batches of nothing",
            ));
        }
        let learns = state.samples_an_episode().max(state.episode);
        if c.batch > MOST_BATCH || learns > MOST {
            return Err(AgentError::Impossible("more updates than a search has"));
        }
        if !state.replay.fits(c.state_dim, c.action_dim) {
            return Err(AgentError::Impossible("memories of another search"));
        }
        let (actor, critic) = (state.config.actor_sizes(), state.config.critic_sizes());
        check("actor", &actor, &state.actor, &state.actor_adam)?;
        check(
            "target actor",
            &actor,
            &state.actor_target,
            &state.actor_adam,
        )?;
        check("critic", &critic, &state.critic, &state.critic_adam)?;
        check(
            "target critic",
            &critic,
            &state.critic_target,
            &state.critic_adam,
        )?;
        state.check()?;
        Ok(Self { state })
    }

    /// The policy's action without noise, `[action_dim]`, each in `(0, 1)`.
    ///
    /// # Panics
    /// If `state` has another length than the agent was made for.
    pub fn policy(&self, state: &[f32]) -> Vec<f32> {
        sigmoid(self.state.actor.forward(state, 1).output())
    }

    /// What has been remembered.
    pub fn replay(&self) -> &Replay {
        &self.state.replay
    }

    /// Moving average of the episodes' rewards.
    pub fn baseline(&self) -> f32 {
        self.state.baseline
    }
}

impl Agent for Ddpg {
    fn name(&self) -> &'static str {
        "ddpg"
    }

    fn begin_episode(&mut self) {
        self.state.sigma = self.state.config.schedule.sigma(self.state.episode);
    }

    fn begin_again(&mut self, again: usize) -> bool {
        // Uniform actions cannot be spread further.
        self.state.sigma = self.state.sigma.map(|sigma| (sigma * WIDEN).min(1.0));
        again <= super::AGAIN
    }

    fn act(&mut self, state: &[f32]) -> Vec<f32> {
        assert_eq!(state.len(), self.state.config.state_dim);
        let Some(sigma) = self.state.sigma else {
            return uniform(self.state.config.action_dim, &mut self.state.rng);
        };
        let means = self.policy(state);
        let rng = &mut self.state.rng;
        means
            .iter()
            .map(|&m| truncated_normal(m, sigma, rng))
            .collect()
    }

    fn end_episode(&mut self, transitions: &[Transition], reward: f32) {
        let s = &mut self.state;
        assert!(!transitions.is_empty(), "an episode has steps");
        for step in transitions {
            assert_eq!(step.state.len(), s.config.state_dim);
            assert_eq!(step.action.len(), s.config.action_dim);
        }
        s.replay.push_episode(transitions, reward);
        s.episode += 1;
        // A plain average over the first episodes, so that the first reward does not linger.
        let rate = (1.0 / s.episode as f32).max(s.config.baseline_rate);
        s.baseline += rate * (reward - s.baseline);
        for _ in 0..s.updates_now() {
            s.update();
        }
    }

    fn check(&self) -> Result<(), AgentError> {
        self.state.check()
    }

    fn episode(&self) -> usize {
        self.state.episode
    }

    fn save(&self) -> AgentState {
        AgentState::Ddpg(Box::new(self.state.clone()))
    }
}

impl DdpgState {
    pub(super) fn dimensions(&self) -> (Option<usize>, usize) {
        (Some(self.config.state_dim), self.config.action_dim)
    }

    pub(super) fn samples_an_episode(&self) -> usize {
        self.config.batch.saturating_mul(self.config.updates)
    }

    fn check(&self) -> Result<(), AgentError> {
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        for (what, values) in [
            ("rewards", &[self.baseline][..]),
            ("critic's weights", self.critic.parameters()),
            ("actor's weights", self.actor.parameters()),
        ] {
            if !finite(values) {
                return Err(AgentError::Diverged(what));
            }
        }
        Ok(())
    }

    /// Updates after the episode that has just ended: none during the warm-up (as AMC), where an
    /// actor would run into a corner of its range on a handful of samples and stay there.
    fn updates_now(&self) -> usize {
        if self.episode < self.config.schedule.warmup {
            0
        } else {
            self.config.updates
        }
    }

    /// One update of critic, actor and targets from one batch.
    fn update(&mut self) {
        let n = self.config.batch;
        let batch = self.replay.draw(n, &mut self.rng);
        let targets = self.targets(&batch);
        let states: Vec<f32> = batch.iter().flat_map(|s| &s.state).copied().collect();
        let actions: Vec<f32> = batch.iter().flat_map(|s| &s.action).copied().collect();

        let trace = self.critic.forward(&self.join(&states, &actions), n);
        let errors = trace.output().iter().zip(&targets).map(|(q, y)| q - y);
        let d_q: Vec<f32> = errors.map(|e| 2.0 * e / n as f32).collect();
        let (gradients, _) = self.critic.backward(&trace, &d_q);
        self.critic_adam
            .step(self.critic.parameters_mut(), &gradients);

        let trace = self.actor.forward(&states, n);
        let actions = sigmoid(trace.output());
        let mut d_logits = self.policy_gradient(&states, &actions);
        let decay = self.config.logit_decay / n as f32;
        for (d, logit) in d_logits.iter_mut().zip(trace.output()) {
            *d += decay * logit;
        }
        let (mut gradients, _) = self.actor.backward(&trace, &d_logits);
        let towards = self.imitation_gradient();
        gradients
            .iter_mut()
            .zip(&towards)
            .for_each(|(g, t)| *g += t);
        self.actor_adam
            .step(self.actor.parameters_mut(), &gradients);

        self.actor_target.soft_update(&self.actor, self.config.tau);
        self.critic_target
            .soft_update(&self.critic, self.config.tau);
    }

    /// y = (r − baseline)/spread + γ·Q'(s', π'(s')), without the last term after the last layer.
    fn targets(&self, batch: &[&Sample]) -> Vec<f32> {
        let following: Vec<f32> = batch
            .iter()
            .filter_map(|s| s.next.as_deref())
            .flatten()
            .copied()
            .collect();
        let n = following.len() / self.config.state_dim.max(1);
        let actions = sigmoid(self.actor_target.forward(&following, n).output());
        let trace = self
            .critic_target
            .forward(&self.join(&following, &actions), n);
        let mut values = trace.output().iter();
        let spread = self.replay.reward_spread(LEAST_SPREAD);
        let reward = |r: f32| ((r - self.baseline) / spread).clamp(-REWARD_CLIP, REWARD_CLIP);
        batch
            .iter()
            .map(|sample| {
                let future = if sample.next.is_some() {
                    values.next()
                } else {
                    None
                };
                reward(sample.reward) + self.config.discount * future.copied().unwrap_or(0.0)
            })
            .collect()
    }

    /// Gradient of −mean Q(s, π(s)) with respect to the actor's logits, `[n, action_dim]`.
    fn policy_gradient(&self, states: &[f32], actions: &[f32]) -> Vec<f32> {
        let n = self.config.batch;
        let trace = self.critic.forward(&self.join(states, actions), n);
        let d_input = self
            .critic
            .input_gradient(&trace, &vec![-1.0 / n as f32; n]);
        let (s, a) = (self.config.state_dim, self.config.action_dim);
        let d_actions = d_input.chunks_exact(s + a).flat_map(|row| &row[s..]);
        d_actions
            .zip(actions)
            .map(|(d, p)| d * p * (1.0 - p))
            .collect()
    }

    /// Gradient of the mean cross-entropy between the elite's actions and the actor's with
    /// respect to the actor's parameters.
    fn imitation_gradient(&self) -> Vec<f32> {
        let elite = self.replay.elite(ELITE);
        let states: Vec<f32> = elite.iter().flat_map(|s| &s.state).copied().collect();
        let trace = self.actor.forward(&states, elite.len());
        let wanted = elite.iter().flat_map(|s| &s.action);
        let scale = self.config.imitation / elite.len().max(1) as f32;
        let d: Vec<f32> = sigmoid(trace.output())
            .iter()
            .zip(wanted)
            // The cross-entropy's gradient: it does not vanish where the sigmoid saturates.
            .map(|(p, a)| scale * (p - a))
            .collect();
        self.actor.backward(&trace, &d).0
    }

    /// Rows of state and action side by side, `[n, state_dim + action_dim]`.
    fn join(&self, states: &[f32], actions: &[f32]) -> Vec<f32> {
        let rows = states
            .chunks_exact(self.config.state_dim)
            .zip(actions.chunks_exact(self.config.action_dim));
        rows.flat_map(|(s, a)| s.iter().chain(a)).copied().collect()
    }
}

fn sigmoid(logits: &[f32]) -> Vec<f32> {
    logits.iter().map(|&x| 1.0 / (1.0 + (-x).exp())).collect()
}
