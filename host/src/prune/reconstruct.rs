//! Making up for channels that go: what they brought to the next layer is, as far as it can be,
//! computed from those that stay.
//!
//! Inputs of a layer are correlated, so a layer that loses some can keep most of its output with
//! other weights for the rest: those of least squared error over training pictures (He, Zhang,
//! Sun: Channel Pruning for Accelerating Very Deep Neural Networks, arXiv 1707.06168, eq. 1
//! without its penalty). All that it takes of the pictures are the second moments of each layer's
//! inputs in the given network, which are taken once; a candidate then costs one small linear
//! system a layer.

use crate::data::{Dataset, plain_batch};
use crate::nn::Rng;
use crate::search::SearchData;
use crate::vgg::{Folded, LayerKind, LayerShape, Vgg};
use candle_core::{Device, Result, Tensor, Var};
use faer::linalg::matmul::matmul;
use faer::prelude::Solve;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use rayon::prelude::*;

/// Training pictures that the moments are taken from.
pub const RECONSTRUCTION_IMAGES: usize = 1024;
/// Positions of each map of each picture.
const POSITIONS: usize = 32;
/// Pictures that one thread takes at a time.
const CHUNK: usize = 16;
/// Pictures whose patches are held at a time.
const BATCH: usize = 128;
/// Layers of more inputs an output are cut as they are: their moments would take gigabytes.
const MOST_INPUTS: usize = 4608;
/// Pull towards the weights as they were, relative to the mean variance of an input. Accuracies
/// were the same within noise from 1e-4 to 1e-1.
const RIDGE: f64 = 1e-2;

/// Means and covariances of the inputs of each layer, a patch of a convolution being one input
/// vector.
#[derive(Clone, Debug)]
pub struct Moments {
    /// `None` where nothing goes (the image) and where there are too many inputs.
    layers: Vec<Option<LayerMoments>>,
}

#[derive(Clone, Debug)]
struct LayerMoments {
    /// `[fan_in]`.
    mean: Vec<f32>,
    /// `[fan_in, fan_in]`.
    covariance: Vec<f32>,
}

/// What a layer gets instead of a part of its weights.
struct Reconstructed {
    /// `[c_out, fan_in]` of the smaller layer.
    weight: Vec<f32>,
    /// What the mean of each output loses, `[c_out]`.
    lost: Vec<f32>,
}

impl Moments {
    /// Measures `network` with the first [`RECONSTRUCTION_IMAGES`] training pictures.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn of(network: &Vgg, data: &SearchData) -> Result<Self> {
        let images = data.first_train(RECONSTRUCTION_IMAGES);
        Self::measure(network, data.train, &images)
    }

    /// Runs the pictures with these indices through `network` and samples the inputs of its
    /// layers.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    ///
    /// # Panics
    /// Where an index is out of range or the pictures have another size than the input.
    pub fn measure(network: &Vgg, data: &Dataset, indices: &[usize]) -> Result<Self> {
        let folded = network.fold()?;
        let mut sums: Vec<Option<Sums>> = folded
            .layers
            .iter()
            .enumerate()
            .map(|(i, l)| Some(Sums::new(l.shape.fan_in())).filter(|_| i > 0 && taken(&l.shape)))
            .collect();
        for (b, batch) in indices.chunks(BATCH).enumerate() {
            let parts: Vec<Vec<Vec<f32>>> = batch
                .par_chunks(CHUNK)
                .enumerate()
                .map(|(c, chunk)| patches(&folded, data, chunk, (b * BATCH + c * CHUNK) as u64))
                .collect();
            sums.par_iter_mut().enumerate().for_each(|(i, sum)| {
                if let Some(sum) = sum {
                    // In order, so that the result does not depend on the number of threads.
                    parts.iter().for_each(|part| sum.add(&part[i]));
                }
            });
        }
        let layers = sums.into_iter().map(|s| s.map(Sums::moments)).collect();
        Ok(Self { layers })
    }

    /// Gives `small`, which [`super::rebuild()`] made of `network` with `keep`, the weights that
    /// keep its layers' outputs nearest to the given network's. Biases, or the means of batch
    /// normalization, follow.
    ///
    /// # Errors
    /// Where the tensors do not have the shapes that `keep` gives them.
    pub fn reconstruct(&self, network: &Vgg, small: &Vgg, keep: &[Vec<usize>]) -> Result<()> {
        let shapes = network.config.layers();
        let rows: Vec<Vec<f32>> = (0..shapes.len())
            .map(|i| network.weight(i).flatten_all()?.to_vec1())
            .collect::<Result<_>>()?;
        let reconstructed: Vec<Option<Reconstructed>> = shapes
            .par_iter()
            .enumerate()
            .map(|(i, shape)| {
                let moments = self.layers[i].as_ref()?;
                let (input, full) = (&keep[i - 1], shapes[i - 1].c_out);
                let all: Vec<usize> = (0..shape.c_out).collect();
                let output = keep.get(i).unwrap_or(&all);
                if input.len() == full {
                    return None;
                }
                let each = shape.fan_in() / full;
                let kept: Vec<usize> = input
                    .iter()
                    .flat_map(|c| c * each..(c + 1) * each)
                    .collect();
                moments.solve(&rows[i], output, &kept)
            })
            .collect();
        for (i, reconstructed) in reconstructed.into_iter().enumerate() {
            if let Some(reconstructed) = reconstructed {
                set(small, i, reconstructed)?;
            }
        }
        Ok(())
    }
}

