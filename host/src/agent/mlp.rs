//! Small fully connected networks on flat f32 vectors, with their backward pass.
//!
//! The agent's networks are tiny (300 hidden units, batches of 64), so plain matrix products on
//! one core beat any tensor library's overhead, and give the same bits on any thread count.

use rand::Rng;
use serde::{Deserialize, Serialize};

/// Bound of the uniform initial weights of the last layer, as in the DDPG paper: the first
/// outputs are near zero and the sigmoid starts unsaturated.
const LAST_LAYER_BOUND: f32 = 3e-3;

/// Fully connected layers with ReLU between them and a linear last layer.
///
/// All parameters lie in one vector, layer by layer: weights `[in, out]`, then biases `[out]`,
/// so that optimizers and target networks are loops over one slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mlp {
    sizes: Vec<usize>,
    parameters: Vec<f32>,
}

/// What a forward pass leaves for the backward pass: the input and every layer's output,
/// each `[n, size]`.
#[derive(Clone, Debug)]
pub struct Trace {
    n: usize,
    values: Vec<Vec<f32>>,
}

impl Trace {
    /// The network's output, `[n, out]`.
    pub fn output(&self) -> &[f32] {
        self.values.last().map_or(&[], Vec::as_slice)
    }
}

/// Gradients laid out as [`Mlp::parameters`].
pub type Gradients = Vec<f32>;

/// Number of parameters of a network with these layer sizes; the largest number there is where they
/// are no sizes of anything, as in a saved agent that was tampered with.
pub(super) fn parameter_count(sizes: &[usize]) -> usize {
    let counts = sizes
        .windows(2)
        .map(|w| w[0].saturating_add(1).saturating_mul(w[1]));
    counts.fold(0, usize::saturating_add)
}

impl Mlp {
    /// A network of `sizes[0]` inputs and `sizes.last()` outputs. Hidden weights and biases are
    /// uniform in ±1/√fan_in, the last layer's in ±0.003.
    ///
    /// # Panics
    /// With fewer than two sizes.
    pub fn new(sizes: &[usize], rng: &mut impl Rng) -> Self {
        assert!(sizes.len() >= 2, "a network has at least one layer");
        let mut parameters = Vec::with_capacity(parameter_count(sizes));
        let last = sizes.len() - 2;
        for (layer, pair) in sizes.windows(2).enumerate() {
            let bound = if layer == last {
                LAST_LAYER_BOUND
            } else {
                1.0 / (pair[0] as f32).sqrt()
            };
            let count = (pair[0] + 1) * pair[1];
            parameters.extend((0..count).map(|_| (2.0 * rng.random::<f32>() - 1.0) * bound));
        }
        Self {
            sizes: sizes.to_vec(),
            parameters,
        }
    }

    /// Layer sizes, input first.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// All parameters.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// All parameters, to be optimized.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    /// Moves every parameter towards `source`: `θ ← (1 − τ)·θ + τ·θ_source`.
    ///
    /// # Panics
    /// If the networks differ in size.
    pub fn soft_update(&mut self, source: &Self, tau: f32) {
        assert_eq!(self.parameters.len(), source.parameters.len());
        for (target, &value) in self.parameters.iter_mut().zip(&source.parameters) {
            *target += tau * (value - *target);
        }
    }

    /// Runs `n` rows of `input`, `[n, in]`.
    ///
    /// # Panics
    /// If `input` is not `[n, in]`.
    pub fn forward(&self, input: &[f32], n: usize) -> Trace {
        assert_eq!(input.len(), n * self.sizes[0], "input is [n, in]");
        let mut values = vec![input.to_vec()];
        let layers = self.sizes.len() - 1;
        for layer in 0..layers {
            let (w, b) = self.layer(layer);
            let (c_in, c_out) = (self.sizes[layer], self.sizes[layer + 1]);
            let mut out: Vec<f32> = b.iter().copied().cycle().take(n * c_out).collect();
            product(
                [n, c_out, c_in],
                Matrix::rows(&values[layer], c_in),
                Matrix::rows(w, c_out),
                &mut out,
            );
            if layer + 1 < layers {
                out.iter_mut().for_each(|v| *v = v.max(0.0));
            }
            values.push(out);
        }
        Trace { n, values }
    }

    /// Gradients of the parameters and of the input, given the output's `d_out`, `[n, out]`.
    ///
    /// # Panics
    /// If `trace` is another network's or `d_out` is not `[n, out]`.
    pub fn backward(&self, trace: &Trace, d_out: &[f32]) -> (Gradients, Vec<f32>) {
        let mut gradients = vec![0.0; self.parameters.len()];
        let d_in = self.propagate(trace, d_out, Some(&mut gradients));
        (gradients, d_in)
    }

    /// The input's gradient alone, `[n, in]`.
    ///
    /// # Panics
    /// As [`Self::backward`].
    pub fn input_gradient(&self, trace: &Trace, d_out: &[f32]) -> Vec<f32> {
        self.propagate(trace, d_out, None)
    }

