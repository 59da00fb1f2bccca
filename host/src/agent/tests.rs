//! The agents on a toy compression problem, and continuation from a saved state.

use super::*;

const STEPS: usize = 6;

/// A sequence problem with a known best reward of 1: each step has an action to hit that
/// depends on its state, and the two numbers of an action trade against each other.
fn toy_state(step: usize, previous: &[f32]) -> Vec<f32> {
    let t = step as f32 / (STEPS - 1) as f32;
    vec![t, (t - 0.5).abs(), previous[0], previous[1]]
}

fn toy_reward(episode: &[Transition]) -> f32 {
    let miss: f32 = episode
        .iter()
        .map(|step| {
            let t = step.state[0];
            (step.action[0] - (0.2 + 0.6 * t)).powi(2) + (step.action[1] - (0.9 - 0.5 * t)).powi(2)
        })
        .sum();
    1.0 - miss / STEPS as f32
}

/// Runs one episode whose actions are snapped to eighths, as an environment would round them.
fn toy_episode(agent: &mut dyn Agent) -> (Vec<Transition>, f32) {
    agent.begin_episode();
    let mut episode: Vec<Transition> = Vec::new();
    for step in 0..STEPS {
        let previous = episode.last().map_or(vec![0.0; 2], |t| t.action.clone());
        let state = toy_state(step, &previous);
        let action = agent.act(&state);
        let action = action.iter().map(|a| (a * 8.0).round() / 8.0).collect();
        episode.push(Transition { state, action });
    }
    let reward = toy_reward(&episode);
    agent.end_episode(&episode, reward);
    (episode, reward)
}

fn rewards(agent: &mut dyn Agent, episodes: usize) -> Vec<f32> {
    (0..episodes).map(|_| toy_episode(agent).1).collect()
}

