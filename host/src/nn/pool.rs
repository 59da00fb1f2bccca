//! 2x2 max-pooling and global average pooling.

use super::tensor::{elements, with_elements};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// 2x2 max-pooling, stride 2; an odd last row or column is left out, as in PyTorch.
/// `[c, n, h, w]` to `[c, n, h/2, w/2]`. Where values tie, the first of the four gets the
/// gradient.
///
/// # Errors
/// Where the map is smaller than 2x2.
pub fn max_pool2(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if h < 2 || w < 2 {
        bail!("max_pool2: a map of {h}x{w} cannot be pooled");
    }
    if x.device().is_cpu() {
        let winners = Mutex::new(Vec::new());
        return x.contiguous()?.apply_op1(MaxPool2 { winners });
    }
    composed_max_pool2(x)
}

/// The same from candle's operators, for devices that the fused one does not run on;
/// candle's own pooling has a wrong gradient.
fn composed_max_pool2(x: &Tensor) -> Result<Tensor> {
    let (c, n, h, w) = x.dims4()?;
    let (h2, w2) = (h / 2, w / 2);
    let even = x.narrow(2, 0, 2 * h2)?.narrow(3, 0, 2 * w2)?;
    let cells = even.contiguous()?.reshape((c * n * h2, 2, w2, 2))?;
    let corner = |y, x| cells.narrow(1, y, 1)?.narrow(3, x, 1)?.contiguous();
    let top = corner(0, 0)?.maximum(&corner(0, 1)?)?;
    let bottom = corner(1, 0)?.maximum(&corner(1, 1)?)?;
    top.maximum(&bottom)?.reshape((c, n, h2, w2))
}

/// Mean over the map: `[c, n, h, w]` to `[n, c]`.
///
/// # Errors
/// Where the input has another rank.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let (c, n, h, w) = x.dims4()?;
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op1(GlobalAvgPool);
    }
    x.reshape((c, n, h * w))?.mean(2)?.t()?.contiguous()
}

struct GlobalAvgPool;

impl CustomOp1 for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(x, layout)?;
        let (c, n, h, w) = layout.shape().dims4()?;
        let mut y = vec![0.0f32; n * c];
        for (i, map) in x.chunks_exact(h * w).enumerate() {
            y[i % n * c + i / n] = map.iter().sum::<f32>() / (h * w) as f32;
        }
        Ok((CpuStorage::F32(y), (n, c).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (c, n, h, w) = x.dims4()?;
        let mut dx = vec![0.0f32; c * n * h * w];
        with_elements(dy, |dy| {
            for (i, map) in dx.chunks_exact_mut(h * w).enumerate() {
                map.fill(dy[i % n * c + i / n] / (h * w) as f32);
            }
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

struct MaxPool2 {
    /// Which of the four was the largest, per output element, from the forward pass.
    winners: Mutex<Vec<u8>>,
}

impl CustomOp1 for MaxPool2 {
    fn name(&self) -> &'static str {
        "max_pool2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(x, layout)?;
        let (c, n, h, w) = layout.shape().dims4()?;
        let (h2, w2) = (h / 2, w / 2);
        let mut y = vec![0.0f32; c * n * h2 * w2];
        let mut winners = vec![0u8; y.len()];
        y.par_chunks_mut(n * h2 * w2)
            .zip(winners.par_chunks_mut(n * h2 * w2))
            .zip(x.par_chunks(n * h * w))
            .for_each(|((y, winners), x)| pool_plane(x, (h, w), y, winners));
        *self.winners.lock().unwrap_or_else(PoisonError::into_inner) = winners;
        Ok((CpuStorage::F32(y), (c, n, h2, w2).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (c, n, h, w) = x.dims4()?;
        let (h2, w2) = (h / 2, w / 2);
        let winners = self.winners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dx = vec![0.0f32; c * n * h * w];
        with_elements(dy, |dy| {
            dx.par_chunks_mut(n * h * w)
                .zip(winners.par_chunks(n * h2 * w2))
                .zip(dy.par_chunks(n * h2 * w2))
                .for_each(|((dx, winners), dy)| unpool_plane(dy, winners, (h, w), dx));
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// Pools one channel of every image of the batch.
fn pool_plane(x: &[f32], (h, w): (usize, usize), y: &mut [f32], winners: &mut [u8]) {
    let (h2, w2) = (h / 2, w / 2);
    let rows = y.chunks_exact_mut(w2).zip(winners.chunks_exact_mut(w2));
    for (r, (y, winners)) in rows.enumerate() {
        let start = (r / h2 * h + r % h2 * 2) * w;
        let (top, bottom) = (&x[start..][..w], &x[start + w..][..w]);
        let cells = top.chunks_exact(2).zip(bottom.chunks_exact(2));
        for ((t, b), (y, winner)) in cells.zip(y.iter_mut().zip(winners)) {
            (*y, *winner) = (t[0], 0);
            for (i, v) in [t[1], b[0], b[1]].into_iter().enumerate() {
                if v > *y {
                    (*y, *winner) = (v, i as u8 + 1);
                }
            }
        }
    }
}

/// Gives each gradient to the element that won.
fn unpool_plane(dy: &[f32], winners: &[u8], (h, w): (usize, usize), dx: &mut [f32]) {
    let (h2, w2) = (h / 2, w / 2);
    let rows = dy.chunks_exact(w2).zip(winners.chunks_exact(w2));
    for (r, (dy, winners)) in rows.enumerate() {
        let start = (r / h2 * h + r % h2 * 2) * w;
        for (j, (g, winner)) in dy.iter().zip(winners).enumerate() {
            let (down, right) = (usize::from(winner / 2), usize::from(winner % 2));
            dx[start + down * w + 2 * j + right] = *g;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradcheck::{check_gradient, random};
    use super::*;
    use candle_core::Var;

    #[test]
    fn max_pool_equals_candles_forward() -> Result<()> {
        for (h, w) in [(8, 6), (5, 7), (2, 3)] {
            let x = random((3, 4, h, w), 1)?;
            let error = (max_pool2(&x)? - x.max_pool2d(2)?)?.abs()?.max_all()?;
            assert_eq!(error.to_scalar::<f32>()?, 0.0);
            let error = (composed_max_pool2(&x)? - x.max_pool2d(2)?)?
                .abs()?
                .max_all()?;
            assert_eq!(error.to_scalar::<f32>()?, 0.0);
        }
        Ok(())
    }

    #[test]
    fn max_pool_gradient_equals_finite_differences() -> Result<()> {
        for (h, w) in [(6, 4), (5, 7)] {
            let x = Var::from_tensor(&random((2, 3, h, w), 2)?)?;
            check_gradient(std::slice::from_ref(&x), || max_pool2(&x)?.sqr())?;
            check_gradient(std::slice::from_ref(&x), || composed_max_pool2(&x)?.sqr())?;
        }
        Ok(())
    }

    #[test]
    fn global_avg_pool_gradient_equals_finite_differences() -> Result<()> {
        let x = Var::from_tensor(&random((3, 2, 4, 4), 3)?)?;
        check_gradient(std::slice::from_ref(&x), || global_avg_pool(&x)?.sqr())
    }

    #[test]
    fn a_map_too_small_is_refused() -> Result<()> {
        assert!(max_pool2(&random((1, 1, 1, 4), 0)?).is_err());
        Ok(())
    }
}
