//! One stage of the search: episodes, what they found, what the agent learns.

use super::{Best, Candidate, Effort, TimedEnvironment};
use crate::agent::{Agent, Transition};
use crate::reward::Reward;
use crate::run::{EpisodeRecord, EpisodeSeconds, Stage};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Instant;

/// One stage of the search.
pub struct StageRun<'a> {
    /// Which one, for the log.
    pub stage: Stage,
    /// How candidates are scored.
    pub reward: &'a Reward,
    /// Episodes in all.
    pub episodes: usize,
    /// Images that went into the agent before its first episode, which they are counted to.
    pub prior: u64,
}

/// What a stage has found so far, as a checkpoint keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Every policy that was judged, once, in the order of its first episode.
    pub judged: Vec<Best>,
}

impl Found {
    /// The best.
    #[must_use]
    pub fn best(&self) -> Option<&Best> {
        let better = |a: &'_ Best, b: &'_ Best| b.score.beats(&a.score);
        self.judged
            .iter()
            .reduce(|a, b| if better(a, b) { b } else { a })
    }

    /// The `n` best, best first; of equals the older.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<&Best> {
        let mut rest: Vec<&Best> = self.judged.iter().collect();
        let mut top = Vec::new();
        while top.len() < n && !rest.is_empty() {
            let best = (1..rest.len()).fold(0, |best, i| {
                if rest[i].score.beats(&rest[best].score) {
                    i
                } else {
                    best
                }
            });
            top.push(rest.remove(best));
        }
        top
    }

    fn known(&self, actions: &[Vec<f32>]) -> Option<&Candidate> {
        let mut candidates = self.judged.iter().map(|b| &b.candidate);
        candidates.find(|c| c.actions == actions)
    }
}

/// Where the time since `start` went, of which the choice took `chosen.0` seconds, `chosen.1` of them
/// waiting; judged and waited in all: `spent`.
fn parts(start: Instant, chosen: (f64, f64), (judge, board): (f64, f64)) -> EpisodeSeconds {
    let choose = chosen.0 - chosen.1;
    let rest = start.elapsed().as_secs_f64() - choose - judge - board;
    EpisodeSeconds {
        choose,
        make: rest.max(0.0),
        judge,
        board,
    }
}

/// Runs the episodes that `agent` has not run yet; `found` is what an earlier part found.
///
/// An agent that draws its actions is asked again for a policy that was not judged before, a few
/// times ([`Agent::begin_again`]). Where it has no other, the policy is not judged again: the agent
/// gets the same reward, and the episode costs nothing. Where nothing within the budgets was found,
/// what the environment makes of the nearest policy ([`Environment::rescue`](super::Environment::rescue))
/// is judged after the last episode. `observe` sees each episode after the agent has learned from
/// it (write checkpoints there) and may break off.
///
/// # Errors
/// What the environment or `observe` report, and of an agent that diverged.
pub fn run_stage(
    run: &StageRun,
    env: &mut dyn TimedEnvironment,
    agent: &mut dyn Agent,
    found: &mut Found,
    mut observe: impl FnMut(
        &dyn TimedEnvironment,
        &EpisodeRecord,
        &dyn Agent,
        &Found,
    ) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    while agent.episode() < run.episodes {
        let (start, episode) = (Instant::now(), agent.episode());
        let begun = env.spent();
        let applied = choose(env, agent, episode, found)?;
        let chosen = (start.elapsed().as_secs_f64(), env.spent().since(begun).1);
        let known = found.known(&applied).cloned();
        let new = known.is_none();
        let prior = if episode == 0 { run.prior } else { 0 };
        let (candidate, images) = match known {
            Some(candidate) => (candidate, prior),
            None => (
                env.evaluate(episode, &applied, Effort::Episode)?,
                prior + env.images(Effort::Episode),
            ),
        };
        let score = run.reward.score(candidate.quality(), &candidate.costs);
        let transitions = transitions(&*env, &candidate.actions);
        agent.end_episode(&transitions, score.reward as f32);
        // Told before anything of it is written.
        agent
            .check()
            .with_context(|| format!("after episode {episode}"))?;
        let judged = Best {
            episode,
            candidate,
            score,
        };
        let mut record = record(run.stage, agent.name(), &judged, images, start);
        if new {
            record.best = found.best().is_none_or(|b| score.beats(&b.score));
            record.seconds_by_part = Some(parts(start, chosen, env.spent().since(begun)));
            found.judged.push(judged);
        }
        if observe(env, &record, agent, found)?.is_break() {
            return Ok(());
        }
    }
    let start = Instant::now();
    if let Some(rescued) = rescue(run, env, found)? {
        let images = env.images(Effort::Episode);
        let mut record = record(run.stage, agent.name(), &rescued, images, start);
        record.best = found.best().is_none_or(|b| rescued.score.beats(&b.score));
        found.judged.push(rescued);
        let _ = observe(env, &record, agent, found)?;
    }
    Ok(())
}

