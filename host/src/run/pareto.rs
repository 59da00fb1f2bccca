//! The front of everything that was evaluated: accuracy against cycles and bytes.

use super::{EpisodeRecord, Stage};
use serde::{Deserialize, Serialize};

/// A policy that nothing beats, as `pareto.json` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontPoint {
    /// The search that judged it. Accuracies of different searches do not compare: the second
    /// one starts from a network that has been fine-tuned.
    pub stage: Stage,
    /// Its episode.
    pub episode: usize,
    /// Accuracy on the validation subset, a fraction.
    pub accuracy: f64,
    /// Cycles of one inference.
    pub cycles: u64,
    /// Bytes of the blob.
    pub flash_bytes: u64,
    /// Bytes of the arena.
    pub sram_bytes: u64,
    /// Whether all budgets are met.
    pub feasible: bool,
}

/// Of each search, the policies for which no other is at least as accurate, as fast and as
/// small, and better in one of these; by rising cycles. Of equal ones the first.
#[must_use]
pub fn pareto_front(log: &[EpisodeRecord]) -> Vec<FrontPoint> {
    let beaten = |i: usize| {
        let r = &log[i];
        log.iter().enumerate().any(|(j, other)| {
            let same = other.stage == r.stage && i != j;
            same && no_worse(other, r) && (j < i || !no_worse(r, other))
        })
    };
    let mut front: Vec<FrontPoint> = (0..log.len())
        .filter(|&i| !beaten(i))
        .map(|i| point(&log[i]))
        .collect();
    front.sort_by_key(|p| (p.stage, p.cycles, p.flash_bytes));
    front
}

fn no_worse(a: &EpisodeRecord, b: &EpisodeRecord) -> bool {
    a.accuracy >= b.accuracy
        && a.costs.cycles <= b.costs.cycles
        && a.costs.flash_bytes <= b.costs.flash_bytes
}

fn point(r: &EpisodeRecord) -> FrontPoint {
    FrontPoint {
        stage: r.stage,
        episode: r.episode,
        accuracy: r.accuracy,
        cycles: r.costs.cycles,
        flash_bytes: r.costs.flash_bytes,
        sram_bytes: r.costs.sram_bytes,
        feasible: r.feasible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::Costs;

    fn record(episode: usize, accuracy: f64, cycles: u64, flash_bytes: u64) -> EpisodeRecord {
        EpisodeRecord {
            stage: Stage::Prune,
            episode,
            agent: "random".into(),
            reward: accuracy,
            accuracy,
            likelihood: None,
            costs: Costs {
                cycles,
                flash_bytes,
                ..Costs::default()
            },
            feasible: true,
            excess: 0.0,
            best: false,
            variant: None,
            cycles_error: None,
            images: None,
            actions: vec![],
            seconds: 0.0,
            seconds_by_part: None,
        }
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        let mut log = vec![
            record(0, 0.8, 100, 50),
            // Slower and no better.
            record(1, 0.8, 110, 50),
            // Worse, but smaller.
            record(2, 0.7, 100, 40),
            // The first again.
            record(3, 0.8, 100, 50),
            record(4, 0.6, 90, 45),
        ];
        let episodes =
            |log: &[_]| -> Vec<usize> { pareto_front(log).iter().map(|p| p.episode).collect() };
        assert_eq!(episodes(&log), [4, 2, 0]);
        // Another search's accuracies do not compare.
        log.push(EpisodeRecord {
            stage: Stage::Quantize,
            ..record(0, 0.9, 80, 30)
        });
        assert_eq!(episodes(&log), [4, 2, 0, 0]);
    }
}
