//! 3x3 convolution, stride 1, padding 1, without bias, in `[c, n, h, w]`.
//!
//! The input gradient is the same kernel with the weights flipped and their channels
//! exchanged. The weight gradient is summed in an order that depends on the shape alone,
//! whatever the number of threads, so that training gives the same bits on one machine.
//!
//! `winograd` computes wide layers, `pixels` maps of at most 2x2, both and `direct` in
//! AVX-512; `gemm` is for everything else on a CPU, `composed` for other devices.

mod composed;
#[cfg(target_arch = "x86_64")]
mod direct;
#[cfg(target_arch = "x86_64")]
mod filters;
mod gemm;
mod kernels;
#[cfg(target_arch = "x86_64")]
mod pixels;
#[cfg(target_arch = "x86_64")]
mod product;
#[cfg(target_arch = "x86_64")]
mod transpose;
#[cfg(target_arch = "x86_64")]
mod winograd;

use kernels::{Direction, PARTIAL_SUMS, SharedOutput, check, sum};

use super::tensor::{elements, with_elements};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// Sizes of a 3x3 convolution: `[c_in, n, h, w]` to `[c_out, n, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Images in the batch.
    pub n: usize,
    /// Height of the map.
    pub h: usize,
    /// Width of the map.
    pub w: usize,
}

impl ConvShape {
    /// Elements of one channel over the whole batch.
    pub fn plane(&self) -> usize {
        self.n * self.h * self.w
    }

    fn transposed(self) -> Self {
        Self {
            c_in: self.c_out,
            c_out: self.c_in,
            ..self
        }
    }
}

/// 3x3 convolution, stride 1, padding 1: `x` `[c_in, n, h, w]`, `weight` `[c_out, c_in·9]`
/// (PyTorch's `[c_out, c_in, 3, 3]`, flattened); gives `[c_out, n, h, w]`.
///
/// # Errors
/// Where the shapes do not fit.
pub fn conv3x3(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let c_in = x.dims4()?.0;
    let (c_out, k) = weight.dims2()?;
    if k != c_in * 9 {
        bail!(
            "conv3x3: input has {c_in} channels, weight is [{c_out}, {k}], not [{c_out}, {c_in}*9]"
        );
    }
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op2(&weight.contiguous()?, Conv3x3);
    }
    composed::conv3x3(x, weight)
}

/// The same convolution on plain slices, for inference, by the calling thread (but for
/// maps of at most 2x2):
/// `x` `[c_in, n, h, w]`, `weight` `[c_out, c_in·9]`, `y` `[c_out, n, h, w]`.
///
/// # Panics
/// Where a slice is not as long as `shape` says.
pub fn conv3x3_into(x: &[f32], weight: &[f32], shape: ConvShape, y: &mut [f32]) {
    kernels::forward_serial(x, weight, shape, y);
}

struct Conv3x3;

impl CustomOp2 for Conv3x3 {
    fn name(&self) -> &'static str {
        "conv3x3"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = shape_of(x_layout.shape(), weight_layout.shape())?;
        let y = kernels::forward(
            elements(x, x_layout)?,
            elements(weight, weight_layout)?,
            shape,
            Direction::Forward,
        );
        Ok((
            CpuStorage::F32(y),
            (shape.c_out, shape.n, shape.h, shape.w).into(),
        ))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let shape = shape_of(x.shape(), weight.shape())?;
        let dw = with_elements(x, |x| {
            with_elements(dy, |dy| kernels::weight_gradient(x, dy, shape))
        })??;
        let dw = Tensor::from_vec(dw, weight.shape(), x.device())?;
        if !x.track_op() {
            return Ok((None, Some(dw)));
        }
        let dx = with_elements(weight, |weight| {
            with_elements(dy, |dy| {
                kernels::forward(dy, weight, shape.transposed(), Direction::Backward)
            })
        })??;
        Ok((Some(Tensor::from_vec(dx, x.shape(), x.device())?), Some(dw)))
    }
}

fn shape_of(x: &Shape, weight: &Shape) -> Result<ConvShape> {
    let (c_in, n, h, w) = x.dims4()?;
    let (c_out, _) = weight.dims2()?;
    Ok(ConvShape {
        c_in,
        c_out,
        n,
        h,
        w,
    })
}

#[cfg(test)]
mod tests;
