//! Running one stage's search: a bar, a checkpoint after each episode, the finals.

use super::ui::Ui;
use super::{AGENT, STATE, State};
use crate::agent::Agent;
use crate::reward::Reward;
use crate::run::{EpisodeRecord, PartTimer, Progress, RunFolder, Stage, interrupt};
use crate::search::{Best, Found, StageRun, TimedEnvironment, Timings, finals, run_stage};
use anyhow::Result;
use std::ops::ControlFlow;

/// What is written after each episode. It borrows parts of [`Compress`], because the
/// environment borrows others.
pub(super) struct Keeper<'a> {
    pub run: &'a mut RunFolder,
    pub state: &'a mut State,
    pub timer: &'a PartTimer,
}

impl Keeper<'_> {
    fn keep(
        &mut self,
        record: &EpisodeRecord,
        agent: &dyn Agent,
        found: &Found,
        timings: Timings,
    ) -> Result<()> {
        self.state.found = found.clone();
        (self.state.timings, self.state.timing_counts) = timings;
        self.run.log(record)?;
        let progress = Progress {
            stage: record.stage,
            step: record.episode + 1,
        };
        let (state, agent) = (serde_json::to_vec(self.state)?, agent.save().to_bytes()?);
        Ok(self
            .run
            .checkpoint(progress, self.timer, &[(STATE, &state), (AGENT, &agent)])?)
    }
}

/// A stage's search and finals.
pub(super) struct Search<'a> {
    pub stage: Stage,
    pub label: &'static str,
    pub episodes: usize,
    /// Candidates of the finals.
    pub finalists: usize,
    pub reward: &'a Reward,
    /// Of the finals, whose budgets may be others.
    pub finals_reward: &'a Reward,
}

impl Search<'_> {
    /// The winner; `None` where the user stopped it before all episodes were run.
    pub fn run(
        &self,
        env: &mut dyn TimedEnvironment,
        (mut agent, prior): (Box<dyn Agent>, u64),
        keeper: &mut Keeper,
        ui: &Ui,
    ) -> Result<Option<Best>> {
        let mut bar = ui.bar(self.label, self.episodes, agent.episode());
        let run = StageRun {
            stage: self.stage,
            reward: self.reward,
            episodes: self.episodes,
            prior,
        };
        let (mut stopped, mut found) = (false, keeper.state.found.clone());
        let observe = |env: &dyn TimedEnvironment,
                       record: &EpisodeRecord,
                       agent: &dyn Agent,
                       found: &Found| {
            let timings = env.timings();
            let done = (record.episode + 1).min(self.episodes);
            bar.set(done, &summary_of(found.best(), timings.1));
            keeper.keep(record, agent, found, timings)?;
            stopped = interrupt::requested() && record.episode + 1 < self.episodes;
            Ok(if stopped {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        };
        run_stage(&run, env, agent.as_mut(), &mut found, observe)?;
        if stopped {
            return Ok(None);
        }
        bar.finish(&format!(
            "{} episodes  {}",
            self.episodes,
            summary_of(found.best(), env.timings().1)
        ));
        self.finals(env, &found, ui)
    }

    fn finals(
        &self,
        env: &mut dyn TimedEnvironment,
        found: &Found,
        ui: &Ui,
    ) -> Result<Option<Best>> {
        let n = self.finalists.min(found.judged.len());
        let (mut bar, mut done) = (ui.bar("  finals", n, 0), 0);
        let won = finals(env, found, self.finals_reward, n, |b| {
            done += 1;
            let (episode, accuracy) = (b.episode, 100.0 * b.candidate.accuracy);
            bar.set(done, &format!("episode {episode} has {accuracy:.1} %"));
        })?;
        if let Some(b) = won.as_ref().filter(|_| n > 1) {
            let (episode, accuracy) = (b.episode, 100.0 * b.candidate.accuracy);
            bar.finish(&format!(
                "{n} judged again: episode {episode} with {accuracy:.1} %"
            ));
        }
        Ok(won)
    }
}

fn summary_of(best: Option<&Best>, (measured, from_table): (usize, usize)) -> String {
    let share = 100 * from_table / (measured + from_table).max(1);
    let best = best.map_or_else(String::new, |b| {
        let feasible = if b.score.feasible {
            ""
        } else {
            " (over budget)"
        };
        let c = &b.candidate;
        format!(
            "best {:.1} % at {:.2} M cycles{feasible}",
            100.0 * c.accuracy,
            c.costs.cycles as f64 / 1e6
        )
    });
    format!("{best}  board: {measured} layers timed, {share} % from table")
}
