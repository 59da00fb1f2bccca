//! The finals: the best candidates of a stage, judged again with more effort.
//!
//! An episode's accuracy, from a few steps and a few hundred images, is off by some points by
//! chance, and the best of forty is the one that was lucky. So the few best are judged again,
//! with the same effort for each, and the best of those is kept. The rewards of the finals
//! never meet those of the episodes: the agent does not see them.

use super::{Best, Effort, Found, TimedEnvironment};
use crate::reward::Reward;

/// Judges the `n` best of `found` again, by `reward`; gives the best, with its new accuracy and
/// score. Where the finals have budgets of their own, all are fitted to them first.
/// Candidates over a budget take part only where all are.
///
/// # Errors
/// What the environment reports.
pub fn finals(
    env: &mut dyn TimedEnvironment,
    found: &Found,
    reward: &Reward,
    n: usize,
    mut progress: impl FnMut(&Best),
) -> anyhow::Result<Option<Best>> {
    let entrants: Vec<Best> = found.top(n).into_iter().cloned().collect();
    let fit = env.begin_finals();
    if entrants.len() < 2 && !fit {
        return Ok(entrants.into_iter().next());
    }
    let mut best: Option<Best> = None;
    for entrant in entrants {
        if !entrant.score.feasible && best.is_some() {
            continue;
        }
        let actions = if fit {
            env.project(entrant.candidate.actions)?
        } else {
            entrant.candidate.actions
        };
        // The same seed for all: they differ in their policies only.
        let candidate = env.evaluate(0, &actions, Effort::Final)?;
        let score = reward.score(candidate.quality(), &candidate.costs);
        let judged = Best {
            episode: entrant.episode,
            candidate,
            score,
        };
        progress(&judged);
        if best.as_ref().is_none_or(|b| judged.score.beats(&b.score)) {
            best = Some(judged);
        }
    }
    Ok(best)
}