/// Puts new weights into layer `i`.
fn set(small: &Vgg, i: usize, reconstructed: Reconstructed) -> Result<()> {
    let device = small.device();
    let put = |var: &Var, values: Vec<f32>| -> Result<()> {
        var.set(&Tensor::from_vec(values, var.shape(), device)?)
    };
    put(small.weight(i), reconstructed.weight)?;
    let moved = |var: &Var, sign: f32| -> Result<()> {
        let was = var.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        let now = was
            .iter()
            .zip(&reconstructed.lost)
            .map(|(v, l)| v + sign * l);
        put(var, now.collect())
    };
    match small.convs.get(i) {
        Some(conv) => match (&conv.norm, &conv.bias) {
            (Some(norm), _) => moved(&norm.running_mean, -1.0),
            (None, Some(bias)) => moved(bias, 1.0),
            (None, None) => Ok(()),
        },
        None => moved(&small.linears[i - small.convs.len()].bias, 1.0),
    }
}

fn taken(shape: &LayerShape) -> bool {
    shape.fan_in() <= MOST_INPUTS
}

/// Sampled inputs of each layer, `[samples, fan_in]`; none of those that are left out.
fn patches(network: &Folded, data: &Dataset, chunk: &[usize], first: u64) -> Vec<Vec<f32>> {
    let mut out = vec![Vec::new(); network.layers.len()];
    let x = plain_batch(data, chunk, &network.config.normalization);
    let n = chunk.len();
    network.walk(
        x,
        n,
        |i, x| {
            let shape = &network.layers[i].shape;
            if i == 0 || !taken(shape) {
                return;
            }
            if shape.kind == LayerKind::Linear {
                out[i].extend_from_slice(x);
                return;
            }
            for picture in 0..n {
                let mut rng = Rng::stream(i as u64, first + picture as u64);
                for (y, column) in positions(shape, &mut rng) {
                    patch(x, shape, (n, picture), (y, column), &mut out[i]);
                }
            }
        },
        |_, _| {},
    );
    out
}

/// Where a map is looked at: everywhere if it is small, else at places drawn anew for each
/// picture.
fn positions(shape: &LayerShape, rng: &mut Rng) -> Vec<(usize, usize)> {
    let area = shape.h * shape.w;
    let place = |p: usize| (p / shape.w, p % shape.w);
    if area <= POSITIONS {
        return (0..area).map(place).collect();
    }
    (0..POSITIONS)
        .map(|_| place(((rng.uniform() * area as f32) as usize).min(area - 1)))
        .collect()
}

/// Appends the nine taps of each channel around a pixel, zeros outside; `x` is `[c, n, h, w]`.
fn patch(
    x: &[f32],
    shape: &LayerShape,
    (n, picture): (usize, usize),
    (y, column): (usize, usize),
    out: &mut Vec<f32>,
) {
    let (h, w) = (shape.h, shape.w);
    for c in 0..shape.c_in {
        let map = &x[(c * n + picture) * h * w..][..h * w];
        for ky in 0..3 {
            for kx in 0..3 {
                let (py, px) = ((y + ky).wrapping_sub(1), (column + kx).wrapping_sub(1));
                let inside = py < h && px < w;
                out.push(if inside { map[py * w + px] } else { 0.0 });
            }
        }
    }
}

