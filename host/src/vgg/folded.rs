//! A network at inference: batch normalization folded into the convolutions.

use super::{Item, LayerShape, Vgg, VggConfig};
use crate::data::{Dataset, plain_batch};
use crate::nn::{ConvShape, conv3x3_into};
use crate::reward::Quality;
use candle_core::Result;
use rayon::prelude::*;

/// Most pictures that one thread takes through the network at a time: as many as fill the
/// vectors of the convolutions on the smallest maps.
const CHUNK: usize = 64;
/// Pixels of the pictures that one thread takes at a time, unless one has more.
const CHUNK_PIXELS: usize = CHUNK * 32 * 32;

/// What one picture may add to the cross-entropy, in nats: no single one outweighs the others.
const MOST_SURPRISE: f64 = 20.0;

/// A layer at inference.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedLayer {
    /// Its sizes.
    pub shape: LayerShape,
    /// `[c_out, fan_in]`; a convolution's fan-in is `(c_in, ky, kx)`, that of the first
    /// fully connected layer `(c, h, w)`.
    pub weight: Vec<f32>,
    /// `[c_out]`.
    pub bias: Vec<f32>,
}

/// A network at inference: each layer is a weighted sum and a bias, then ReLU except
/// after the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// What it looks like.
    pub config: VggConfig,
    /// Convolutions, then fully connected layers.
    pub layers: Vec<FoldedLayer>,
}

impl Vgg {
    /// Folds batch normalization, by its running statistics, into weights and biases.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn fold(&self) -> Result<Folded> {
        let mut shapes = self.config.layers().into_iter();
        let mut layers = Vec::new();
        for (conv, shape) in self.convs.iter().zip(shapes.by_ref()) {
            let mut weight = conv.weight.flatten_all()?.to_vec1::<f32>()?;
            let bias = match (&conv.norm, &conv.bias) {
                (Some(norm), _) => {
                    let (scale, shift) = norm.scale_shift()?;
                    for (row, s) in weight.chunks_exact_mut(shape.fan_in()).zip(&scale) {
                        row.iter_mut().for_each(|w| *w *= s);
                    }
                    shift
                }
                (None, Some(bias)) => bias.to_vec1()?,
                (None, None) => vec![0.0; shape.c_out],
            };
            layers.push(FoldedLayer {
                shape,
                weight,
                bias,
            });
        }
        for (linear, shape) in self.linears.iter().zip(shapes) {
            layers.push(FoldedLayer {
                shape,
                weight: linear.weight.flatten_all()?.to_vec1()?,
                bias: linear.bias.to_vec1()?,
            });
        }
        Ok(Folded {
            config: self.config.clone(),
            layers,
        })
    }
}

impl Folded {
    /// Logits `[n, classes]` of the pictures with these indices.
    ///
    /// # Panics
    /// Where an index is out of range or the pictures have another size than the input.
    pub fn logits(&self, data: &Dataset, indices: &[usize]) -> Vec<f32> {
        indices
            .par_chunks(self.chunk())
            .flat_map_iter(|chunk| {
                let x = plain_batch(data, chunk, &self.config.normalization);
                self.forward(x, chunk.len(), |_, _| {})
            })
            .collect()
    }

    fn chunk(&self) -> usize {
        let [h, w, _] = self.config.input;
        (CHUNK_PIXELS / (h * w).max(1)).clamp(1, CHUNK)
    }

    /// Logits `[n, classes]` of `x` `[c, n, h, w]`, by the calling thread alone.
    /// `observe` sees the output of each layer after ReLU and before pooling: its index
    /// and, for convolutions, `[c, n, h, w]`; for fully connected layers `[n, c]`.
    ///
    /// # Panics
    /// Where `x` does not have the size of the input.
    pub fn forward(&self, x: Vec<f32>, n: usize, observe: impl FnMut(usize, &[f32])) -> Vec<f32> {
        self.walk(x, n, |_, _| {}, observe)
    }

    /// [`Folded::forward`], where `before` sees the input of each layer, after pooling, in the
    /// same layouts.
    ///
    /// # Panics
    /// Where `x` does not have the size of the input.
    pub fn walk(
        &self,
        x: Vec<f32>,
        n: usize,
        mut before: impl FnMut(usize, &[f32]),
        mut observe: impl FnMut(usize, &[f32]),
    ) -> Vec<f32> {
        let mut x = x;
        let mut layers = self.layers.iter().enumerate();
        let [mut h, mut w, mut c] = self.config.input;
        for item in &self.config.cfg {
            match item {
                Item::Conv(_) => {
                    let Some((i, layer)) = layers.next() else {
                        break;
                    };
                    before(i, &x);
                    x = conv_relu(&x, layer, n);
                    c = layer.shape.c_out;
                    observe(i, &x);
                }
                Item::MaxPool => {
                    x = max_pool(&x, (c * n, h, w));
                    (h, w) = (h / 2, w / 2);
                }
                Item::AvgPool => {
                    let area = (h * w) as f32;
                    x = x
                        .chunks_exact(h * w)
                        .map(|m| m.iter().sum::<f32>() / area)
                        .collect();
                    (h, w) = (1, 1);
                }
            }
        }
        x = by_picture(&x, (c, n, h * w));
        let last = self.layers.len() - 1;
        for (i, layer) in layers {
            before(i, &x);
            x = fully_connected(&x, layer, i < last);
            observe(i, &x);
        }
        x
    }
}

