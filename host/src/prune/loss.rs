//! What a layer with fewer channels or fewer weights is predicted to lose: one table, from
//! three sources.

use super::criteria::top;
use super::policy::{PrunePolicy, Rankings};
use super::reconstruct::Moments;
use crate::data::plain_batch;
use crate::nn::{one_hot, soft_cross_entropy};
use crate::search::SearchData;
use crate::vgg::{Vgg, evaluate};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// Shares of channels or weights at which the accuracy is measured, layer by layer.
const SHARES: [f32; 3] = [0.25, 0.5, 0.75];

/// Predicted loss of each layer by the share that is kept of its channels (no layer but the last
/// can do without some) or of its weights.
///
/// Losses of different layers are taken to add up. Their unit is that of the source: a
/// fraction of accuracy, a share of L1 norm, nats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerLoss {
    /// Of each layer (of channels: but the last): share kept and loss, rising shares, the last
    /// one 1 with no loss.
    pub points: Vec<Vec<(f32, f32)>>,
}

impl LayerLoss {
    /// The loss of keeping `share` of layer `i`: linear between the points and on
    /// beyond the first, never less than what a wider layer loses.
    #[must_use]
    pub fn at(&self, i: usize, share: f32) -> f32 {
        let points = &self.points[i];
        let next = points
            .partition_point(|p| p.0 < share)
            .clamp(1, points.len() - 1);
        let (a, b) = (points[next - 1], points[next]);
        let t = (share - a.0) / (b.0 - a.0).max(f32::EPSILON);
        let line = a.1 + t * (b.1 - a.1);
        let wider = points[next..].iter().map(|p| p.1);
        wider.fold(line, f32::max)
    }

    /// Accuracy measured with one layer narrowed at a time, batch normalization
    /// re-estimated, nothing trained: `norm_images` training images for the statistics,
    /// `images` validation images for the accuracy. `progress(done, of)` after each.
    ///
    /// # Errors
    /// Where the images do not fit the network.
    pub fn of_narrowing(
        network: &Vgg,
        known: (&Rankings, Option<&Moments>),
        data: &SearchData,
        sizes: (usize, usize, usize),
        progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let layers = PrunePolicy::keep_all(network).channels.len();
        let narrow = |policy: &mut PrunePolicy, i: usize, share: f32| {
            let kept = (share * policy.channels[i] as f32).round() as usize;
            policy.channels[i] = kept.max(1);
        };
        Self::measured(network, known, data, sizes, (layers, narrow), progress)
    }

    /// The same with a share of one layer's weights kept, by their ranking.
    ///
    /// # Errors
    /// Where the images do not fit the network.
    pub fn of_cutting(
        network: &Vgg,
        rankings: &Rankings,
        data: &SearchData,
        sizes: (usize, usize, usize),
        progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let layers = network.config.layers().len();
        let cut = |policy: &mut PrunePolicy, i: usize, share: f32| policy.elements[i] = share;
        let known = (rankings, None);
        Self::measured(network, known, data, sizes, (layers, cut), progress)
    }

    fn measured(
        network: &Vgg,
        (rankings, moments): (&Rankings, Option<&Moments>),
        data: &SearchData,
        (norm_images, images, batch): (usize, usize, usize),
        (layers, change): (usize, impl Fn(&mut PrunePolicy, usize, f32)),
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let (norm, judged) = (data.first_train(norm_images), data.first_validation(images));
        let accuracy = |policy: &PrunePolicy| -> Result<f32> {
            let small = policy.apply_reconstructed(network, rankings, moments)?;
            small.reestimate_norm(data.train, &norm, batch)?;
            Ok(evaluate(&small.fold()?, data.validation, &judged) as f32)
        };
        let all = PrunePolicy::keep_all(network);
        let reference = accuracy(&all)?;
        let (total, mut done) = (SHARES.len() * layers, 0);
        let mut points = Vec::with_capacity(layers);
        for i in 0..layers {
            let mut row = Vec::with_capacity(SHARES.len() + 1);
            for share in SHARES {
                let mut policy = all.clone();
                change(&mut policy, i, share);
                row.push((share, reference - accuracy(&policy)?));
                done += 1;
                progress(done, total);
            }
            row.push((1.0, 0.0));
            points.push(row);
        }
        Ok(Self { points })
    }

    /// Images that [`LayerLoss::of_narrowing`] and [`LayerLoss::of_cutting`] send through a
    /// network of `layers` layers that can be changed.
    #[must_use]
    pub fn cost(layers: usize, norm_images: usize, images: usize) -> u64 {
        ((1 + SHARES.len() * layers) * (norm_images + images)) as u64
    }

