//! Channels by greed: from the given network downwards, the step that is predicted to lose the
//! least per cycle saved, until the budget is met.

use super::env::PruneEnv;
use super::loss::ChannelLoss;
use super::policy::{MIN_CHANNELS, round_channels};
use crate::search::MeasureLayer;

impl<M: MeasureLayer + 'static> PruneEnv<'_, M> {
    /// The actions, `[steps, 2]`, of the greedy policy by `loss`. Cycles are predicted; what
    /// the prediction is off by, [`super::fit`] corrects.
    pub fn greedy(&self, loss: &ChannelLoss) -> Vec<Vec<f32>> {
        let (full, step) = (self.full_widths(), self.setup.channel_step.max(1));
        let mut widths = full.clone();
        let share = |i: usize, width: usize| width as f32 / full[i] as f32;
        while !self.predicted_to_fit(&widths) {
            let now = self.predicted_cost(&widths);
            let mut best: Option<(f64, usize, usize)> = None;
            for i in 0..widths.len() {
                let width = narrowed(widths[i], step);
                if width < round_channels(MIN_CHANNELS, full[i], step) {
                    continue;
                }
                let lost = loss.at(i, share(i, width)) - loss.at(i, share(i, widths[i]));
                let kept = std::mem::replace(&mut widths[i], width);
                let saved = (now - self.predicted_cost(&widths)).max(1.0);
                widths[i] = kept;
                let price = f64::from(lost) / saved;
                if best.is_none_or(|(least, ..)| price < least) {
                    best = Some((price, i, width));
                }
            }
            let Some((_, i, width)) = best else { break };
            widths[i] = width;
        }
        let mut shares = (0..widths.len()).map(|i| share(i, widths[i]));
        // The last layer's share is 1.
        let action = |_| vec![shares.next().unwrap_or(1.0), 1.0];
        self.layers.iter().map(action).collect()
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