fn conv_relu(x: &[f32], layer: &FoldedLayer, n: usize) -> Vec<f32> {
    let s = &layer.shape;
    let shape = ConvShape {
        c_in: s.c_in,
        c_out: s.c_out,
        n,
        h: s.h,
        w: s.w,
    };
    let mut y = vec![0.0; s.c_out * shape.plane()];
    conv3x3_into(x, &layer.weight, shape, &mut y);
    for (plane, bias) in y.chunks_exact_mut(shape.plane()).zip(&layer.bias) {
        plane.iter_mut().for_each(|v| *v = (*v + bias).max(0.0));
    }
    y
}

fn max_pool(x: &[f32], (maps, h, w): (usize, usize, usize)) -> Vec<f32> {
    let mut y = Vec::with_capacity(maps * (h / 2) * (w / 2));
    for map in x.chunks_exact(h * w) {
        for rows in map.chunks_exact(2 * w) {
            let (top, bottom) = rows.split_at(w);
            let cells = top.chunks_exact(2).zip(bottom.chunks_exact(2));
            y.extend(cells.map(|(t, b)| t[0].max(t[1]).max(b[0].max(b[1]))));
        }
    }
    y
}

/// `[c, n, area]` to `[n, c·area]`.
fn by_picture(x: &[f32], (c, n, area): (usize, usize, usize)) -> Vec<f32> {
    let map = |i: usize, channel: usize| &x[(channel * n + i) * area..][..area];
    (0..n)
        .flat_map(|i| (0..c).flat_map(move |channel| map(i, channel)))
        .copied()
        .collect()
}

fn fully_connected(x: &[f32], layer: &FoldedLayer, relu: bool) -> Vec<f32> {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    x.chunks_exact(layer.shape.c_in)
        .flat_map(|x| {
            let rows = layer.weight.chunks_exact(layer.shape.c_in).zip(&layer.bias);
            rows.map(move |(w, b)| {
                let sum: f32 = w.iter().zip(x).map(|(w, x)| w * x).sum();
                (sum + b).max(floor)
            })
        })
        .collect()
}

/// Share of the pictures with these indices whose largest logit is their label's; 0 where
/// there is none.
///
/// # Panics
/// As [`Folded::logits`].
pub fn evaluate(network: &Folded, data: &Dataset, indices: &[usize]) -> f64 {
    let logits = network.logits(data, indices);
    let correct = logits
        .chunks_exact(network.config.num_classes)
        .zip(indices)
        .filter(|(row, i)| argmax(row) == data.labels[**i] as usize)
        .count();
    correct as f64 / indices.len().max(1) as f64
}

/// [`evaluate()`], with the probabilities that the labels get.
///
/// # Panics
/// As [`Folded::logits`].
pub fn quality(network: &Folded, data: &Dataset, indices: &[usize]) -> Quality {
    let logits = network.logits(data, indices);
    let labels = indices.iter().map(|&i| data.labels[i]);
    quality_of(&logits, labels, network.config.num_classes)
}

/// The quality of `logits` `[n, classes]` for these labels; one without pictures is 0.
#[must_use]
pub fn quality_of(logits: &[f32], labels: impl Iterator<Item = u32>, classes: usize) -> Quality {
    let (mut n, mut correct, mut log) = (0usize, 0usize, 0.0);
    for (row, label) in logits.chunks_exact(classes.max(1)).zip(labels) {
        let largest = f64::from(row[argmax(row)]);
        let sum: f64 = row.iter().map(|&v| (f64::from(v) - largest).exp()).sum();
        let label = label as usize;
        n += 1;
        correct += usize::from(argmax(row) == label);
        let surprise = sum.ln() + largest - f64::from(row[label]);
        log -= surprise.min(MOST_SURPRISE);
    }
    let each = n.max(1) as f64;
    Quality {
        accuracy: correct as f64 / each,
        likelihood: Some(if n > 0 { (log / each).exp() } else { 0.0 }),
    }
}

/// The index of the largest value, the first of equals.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if *v > row[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihood_is_the_geometric_mean_of_the_labels_probabilities() {
        let ln = |p: f32| p.ln();
        let logits = [ln(0.5), ln(0.25), ln(0.25), ln(0.1), ln(0.1), ln(0.8)];
        let quality = quality_of(&logits, [0, 1].into_iter(), 3);
        assert_eq!(quality.accuracy, 0.5);
        let expected = (0.5f64 * 0.1).sqrt();
        assert!((quality.likelihood.unwrap() - expected).abs() < 1e-6);
        // However sure of a wrong answer, a picture counts for no more than e^-20.
        let sure = quality_of(&[0.0, 1000.0], [0].into_iter(), 2);
        assert!((sure.likelihood.unwrap() - (-20f64).exp()).abs() < 1e-15);
        assert_eq!(quality_of(&[], [].into_iter(), 3).likelihood, Some(0.0));
    }
}
