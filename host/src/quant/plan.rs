//! Widths by greed: from the widest network downwards, the width that is predicted to lose the
//! least per byte saved, until flash and SRAM are met. And two predictions that need no
//! measurement of accuracy.

use super::env::QuantEnv;
use super::qat::QatNet;
use super::sensitivity::Sensitivity;
use crate::data::plain_batch;
use crate::lower::{ActivationRanges, Bits, Centred, clip};
use crate::nn::{Rng, one_hot, soft_cross_entropy};
use crate::search::{MeasureLayer, SearchData};
use crate::vgg::Model;
use candle_core::{Device, Result, Tensor};
use shared::semantics::weight_max;

/// Predictions that say nothing of activations lower them only where SRAM leaves no choice.
const LAST_RESORT: f64 = 1e6;

impl<M: MeasureLayer + 'static> QuantEnv<'_, M> {
    /// The actions of the greedy policy by `loss`.
    ///
    /// # Errors
    /// Where the firmware cannot run a layer.
    pub fn greedy(&self, loss: &Sensitivity) -> anyhow::Result<Vec<Vec<f32>>> {
        let widest = Bits {
            w: self.setup.w_widths.last().copied().unwrap_or(8),
            a: self.setup.a_widths.last().copied().unwrap_or(8),
        };
        let bits = vec![widest; self.layers.len()];
        Ok(self.actions_of(&self.lowered_to_bytes(bits, loss, true)?))
    }

    /// The actions of a flat network: weights of `w` bits under the widest activations.
    #[must_use]
    pub fn flat(&self, w: u8) -> Vec<Vec<f32>> {
        let a = self.setup.a_widths.last().copied().unwrap_or(8);
        self.actions_of(&vec![Bits { w, a }; self.layers.len()])
    }
}

impl Sensitivity {
    /// The part of each layer's squared weights that rounding makes an error of, by width.
    #[must_use]
    pub fn rounding(network: &Centred, widths: (&[u8], &[u8])) -> Self {
        let layers = &network.network.layers;
        let squares = |l: &crate::vgg::FoldedLayer| l.weight.iter().map(|w| w * w).sum::<f32>();
        let totals: Vec<f32> = layers.iter().map(squares).collect();
        Self::predicted(network, widths, |layer, _, error| {
            f64::from(error * error) / f64::from(totals[layer].max(f32::MIN_POSITIVE))
        })
    }

    /// Half the Fisher information times the squared rounding error, summed over the weights:
    /// what rounding adds to the loss to second order (HAWQ's measure, arXiv 1911.03852, with
    /// the Fisher diagonal for the Hessian), from `batches` batches of training images.
    ///
    /// # Errors
    /// Where the images do not fit the network.
    pub fn fisher(
        network: &Centred,
        ranges: &ActivationRanges,
        widths: (&[u8], &[u8]),
        data: &SearchData,
        (batches, batch): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let bits = vec![Bits { w: 8, a: 8 }; network.network.layers.len()];
        let net = QatNet::new(network, &bits, ranges, device)?;
        let squares = squared_gradients(&net, data, (batches, batch), device)?;
        Ok(Self::predicted(network, widths, |layer, at, error| {
            0.5 * f64::from(squares[layer][at]) * f64::from(error * error)
        }))
    }

    /// Sums `price(layer, weight, rounding error)` over the weights of each layer, by width.
    fn predicted(
        network: &Centred,
        (w_widths, a_widths): (&[u8], &[u8]),
        price: impl Fn(usize, usize, f32) -> f64,
    ) -> Self {
        let layers = &network.network.layers;
        let mut predicted = Self::default();
        for &w in w_widths.iter().filter(|w| **w < 8) {
            let row = layers.iter().enumerate().map(|(i, l)| {
                let last = i + 1 == layers.len();
                let errors = rounding_errors(&l.weight, l.shape.fan_in(), w, last);
                let errors = errors.into_iter().enumerate();
                errors.map(|(at, error)| price(i, at, error)).sum()
            });
            predicted.weights.insert(w, row.collect());
        }
        for &a in a_widths.iter().filter(|a| **a < 8) {
            let each = LAST_RESORT * f64::from(8 - a);
            predicted
                .activations
                .insert(a, vec![each; layers.len() - 1]);
        }
        predicted
    }
}

/// What rounding to `w` bits takes from each weight; the last layer has one step for all rows.
fn rounding_errors(weights: &[f32], fan_in: usize, w: u8, last: bool) -> Vec<f32> {
    let max = weight_max(w) as f32;
    let rows = if last { weights.len() } else { fan_in };
    let row_errors = |row: &[f32]| {
        let step = clip::weight_step(row, w);
        let error = move |v: &f32| v - (v / step).round().clamp(-max, max) * step;
        row.iter().map(error).collect::<Vec<f32>>()
    };
    weights.chunks_exact(rows).flat_map(row_errors).collect()
}

/// Mean square of each weight's gradient over batches, `[layers][weights]`.
fn squared_gradients(
    net: &QatNet,
    data: &SearchData,
    (batches, batch): (usize, usize),
    device: &Device,
) -> Result<Vec<Vec<f32>>> {
    let (set, config) = (data.train, net.config());
    let indices = data.first_train(batches * batch);
    let chunks: Vec<&[usize]> = indices.chunks(batch.max(1)).collect();
    let parameters = net.parameters();
    let weights: Vec<_> = parameters
        .iter()
        .filter(|p| p.name.starts_with("weight"))
        .collect();
    let mut sums: Vec<Vec<f32>> = vec![Vec::new(); weights.len()];
    for chunk in &chunks {
        let x = plain_batch(set, chunk, &config.normalization);
        let x = Tensor::from_vec(x, (set.c, chunk.len(), set.h, set.w), device)?;
        let labels: Vec<u32> = chunk.iter().map(|&i| set.labels[i]).collect();
        let targets = one_hot(&labels, config.num_classes, 0.0, device)?;
        let logits = net.forward_train(&x, &mut Rng::new(0))?;
        let grads = soft_cross_entropy(&logits, &targets)?.backward()?;
        for (sum, weight) in sums.iter_mut().zip(&weights) {
            let square = match grads.get(&weight.var) {
                Some(g) => g.sqr()?.flatten_all()?.to_vec1::<f32>()?,
                None => vec![0.0; weight.var.elem_count()],
            };
            sum.resize(square.len(), 0.0);
            let n = chunks.len() as f32;
            sum.iter_mut().zip(square).for_each(|(s, g)| *s += g / n);
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_errors_shrink_with_the_width() {
        let weights = Rng::new(3).normals(64);
        let total = |w: u8| -> f32 {
            let errors = rounding_errors(&weights, 16, w, false);
            assert_eq!(errors.len(), 64);
            errors.iter().map(|e| e * e).sum()
        };
        assert!(total(2) > 4.0 * total(4) && total(4) > 4.0 * total(8));
    }
}