/// Sums over samples.
struct Sums {
    count: usize,
    sum: Vec<f64>,
    /// `[fan_in, fan_in]`.
    products: Mat<f32>,
}

impl Sums {
    fn new(inputs: usize) -> Self {
        Self {
            count: 0,
            sum: vec![0.0; inputs],
            products: Mat::zeros(inputs, inputs),
        }
    }

    /// Adds samples `[samples, fan_in]`.
    fn add(&mut self, samples: &[f32]) {
        let inputs = self.sum.len();
        let x = MatRef::from_row_major_slice(samples, samples.len() / inputs, inputs);
        matmul(
            self.products.as_mut(),
            Accum::Add,
            x.transpose(),
            x,
            1.0,
            Par::Seq,
        );
        self.count += samples.len() / inputs;
        for row in samples.chunks_exact(inputs) {
            self.sum
                .iter_mut()
                .zip(row)
                .for_each(|(s, v)| *s += f64::from(*v));
        }
    }

    fn moments(self) -> LayerMoments {
        let n = self.count.max(1) as f64;
        let mean: Vec<f64> = self.sum.iter().map(|s| s / n).collect();
        let inputs = mean.len();
        let covariance = (0..inputs * inputs).map(|at| {
            let (i, j) = (at / inputs, at % inputs);
            (f64::from(self.products[(i, j)]) / n - mean[i] * mean[j]) as f32
        });
        LayerMoments {
            covariance: covariance.collect(),
            mean: mean.iter().map(|m| *m as f32).collect(),
        }
    }
}

