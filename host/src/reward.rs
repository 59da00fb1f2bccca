//! Rewards: from accuracy and measured costs to one number.
//!
//! A search's candidate has an accuracy on the validation subset (a fraction) and four
//! [`Costs`], each with a [`Targets`] limit. [`Reward::score`] makes a [`Score`] of them in one
//! of four [`RewardMode`]s; [`Score::beats`] says which of two candidates to keep.
//! [`clip_action`] is the bisection that the budget mode limits actions with.

use serde::{Deserialize, Serialize};

/// How steeply an exceeded target costs reward (Galen's r7).
const PENALTY: f64 = 5.0;
/// Cap of the summed relative excess that the penalty counts.
const EXCESS_CAP: f64 = 2.0;
/// Factor of HAQ's reward.
const HAQ_SCALE: f64 = 0.1;
/// Default share of the dense 8-bit network's cycles and MACs.
const DEFAULT_SHARE: f64 = 0.25;
/// Halvings of a clipping: the action is then exact to about 1e-6.
const BISECTIONS: usize = 20;

/// What a candidate costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Multiply-accumulates of the dense network after channels were removed.
    pub macs: u64,
    /// Bytes of the blob.
    pub flash_bytes: u64,
    /// Bytes of the arena, scratch included.
    pub sram_bytes: u64,
    /// Cycles of one inference on the board.
    pub cycles: u64,
}

/// Limits of [`Costs`], in the same units. `None` leaves a cost unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Most MACs.
    pub macs: Option<u64>,
    /// Most bytes of the blob.
    pub flash_bytes: Option<u64>,
    /// Most bytes of the arena.
    pub sram_bytes: Option<u64>,
    /// Most cycles an inference.
    pub cycles: Option<u64>,
}

/// A target that a candidate exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which cost, as in the field's name.
    pub cost: &'static str,
    /// What the candidate needs.
    pub value: u64,
    /// What it may.
    pub target: u64,
}

impl Targets {
    /// The defaults: flash and SRAM up to the board's limits (using less is worth nothing: the
    /// planner turns SRAM into speed), cycles and MACs 25 % of the dense 8-bit network's.
    pub fn for_board(flash_bytes: u64, sram_bytes: u64, dense: &Costs) -> Self {
        let share = |cost: u64| (cost as f64 * DEFAULT_SHARE).round() as u64;
        Self {
            macs: Some(share(dense.macs)),
            flash_bytes: Some(flash_bytes),
            sram_bytes: Some(sram_bytes),
            cycles: Some(share(dense.cycles)),
        }
    }

    /// The targets that `costs` exceed, in the order of the fields. A cost equal to its target
    /// is within it.
    pub fn exceeded(&self, costs: &Costs) -> Vec<Exceeded> {
        self.pairs(costs)
            .into_iter()
            .filter_map(|(cost, value, target)| {
                target.filter(|&t| value > t).map(|target| Exceeded {
                    cost,
                    value,
                    target,
                })
            })
            .collect()
    }

    /// Whether every cost is within its target.
    pub fn feasible(&self, costs: &Costs) -> bool {
        self.exceeded(costs).is_empty()
    }

    /// Σ|cost/target − 1| over the targets exceeded, uncapped; 0 where feasible. A target of 0
    /// counts as 1.
    pub fn excess(&self, costs: &Costs) -> f64 {
        self.exceeded(costs)
            .iter()
            .map(|e| e.value as f64 / e.target.max(1) as f64 - 1.0)
            .sum()
    }

    fn pairs(&self, costs: &Costs) -> [(&'static str, u64, Option<u64>); 4] {
        [
            ("macs", costs.macs, self.macs),
            ("flash_bytes", costs.flash_bytes, self.flash_bytes),
            ("sram_bytes", costs.sram_bytes, self.sram_bytes),
            ("cycles", costs.cycles, self.cycles),
        ]
    }
}

/// How accuracy and costs become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RewardMode {
    /// −(1 − accuracy) · ln(MACs): AMC's accuracy-guaranteed form, no budgets.
    AccuracyFlops,
    /// Accuracy, with actions clipped beforehand so that the budgets can still be met.
    Budget,
    /// Accuracy, minus 5·Σ|cost/target − 1| over the targets exceeded, the sum capped at 2.
    #[default]
    Board,
    /// 0.1 · (accuracy − accuracy before), as HAQ rewards bit widths.
    Haq,
}

/// What stage 1 takes for a candidate's speed, in its reward and its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SpeedModel {
    /// The cycles that the board measured.
    #[default]
    Cycles,
    /// Multiply-accumulates: as many as the uniform policy has that meets the budgets as
    /// measured. What a search without a board would go by.
    Macs,
}

