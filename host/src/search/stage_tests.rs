//! A stage on an environment whose policies can be counted.

use super::{
    Candidate, Effort, Environment, Found, StageRun, TimedEnvironment, Timings, run_stage,
};
use crate::agent::{Agent, AgentKind, Prescribed};
use crate::reward::{Costs, Merit, Reward, RewardMode, Targets};
use crate::run::{EpisodeRecord, Stage};
use std::ops::ControlFlow;

/// Two steps of three choices each: nine policies.
#[derive(Default)]
struct Nine {
    judged: Vec<Vec<Vec<f32>>>,
}

impl Environment for Nine {
    fn steps(&self) -> usize {
        2
    }

    fn state_dim(&self) -> usize {
        1
    }

    fn action_dim(&self) -> usize {
        1
    }

    fn state(&self, step: usize, _applied: &[Vec<f32>]) -> Vec<f32> {
        vec![step as f32]
    }

    fn clip(&self, _step: usize, _applied: &[Vec<f32>], action: &[f32]) -> Vec<f32> {
        vec![(action[0] * 2.0).round() / 2.0]
    }

    fn guide(&mut self, episode: usize) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        Ok((episode < 2).then(|| vec![vec![0.5]; 2]))
    }

    fn rescue(&mut self, _actions: &[Vec<f32>]) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        Ok(Some(vec![vec![0.0]; 2]))
    }

    fn images(&self, _effort: Effort) -> u64 {
        1
    }

    fn evaluate(
        &mut self,
        _episode: usize,
        actions: &[Vec<f32>],
        _effort: Effort,
    ) -> anyhow::Result<Candidate> {
        self.judged.push(actions.to_vec());
        Ok(Candidate {
            actions: actions.to_vec(),
            accuracy: f64::from(actions[0][0] + actions[1][0]) / 2.0,
            likelihood: None,
            costs: Costs {
                cycles: 1 + (4.0 * (actions[0][0] + actions[1][0])) as u64,
                ..Costs::default()
            },
            layers: vec![],
        })
    }
}

impl TimedEnvironment for Nine {
    fn timings(&self) -> Timings {
        Timings::default()
    }
}

/// Policies judged in `episodes` episodes, and the images of each episode.
fn search(agent: Box<dyn Agent>, episodes: usize) -> (Vec<Vec<Vec<f32>>>, Vec<u64>) {
    within(None, agent, episodes)
}

fn within(
    cycles: Option<u64>,
    mut agent: Box<dyn Agent>,
    episodes: usize,
) -> (Vec<Vec<Vec<f32>>>, Vec<u64>) {
    let (mut env, mut found, mut images) = (Nine::default(), Found::default(), vec![]);
    let reward = Reward {
        mode: RewardMode::Board,
        targets: Targets {
            cycles,
            ..Targets::default()
        },
        merit: Merit::Accuracy,
        accuracy_before: 1.0,
    };
    let run = StageRun {
        stage: Stage::Prune,
        reward: &reward,
        episodes,
        prior: 0,
    };
    let observe = |_: &dyn TimedEnvironment, record: &EpisodeRecord, _: &dyn Agent, _: &Found| {
        images.push(record.images.expect("counted"));
        Ok(ControlFlow::Continue(()))
    };
    run_stage(&run, &mut env, agent.as_mut(), &mut found, observe).expect("runs");
    (env.judged, images)
}

#[test]
fn who_draws_is_asked_again_for_what_was_not_judged() {
    for kind in [AgentKind::Ddpg, AgentKind::Random] {
        let (judged, images) = search(kind.build(1, 1, 2, 40, 3), 40);
        // The second guide is the first one again, and is taken as it is.
        assert_eq!(images[..3], [1, 0, 1], "{}", kind.name());
        assert_eq!(judged.len(), 9, "{} found all there are", kind.name());
        assert_eq!(
            images.len(),
            40,
            "{} ends when there are no more",
            kind.name()
        );
        let until = images.iter().rposition(|&i| i == 1).expect("some") + 1;
        assert!(until <= 16, "{} took {until} episodes", kind.name());
    }
}

#[test]
fn what_was_decided_beforehand_is_judged_once() {
    let decided = Prescribed::new(AgentKind::Uniform, vec![vec![vec![0.0]; 2]]);
    let (judged, images) = search(Box::new(decided), 3);
    assert_eq!((judged.len(), images), (1, vec![1, 0, 0]));
}

#[test]
fn what_the_environment_makes_of_the_nearest_is_judged_where_nothing_met_the_budgets() {
    let decided = || {
        Box::new(Prescribed::new(
            AgentKind::Gradient,
            vec![vec![vec![0.5]; 2]],
        ))
    };
    let (judged, images) = within(Some(4), decided(), 2);
    assert_eq!(judged, [vec![vec![0.5]; 2], vec![vec![0.0]; 2]]);
    assert_eq!(images, [1, 0, 1], "after the last episode");
    let (judged, _) = within(Some(5), decided(), 2);
    assert_eq!(judged.len(), 1, "this one meets it");
}

#[test]
fn an_agent_that_diverges_ends_the_stage_before_it_is_kept() {
    let reward = Reward {
        mode: RewardMode::Haq,
        targets: Targets::default(),
        merit: Merit::Accuracy,
        accuracy_before: f64::NAN,
    };
    let run = StageRun {
        stage: Stage::Prune,
        reward: &reward,
        episodes: 5,
        prior: 0,
    };
    let (mut env, mut found) = (Nine::default(), Found::default());
    let mut agent = AgentKind::Ddpg.build(1, 1, 2, 5, 3);
    let observe = |_: &dyn TimedEnvironment, _: &EpisodeRecord, _: &dyn Agent, _: &Found| {
        panic!("nothing to keep")
    };
    let error = run_stage(&run, &mut env, agent.as_mut(), &mut found, observe).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "after episode 0: the agent has diverged: its rewards are no finite numbers"
    );
}