impl LayerMoments {
    /// Weights over the inputs `kept` that keep the outputs `output` of `weight`
    /// `[c_out, fan_in]`: (C_kk + λ)·W'ᵀ = C_k·Wᵀ + λ·W_kᵀ. `None` where that has no solution,
    /// as for a layer whose inputs are all zero.
    fn solve(&self, weight: &[f32], output: &[usize], kept: &[usize]) -> Option<Reconstructed> {
        let (inputs, k) = (self.mean.len(), kept.len());
        let at = |i: usize, j: usize| f64::from(self.covariance[i * inputs + j]);
        let ridge = RIDGE * kept.iter().map(|&i| at(i, i)).sum::<f64>() / k as f64;
        let own = Mat::from_fn(k, k, |i, j| {
            at(kept[i], kept[j]) + if i == j { ridge } else { 0.0 }
        });
        let with_all = Mat::from_fn(k, inputs, |i, j| at(kept[i], j));
        let w = |o: usize, j: usize| f64::from(weight[output[o] * inputs + j]);
        let full = Mat::from_fn(inputs, output.len(), |j, o| w(o, j));
        let mut right = Mat::from_fn(k, output.len(), |i, o| ridge * w(o, kept[i]));
        let (lhs, rhs) = (with_all.as_ref(), full.as_ref());
        matmul(right.as_mut(), Accum::Add, lhs, rhs, 1.0, Par::Seq);
        let decomposed = faer::linalg::solvers::Llt::new(own.as_ref(), Side::Lower).ok()?;
        decomposed.solve_in_place(MatMut::from(right.as_mut()));
        let solved = right;
        let mut reconstructed = Reconstructed {
            weight: Vec::with_capacity(k * output.len()),
            lost: Vec::with_capacity(output.len()),
        };
        for o in 0..output.len() {
            let new = (0..k).map(|i| solved[(i, o)]);
            let now: f64 = new
                .clone()
                .zip(kept)
                .map(|(v, &i)| v * f64::from(self.mean[i]))
                .sum();
            let was: f64 = (0..inputs).map(|j| w(o, j) * f64::from(self.mean[j])).sum();
            reconstructed.weight.extend(new.map(|v| v as f32));
            reconstructed.lost.push((was - now) as f32);
        }
        reconstructed
            .weight
            .iter()
            .all(|v| v.is_finite())
            .then_some(reconstructed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::halves;
    use crate::prune::rebuild;
    use crate::vgg::{Item, VggConfig};

    fn network(cfg: Vec<Item>, hidden: Vec<usize>, normalized: bool) -> Vgg {
        let config = VggConfig {
            cfg,
            hidden,
            input: [8, 8, 3],
            num_classes: 2,
            batch_norm: normalized,
            ..VggConfig::preset("vgg-small").expect("known")
        };
        Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid")
    }

    fn all(data: &Dataset) -> Vec<usize> {
        (0..data.labels.len()).collect()
    }

    /// Mean squared difference of two networks' logits.
    fn apart(a: &Vgg, b: &Vgg, data: &Dataset) -> f32 {
        let logits = |n: &Vgg| n.fold().expect("folds").logits(data, &all(data));
        let (a, b) = (logits(a), logits(b));
        let squares: f32 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
        squares / a.len() as f32
    }

    /// A copy of the rows of layer 0: its output brings nothing new, whatever follows.
    fn copy_row(net: &Vgg, from: usize, to: usize) {
        let weight = &net.convs[0].weight;
        let mut rows: Vec<Vec<f32>> = weight.as_detached_tensor().to_vec2().expect("rows");
        rows[to] = rows[from].clone();
        let flat: Vec<f32> = rows.concat();
        let new = Tensor::from_vec(flat, weight.shape(), &Device::Cpu).expect("fits");
        weight.set(&new).expect("is set");
    }

    #[test]
    fn a_channel_that_another_one_equals_can_go_for_nothing() {
        use Item::{AvgPool as A, Conv as C, MaxPool as M};
        let data = halves(96, 1);
        // A convolution, a map's pixels and a hidden layer's features after it.
        for (cfg, hidden, normalized) in [
            (vec![C(6), M, C(5), A], vec![], true),
            (vec![C(6), C(5), M], vec![4], false),
            (vec![C(6), M], vec![4], false),
        ] {
            let net = network(cfg, hidden, normalized);
            copy_row(&net, 0, 4);
            let mut keep: Vec<Vec<usize>> = net
                .config
                .widths()
                .iter()
                .map(|&n| (0..n).collect())
                .collect();
            keep[0] = vec![0, 1, 2, 3, 5];
            let (cut, mended) = (
                rebuild(&net, &keep).expect("is cut"),
                rebuild(&net, &keep).expect("is cut"),
            );
            let moments = Moments::measure(&net, &data, &all(&data)).expect("measured");
            moments.reconstruct(&net, &mended, &keep).expect("mended");
            let (before, after) = (apart(&net, &cut, &data), apart(&net, &mended, &data));
            assert!(after < 0.01 * before, "{after} of {before}");
        }
    }

    #[test]
    fn pictures_that_were_not_seen_are_kept_better_too() {
        use Item::{Conv as C, MaxPool as M};
        let net = network(vec![C(12), M, C(10), M], vec![8], true);
        let (seen, unseen) = (halves(96, 1), halves(96, 2));
        let keep = vec![vec![0, 2, 3, 7, 8, 10], vec![1, 4, 5, 9], vec![0, 3, 5, 6]];
        let cut = rebuild(&net, &keep).expect("is cut");
        let mended = rebuild(&net, &keep).expect("is cut");
        let moments = Moments::measure(&net, &seen, &all(&seen)).expect("measured");
        moments.reconstruct(&net, &mended, &keep).expect("mended");
        let (before, after) = (apart(&net, &cut, &unseen), apart(&net, &mended, &unseen));
        assert!(after < 0.7 * before, "{after} of {before}");
    }

    #[test]
    fn nothing_changes_where_nothing_goes_and_threads_do_not_matter() {
        use Item::{AvgPool as A, Conv as C, MaxPool as M};
        let net = network(vec![C(6), M, C(5), A], vec![], true);
        let data = halves(200, 1);
        let whole: Vec<Vec<usize>> = vec![(0..6).collect(), (0..5).collect()];
        let of = |threads: usize, keep: &[Vec<usize>]| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("starts").install(|| {
                let small = rebuild(&net, keep).expect("is cut");
                let moments = Moments::measure(&net, &data, &all(&data)).expect("measured");
                moments.reconstruct(&net, &small, keep).expect("mended");
                small.fold().expect("folds")
            })
        };
        assert_eq!(of(1, &whole), net.fold().expect("folds"));
        let keep = vec![vec![0, 2, 5], vec![1, 4]];
        assert_eq!(of(1, &keep), of(3, &keep));
    }
}
