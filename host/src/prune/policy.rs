//! What an agent's actions mean for pruning, and how a policy is carried out.

use super::criteria::top;
use super::rebuild::{element_masks, rebuild, select_scores};
use super::reconstruct::Moments;
use crate::vgg::Vgg;
use candle_core::Result;
use serde::{Deserialize, Serialize};

/// Least share of channels that an action keeps.
pub const MIN_CHANNELS: f32 = 0.1;
/// Least share of weights that an action keeps.
pub const MIN_ELEMENTS: f32 = 0.05;

/// The share of weights that an action in 0 to 1 keeps: concave, so that the middle of the
/// action's range cuts a quarter and not half. Cutting weights pays in flash only, and an
/// agent that starts in the middle should not start with a broken network.
#[must_use]
pub fn element_share(action: f32) -> f32 {
    let cut = 1.0 - action.clamp(0.0, 1.0);
    1.0 - (1.0 - MIN_ELEMENTS) * cut * cut
}

/// The action that keeps this share of weights: what [`element_share`] is undone by.
#[must_use]
pub fn element_action(share: f32) -> f32 {
    let cut = (1.0 - share.clamp(MIN_ELEMENTS, 1.0)) / (1.0 - MIN_ELEMENTS);
    1.0 - cut.sqrt()
}

/// Channels of each layer but the last and the share of weights of each layer to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrunePolicy {
    /// Channels (of a hidden layer: features) to keep, one number a layer but the last.
    pub channels: Vec<usize>,
    /// Share of the remaining weights to keep, 0 to 1, one number a layer with weights.
    pub elements: Vec<f32>,
}

/// The rankings that a policy cuts.
#[derive(Clone, Debug, PartialEq)]
pub struct Rankings {
    /// A score per output channel of each layer but the last.
    pub channels: Vec<Vec<f32>>,
    /// A score per weight of each layer, `[c_out, fan_in]`.
    pub elements: Vec<Vec<f32>>,
}

impl PrunePolicy {
    /// Everything kept.
    #[must_use]
    pub fn keep_all(network: &Vgg) -> Self {
        let channels = network.config.widths();
        Self {
            elements: vec![1.0; channels.len() + 1],
            channels,
        }
    }

    /// The smaller network, weights taken from `network`, masks set and applied. Batch
    /// normalization still has the old statistics.
    ///
    /// # Errors
    /// Where a tensor operation fails.
    pub fn apply(&self, network: &Vgg, rankings: &Rankings) -> Result<Vgg> {
        self.apply_reconstructed(network, rankings, None)
    }

    /// The same, where with `moments` the remaining weights make up for the channels that went.
    ///
    /// # Errors
    /// Where a tensor operation fails.
    pub fn apply_reconstructed(
        &self,
        network: &Vgg,
        rankings: &Rankings,
        moments: Option<&Moments>,
    ) -> Result<Vgg> {
        let keep: Vec<Vec<usize>> = rankings
            .channels
            .iter()
            .zip(&self.channels)
            .map(|(s, &n)| top(s, n))
            .collect();
        let mut small = rebuild(network, &keep)?;
        if let Some(moments) = moments {
            moments.reconstruct(network, &small, &keep)?;
        }
        let scores = select_scores(network, &rankings.elements, &keep);
        small.masks = element_masks(&small, &scores, &self.elements)?;
        small.apply_masks()?;
        Ok(small)
    }
}

/// The number of channels that `share` of `c_out` is, rounded to a multiple of `step` (but
/// all of them where that is more), at least one multiple.
#[must_use]
pub fn round_channels(share: f32, c_out: usize, step: usize) -> usize {
    let step = step.max(1);
    let wanted = (share * c_out as f32 / step as f32).round() as usize * step;
    wanted.clamp(step.min(c_out), c_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_shares_cover_their_range() {
        assert_eq!(element_share(1.0), 1.0);
        assert!((element_share(0.0) - MIN_ELEMENTS).abs() < 1e-6);
        assert!((element_share(0.5) - 0.7625).abs() < 1e-6);
        for action in [0.0, 0.3, 0.5, 0.9, 1.0] {
            let again = element_action(element_share(action));
            assert!((again - action).abs() < 1e-3, "{action}: {again}");
        }
    }

    #[test]
    fn channels_round_to_what_the_kernels_like() {
        assert_eq!(round_channels(0.5, 32, 8), 16);
        assert_eq!(round_channels(0.1, 32, 8), 8);
        assert_eq!(round_channels(1.0, 37, 8), 37);
        assert_eq!(round_channels(0.9, 37, 8), 32);
        assert_eq!(round_channels(0.0, 4, 8), 4);
        assert_eq!(round_channels(0.49, 100, 1), 49);
    }
}