    /// The share of the channels' L1 norm that goes with them: no data, no measurement.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn magnitude(network: &Vgg, rankings: &Rankings) -> Result<Self> {
        let l1 = super::channel_scores(network, super::ChannelCriterion::L1, None)?;
        let shares = l1.into_iter().map(|scores| {
            let total = scores.iter().sum::<f32>().max(f32::MIN_POSITIVE);
            scores.into_iter().map(|s| s / total).collect()
        });
        Ok(Self::of_channels(shares, rankings))
    }

    /// The Fisher information of each channel's scale: the squared change of the loss that
    /// removing it makes to first order, `(Σ g·w)²` over its filter and normalization, mean
    /// over `batches` batches of training images (Molchanov et al., arXiv 1906.10771, eq. 8).
    ///
    /// # Errors
    /// Where the images do not fit the network.
    pub fn fisher(
        network: &Vgg,
        rankings: &Rankings,
        data: &SearchData,
        (batches, batch): (usize, usize),
    ) -> Result<Self> {
        // Batch normalization moves its statistics; the given network's stay.
        let network = network.duplicate()?;
        let mut sums: Vec<Vec<f32>> = rankings
            .channels
            .iter()
            .map(|c| vec![0.0; c.len()])
            .collect();
        let indices = data.first_train(batches * batch);
        let chunks: Vec<&[usize]> = indices.chunks(batch.max(1)).collect();
        for chunk in &chunks {
            let changes = removal_changes(&network, data, chunk)?;
            for (sums, changes) in sums.iter_mut().zip(changes) {
                let squares = changes.iter().map(|c| c * c / chunks.len() as f32);
                sums.iter_mut().zip(squares).for_each(|(s, c)| *s += c);
            }
        }
        Ok(Self::of_channels(sums.into_iter(), rankings))
    }

    /// Images that [`LayerLoss::fisher`] costs: each goes forward and back.
    #[must_use]
    pub fn fisher_cost(batches: usize, batch: usize) -> u64 {
        3 * (batches * batch) as u64
    }

    /// Losses of single channels, summed over those that the ranking removes.
    fn of_channels(losses: impl Iterator<Item = Vec<f32>>, rankings: &Rankings) -> Self {
        let points = losses.zip(&rankings.channels).map(|(losses, ranks)| {
            let n = ranks.len();
            let point = |kept: usize| {
                let stay = top(ranks, kept);
                let stay: f32 = stay.iter().map(|&c| losses[c]).sum();
                let gone = losses.iter().sum::<f32>() - stay;
                (
                    kept as f32 / n as f32,
                    if kept == n { 0.0 } else { gone.max(0.0) },
                )
            };
            (0..=n).map(point).collect()
        });
        Self {
            points: points.collect(),
        }
    }
}

/// Of each channel of each layer but the last: to first order, the change of the loss of these
/// training images where it is removed.
fn removal_changes(network: &Vgg, data: &SearchData, chunk: &[usize]) -> Result<Vec<Vec<f32>>> {
    let (set, classes) = (data.train, network.config.num_classes);
    let x = plain_batch(set, chunk, &network.config.normalization);
    let x = Tensor::from_vec(x, (set.c, chunk.len(), set.h, set.w), network.device())?;
    let labels: Vec<u32> = chunk.iter().map(|&i| set.labels[i]).collect();
    let targets = one_hot(&labels, classes, 0.0, network.device())?;
    let grads = soft_cross_entropy(&network.forward_train(&x)?, &targets)?.backward()?;
    let product = |v: &candle_core::Var| -> Result<Vec<f32>> {
        let (rows, all) = (v.dim(0)?, v.as_detached_tensor());
        match grads.get(v) {
            Some(g) => (g * all)?.reshape((rows, ()))?.sum(1)?.to_vec1::<f32>(),
            None => Ok(vec![0.0; rows]),
        }
    };
    let mut changes = Vec::with_capacity(network.convs.len() + network.linears.len());
    for conv in &network.convs {
        // What normalization scales away has no effect through the filter itself.
        changes.push(match &conv.norm {
            Some(norm) => {
                let (gamma, beta) = (product(&norm.gamma)?, product(&norm.beta)?);
                gamma.iter().zip(beta).map(|(g, b)| g + b).collect()
            }
            None => product(&conv.weight)?,
        });
    }
    let hidden = network
        .linears
        .split_last()
        .map_or(&[][..], |(_, inner)| inner);
    for linear in hidden {
        changes.push(product(&linear.weight)?);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_linear_between_points_and_never_fall_below_a_wider_layers() {
        let loss = LayerLoss {
            points: vec![vec![(0.25, 0.4), (0.5, 0.1), (0.75, 0.2), (1.0, 0.0)]],
        };
        let near = |share: f32, want: f32| {
            let got = loss.at(0, share);
            assert!((got - want).abs() < 1e-6, "{share}: {got}, not {want}");
        };
        near(1.0, 0.0);
        near(0.875, 0.1);
        near(0.75, 0.2);
        near(0.5, 0.2);
        near(0.375, 0.25);
        near(0.125, 0.55);
    }

    #[test]
    fn channels_that_the_ranking_removes_add_up() {
        let rankings = Rankings {
            channels: vec![vec![3.0, 1.0, 2.0, 4.0]],
            elements: vec![],
        };
        let losses = vec![vec![0.5, 0.25, 0.125, 1.0]];
        let loss = LayerLoss::of_channels(losses.into_iter(), &rankings);
        let wanted = [
            (0.0, 1.875),
            (0.25, 0.875),
            (0.5, 0.375),
            (0.75, 0.25),
            (1.0, 0.0),
        ];
        assert_eq!(loss.points, [wanted]);
    }
}
