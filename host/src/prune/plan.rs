//! Channels by greed: from the given network downwards, the step that is predicted to lose the
//! least per share of the budgets saved, until they are met.

use super::env::PruneEnv;
use super::loss::LayerLoss;
use super::policy::{MIN_CHANNELS, MIN_ELEMENTS, element_action, round_channels};
use crate::search::MeasureLayer;

/// Share of a layer's weights that a greedy step cuts.
const CUT: f32 = 0.05;
/// Loss, a fraction, that a step is counted with at least: below is noise.
const LEAST_LOSS: f32 = 0.001;
/// Share of the flash that a cut network may take: the fitting cuts less where that is enough.
const ROOM: f64 = 0.95;

impl<M: MeasureLayer + 'static> PruneEnv<'_, M> {
    /// The actions, `[steps, 2]`, of the greedy policy by `loss`, with no weights cut. Cycles are
    /// predicted; what the prediction is off by, [`super::fit`] corrects.
    pub fn greedy(&self, loss: &LayerLoss) -> Vec<Vec<f32>> {
        let widths = self.narrowed_by(loss, |widths| {
            (self.pressure(widths), self.flash_share(widths) <= 1.0)
        });
        self.actions_of(&widths, &vec![1.0; self.layers.len()])
    }

    /// The same by cycles alone, with weights cut instead of channels where the flash is too
    /// small for the network that comes of it, layer by layer as `cut` is predicted to lose
    /// least; `None` where it is not.
    ///
    /// # Errors
    /// Where the firmware cannot run a layer.
    pub fn sparse_greedy(
        &self,
        loss: &LayerLoss,
        cut: &LayerLoss,
    ) -> anyhow::Result<Option<Vec<Vec<f32>>>> {
        let widths = self.narrowed_by(loss, |widths| (self.predicted_cost(widths), true));
        if self.flash_share(&widths) <= 1.0 {
            return Ok(None);
        }
        let shares = self.thinned(&widths, cut)?;
        let elements: Vec<f32> = shares.iter().map(|s| element_action(*s)).collect();
        Ok(Some(self.actions_of(&widths, &elements)))
    }

    /// The share of each layer's weights to keep: from all of them downwards, the step that is
    /// predicted to lose the least per weight, until the flash has some room again.
    fn thinned(&self, widths: &[usize], loss: &LayerLoss) -> anyhow::Result<Vec<f32>> {
        let config = self.config_of(widths);
        let layers = config.layers();
        let stored = vec![self.setup.stored; layers.len()];
        let limit = ROOM * self.setup.storage().flash as f64;
        let mut shares = vec![1.0_f32; layers.len()];
        loop {
            let density: Vec<f64> = shares.iter().map(|s| f64::from(*s)).collect();
            let priced = self.priced_at(&config, &stored, &density)?;
            if priced.costs.flash_bytes as f64 <= limit {
                break;
            }
            let step = |i: usize| {
                let (now, next) = (shares[i], (shares[i] - CUT).max(MIN_ELEMENTS));
                let lost = loss.at(i, next) - loss.at(i, now);
                let saved = (now - next) * layers[i].weights() as f32;
                (next < now).then(|| (lost.max(LEAST_LOSS) / saved, i, next))
            };
            let steps = (0..layers.len()).filter_map(step);
            match steps.min_by(|a, b| a.0.total_cmp(&b.0)) {
                Some((_, i, next)) => shares[i] = next,
                None => break,
            }
        }
        Ok(shares)
    }

    /// Widths from the given network's downwards; `cost` of widths is what a step saves in, and
    /// whether budgets but the speed's are met.
    fn narrowed_by(&self, loss: &LayerLoss, cost: impl Fn(&[usize]) -> (f64, bool)) -> Vec<usize> {
        let (full, step) = (self.full_widths(), self.setup.channel_step.max(1));
        let mut widths = full.clone();
        let share = |i: usize, width: usize| width as f32 / full[i] as f32;
        loop {
            let (now, fits) = cost(&widths);
            if fits && self.predicted_to_fit(&widths) {
                break;
            }
            let mut best: Option<(f64, usize, usize)> = None;
            for i in 0..widths.len() {
                let width = narrowed(widths[i], step);
                if width < round_channels(MIN_CHANNELS, full[i], step) {
                    continue;
                }
                let lost = loss.at(i, share(i, width)) - loss.at(i, share(i, widths[i]));
                let kept = std::mem::replace(&mut widths[i], width);
                let saved = (now - cost(&widths).0).max(f64::MIN_POSITIVE);
                widths[i] = kept;
                let price = f64::from(lost) / saved;
                if best.is_none_or(|(least, ..)| price < least) {
                    best = Some((price, i, width));
                }
            }
            let Some((_, i, width)) = best else { break };
            widths[i] = width;
        }
        widths
    }

    fn actions_of(&self, widths: &[usize], elements: &[f32]) -> Vec<Vec<f32>> {
        let full = self.full_widths();
        let mut shares = widths.iter().zip(&full).map(|(w, f)| *w as f32 / *f as f32);
        // The last layer's share is 1.
        let action = |element: &f32| vec![shares.next().unwrap_or(1.0), *element];
        elements.iter().map(action).collect()
    }

    /// Whether the budgets of MACs and of predicted cycles are met.
    fn predicted_to_fit(&self, widths: &[usize]) -> bool {
        let targets = &self.setup.targets;
        targets.macs.is_none_or(|t| self.macs(widths) <= t)
            && targets
                .cycles
                .is_none_or(|t| self.predicted(widths) <= t as f64)
    }
}

/// The next narrower number of channels; 0 where there is none.
fn narrowed(width: usize, step: usize) -> usize {
    match width % step {
        0 => width.saturating_sub(step),
        rest => width - rest,
    }
}
