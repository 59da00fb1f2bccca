//! Batch normalization fused with ReLU.

use super::memory::filled_planes;
use super::tensor::{elements, with_elements};
use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, Var};
use std::sync::{Arc, Mutex, PoisonError};

/// Elements summed in `f32` before the sum goes on in `f64`.
const BLOCK: usize = 4096;
const LANES: usize = 16;

/// Statistics of one batch, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStats {
    /// Mean, `[c]`.
    pub mean: Vec<f32>,
    /// Biased variance, `[c]`.
    pub var: Vec<f32>,
    /// Elements of a channel that they were taken over.
    pub count: usize,
}

/// The parameters and running statistics of a batch normalization, all `[c]`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Scale.
    pub gamma: Var,
    /// Shift.
    pub beta: Var,
    /// Running mean.
    pub running_mean: Var,
    /// Running (unbiased) variance.
    pub running_var: Var,
    /// Added to the variance.
    pub eps: f64,
    /// Weight of a new batch in the running statistics.
    pub momentum: f64,
}

impl BatchNorm {
    /// The identity on `c` channels, with PyTorch's defaults: eps 1e-5, momentum 0.1.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn new(c: usize, device: &Device) -> Result<Self> {
        Ok(Self {
            gamma: Var::ones(c, DType::F32, device)?,
            beta: Var::zeros(c, DType::F32, device)?,
            running_mean: Var::zeros(c, DType::F32, device)?,
            running_var: Var::ones(c, DType::F32, device)?,
            eps: 1e-5,
            momentum: 0.1,
        })
    }

    /// Normalizes `x` `[c, n, h, w]` by its own statistics, applies ReLU, and moves the
    /// running statistics.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn forward_train(&self, x: &Tensor) -> Result<Tensor> {
        let (y, stats) = batch_norm_relu(x, &self.gamma, &self.beta, self.eps)?;
        self.update(&stats, self.momentum)?;
        Ok(y)
    }

    /// Moves the running statistics towards `stats` by `momentum` (1 replaces them). The
    /// variance is made unbiased, as PyTorch does.
    ///
    /// # Errors
    /// Where the channel counts differ.
    pub fn update(&self, stats: &BatchStats, momentum: f64) -> Result<()> {
        let n = stats.count as f32;
        let unbiased = n / (n - 1.0).max(1.0);
        let var = stats.var.iter().map(|v| v * unbiased).collect();
        let towards = |running: &Var, batch: Vec<f32>| -> Result<()> {
            let batch = Tensor::from_vec(batch, running.shape(), running.device())?;
            running.set(&((running.as_tensor() * (1.0 - momentum))? + (batch * momentum)?)?)
        };
        towards(&self.running_mean, stats.mean.clone())?;
        towards(&self.running_var, var)
    }

    /// The affine map that this layer is at inference: `y = scale·x + shift`, each `[c]`.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn scale_shift(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let read = |v: &Var| v.as_tensor().to_vec1::<f32>();
        let (gamma, beta) = (read(&self.gamma)?, read(&self.beta)?);
        let (mean, var) = (read(&self.running_mean)?, read(&self.running_var)?);
        let scale: Vec<f32> = gamma
            .iter()
            .zip(&var)
            .map(|(g, v)| (f64::from(*g) / (f64::from(*v) + self.eps).sqrt()) as f32)
            .collect();
        let shift = beta
            .iter()
            .zip(scale.iter().zip(&mean))
            .map(|(b, (s, m))| b - s * m)
            .collect();
        Ok((scale, shift))
    }
}

