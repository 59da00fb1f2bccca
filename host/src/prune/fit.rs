//! Fitting an episode's policy to the budgets from both sides, for every agent alike.
//!
//! What an agent gives are preferences: which layers keep more than others. From the narrowest
//! network upwards, layers are widened a channel step at a time in the order in which one
//! growing factor on all shares would round them up; the last network of that path that meets
//! the budgets as *measured* is taken, and then single steps fill what is left. Weights are cut
//! only as far as flash asks for it, by one factor on what the agent would cut, and never further
//! than the agent says: where that is not enough for the flash, channels go. So no episode is
//! lost to a penalty, none leaves half of a budget unused, and agents differ only in what they
//! are to decide: the proportions, and whether flash is met by fewer channels or by fewer weights.

use super::env::{PruneEnv, TIMED};
use super::policy::{MIN_CHANNELS, element_share, round_channels};
use crate::lower::Bits;
use crate::reward::{Costs, Targets};
use crate::search::{MeasureLayer, Price, price};
use crate::vgg::VggConfig;

/// Share of the cycles that stage 1 leaves to stage 2, whose widths take more than 8 bits do.
const MARGIN: f64 = 0.015;
/// Filling stops where this share of the cycles is used.
const FILLED: f64 = 0.99;
/// Measurements that follow the prediction before the bracket is halved instead.
const GUESSES: usize = 4;
/// What a layer that should keep all weights is cut by, relative to one that should keep
/// none, where not even the narrowest network fits the flash as the agent would cut it.
const LEAST_CUT: f32 = 0.05;
/// Halvings of the factor on cuts.
const BISECTIONS: usize = 14;

/// What weights may be cut by.
#[derive(Clone, Debug)]
struct Cuts {
    /// Of each layer, 0 to 1: what an action of 0 would cut is 1.
    layers: Vec<f32>,
    /// The largest factor on all of them.
    most: f32,
}

impl Cuts {
    /// What `actions` say.
    fn of(actions: &[Vec<f32>]) -> Self {
        Self {
            layers: actions.iter().map(|a| 1.0 - a[1]).collect(),
            most: 1.0,
        }
    }

    /// As far as it takes, in the proportions that were said.
    fn unlimited(self) -> Self {
        Self {
            layers: self.layers.iter().map(|c| c.max(LEAST_CUT)).collect(),
            most: 1.0 / LEAST_CUT,
        }
    }

    /// The elements' actions by this factor.
    fn scaled(&self, factor: f32) -> Vec<f32> {
        let kept = |c: &f32| 1.0 - (factor * c).min(1.0);
        self.layers.iter().map(kept).collect()
    }
}

/// A network on the way, with what it costs.
struct Fitted {
    widths: Vec<usize>,
    /// Actions on the elements, 0 to 1.
    elements: Vec<f32>,
    costs: Costs,
    feasible: bool,
}

/// The same before the board has timed it.
struct Untimed {
    widths: Vec<usize>,
    elements: Vec<f32>,
    priced: Price,
    /// Whether all budgets but cycles are met.
    fits: bool,
}

impl<M: MeasureLayer + 'static> PruneEnv<'_, M> {
    /// The actions as applied: proportions from `actions`, sizes from the budgets.
    pub(super) fn fit(&mut self, actions: &[Vec<f32>]) -> anyhow::Result<Vec<Vec<f32>>> {
        let mut cuts = Cuts::of(actions);
        if !self.sized(self.walked(&[]), &cuts)?.fits {
            cuts = cuts.unlimited();
        }
        let path = self.path(actions);
        let widest = self.widest(&path, &cuts)?;
        let taken = self.last_that_fits(&path[..widest], &cuts)?;
        let start = self.walked(&path[..taken]);
        let start = self.measured(start, &cuts)?;
        let fitted = self.filled(start, &path[taken..], &cuts)?;
        // The last layer has no width of its own: its outputs are the classes.
        let mut widths = fitted.widths.iter();
        let rows = self.layers.iter().zip(&fitted.elements);
        let applied = rows.map(|(layer, &element)| {
            let kept = widths.next().copied().unwrap_or(layer.c_out);
            vec![kept as f32 / layer.c_out as f32, element]
        });
        Ok(applied.collect())
    }

    /// The layers to widen by a step, in the order in which a factor on the shares of
    /// `actions` that grows from 0 rounds them up.
    fn path(&self, actions: &[Vec<f32>]) -> Vec<usize> {
        let step = self.setup.channel_step.max(1);
        let mut events: Vec<(f32, usize)> = Vec::new();
        for (i, &c_out) in self.full_widths().iter().enumerate() {
            let least = round_channels(MIN_CHANNELS, c_out, step).div_ceil(step);
            let share = actions[i][0].max(MIN_CHANNELS);
            let rounds_up = |k: usize| (k as f32 - 0.5) * step as f32 / c_out as f32 / share;
            events.extend((least + 1..=c_out.div_ceil(step)).map(|k| (rounds_up(k), i)));
        }
        events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        events.into_iter().map(|(_, i)| i).collect()
    }