fn best(rewards: &[f32]) -> f32 {
    rewards.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

#[test]
fn ddpg_beats_random_search_at_the_same_number_of_episodes() {
    const EPISODES: usize = 60;
    let (mut learned, mut drawn) = (0.0, 0.0);
    for seed in 0..4 {
        let mut config = DdpgConfig::new(4, 2, STEPS, EPISODES, seed);
        config.hidden = 96;
        let ddpg = 1.0 - best(&rewards(&mut Ddpg::new(config), EPISODES));
        let random = 1.0 - best(&rewards(&mut Random::new(2, seed), EPISODES));
        println!("seed {seed}: regret {ddpg:.3} learned, {random:.3} random");
        learned += ddpg;
        drawn += random;
    }
    assert!(
        learned < 0.65 * drawn,
        "regret {learned} learned, {drawn} random"
    );
}

#[test]
fn a_saved_agent_continues_identically() {
    for kind in [AgentKind::Ddpg, AgentKind::Random] {
        let mut whole = kind.build(4, 2, STEPS, 30, 5);
        let unbroken = rewards(whole.as_mut(), 20);
        let mut first = kind.build(4, 2, STEPS, 30, 5);
        let mut parts = rewards(first.as_mut(), 12);
        let bytes = first.save().to_bytes().unwrap();
        drop(first);
        let mut second = AgentState::from_bytes(&bytes).unwrap().load().unwrap();
        assert_eq!(second.episode(), 12);
        parts.extend(rewards(second.as_mut(), 8));
        assert_eq!(parts, unbroken);
        assert_eq!(
            second.save().to_bytes().unwrap(),
            whole.save().to_bytes().unwrap()
        );
    }
}

#[test]
fn replay_holds_layer_zero_and_the_applied_actions() {
    let mut agent = Ddpg::new(DdpgConfig::new(4, 2, STEPS, 30, 1));
    let (episode, reward) = toy_episode(&mut agent);
    let samples = agent.replay().samples();
    assert_eq!(samples.len(), STEPS);
    for (i, (sample, step)) in samples.iter().zip(&episode).enumerate() {
        assert_eq!((&sample.state, &sample.action), (&step.state, &step.action));
        assert_eq!(sample.reward, reward);
        assert_eq!(sample.next.as_ref(), episode.get(i + 1).map(|s| &s.state));
        assert!(
            sample.action.iter().all(|a| (a * 8.0).fract() == 0.0),
            "as applied"
        );
    }
    assert_eq!(samples[0].state[0], 0.0, "the first layer's step");
}

#[test]
fn the_baseline_is_a_moving_average_of_raw_rewards() {
    let mut config = DdpgConfig::new(1, 1, 1, 30, 1);
    config.updates = 0;
    let mut agent = Ddpg::new(config);
    let step = [Transition {
        state: vec![0.0],
        action: vec![0.5],
    }];
    agent.end_episode(&step, 1.0);
    agent.end_episode(&step, 3.0);
    assert_eq!(agent.baseline(), 2.0, "an average at first");
    for _ in 0..200 {
        agent.end_episode(&step, 5.0);
    }
    assert!((agent.baseline() - 5.0).abs() < 1e-3, "then it follows");
}

#[test]
fn a_constant_reward_leaves_values_near_zero() {
    // The baseline is subtracted once: were it stored too, values would drift to −r.
    let mut agent = Ddpg::new(DdpgConfig::new(4, 2, STEPS, 30, 3));
    for _ in 0..15 {
        agent.begin_episode();
        let steps: Vec<Transition> = (0..STEPS)
            .map(|i| Transition {
                state: toy_state(i, &[0.5, 0.5]),
                action: agent.act(&toy_state(i, &[0.5, 0.5])),
            })
            .collect();
        agent.end_episode(&steps, 4.0);
    }
    let AgentState::Ddpg(state) = agent.save() else {
        unreachable!()
    };
    let value = state.value(&toy_state(0, &[0.5, 0.5]), &[0.5, 0.5]);
    assert!(value.abs() < 0.2, "{value}");
}

#[test]
fn a_damaged_state_is_refused() {
    let bytes = AgentKind::Ddpg
        .build(4, 2, STEPS, 30, 1)
        .save()
        .to_bytes()
        .unwrap();
    assert!(matches!(
        AgentState::from_bytes(&bytes[..bytes.len() / 2]),
        Err(AgentError::Decode(_))
    ));
    let AgentState::Ddpg(state) = AgentKind::Ddpg.build(4, 2, STEPS, 30, 1).save() else {
        unreachable!()
    };
    let error = Ddpg::load(state.clone().with_hidden(299)).unwrap_err();
    assert!(
        matches!(error, AgentError::Shape { what: "actor", .. }),
        "{error}"
    );
    // Found by fuzzing: sizes whose product is no number.
    let error = Ddpg::load(state.with_hidden(usize::MAX)).unwrap_err();
    assert!(
        matches!(
            error,
            AgentError::Shape {
                expected: usize::MAX,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn agents_that_could_not_go_on_are_refused() {
    let impossible = |state: AgentState| {
        let error = state.load().map(|agent| agent.name()).unwrap_err();
        assert!(matches!(error, AgentError::Impossible(_)), "{error}");
    };
    let step = |state: usize, action: usize| Transition {
        state: vec![0.5; state],
        action: vec![0.5; action],
    };
    // Nothing to play, and actions that differ.
    let played = |policies| PrescribedState::new(AgentKind::Greedy, policies);
    impossible(AgentState::Prescribed(Box::new(played(vec![]))));
    impossible(AgentState::Prescribed(Box::new(played(vec![vec![]]))));
    let uneven = vec![vec![vec![0.5; 2], vec![0.5]]];
    impossible(AgentState::Prescribed(Box::new(played(uneven))));
    let random = Random::new(usize::MAX, 1).save();
    impossible(random);

    let ddpg = |change: &dyn Fn(&mut DdpgConfig), replay: Option<Replay>| {
        let AgentState::Ddpg(mut state) = AgentKind::Ddpg.build(4, 2, STEPS, 30, 1).save() else {
            unreachable!()
        };
        state.change(change, replay);
        AgentState::Ddpg(state)
    };
    assert!(ddpg(&|_| (), None).load().is_ok());
    impossible(ddpg(&|c| c.batch = 0, None));
    impossible(ddpg(&|c| c.batch = 1 << 13, None));
    impossible(ddpg(&|c| c.updates = usize::MAX, None));
    impossible(ddpg(&|c| c.updates = 1 << 15, None));
    impossible(ddpg(&|c| c.hidden = 0, None));
    impossible(ddpg(&|c| c.state_dim = 0, None));
    for (state, action) in [(3, 2), (4, 1)] {
        let mut replay = Replay::new(10);
        replay.push_episode(&[step(state, action)], 0.5);
        impossible(ddpg(&|_| (), Some(replay)));
    }
    // Of another search: its states or actions have other numbers.
    for (state, action) in [(5, 2), (4, 1)] {
        let error = ddpg(&|_| (), None).load_for(state, action);
        let error = error.map(|agent| agent.name()).unwrap_err();
        assert!(matches!(error, AgentError::Shape { .. }), "{error}");
    }
    assert!(ddpg(&|_| (), None).load_for(4, 2).is_ok());
}

#[test]
fn an_agent_that_diverges_says_so_and_is_not_continued() {
    let learn = |change: &dyn Fn(&mut DdpgConfig), reward: f32| {
        let mut config = DdpgConfig::new(4, 2, STEPS, 30, 1);
        config.schedule.warmup = 1;
        change(&mut config);
        let mut agent = Ddpg::new(config);
        for _ in 0..3 {
            agent.begin_episode();
            let state = toy_state(0, &[0.5, 0.5]);
            let action = agent.act(&state);
            agent.end_episode(&[Transition { state, action }], reward);
        }
        let diverged = match agent.check() {
            Err(AgentError::Diverged(what)) => Some(what),
            other => other.map(|()| None).unwrap(),
        };
        assert_eq!(diverged.is_some(), agent.save().load().is_err());
        diverged
    };
    assert_eq!(learn(&|_| (), 0.5), None);
    assert_eq!(learn(&|_| (), f32::NAN), Some("rewards"));
    assert_eq!(learn(&|_| (), f32::INFINITY), Some("rewards"));
    let exploding = learn(&|c| c.critic_rate = f32::INFINITY, 0.5);
    assert_eq!(exploding, Some("critic's weights"));
    // The critic learns from what its actor would do.
    assert!(learn(&|c| c.actor_rate = f32::INFINITY, 0.5).is_some());
}
