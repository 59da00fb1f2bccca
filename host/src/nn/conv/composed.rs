//! The convolution from candle's own operators, for devices that the kernels here do not run on.
//!
//! candle differentiates its convolution by a transposed one, and by one whose filters are as
//! large as the map. On CUDA the first is a kernel without shared memory, and for the second cuDNN
//! has no fast algorithm. Here the gradient of the input is a convolution like the forward one, and
//! the gradient of the weights is nine products of matrices, one for each tap, so that cuDNN and
//! cuBLAS do both.

use super::super::tensor::elements;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, Result, Shape, Tensor};

/// Rows and columns of a filter.
const SIDE: usize = 3;

/// See [`super::conv3x3`].
pub(super) fn conv3x3(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let y = forward(&x.detach(), &weight.detach())?;
    x.apply_op3(weight, &y, Differentiated)
}

/// `x` `[c_in, n, h, w]`, `weight` `[c_out, c_in·9]`, by candle's convolution, contiguous.
fn forward(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (c_out, c_in) = (weight.dim(0)?, x.dim(0)?);
    let filters = weight.contiguous()?.reshape((c_out, c_in, SIDE, SIDE))?;
    let images = x.transpose(0, 1)?.contiguous()?;
    let y = images.conv2d(&filters, 1, 1, 1, 1)?;
    y.transpose(0, 1)?.contiguous()
}

/// The gradient of the input: `dy` convolved with the filters turned by 180 degrees, their
/// channels exchanged.
fn input_gradient(dy: &Tensor, weight: &Tensor, c_in: usize) -> Result<Tensor> {
    let c_out = weight.dim(0)?;
    let taps = weight.reshape((c_out, c_in, SIDE * SIDE))?;
    let turned = taps.flip(&[2])?.transpose(0, 1)?.contiguous()?;
    forward(dy, &turned.reshape((c_in, c_out * SIDE * SIDE))?)
}

/// The gradient of the weights: for each tap the product of `dy` `[c_out, n·h·w]` and the input as
/// that tap sees it, transposed.
fn weight_gradient(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (c_in, n, h, w) = x.dims4()?;
    let c_out = dy.dim(0)?;
    let padded = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    let dy = dy.contiguous()?.reshape((c_out, n * h * w))?;
    let of_tap = |tap: usize| {
        let seen = padded.narrow(2, tap / SIDE, h)?.narrow(3, tap % SIDE, w)?;
        dy.matmul(&seen.contiguous()?.reshape((c_in, n * h * w))?.t()?)
    };
    let taps = (0..SIDE * SIDE).map(of_tap).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&taps, 2)?.reshape((c_out, c_in * SIDE * SIDE))
}

/// Gives back its third argument, which was computed from the first two beside the graph, and knows
/// their gradients.
struct Differentiated;

impl CustomOp3 for Differentiated {
    fn name(&self) -> &'static str {
        "conv3x3_composed"
    }

    fn cpu_fwd(
        &self,
        _x: &CpuStorage,
        _x_layout: &Layout,
        _weight: &CpuStorage,
        _weight_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = elements(y, y_layout)?.to_vec();
        Ok((CpuStorage::F32(y), y_layout.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        _x: &CudaStorage,
        _x_layout: &Layout,
        _weight: &CudaStorage,
        _weight_layout: &Layout,
        y: &CudaStorage,
        y_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((y.try_clone(y_layout)?, y_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        _result: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dw = weight_gradient(&x.detach(), dy)?;
        let dx = if x.track_op() {
            Some(input_gradient(dy, &weight.detach(), x.dim(0)?)?)
        } else {
            None
        };
        Ok((dx, Some(dw), None))
    }
}