    /// The widths after these steps from the narrowest network.
    fn walked(&self, path: &[usize]) -> Vec<usize> {
        let (step, full) = (self.setup.channel_step.max(1), self.full_widths());
        let least = |c: &usize| round_channels(MIN_CHANNELS, *c, step);
        let mut widths: Vec<usize> = full.iter().map(least).collect();
        for &i in path {
            widths[i] = widened(widths[i], full[i], step);
        }
        widths
    }

    /// How far the path can be walked within the budgets that need no measurement.
    fn widest(&self, path: &[usize], cuts: &Cuts) -> anyhow::Result<usize> {
        let (mut fits, mut fails) = (0, path.len() + 1);
        while fails - fits > 1 {
            let middle = usize::midpoint(fits, fails);
            let config = self.config_of(&self.walked(&path[..middle]));
            let elements = self.fit_elements(&config, cuts)?;
            let priced = self.priced(&config, &elements)?;
            if priced.too_large.is_empty() && self.setup.targets.feasible(&priced.costs) {
                fits = middle;
            } else {
                fails = middle;
            }
        }
        Ok(fits)
    }

    /// How far the path can be walked within the measured cycles. Predictions, corrected by
    /// the last measurement, say where to measure.
    fn last_that_fits(&mut self, path: &[usize], cuts: &Cuts) -> anyhow::Result<usize> {
        let predicted: Vec<f64> = (0..=path.len())
            .map(|n| self.predicted(&self.walked(&path[..n])))
            .collect();
        let (mut fits, mut fails, mut ratio) = (0, path.len() + 1, 1.0);
        for round in 0.. {
            if fails - fits <= 1 {
                break;
            }
            let limit = self
                .setup
                .targets
                .cycles
                .map_or(f64::INFINITY, |c| c as f64);
            let likely = predicted.partition_point(|p| p * ratio <= limit * (1.0 - MARGIN));
            let at = if round < GUESSES {
                likely.saturating_sub(1).clamp(fits + 1, fails - 1)
            } else {
                usize::midpoint(fits, fails)
            };
            let tried = self.measured(self.walked(&path[..at]), cuts)?;
            ratio = tried.costs.cycles as f64 / predicted[at].max(1.0);
            if tried.feasible {
                fits = at;
            } else {
                fails = at;
            }
        }
        Ok(fits)
    }

    /// Takes what single steps of the rest of the path still fit, in its order.
    fn filled(&mut self, mut now: Fitted, rest: &[usize], cuts: &Cuts) -> anyhow::Result<Fitted> {
        let (step, full) = (self.setup.channel_step.max(1), self.full_widths());
        let mut closed = vec![false; full.len()];
        for &i in rest {
            let limit = self.cycles_limit(&now.widths)?;
            let enough = limit.is_some_and(|l| now.costs.cycles as f64 >= FILLED * l as f64);
            if enough || closed.iter().all(|c| *c) {
                break;
            }
            if closed[i] {
                continue;
            }
            let mut widths = now.widths.clone();
            widths[i] = widened(widths[i], full[i], step);
            let ratio = now.costs.cycles as f64 / self.predicted(&now.widths).max(1.0);
            // What is predicted far above the budget is not worth the board's time.
            let hopeless = limit.is_some_and(|l| self.predicted(&widths) * ratio > 1.1 * l as f64);
            if hopeless {
                closed[i] = true;
                continue;
            }
            let sized = self.sized(widths, cuts)?;
            // Nor is what exceeds a budget that needs no board.
            let next = if sized.fits {
                Some(self.timed(sized)?)
            } else {
                None
            };
            match next.filter(|n| n.feasible) {
                Some(next) => now = next,
                None => closed[i] = true,
            }
        }
        Ok(now)
    }

    /// What `policy` costs, measured.
    #[cfg(test)]
    pub(super) fn costs(&mut self, policy: &super::PrunePolicy) -> anyhow::Result<Costs> {
        let config = self.config_of(&policy.channels);
        let density: Vec<f64> = policy.elements.iter().map(|&e| f64::from(e)).collect();
        let priced = self.priced_at(&config, &vec![self.setup.stored; density.len()], &density)?;
        Ok(priced.with_cycles(&self.latency.costs(&priced.keys)?))
    }

    fn measured(&mut self, widths: Vec<usize>, cuts: &Cuts) -> anyhow::Result<Fitted> {
        let sized = self.sized(widths, cuts)?;
        self.timed(sized)
    }

    /// What needs no board.
    fn sized(&self, widths: Vec<usize>, cuts: &Cuts) -> anyhow::Result<Untimed> {
        let config = self.config_of(&widths);
        let elements = self.fit_elements(&config, cuts)?;
        let priced = self.priced(&config, &elements)?;
        Ok(Untimed {
            fits: priced.too_large.is_empty() && self.setup.targets.feasible(&priced.costs),
            widths,
            elements,
            priced,
        })
    }

