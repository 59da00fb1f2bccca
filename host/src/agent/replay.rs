//! The replay buffer: every step of past episodes, with the raw reward.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Transition;

/// One remembered step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// State, `[state_dim]`.
    pub state: Vec<f32>,
    /// Applied action, `[action_dim]`.
    pub action: Vec<f32>,
    /// Raw terminal reward of its episode; the baseline is subtracted when it is used.
    pub reward: f32,
    /// The following step's state, or `None` after the last layer.
    pub next: Option<Vec<f32>>,
}

/// A ring of the latest samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    capacity: usize,
    /// Where the next sample goes once the ring is full.
    head: usize,
    samples: Vec<Sample>,
}

impl Replay {
    /// An empty buffer of at most `capacity` samples.
    ///
    /// # Panics
    /// If `capacity` is 0.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a replay buffer holds something");
        Self {
            capacity,
            head: 0,
            samples: Vec::new(),
        }
    }

    /// Whether it can go on with states and actions of so many numbers.
    pub(super) fn fits(&self, state_dim: usize, action_dim: usize) -> bool {
        let fits = |s: &Sample| {
            let next = s.next.as_ref().is_none_or(|next| next.len() == state_dim);
            s.state.len() == state_dim && s.action.len() == action_dim && next
        };
        let ring = self.samples.len() <= self.capacity && self.head < self.capacity;
        ring && self.samples.iter().all(fits)
    }

    /// Remembers a whole episode, first step to last.
    pub fn push_episode(&mut self, transitions: &[Transition], reward: f32) {
        for (i, step) in transitions.iter().enumerate() {
            self.push(Sample {
                state: step.state.clone(),
                action: step.action.clone(),
                reward,
                next: transitions.get(i + 1).map(|next| next.state.clone()),
            });
        }
    }

    fn push(&mut self, sample: Sample) {
        if self.samples.len() < self.capacity {
            self.samples.push(sample);
        } else {
            self.samples[self.head] = sample;
            self.head = (self.head + 1) % self.capacity;
        }
    }

    /// Everything remembered, in no particular order once the ring has wrapped.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Standard deviation of the rewards, and at least `least`.
    pub fn reward_spread(&self, least: f32) -> f32 {
        let n = self.samples.len().max(1) as f32;
        let rewards = || self.samples.iter().map(|s| s.reward);
        let mean = rewards().sum::<f32>() / n;
        let variance = rewards().map(|r| (r - mean).powi(2)).sum::<f32>() / n;
        variance.sqrt().max(least)
    }

    /// Every step of the `episodes` best episodes; more where rewards are equal.
    pub fn elite(&self, episodes: usize) -> Vec<&Sample> {
        let mut rewards: Vec<f32> = self.samples.iter().map(|s| s.reward).collect();
        rewards.sort_by(|a, b| b.total_cmp(a));
        rewards.dedup();
        let least = rewards.get(episodes.saturating_sub(1)).or(rewards.last());
        let is_elite = |s: &&Sample| least.is_some_and(|l| s.reward >= *l);
        self.samples.iter().filter(is_elite).collect()
    }

    /// `count` samples drawn uniformly with replacement.
    ///
    /// # Panics
    /// If nothing is remembered.
    pub fn draw(&self, count: usize, rng: &mut impl Rng) -> Vec<&Sample> {
        assert!(!self.samples.is_empty(), "nothing to draw from");
        (0..count)
            .map(|_| &self.samples[rng.random_range(0..self.samples.len())])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(base: f32) -> Vec<Transition> {
        (0..3)
            .map(|i| Transition {
                state: vec![base + i as f32],
                action: vec![0.1 * i as f32],
            })
            .collect()
    }

    #[test]
    fn keeps_every_step_from_the_first_layer_on() {
        let mut replay = Replay::new(100);
        replay.push_episode(&episode(10.0), 0.75);
        let s = replay.samples();
        assert_eq!(s.len(), 3);
        assert_eq!((s[0].state[0], s[0].action[0]), (10.0, 0.0));
        assert_eq!(s[0].next.as_deref(), Some(&[11.0][..]));
        assert_eq!(s[2].next, None, "the last layer is terminal");
        assert!(
            s.iter().all(|s| s.reward == 0.75),
            "raw, and given to every step"
        );
    }

    #[test]
    fn the_elite_is_whole_episodes() {
        let mut replay = Replay::new(100);
        for (i, reward) in [0.2, 0.7, 0.5, 0.7].into_iter().enumerate() {
            replay.push_episode(&episode(10.0 * i as f32), reward);
        }
        let first = |n| {
            replay
                .elite(n)
                .iter()
                .map(|s| s.state[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(first(1), [10.0, 11.0, 12.0, 30.0, 31.0, 32.0]);
        assert_eq!(replay.elite(2).len(), 9);
        assert_eq!(replay.elite(9).len(), 12);
        // Of 0.2, 0.7, 0.5, 0.7: mean 0.525, deviation 0.2046.
        assert!((replay.reward_spread(0.0) - 0.204_633).abs() < 1e-5);
        assert_eq!(replay.reward_spread(1.0), 1.0);
    }

    #[test]
    fn forgets_the_oldest_first() {
        let mut replay = Replay::new(4);
        replay.push_episode(&episode(0.0), 1.0);
        replay.push_episode(&episode(10.0), 2.0);
        let mut states: Vec<f32> = replay.samples().iter().map(|s| s.state[0]).collect();
        states.sort_by(f32::total_cmp);
        assert_eq!(states, [2.0, 10.0, 11.0, 12.0]);
    }
}