/// `relu(gamma·(x − mean)/√(var + eps) + beta)` with the batch's own mean and variance
/// per channel: `x` `[c, n, h, w]`, `gamma` and `beta` `[c]`. Differentiable in all three.
///
/// # Errors
/// Where the shapes do not fit.
pub fn batch_norm_relu(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<(Tensor, BatchStats)> {
    let count = x.elem_count() / x.dim(0)?;
    if !x.device().is_cpu() {
        return composed(x, gamma, beta, eps);
    }
    let moments = Arc::new(Mutex::new(Vec::new()));
    let op = BatchNormRelu {
        eps,
        moments: moments.clone(),
    };
    let y = x.contiguous()?.apply_op3(gamma, beta, op)?;
    let moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    let stats = BatchStats {
        mean: moments.iter().map(|m| m.mean).collect(),
        var: moments.iter().map(|m| m.var).collect(),
        count,
    };
    drop(moments);
    Ok((y, stats))
}

/// The same from candle's operators, for devices that the fused one does not run on.
fn composed(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<(Tensor, BatchStats)> {
    let shape = x.shape().clone();
    let c = x.dim(0)?;
    let rows = x.reshape((c, ()))?;
    let mean = rows.mean_keepdim(1)?;
    let centred = rows.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim(1)?;
    let scale = gamma.reshape((c, 1))?.div(&(&var + eps)?.sqrt()?)?;
    let y = centred
        .broadcast_mul(&scale)?
        .broadcast_add(&beta.reshape((c, 1))?)?;
    let stats = BatchStats {
        mean: mean.flatten_all()?.to_vec1()?,
        var: var.flatten_all()?.to_vec1()?,
        count: rows.dim(1)?,
    };
    Ok((y.relu()?.reshape(shape)?, stats))
}

/// What the backward pass needs to know of a channel.
#[derive(Clone, Copy)]
struct Moments {
    mean: f32,
    var: f32,
    /// `1/√(var + eps)`.
    inverse: f32,
}

struct BatchNormRelu {
    eps: f64,
    moments: Arc<Mutex<Vec<Moments>>>,
}

impl CustomOp3 for BatchNormRelu {
    fn name(&self) -> &'static str {
        "batch_norm_relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = elements(x, x_layout)?;
        let gamma = elements(gamma, gamma_layout)?;
        let beta = elements(beta, beta_layout)?;
        let planes = x_layout.dims()[0];
        let plane = x.len() / planes;
        // SAFETY: `x` has as many elements in each plane.
        let (y, moments) = unsafe {
            filled_planes(planes, plane, |i, y| {
                let x = &x[i * plane..][..plane];
                let m = moments_of(x, self.eps);
                let scale = gamma[i] * m.inverse;
                let shift = beta[i] - scale * m.mean;
                for (y, x) in y.iter_mut().zip(x) {
                    y.write((scale * x + shift).max(0.0));
                }
                m
            })
        };
        *self.moments.lock().unwrap_or_else(PoisonError::into_inner) = moments;
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let (dx, sums) = with_elements(x, |x| {
            with_elements(y, |y| {
                with_elements(dy, |dy| {
                    with_elements(gamma, |gamma| backward(x, y, dy, gamma, &moments))
                })
            })
        })????;
        let (dgamma, dbeta): (Vec<f32>, Vec<f32>) = sums.into_iter().unzip();
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), x.device())?),
            Some(Tensor::from_vec(dgamma, gamma.shape(), x.device())?),
            Some(Tensor::from_vec(dbeta, beta.shape(), x.device())?),
        ))
    }
}

/// Mean and variance of a channel, in `f64` over blocks summed in `f32`.
fn moments_of(x: &[f32], eps: f64) -> Moments {
    let (mut total, mut squares) = (0f64, 0f64);
    for block in x.chunks(BLOCK) {
        let (mut s, mut q) = ([0f32; LANES], [0f32; LANES]);
        let lanes = block.chunks_exact(LANES);
        for (i, v) in lanes.remainder().iter().enumerate() {
            s[i] += v;
            q[i] += v * v;
        }
        for v in lanes {
            for i in 0..LANES {
                s[i] += v[i];
                q[i] += v[i] * v[i];
            }
        }
        total += widened_sum(&s);
        squares += widened_sum(&q);
    }
    let n = x.len() as f64;
    let mean = total / n;
    let var = (squares / n - mean * mean).max(0.0);
    Moments {
        mean: mean as f32,
        var: var as f32,
        inverse: (1.0 / (var + eps).sqrt()) as f32,
    }
}

fn widened_sum(lanes: &[f32; LANES]) -> f64 {
    lanes.iter().map(|v| f64::from(*v)).sum()
}