/// What of a candidate's answers the budgeted modes reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Merit {
    /// The share of pictures that are right.
    #[default]
    Accuracy,
    /// The geometric mean of the probabilities that the labels get, exp(−cross-entropy): as far
    /// between 0 and 1, but every picture says more than yes or no, so fewer rank as well.
    Likelihood,
}

/// What a candidate's answers are worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// The share of pictures that are right.
    pub accuracy: f64,
    /// See [`Merit::Likelihood`]; `None` where an old log does not have it.
    pub likelihood: Option<f64>,
}

/// A reward mode with what it needs to score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// The formula.
    pub mode: RewardMode,
    /// The limits.
    pub targets: Targets,
    /// What [`RewardMode::Budget`] and [`RewardMode::Board`] reward; the others are defined by
    /// accuracy.
    #[serde(default)]
    pub merit: Merit,
    /// Accuracy of the stage's starting network on the same images: acc_0 of
    /// [`RewardMode::Haq`].
    pub accuracy_before: f64,
}

/// A scored candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The number that the agent gets.
    #[serde(with = "crate::search::exact::number")]
    pub reward: f64,
    /// Whether every cost is within its target.
    pub feasible: bool,
    /// [`Targets::excess`]: how far away the nearest budget is.
    #[serde(with = "crate::search::exact::number")]
    pub excess: f64,
}

impl Reward {
    /// Scores a candidate of this quality and these costs:
    ///
    /// | mode | reward |
    /// |---|---|
    /// | `accuracy-flops` | −(1 − acc) · ln(MACs) (AMC, arXiv 1802.03494, eq. 3) |
    /// | `budget` | acc − p, or likelihood − p |
    /// | `board` | acc − p, or likelihood − p |
    /// | `haq` | 0.1 · (acc − acc_0) − p (HAQ, arXiv 1811.08886, eq. 5) |
    ///
    /// with p = 5 · min(Σ|cost/target − 1|, 2) over the targets exceeded (Galen's r7 form), so
    /// p = 0 for what is feasible. In `budget` and `haq` the actions were clipped or repaired
    /// beforehand; p is left only where that could not help, and keeps such a candidate from
    /// being rewarded for it.
    pub fn score(&self, quality: Quality, costs: &Costs) -> Score {
        let accuracy = quality.accuracy;
        let merit = match self.merit {
            Merit::Accuracy => accuracy,
            Merit::Likelihood => quality.likelihood.unwrap_or(accuracy),
        };
        let excess = self.targets.excess(costs);
        let penalty = PENALTY * excess.min(EXCESS_CAP);
        let reward = match self.mode {
            RewardMode::AccuracyFlops => -(1.0 - accuracy) * (costs.macs.max(1) as f64).ln(),
            RewardMode::Budget | RewardMode::Board => merit - penalty,
            RewardMode::Haq => HAQ_SCALE * (accuracy - self.accuracy_before) - penalty,
        };
        Score {
            reward,
            feasible: self.targets.feasible(costs),
            excess,
        }
    }
}

impl Score {
    /// Whether this candidate is to be kept instead of `other`: a feasible one before one that
    /// is not, then the higher reward; of two infeasible ones the one nearer to its budgets.
    /// Ties keep the older.
    pub fn beats(&self, other: &Self) -> bool {
        match (self.feasible, other.feasible) {
            (true, true) => self.reward > other.reward,
            (false, false) => {
                self.excess < other.excess
                    || (self.excess == other.excess && self.reward > other.reward)
            }
            (mine, _) => mine,
        }
    }
}