    fn propagate(
        &self,
        trace: &Trace,
        d_out: &[f32],
        mut gradients: Option<&mut Gradients>,
    ) -> Vec<f32> {
        let n = trace.n;
        assert_eq!(trace.values.len(), self.sizes.len());
        assert_eq!(d_out.len(), trace.output().len(), "d_out is [n, out]");
        let mut d = d_out.to_vec();
        for layer in (0..self.sizes.len() - 1).rev() {
            let (c_in, c_out) = (self.sizes[layer], self.sizes[layer + 1]);
            let input = &trace.values[layer];
            if let Some(gradients) = gradients.as_deref_mut() {
                let start = self.offset(layer);
                let (dw, db) = gradients[start..].split_at_mut(c_in * c_out);
                product(
                    [c_in, c_out, n],
                    Matrix::transposed(input, c_in),
                    Matrix::rows(&d, c_out),
                    dw,
                );
                for row in d.chunks_exact(c_out) {
                    db.iter_mut().zip(row).for_each(|(b, g)| *b += g);
                }
            }
            let mut d_in = vec![0.0; n * c_in];
            let (w, _) = self.layer(layer);
            product(
                [n, c_in, c_out],
                Matrix::rows(&d, c_out),
                Matrix::transposed(w, c_out),
                &mut d_in,
            );
            if layer > 0 {
                // The input is the layer before's ReLU: its gradient is 0 where it was cut.
                d_in.iter_mut().zip(input).for_each(|(g, &x)| {
                    if x <= 0.0 {
                        *g = 0.0;
                    }
                });
            }
            d = d_in;
        }
        d
    }

    fn offset(&self, layer: usize) -> usize {
        parameter_count(&self.sizes[..=layer])
    }

    /// Weights `[in, out]` and biases `[out]` of a layer.
    fn layer(&self, layer: usize) -> (&[f32], &[f32]) {
        let (c_in, c_out) = (self.sizes[layer], self.sizes[layer + 1]);
        let start = self.offset(layer);
        let (w, rest) = self.parameters[start..].split_at(c_in * c_out);
        (w, &rest[..c_out])
    }
}

/// A matrix in a slice, with its strides.
struct Matrix<'a> {
    data: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` values, as stored.
    fn rows(data: &'a [f32], columns: usize) -> Self {
        Self {
            data,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The transpose of what [`Self::rows`] gives.
    fn transposed(data: &'a [f32], columns: usize) -> Self {
        Self {
            data,
            row_stride: 1,
            column_stride: columns,
        }
    }

    /// Whether `rows` x `columns` of it lie inside the slice.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }
}

/// `out += a · b` with `out` `[m, n]` in rows, `a` `[m, k]`, `b` `[k, n]`, on the calling thread.
fn product([m, n, k]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
    assert!(a.holds(m, k) && b.holds(k, n) && out.len() >= m * n);
    // SAFETY: the strides above keep every access inside the three slices, as just asserted,
    // and `out` is borrowed exclusively, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            true,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn network(sizes: &[usize]) -> Mlp {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut net = Mlp::new(sizes, &mut rng);
        // Larger last weights than the initial ones, so that gradients are well above rounding.
        net.parameters_mut()
            .iter_mut()
            .for_each(|p| *p += 0.3 * (rng.random::<f32>() - 0.5));
        net
    }

    #[test]
    fn forward_equals_the_formula() {
        let net = network(&[3, 4, 2]);
        let x = [0.5, -1.0, 2.0];
        let p = net.parameters();
        let hidden: Vec<f32> = (0..4)
            .map(|o| ((0..3).map(|i| p[i * 4 + o] * x[i]).sum::<f32>() + p[12 + o]).max(0.0))
            .collect();
        let out = net.forward(&x, 1);
        for o in 0..2 {
            let want = (0..4).map(|i| p[16 + i * 2 + o] * hidden[i]).sum::<f32>() + p[24 + o];
            assert!((out.output()[o] - want).abs() < 1e-5);
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let net = network(&[3, 5, 4, 2]);
        let x = [0.3, -0.7, 1.1, -0.2, 0.9, 0.4];
        let weight = [0.7, -1.3, 0.2, 0.5];
        let loss = |net: &Mlp, x: &[f32]| -> f64 {
            let out = net.forward(x, 2);
            out.output()
                .iter()
                .zip(weight)
                .map(|(&o, w)| f64::from(o * w))
                .sum()
        };
        let (grads, d_in) = net.backward(&net.forward(&x, 2), &weight);
        let h = 1e-3;
        for (i, &gradient) in grads.iter().enumerate() {
            let (mut up, mut down) = (net.clone(), net.clone());
            up.parameters_mut()[i] += h;
            down.parameters_mut()[i] -= h;
            let want = (loss(&up, &x) - loss(&down, &x)) / f64::from(2.0 * h);
            assert!(
                (f64::from(gradient) - want).abs() < 2e-3,
                "parameter {i}: {gradient}, {want}"
            );
        }
        for i in 0..x.len() {
            let (mut up, mut down) = (x, x);
            up[i] += h;
            down[i] -= h;
            let want = (loss(&net, &up) - loss(&net, &down)) / f64::from(2.0 * h);
            assert!((f64::from(d_in[i]) - want).abs() < 2e-3, "input {i}");
        }
        assert_eq!(d_in, net.input_gradient(&net.forward(&x, 2), &weight));
    }

    #[test]
    fn soft_update_moves_by_tau() {
        let source = network(&[2, 3, 1]);
        let mut target = source.clone();
        target.parameters_mut().fill(0.0);
        target.soft_update(&source, 0.25);
        for (t, s) in target.parameters().iter().zip(source.parameters()) {
            assert!((t - 0.25 * s).abs() < 1e-7);
        }
    }
}