/// The gradient of the input, and `(dgamma, dbeta)` per channel.
fn backward(
    x: &[f32],
    y: &[f32],
    dy: &[f32],
    gamma: &[f32],
    moments: &[Moments],
) -> (Vec<f32>, Vec<(f32, f32)>) {
    let plane = x.len() / moments.len();
    // SAFETY: all of them have as many elements in each plane.
    unsafe {
        filled_planes(moments.len(), plane, |i, dx| {
            let [x, y, dy] = [x, y, dy].map(|all| &all[i * plane..][..plane]);
            let m = &moments[i];
            let (dbeta, dgamma) = sums_of(x, y, dy, m);
            let scale = gamma[i] * m.inverse;
            let a = dbeta / plane as f32;
            let b = dgamma / plane as f32 * m.inverse;
            for (((dx, x), y), dy) in dx.iter_mut().zip(x).zip(y).zip(dy) {
                let g = if *y > 0.0 { *dy } else { 0.0 };
                dx.write(scale * (g - a - (x - m.mean) * b));
            }
            (dgamma, dbeta)
        })
    }
}

/// `(Σ g, Σ g·x̂)` over a channel, `g` being the gradient where ReLU let it through.
fn sums_of(x: &[f32], y: &[f32], dy: &[f32], m: &Moments) -> (f32, f32) {
    let (mut total, mut weighted) = (0f64, 0f64);
    for start in (0..x.len()).step_by(BLOCK) {
        let end = (start + BLOCK).min(x.len());
        let (x, y, dy) = (&x[start..end], &y[start..end], &dy[start..end]);
        let (mut s, mut q) = ([0f32; LANES], [0f32; LANES]);
        let mut add = |lane: usize, x: f32, y: f32, dy: f32| {
            let g = if y > 0.0 { dy } else { 0.0 };
            s[lane] += g;
            q[lane] += g * (x - m.mean);
        };
        let whole = x.len() / LANES * LANES;
        for ((x, y), dy) in x
            .chunks_exact(LANES)
            .zip(y.chunks_exact(LANES))
            .zip(dy.chunks_exact(LANES))
        {
            for i in 0..LANES {
                add(i, x[i], y[i], dy[i]);
            }
        }
        for i in whole..x.len() {
            add(i - whole, x[i], y[i], dy[i]);
        }
        total += widened_sum(&s);
        weighted += widened_sum(&q);
    }
    (total as f32, (weighted * f64::from(m.inverse)) as f32)
}

#[cfg(test)]
mod tests {
    use super::super::gradcheck::{check_gradient, random};
    use super::*;

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let x = Var::from_tensor(&random((3, 4, 3, 5), 1)?)?;
        let gamma = Var::from_tensor(&(random(3, 2)? + 1.5)?)?;
        let beta = Var::from_tensor(&random(3, 3)?)?;
        check_gradient(&[x.clone(), gamma.clone(), beta.clone()], || {
            Ok(batch_norm_relu(&x, &gamma, &beta, 1e-5)?.0)
        })
    }

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let x = (random((5, 7, 6, 6), 4)? * 3.0)?;
        let (gamma, beta) = (random(5, 5)?, random(5, 6)?);
        let (y, stats) = batch_norm_relu(&x, &gamma, &beta, 1e-5)?;
        let (z, reference) = composed(&x, &gamma, &beta, 1e-5)?;
        let error = (y - z)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(error < 1e-4, "{error}");
        for (a, b) in stats.var.iter().zip(&reference.var) {
            assert!((a - b).abs() < 1e-4 * b.abs().max(1.0));
        }
        assert_eq!(stats.count, 7 * 36);
        Ok(())
    }

    #[test]
    fn running_statistics_approach_the_data() -> Result<()> {
        let bn = BatchNorm::new(2, &Device::Cpu)?;
        let x = ((random((2, 8, 4, 4), 7)? * 2.0)? + 3.0)?;
        for _ in 0..200 {
            bn.forward_train(&x)?;
        }
        let (_, stats) = batch_norm_relu(&x, &bn.gamma, &bn.beta, bn.eps)?;
        let mean = bn.running_mean.to_vec1::<f32>()?;
        let var = bn.running_var.to_vec1::<f32>()?;
        for c in 0..2 {
            assert!((mean[c] - stats.mean[c]).abs() < 1e-3);
            assert!((var[c] - stats.var[c] * 128.0 / 127.0).abs() < 1e-3);
        }
        Ok(())
    }
}