    fn timed(&mut self, sized: Untimed) -> anyhow::Result<Fitted> {
        let Untimed {
            widths,
            elements,
            priced,
            ..
        } = sized;
        let costs = priced.with_cycles(&self.latency.costs(&priced.keys)?);
        let targets = Targets {
            cycles: self.cycles_limit(&widths)?,
            ..self.setup.targets
        };
        Ok(Fitted {
            feasible: priced.too_large.is_empty() && targets.feasible(&costs),
            widths,
            elements,
            costs,
        })
    }

    /// The cycles that stage 1 may use: a little less than the target, and less by what
    /// the widths of flash took more in the given network where 8-bit ones will not fit it.
    fn cycles_limit(&self, widths: &[usize]) -> anyhow::Result<Option<u64>> {
        let Some(cycles) = self.setup.targets.cycles else {
            return Ok(None);
        };
        let wide = vec![TIMED; self.layers.len()];
        let priced = self.priced_at(&self.config_of(widths), &wide, &vec![1.0; wide.len()])?;
        let roomy = priced.costs.flash_bytes <= self.setup.storage().flash;
        let slower = if roomy {
            1.0
        } else {
            self.narrow_ratio.max(1.0)
        };
        Ok(Some((cycles as f64 * (1.0 - MARGIN) / slower) as u64))
    }

    /// The elements' actions that meet the flash, by one factor on `cuts`: nothing is cut
    /// where nothing has to be, and all that may be where even that does not meet it.
    fn fit_elements(&self, config: &VggConfig, cuts: &Cuts) -> anyhow::Result<Vec<f32>> {
        let fits = |factor: f32| -> anyhow::Result<bool> {
            let priced = self.priced(config, &cuts.scaled(factor))?;
            Ok(priced.costs.flash_bytes <= self.setup.storage().flash)
        };
        if fits(0.0)? {
            return Ok(cuts.scaled(0.0));
        }
        let (mut fails, mut enough) = (0.0, cuts.most);
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (fails + enough);
            if fits(middle)? {
                enough = middle;
            } else {
                fails = middle;
            }
        }
        Ok(cuts.scaled(enough))
    }

    fn priced(&self, config: &VggConfig, elements: &[f32]) -> anyhow::Result<Price> {
        let density: Vec<f64> = elements
            .iter()
            .map(|&e| f64::from(element_share(e)))
            .collect();
        self.priced_at(config, &vec![self.setup.stored; density.len()], &density)
    }

    pub(super) fn priced_at(
        &self,
        config: &VggConfig,
        stored: &[Bits],
        density: &[f64],
    ) -> anyhow::Result<Price> {
        let timed = vec![TIMED; density.len()];
        let storage = self.setup.storage();
        Ok(price(config, (&timed, stored), density, &storage)?)
    }

    /// Cycles by each layer's dense cycles per MAC; the mean of the others where a layer of
    /// the dense network does not fit the board.
    pub(super) fn predicted(&self, widths: &[usize]) -> f64 {
        let timed = || {
            self.layers
                .iter()
                .zip(&self.dense_cycles)
                .filter(|(_, c)| **c > 0)
        };
        let (macs, cycles) = timed().fold((0, 0), |(m, c), (l, x)| (m + l.macs(), c + x));
        let mean = cycles as f64 / macs.max(1) as f64;
        let now = self.config_of(widths).layers();
        let layers = now.iter().zip(&self.layers).zip(&self.dense_cycles);
        layers
            .map(|((now, dense), &c)| {
                let each = if c > 0 {
                    c as f64 / dense.macs() as f64
                } else {
                    mean
                };
                each * now.macs() as f64
            })
            .sum()
    }

    /// What a greedy step saves in: predicted cycles, or MACs where only they are limited.
    pub(super) fn predicted_cost(&self, widths: &[usize]) -> f64 {
        match (self.setup.targets.cycles, self.setup.targets.macs) {
            (None, Some(_)) => self.macs(widths) as f64,
            _ => self.predicted(widths),
        }
    }

    /// The same as a share of its budget, with what dense weights take of the flash, as far as
    /// that is more than there is.
    pub(super) fn pressure(&self, widths: &[usize]) -> f64 {
        let targets = &self.setup.targets;
        let speed = targets.cycles.or(targets.macs).unwrap_or(u64::MAX);
        let flash = self.flash_share(widths).max(1.0);
        self.predicted_cost(widths) / speed as f64 + flash
    }

    /// What dense weights take of the flash budget, 0 where there is none.
    pub(super) fn flash_share(&self, widths: &[usize]) -> f64 {
        let bits = self.config_of(widths).parameters() as f64 * f64::from(self.setup.stored.w);
        let budget = self.setup.targets.flash_bytes;
        budget.map_or(0.0, |flash| bits / 8.0 / flash as f64)
    }

    pub(super) fn macs(&self, widths: &[usize]) -> u64 {
        self.config_of(widths).macs()
    }

    pub(super) fn config_of(&self, widths: &[usize]) -> VggConfig {
        self.setup.network.config.with_widths(widths)
    }

    /// Of each layer that can be narrowed: all but the last.
    pub(super) fn full_widths(&self) -> Vec<usize> {
        self.setup.network.config.widths()
    }
}

/// The next wider number of channels.
fn widened(width: usize, full: usize, step: usize) -> usize {
    (width + step).min(full)
}
