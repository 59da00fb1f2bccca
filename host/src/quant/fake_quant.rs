//! Quantizers in the float network: rounding forward, straight-through backward.
//!
//! Both follow Esser et al., "Learned Step Size Quantization" (ICLR 2020), eq. 1 to 3, and
//! Choi et al., "PACT" (2018): what is inside the range passes its gradient on, what is
//! clipped does not, and the activation's clip learns. Weight steps stay where MSE
//! clipping put them; the weights move around the grid instead.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

/// Elements per unit of parallel work and of partial sums: fixed, so that sums do not
/// depend on the thread count.
const BLOCK: usize = 1 << 14;

/// Weights `[c_out, fan_in]` rounded to `steps[o] · {−max..max}`, a step per row.
///
/// # Errors
/// Where shapes disagree or the tensor is not contiguous f32 on the CPU.
pub fn fake_quant_weight(w: &Tensor, steps: &[f32], max: f32) -> Result<Tensor> {
    let (rows, _) = w.dims2()?;
    if rows != steps.len() {
        bail!("fake_quant_weight: {rows} rows, {} steps", steps.len());
    }
    w.contiguous()?.apply_op1(WeightQuant {
        steps: steps.to_vec(),
        max,
    })
}

/// ReLU, clipping at `clip` (a scalar tensor `[1]`) and rounding to `levels` steps above 0.
///
/// # Errors
/// Where the tensor is not contiguous f32 on the CPU.
pub fn fake_quant_relu(x: &Tensor, clip: &Tensor, levels: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op2(clip, ActivationQuant { levels })
}

struct WeightQuant {
    steps: Vec<f32>,
    max: f32,
}

impl WeightQuant {
    fn rows<'a>(&'a self, data: &'a [f32]) -> impl Iterator<Item = (&'a [f32], f32)> {
        data.chunks_exact(data.len() / self.steps.len())
            .zip(self.steps.iter().copied())
    }
}

impl CustomOp1 for WeightQuant {
    fn name(&self) -> &'static str {
        "fake_quant_weight"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let w = elements(s, l)?;
        let mut out = Vec::with_capacity(w.len());
        for (row, step) in self.rows(w) {
            out.extend(
                row.iter()
                    .map(|&w| (w / step).round().clamp(-self.max, self.max) * step),
            );
        }
        Ok((CpuStorage::F32(out), l.shape().clone()))
    }

    fn bwd(&self, w: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (w, shape, device) = (values(w)?, w.shape().clone(), w.device().clone());
        let mut g = values(grad)?;
        let width = w.len() / self.steps.len();
        for ((g, w), &step) in g
            .chunks_exact_mut(width)
            .zip(w.chunks_exact(width))
            .zip(&self.steps)
        {
            // Half a step of slack lets a weight at the end of the range come back.
            let edge = (self.max + 0.5) * step;
            g.iter_mut()
                .zip(w)
                .for_each(|(g, w)| *g *= f32::from(w.abs() <= edge));
        }
        Ok(Some(Tensor::from_vec(g, shape, &device)?))
    }
}

struct ActivationQuant {
    levels: f32,
}

impl CustomOp2 for ActivationQuant {
    fn name(&self) -> &'static str {
        "fake_quant_relu"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, clip) = (elements(s1, l1)?, elements(s2, l2)?[0].max(1e-6));
        let (inverse, step) = (self.levels / clip, clip / self.levels);
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(BLOCK)
            .zip(x.par_chunks(BLOCK))
            .for_each(|(y, x)| {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = (x * inverse).clamp(0.0, self.levels).round() * step;
                }
            });
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        clip: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (shape, device) = (x.shape().clone(), x.device().clone());
        let (x, y, c) = (values(x)?, values(y)?, values(clip)?[0].max(1e-6));
        let mut g = values(grad)?;
        let count = g.len();
        let partial: Vec<f64> = g
            .par_chunks_mut(BLOCK)
            .zip(x.par_chunks(BLOCK).zip(y.par_chunks(BLOCK)))
            .map(|(g, (x, y))| {
                let mut dclip = 0f64;
                for ((g, &x), &y) in g.iter_mut().zip(x).zip(y) {
                    // d y / d clip: 1 above the range, the rounding error relative to the
                    // clip inside, 0 below.
                    let slope = if x >= c {
                        1.0
                    } else if x > 0.0 {
                        (y - x) / c
                    } else {
                        0.0
                    };
                    dclip += f64::from(*g * slope);
                    *g *= f32::from(x > 0.0 && x < c);
                }
                dclip
            })
            .collect();
        // LSQ's gradient scale, 1/sqrt(N · levels), keeps the clip's steps in proportion.
        let scale = 1.0 / (count as f64 * f64::from(self.levels)).sqrt();
        let dclip = (partial.iter().sum::<f64>() * scale) as f32;
        Ok((
            Some(Tensor::from_vec(g, shape, &device)?),
            Some(Tensor::new(&[dclip], &device)?),
        ))
    }
}

pub(super) fn elements<'a>(s: &'a CpuStorage, l: &Layout) -> Result<&'a [f32]> {
    match l.contiguous_offsets() {
        Some((a, b)) => Ok(&s.as_slice::<f32>()?[a..b]),
        None => bail!(
            "the quantizer needs a contiguous tensor, got strides {:?}",
            l.stride()
        ),
    }
}

pub(super) fn values(t: &Tensor) -> Result<Vec<f32>> {
    let t = t.contiguous()?;
    let (s, l) = t.storage_and_layout();
    match &*s {
        Storage::Cpu(s) => Ok(elements(s, l)?.to_vec()),
        _ => t.flatten_all()?.to_vec1(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn weights_land_on_their_grid_and_gradients_stop_at_its_end() -> Result<()> {
        let w = Var::new(&[[0.26f32, -0.9, 0.05, 0.14]], &Device::Cpu)?;
        let q = fake_quant_weight(w.as_tensor(), &[0.1], 3.0)?;
        assert_eq!(
            q.to_vec2::<f32>()?,
            [[0.3, -0.3, 0.1, 0.1].map(|v: f32| (v / 0.1).round() * 0.1)]
        );
        let g = q.sum_all()?.backward()?;
        assert_eq!(
            g.get(&w).expect("tracked").to_vec2::<f32>()?,
            [[1.0, 0.0, 1.0, 1.0]]
        );
        Ok(())
    }

    #[test]
    fn activations_round_and_the_clip_learns() -> Result<()> {
        let x = Var::new(&[-1.0f32, 0.4, 0.9, 5.0], &Device::Cpu)?;
        let clip = Var::new(&[3.0f32], &Device::Cpu)?;
        let y = fake_quant_relu(x.as_tensor(), clip.as_tensor(), 3.0)?;
        assert_eq!(y.to_vec1::<f32>()?, [0.0, 0.0, 1.0, 3.0]);
        let g = y.sum_all()?.backward()?;
        assert_eq!(
            g.get(&x).expect("tracked").to_vec1::<f32>()?,
            [0.0, 1.0, 1.0, 0.0]
        );
        let dclip = g.get(&clip).expect("tracked").to_vec1::<f32>()?[0];
        let want = (1.0 + (0.0 - 0.4) / 3.0 + (1.0 - 0.9) / 3.0) / 12f32.sqrt();
        assert!((dclip - want).abs() < 1e-6, "{dclip} against {want}");
        Ok(())
    }
}
