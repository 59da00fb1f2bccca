//! Channels by greed: from the given network downwards, the step that is predicted to lose the
//! least per share of the budgets saved, until they are met.

use super::env::PruneEnv;
use super::loss::ChannelLoss;
use super::policy::{MIN_CHANNELS, MIN_ELEMENTS, element_action, round_channels};
use crate::search::MeasureLayer;
use crate::vgg::LayerShape;

impl<M: MeasureLayer + 'static> PruneEnv<'_, M> {
    /// The actions, `[steps, 2]`, of the greedy policy by `loss`, with no weights cut. Cycles are
    /// predicted; what the prediction is off by, [`super::fit`] corrects.
    pub fn greedy(&self, loss: &ChannelLoss) -> Vec<Vec<f32>> {
        let widths = self.narrowed_by(loss, |widths| {
            (self.pressure(widths), self.flash_share(widths) <= 1.0)
        });
        self.actions_of(&widths, &vec![1.0; self.layers.len()])
    }

    /// The same by cycles alone, with weights cut instead of channels where the flash is too
    /// small for the network that comes of it; `None` where it is not.
    ///
    /// Layers keep weights in inverse proportion to their size, as Erdős–Rényi graphs of equal
    /// degree do (Evci et al., arXiv 1911.11134).
    pub fn sparse_greedy(&self, loss: &ChannelLoss) -> Option<Vec<Vec<f32>>> {
        let widths = self.narrowed_by(loss, |widths| (self.predicted_cost(widths), true));
        if self.flash_share(&widths) <= 1.0 {
            return None;
        }
        let layers = self.config_of(&widths).layers();
        let degree = |l: &LayerShape| {
            let (fan_in, fan_out) = (l.weights() / l.c_out.max(1), l.c_out);
            (fan_in + fan_out) as f32 / l.weights().max(1) as f32
        };
        let degrees: Vec<f32> = layers.iter().map(degree).collect();
        let least = degrees.iter().copied().fold(f32::INFINITY, f32::min);
        let floor = |d: &f32| element_action(MIN_ELEMENTS * d / least);
        let elements: Vec<f32> = degrees.iter().map(floor).collect();
        Some(self.actions_of(&widths, &elements))
    }

    /// Widths from the given network's downwards; `cost` of widths is what a step saves in, and
    /// whether budgets but the speed's are met.
    fn narrowed_by(
        &self,
        loss: &ChannelLoss,
        cost: impl Fn(&[usize]) -> (f64, bool),
    ) -> Vec<usize> {
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