/// The largest action in `[lower, action]` that `fits`, by bisection: `action` itself if it
/// fits, `lower` if nothing does. `fits` must not become true again above where it fails, as
/// with costs that grow with the action; with stepped costs (channels rounded to 8) the result
/// lies on the step that fits.
pub fn clip_action(action: f32, lower: f32, mut fits: impl FnMut(f32) -> bool) -> f32 {
    if action <= lower || fits(action) {
        return action.max(lower);
    }
    let (mut low, mut high) = (lower, action);
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// [`clip_action`] for one cost: the largest action whose `cost` is within `budget`.
///
/// `cost` prices the whole network with this action, the layers still undecided at their lower
/// bounds.
pub fn clip_to_budget(
    action: f32,
    lower: f32,
    budget: u64,
    mut cost: impl FnMut(f32) -> u64,
) -> f32 {
    clip_action(action, lower, |a| cost(a) <= budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs {
        macs: 1_000_000,
        flash_bytes: 120_000,
        sram_bytes: 65_536,
        cycles: 3_000_000,
    };

    const QUALITY: Quality = Quality {
        accuracy: 0.8,
        likelihood: Some(0.5),
    };

    fn targets(cycles: u64, flash: u64) -> Targets {
        Targets {
            macs: Some(1_000_000),
            flash_bytes: Some(flash),
            sram_bytes: None,
            cycles: Some(cycles),
        }
    }

    fn score(mode: RewardMode, targets: Targets) -> Score {
        let reward = Reward {
            mode,
            merit: Merit::Accuracy,
            targets,
            accuracy_before: 0.85,
        };
        reward.score(QUALITY, &COSTS)
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn every_mode_by_hand_within_the_targets() {
        let roomy = targets(3_000_000, 120_000);
        assert!(roomy.feasible(&COSTS), "equal to the target is within it");
        // ln(10^6) = 13.815510557964274
        let flops = score(RewardMode::AccuracyFlops, roomy).reward;
        assert!(close(flops, -0.2 * 13.815_510_557_964_274));
        assert!(close(score(RewardMode::Budget, roomy).reward, 0.8));
        assert!(close(score(RewardMode::Board, roomy).reward, 0.8));
        assert!(close(score(RewardMode::Haq, roomy).reward, -0.005));
    }

    #[test]
    fn exceeded_targets_cost_five_times_their_excess() {
        // cycles 1.5 times, flash 1.2 times the target: excess 0.5 + 0.2.
        let tight = targets(2_000_000, 100_000);
        let s = score(RewardMode::Board, tight);
        assert!(close(s.excess, 0.7) && close(s.reward, 0.8 - 3.5) && !s.feasible);
        assert!(close(score(RewardMode::Haq, tight).reward, -0.005 - 3.5));
        assert!(close(score(RewardMode::Budget, tight).reward, 0.8 - 3.5));
        let names: Vec<_> = tight.exceeded(&COSTS).iter().map(|e| e.cost).collect();
        assert_eq!(names, ["flash_bytes", "cycles"]);
        // 15 times the target: the sum is capped at 2, the excess as reported is not.
        let s = score(RewardMode::Board, targets(200_000, 120_000));
        assert!(close(s.reward, 0.8 - 10.0) && close(s.excess, 14.0));
    }

    #[test]
    fn default_targets_are_the_boards_limits_and_a_quarter() {
        let t = Targets::for_board(917_504, 100_000, &COSTS);
        assert_eq!((t.macs, t.cycles), (Some(250_000), Some(750_000)));
        assert_eq!(
            (t.flash_bytes, t.sram_bytes),
            (Some(917_504), Some(100_000))
        );
    }

    #[test]
    fn feasible_first_then_reward_then_the_nearest() {
        let s = |reward, feasible, excess| Score {
            reward,
            feasible,
            excess,
        };
        assert!(s(0.1, true, 0.0).beats(&s(0.9, false, 0.01)));
        assert!(!s(0.9, false, 0.01).beats(&s(0.1, true, 0.0)));
        assert!(s(0.8, true, 0.0).beats(&s(0.7, true, 0.0)));
        assert!(
            !s(0.8, true, 0.0).beats(&s(0.8, true, 0.0)),
            "a tie keeps the older"
        );
        assert!(
            s(-9.2, false, 3.0).beats(&s(-9.1, false, 4.0)),
            "nearer to the budget"
        );
        assert!(s(-9.1, false, 3.0).beats(&s(-9.2, false, 3.0)));
    }

    #[test]
    fn clipping_finds_the_edge_of_the_budget() {
        let line = |a: f32| (1000.0 * a) as u64;
        assert_eq!(clip_to_budget(0.4, 0.1, 500, line), 0.4, "fits as it is");
        let clipped = clip_to_budget(0.9, 0.1, 500, line);
        assert!(
            (clipped - 0.501).abs() < 1e-4 && line(clipped) <= 500,
            "{clipped}"
        );
        assert_eq!(clip_to_budget(0.9, 0.1, 50, line), 0.1, "nothing fits");
        assert_eq!(
            clip_to_budget(0.05, 0.1, 500, line),
            0.1,
            "never below the bound"
        );
        // Channels in eights of 64: 0.7 asks for 48, 40 is what fits.
        let stepped = |a: f32| 100 * 8 * (8.0 * a).round() as u64;
        let clipped = clip_to_budget(0.7, 0.1, 4_500, stepped);
        assert_eq!(stepped(clipped), 4_000);
    }

    #[test]
    fn likelihood_takes_the_place_of_accuracy_where_budgets_decide() {
        let of = |mode, quality: Quality| {
            let reward = Reward {
                mode,
                merit: Merit::Likelihood,
                targets: targets(3_000_000, 120_000),
                accuracy_before: 0.85,
            };
            reward.score(quality, &COSTS).reward
        };
        let old = Quality {
            likelihood: None,
            ..QUALITY
        };
        for mode in [RewardMode::Board, RewardMode::Budget] {
            assert_eq!((of(mode, QUALITY), of(mode, old)), (0.5, 0.8));
        }
        for mode in [RewardMode::Haq, RewardMode::AccuracyFlops] {
            assert_eq!(of(mode, QUALITY), of(mode, old), "defined by accuracy");
        }
    }
}