/// What the environment makes of the policy that is nearest to the budgets, where none meets them.
fn rescue(
    run: &StageRun,
    env: &mut dyn TimedEnvironment,
    found: &Found,
) -> anyhow::Result<Option<Best>> {
    let Some(nearest) = found.best().filter(|b| !b.score.feasible) else {
        return Ok(None);
    };
    let Some(actions) = env.rescue(&nearest.candidate.actions)? else {
        return Ok(None);
    };
    if found.known(&actions).is_some() {
        return Ok(None);
    }
    let candidate = env.evaluate(run.episodes, &actions, Effort::Episode)?;
    let score = run.reward.score(candidate.quality(), &candidate.costs);
    Ok(Some(Best {
        episode: run.episodes,
        candidate,
        score,
    }))
}

/// An episode for the log; whether it is the best, and where its time went, is not in it.
fn record(stage: Stage, agent: &str, judged: &Best, images: u64, start: Instant) -> EpisodeRecord {
    let (candidate, score) = (&judged.candidate, &judged.score);
    EpisodeRecord {
        stage,
        episode: judged.episode,
        agent: agent.to_string(),
        reward: score.reward,
        accuracy: candidate.accuracy,
        likelihood: candidate.likelihood,
        costs: candidate.costs,
        feasible: score.feasible,
        excess: score.excess,
        best: false,
        variant: None,
        cycles_error: None,
        images: Some(images),
        actions: candidate.layers.clone(),
        seconds: start.elapsed().as_secs_f64(),
        seconds_by_part: None,
    }
}

/// The actions of an episode, as they are carried out: none that were judged before, where the agent
/// has others. Guides are taken as they are.
fn choose(
    env: &mut dyn TimedEnvironment,
    agent: &mut dyn Agent,
    episode: usize,
    found: &Found,
) -> anyhow::Result<Vec<Vec<f32>>> {
    agent.begin_episode();
    let guide = if agent.guided() {
        env.guide(episode)?
    } else {
        None
    };
    let mut applied = walk(env, agent, guide.as_deref())?;
    let mut again = 1;
    while guide.is_none() && found.known(&applied).is_some() && agent.begin_again(again) {
        applied = walk(env, agent, None)?;
        again += 1;
    }
    Ok(applied)
}

fn walk(
    env: &mut dyn TimedEnvironment,
    agent: &mut dyn Agent,
    guide: Option<&[Vec<f32>]>,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let mut applied = Vec::with_capacity(env.steps());
    for step in 0..env.steps() {
        // The agent is asked all the same, so that its generator does not depend on guides.
        let own = agent.act(&env.state(step, &applied));
        let wanted = guide.map_or(own, |g| g[step].clone());
        applied.push(env.clip(step, &applied, &wanted));
    }
    env.project(applied)
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
