//! 3x3 convolution, stride 1, padding 1, without bias, in `[c, n, h, w]`.
//!
//! The input gradient is the same kernel with the weights flipped and their channels
//! exchanged. The weight gradient is summed in a fixed number of parts, whatever the
//! number of threads, so that training gives the same bits everywhere.

#[cfg(target_arch = "x86_64")]
mod direct;
#[cfg(target_arch = "x86_64")]
mod filters;
mod gemm;
mod kernels;
#[cfg(target_arch = "x86_64")]
mod memory;
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
    let weight = weight.reshape((c_out, c_in, 3, 3))?;
    let y = x
        .transpose(0, 1)?
        .contiguous()?
        .conv2d(&weight, 1, 1, 1, 1)?;
    y.transpose(0, 1)?.contiguous()
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
mod tests {
    use super::super::gradcheck::{check_gradient, random};
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn equals_candles_convolution() -> Result<()> {
        for (n, c_in, c_out, h, w) in [
            (3, 5, 7, 8, 8),
            (1, 3, 16, 1, 1),
            (2, 17, 9, 5, 7),
            (5, 33, 40, 4, 4),
        ] {
            let x = random((c_in, n, h, w), 1)?;
            let weight = random((c_out, c_in * 9), 2)?;
            let y = conv3x3(&x, &weight)?;
            let reference = x
                .transpose(0, 1)?
                .contiguous()?
                .conv2d(&weight.reshape((c_out, c_in, 3, 3))?, 1, 1, 1, 1)?
                .transpose(0, 1)?;
            let error = (y - reference)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(error < 1e-4, "{n} {c_in} {c_out} {h} {w}: {error}");
        }
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let x = Var::from_tensor(&random((3, 2, 5, 6), 3)?)?;
        let weight = Var::from_tensor(&random((4, 27), 4)?)?;
        check_gradient(&[x.clone(), weight.clone()], || conv3x3(&x, &weight))
    }

    #[test]
    fn serial_equals_parallel() -> Result<()> {
        let shape = ConvShape {
            c_in: 6,
            c_out: 10,
            n: 3,
            h: 9,
            w: 7,
        };
        let x = random((6, 3, 9, 7), 5)?;
        let weight = random((10, 54), 6)?;
        let y = conv3x3(&x, &weight)?.flatten_all()?.to_vec1::<f32>()?;
        let mut serial = vec![0.0; y.len()];
        conv3x3_into(
            &x.flatten_all()?.to_vec1::<f32>()?,
            &weight.flatten_all()?.to_vec1::<f32>()?,
            shape,
            &mut serial,
        );
        for (a, b) in y.iter().zip(&serial) {
            assert!((a - b).abs() < 1e-4);
        }
        Ok(())
    }

    #[test]
    fn does_not_depend_on_the_thread_count() -> Result<()> {
        let run = |threads: usize, channels: usize, map: usize| -> Result<Vec<f32>> {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("thread pool");
            pool.install(|| {
                let x = random((channels, 16, map, map), 7)?;
                let weight = Var::from_tensor(&random((channels, channels * 9), 8)?)?;
                let y = conv3x3(&x, &weight)?;
                let grads = (&y * &y)?.sum_all()?.backward()?;
                grads
                    .get(&weight)
                    .expect("gradient")
                    .flatten_all()?
                    .to_vec1::<f32>()
            })
        };
        for (channels, map) in [(8, 12), (40, 12), (24, 2)] {
            assert_eq!(run(1, channels, map)?, run(5, channels, map)?);
        }
        Ok(())
    }

    /// The worst difference, as a share of the largest value.
    #[cfg(target_arch = "x86_64")]
    fn worst(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let scale = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        differences.fold(0.0f32, f32::max) / scale
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn fast_kernels_equal_the_portable_ones() -> Result<()> {
        if !std::arch::is_x86_feature_detected!("avx512vl") {
            eprintln!("SKIPPED: this processor has no AVX-512");
            return Ok(());
        }
        let shapes = [
            (2, 3, 8, 32, 32),
            (19, 5, 13, 8, 8),
            (33, 37, 3, 5, 7),
            (3, 24, 37, 9, 7),
            (70, 33, 64, 4, 4),
            (9, 33, 64, 5, 32),
            (1, 24, 24, 14, 14),
            (17, 9, 13, 2, 2),
            (30, 16, 50, 1, 2),
            (8, 40, 100, 1, 1),
        ];
        for (n, c_in, c_out, h, w) in shapes {
            let s = ConvShape {
                c_in,
                c_out,
                n,
                h,
                w,
            };
            let values =
                |shape: (usize, usize), seed| random(shape, seed)?.flatten_all()?.to_vec1();
            let x: Vec<f32> = values((c_in, s.plane()), 1)?;
            let dy: Vec<f32> = values((c_out, s.plane()), 2)?;
            let weight: Vec<f32> = values((c_out, c_in * 9), 3)?;
            let y = gemm::forward(&x, &weight, s);
            let back = s.transposed();
            let dx = gemm::forward(&dy, &kernels::turned(&weight, back), back);
            let dw = gemm::weight_gradient(&x, &dy, s);

            let mut serial = vec![0.0; y.len()];
            kernels::forward_serial(&x, &weight, s, &mut serial);
            let mut errors = vec![
                worst(&serial, &y),
                worst(&kernels::forward(&x, &weight, s, Direction::Forward), &y),
                worst(
                    &kernels::forward(&dy, &weight, back, Direction::Backward),
                    &dx,
                ),
                worst(&kernels::weight_gradient(&x, &dy, s), &dw),
            ];
            if direct::fits(s) {
                errors.push(worst(&direct::forward(&x, &weight, s), &y));
                errors.push(worst(&direct::weight_gradient(&x, &dy, s), &dw));
            }
            assert!(errors.iter().all(|e| *e < 2e-5), "{s:?}: {errors:?}");
        }
        Ok(())
    }

    #[test]
    fn wrong_shapes_are_refused() -> Result<()> {
        let x = Tensor::zeros((3, 1, 4, 4), candle_core::DType::F32, &Device::Cpu)?;
        let weight = Tensor::zeros((8, 36), candle_core::DType::F32, &Device::Cpu)?;
        let error = conv3x3(&x, &weight)
            .expect_err("must be refused")
            .to_string();
        assert!(error.contains("3 channels"), "{error}");
        Ok(())
    }
}
