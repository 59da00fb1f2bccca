//! The search: one episode after the other, an agent in an environment.
//!
//! [`Environment`] is what both stages are; [`run_stage`] drives it. [`price()`] says what a
//! candidate costs before anything is measured, [`Latency`] what the board measured.

pub mod exact;
mod latency;
mod price;
mod trial;

pub use latency::{Latency, LayerCost, LayerKey, MeasureLayer, Pending, Timing};
pub use price::{Price, encoded_estimate, price, price_net};
pub use trial::{SearchData, TrialConfig, episode_seed};

use crate::agent::{Agent, Transition};
use crate::reward::{Costs, Reward, Score};
use crate::run::{EpisodeRecord, LayerAction, Stage};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Instant;

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

    /// Actions that are tried in this episode whatever the agent wants: the cheap policies
    /// that any search should know. They count as episodes, and every agent learns from them.
    ///
    /// # Errors
    /// Where the board fails.
    fn guide(&mut self, episode: usize) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        let _ = episode;
        Ok(None)
    }

    /// Builds the candidate, trains it a little, measures it. The result depends on the
    /// actions and the episode's number only, so that a search can be resumed.
    ///
    /// # Errors
    /// Where training diverges or the board fails.
    fn evaluate(&mut self, episode: usize, actions: &[Vec<f32>]) -> anyhow::Result<Candidate>;
}

/// An environment whose layers a board times.
pub trait TimedEnvironment: Environment {
    /// Timings known so far, and how many were measured and how many came from the table.
    fn timings(&self) -> Timings;
}

/// What [`TimedEnvironment::timings`] gives.
pub type Timings = (Vec<(LayerKey, LayerCost)>, (usize, usize));

/// What came of an episode's actions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The actions as applied, after repair.
    pub actions: Vec<Vec<f32>>,
    /// Accuracy on the validation subset, a fraction.
    #[serde(with = "exact::number")]
    pub accuracy: f64,
    /// What it costs.
    pub costs: Costs,
    /// The same in the network's terms, for log and report.
    pub layers: Vec<LayerAction>,
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

/// One stage of the search.
pub struct StageRun<'a> {
    /// Which one, for the log.
    pub stage: Stage,
    /// How candidates are scored.
    pub reward: &'a Reward,
    /// Episodes in all.
    pub episodes: usize,
}

/// Runs the episodes that `agent` has not run yet; `best` is what an earlier part found.
///
/// `observe` sees each episode after the agent has learned from it (write checkpoints
/// there) and may break off.
///
/// # Errors
/// What the environment or `observe` report.
pub fn run_stage(
    run: &StageRun,
    env: &mut dyn TimedEnvironment,
    agent: &mut dyn Agent,
    mut best: Option<Best>,
    mut observe: impl FnMut(
        &dyn TimedEnvironment,
        &EpisodeRecord,
        &dyn Agent,
        Option<&Best>,
    ) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<Option<Best>> {
    while agent.episode() < run.episodes {
        let (start, episode) = (Instant::now(), agent.episode());
        let candidate = play(env, agent, episode)?;
        let score = run.reward.score(candidate.accuracy, &candidate.costs);
        let transitions = transitions(&*env, &candidate.actions);
        agent.end_episode(&transitions, score.reward as f32);
        let is_best = best.as_ref().is_none_or(|b| score.beats(&b.score));
        let record = EpisodeRecord {
            stage: run.stage,
            episode,
            agent: agent.name().to_string(),
            reward: score.reward,
            accuracy: candidate.accuracy,
            costs: candidate.costs,
            feasible: score.feasible,
            excess: score.excess,
            best: is_best,
            cycles_error: None,
            actions: candidate.layers.clone(),
            seconds: start.elapsed().as_secs_f64(),
        };
        if is_best {
            best = Some(Best {
                episode,
                candidate,
                score,
            });
        }
        if observe(env, &record, agent, best.as_ref())?.is_break() {
            break;
        }
    }
    Ok(best)
}

fn play(
    env: &mut dyn TimedEnvironment,
    agent: &mut dyn Agent,
    episode: usize,
) -> anyhow::Result<Candidate> {
    agent.begin_episode();
    let guide = env.guide(episode)?;
    let mut applied = Vec::with_capacity(env.steps());
    for step in 0..env.steps() {
        // The agent is asked all the same, so that its generator does not depend on guides.
        let own = agent.act(&env.state(step, &applied));
        let wanted = guide.as_ref().map_or(own, |g| g[step].clone());
        applied.push(env.clip(step, &applied, &wanted));
    }
    env.evaluate(episode, &applied)
}

/// Every step as it was applied: repair may have changed actions, so states are computed
/// anew.
fn transitions(env: &dyn TimedEnvironment, actions: &[Vec<f32>]) -> Vec<Transition> {
    (0..actions.len())
        .map(|step| Transition {
            state: env.state(step, &actions[..step]),
            action: actions[step].clone(),
        })
        .collect()
}
