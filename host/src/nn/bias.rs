//! Adds a bias per channel.

use super::tensor::{elements, with_elements};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `x + bias` with `x` `[c, n, h, w]` and `bias` `[c]`; the gradient of the bias is summed
/// in `f64`, a channel at a time.
///
/// # Errors
/// Where the shapes do not fit.
pub fn channel_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let c = x.dims4()?.0;
    if bias.dims() != [c] {
        bail!(
            "channel_bias: input has {c} channels, bias is {:?}",
            bias.dims()
        );
    }
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op2(&bias.contiguous()?, ChannelBias);
    }
    x.broadcast_add(&bias.reshape((c, 1, 1, 1))?)
}

struct ChannelBias;

impl CustomOp2 for ChannelBias {
    fn name(&self) -> &'static str {
        "channel_bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (elements(x, x_layout)?, elements(bias, bias_layout)?);
        let plane = x.len() / bias.len();
        let mut y = vec![0.0f32; x.len()];
        y.par_chunks_mut(plane)
            .zip(x.par_chunks(plane))
            .zip(bias)
            .for_each(|((y, x), b)| y.iter_mut().zip(x).for_each(|(y, x)| *y = x + b));
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let plane = dy.elem_count() / bias.elem_count();
        let sums: Vec<f32> = with_elements(dy, |dy| {
            dy.par_chunks(plane)
                .map(|g| g.iter().map(|v| f64::from(*v)).sum::<f64>() as f32)
                .collect()
        })?;
        let db = Tensor::from_vec(sums, bias.shape(), bias.device())?;
        Ok((Some(dy.clone()), Some(db)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradcheck::{check_gradient, random};
    use super::*;
    use candle_core::Var;

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let x = Var::from_tensor(&random((3, 2, 4, 5), 1)?)?;
        let bias = Var::from_tensor(&random(3, 2)?)?;
        // Squared, so that the gradient is not merely the direction it is projected on.
        check_gradient(&[x.clone(), bias.clone()], || {
            channel_bias(&x, &bias)?.sqr()
        })
    }
}
