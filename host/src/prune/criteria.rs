//! Which channels and which weights matter: scores, higher is better.

use crate::vgg::Vgg;
use candle_core::Result;
use serde::{Deserialize, Serialize};

/// How output channels are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelCriterion {
    /// L1 norm of the channel's filter after folding batch normalization (Li et al. 2017,
    /// on the folded filter).
    L1,
    /// Magnitude of batch normalization's scale (Network Slimming, Liu et al. 2017); L1 where a
    /// layer has none.
    BnScale,
    /// Sum of the squared signal-to-noise ratio of the channel's weights after
    /// variational training: `Σ 1/α`, each capped at e^8.
    Variational,
    /// Nats that the channel needs under information dropout ([`super::Information`]).
    Information,
}

/// A score per output channel of each layer but the last; `log_alpha` per layer (as
/// [`super::Variational`] gives) is needed by [`ChannelCriterion::Variational`] only, which
/// falls back to L1 where there is none.
///
/// # Errors
/// Where a tensor cannot be read.
pub fn channel_scores(
    network: &Vgg,
    criterion: ChannelCriterion,
    log_alpha: Option<&[Vec<f32>]>,
) -> Result<Vec<Vec<f32>>> {
    let folded = network.fold()?;
    let inner = folded
        .layers
        .split_last()
        .map_or(&[][..], |(_, inner)| inner);
    let mut scores = Vec::with_capacity(inner.len());
    for (i, layer) in inner.iter().enumerate() {
        let norm = network.convs.get(i).and_then(|conv| conv.norm.as_ref());
        let l1 = || {
            layer
                .weight
                .chunks_exact(layer.shape.fan_in())
                .map(|f| f.iter().map(|w| w.abs()).sum())
        };
        scores.push(match (criterion, norm, log_alpha) {
            (ChannelCriterion::BnScale, Some(norm), _) => norm
                .gamma
                .to_vec1::<f32>()?
                .into_iter()
                .map(f32::abs)
                .collect(),
            (ChannelCriterion::Variational, _, Some(log_alpha)) => {
                let rows = log_alpha[i].chunks_exact(layer.shape.fan_in());
                rows.map(|row| row.iter().map(|a| (-a).min(8.0).exp()).sum())
                    .collect()
            }
            _ => l1().collect(),
        });
    }
    Ok(scores)
}

/// `|w|` of each layer with weights, `[c_out, fan_in]`: the magnitude ranking.
///
/// # Errors
/// Where a tensor cannot be read.
pub fn magnitude_scores(network: &Vgg) -> Result<Vec<Vec<f32>>> {
    (0..network.convs.len() + network.linears.len())
        .map(|i| network.weight(i).abs()?.flatten_all()?.to_vec1::<f32>())
        .collect()
}

/// Indices of the `n` highest scores in rising order; of equals the first wins.
#[must_use]
pub fn top(scores: &[f32], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    if n < order.len() {
        // The order of all is not needed, and long in coming for 100 million weights.
        order.select_nth_unstable_by(n, |&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        order.truncate(n);
    }
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_keeps_the_order_of_channels() {
        assert_eq!(top(&[0.1, 3.0, 2.0, 3.0], 2), [1, 3]);
        assert_eq!(top(&[1.0, 1.0, 1.0], 2), [0, 1]);
        assert_eq!(top(&[1.0], 5), [0]);
        assert_eq!(top(&[2.0, 1.0], 0), [0usize; 0]);
        let scores: Vec<f32> = (0..500).map(|i| (i * 7919 % 31) as f32).collect();
        let mut sorted: Vec<usize> = (0..500).collect();
        sorted.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        for n in [1, 17, 250, 499, 500] {
            let mut expected = sorted[..n].to_vec();
            expected.sort_unstable();
            assert_eq!(top(&scores, n), expected);
        }
    }
}
