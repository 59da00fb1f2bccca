//! The rate term: what entropy-coded weights take, as a loss.
//!
//! A layer's coder has one model for all its weights, so its bytes follow the entropy of the
//! weights' histogram. Rounding makes that a step function; here a weight between two grid
//! points counts as a part of each, nearer ones more. The entropy of these counts is
//! differentiable: a weight is pulled to the more frequent of its two neighbours, by the
//! logarithm of how much more frequent it is (Wiedemann et al., "Entropy-constrained training
//! of deep neural networks", 2019, relax the same quantity). Weights that are exactly 0 stay:
//! they are pruned, or where the rate wants them.

use super::fake_quant::{elements, values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// Part of a weight that an empty grid point counts as where gradients are taken, so that they
/// stay finite.
const LEAST_COUNT: f64 = 1e-3;

/// Bits of all weights `[c_out, fan_in]` together, at the entropy of their histogram over the
/// grid `steps[o] · {−max..max}`, as a scalar.
///
/// # Errors
/// Where shapes disagree or the tensor is not contiguous f32 on the CPU.
pub fn soft_bits(w: &Tensor, steps: &[f32], max: f32) -> Result<Tensor> {
    let (rows, _) = w.dims2()?;
    if rows != steps.len() {
        bail!("soft_bits: {rows} rows, {} steps", steps.len());
    }
    w.contiguous()?.apply_op1(SoftBits {
        steps: steps.to_vec(),
        max,
    })
}

struct SoftBits {
    steps: Vec<f32>,
    max: f32,
}

/// Where a weight lies: the grid point at or below it, counted from the lowest, and how far
/// above it, in steps.
struct Place {
    below: usize,
    share: f32,
}

impl SoftBits {
    /// Weights with the steps of their rows.
    fn stepped<'a>(&'a self, w: &'a [f32]) -> impl Iterator<Item = (f32, f32)> {
        let width = (w.len() / self.steps.len().max(1)).max(1);
        let rows = w.chunks(width).zip(&self.steps);
        rows.flat_map(|(row, &step)| row.iter().map(move |&w| (w, step)))
    }

    fn place(&self, w: f32, step: f32) -> Place {
        let at = (w / step).clamp(-self.max, self.max) + self.max;
        // The highest point is the upper neighbour of the one below it.
        let below = at.floor().min(2.0 * self.max - 1.0).max(0.0);
        Place {
            below: below as usize,
            share: at - below,
        }
    }

    /// Counts by grid point. In f64 and in the weights' order: the same on every machine.
    fn histogram(&self, w: &[f32]) -> Vec<f64> {
        let mut counts = vec![0.0; 2 * self.max as usize + 1];
        for (w, step) in self.stepped(w) {
            let Place { below, share } = self.place(w, step);
            counts[below] += 1.0 - f64::from(share);
            counts[below + 1] += f64::from(share);
        }
        counts
    }
}

impl CustomOp1 for SoftBits {
    fn name(&self) -> &'static str {
        "soft_bits"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let w = elements(s, l)?;
        let all = w.len().max(1) as f64;
        let bits = self.histogram(w).into_iter().filter(|&c| c > 0.0);
        let bits: f64 = bits.map(|c| -c * (c / all).log2()).sum();
        Ok((CpuStorage::F32(vec![bits as f32]), Shape::from(())))
    }

    fn bwd(&self, w: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (shape, device) = (w.shape().clone(), w.device().clone());
        let (w, outer) = (values(w)?, values(grad)?[0]);
        let counts = self.histogram(&w);
        let slope = |(w, step): (f32, f32)| -> f32 {
            if w == 0.0 || w.abs() >= self.max * step {
                return 0.0;
            }
            let below = self.place(w, step).below;
            // The counts' own derivatives cancel. A weight that is exactly on the grid may have
            // nothing at its upper neighbour.
            let [low, high] = [counts[below], counts[below + 1]].map(|c| c.max(LEAST_COUNT));
            let ratio = low / high;
            outer * ratio.log2() as f32 / step
        };
        let g: Vec<f32> = self.stepped(&w).map(slope).collect();
        Ok(Some(Tensor::from_vec(g, shape, &device)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::entropy;
    use crate::nn::Rng;
    use crate::nn::gradcheck::check_gradient;
    use candle_core::{Device, Var};

    #[test]
    fn on_the_grid_it_is_the_entropy() -> Result<()> {
        let mut rng = Rng::new(3);
        let mut weight = || (rng.below(4) + rng.below(4)) as i8 - 3;
        let q: Vec<i8> = (0..400).map(|_| weight()).collect();
        let w: Vec<f32> = q.iter().map(|&q| 0.25 * f32::from(q)).collect();
        let w = Tensor::from_vec(w, (4, 100), &Device::Cpu)?;
        let bits = soft_bits(&w, &[0.25; 4], 3.0)?.to_scalar::<f32>()?;
        let want = 400.0 * entropy(&q.iter().map(|&q| q.min(3)).collect::<Vec<_>>());
        assert!((f64::from(bits) - want).abs() < 1e-2, "{bits} of {want}");
        Ok(())
    }

    #[test]
    fn gradients_agree_with_differences_and_pull_to_the_more_frequent() -> Result<()> {
        // Between grid points, where it is differentiable, with a step of its own a row.
        let (steps, mut rng) = ([0.5f32, 0.8], Rng::new(4));
        let mut w = Vec::new();
        for step in steps {
            let mut place =
                || (rng.below(3) + rng.below(3)) as f32 - 3.0 + rng.uniform_in(0.2, 0.8);
            w.extend((0..24).map(|_| step * place()));
        }
        let var = Var::from_vec(w, (2, 24), &Device::Cpu)?;
        let bits = || soft_bits(var.as_tensor(), &steps, 3.0)?.reshape(1);
        check_gradient(std::slice::from_ref(&var), bits)?;

        // Many at 0, so that everything near it is pulled there; what is pruned, or beyond the
        // grid, is not pulled. 2 is on the grid, and nothing above it.
        let w = [0.0f32, 0.0, 0.1, -0.1, 0.05, 0.4, -5.0, 5.0, 2.0];
        let var = Var::from_vec(w.to_vec(), (1, 9), &Device::Cpu)?;
        let grads = soft_bits(var.as_tensor(), &[1.0], 4.0)?.backward()?;
        let g = grads.get(&var).expect("tracked");
        let g = g.flatten_all()?.to_vec1::<f32>()?;
        let sign = |g: &f32| if *g == 0.0 { 0.0 } else { g.signum() };
        let signs: Vec<f32> = g.iter().map(sign).collect();
        assert_eq!(
            signs,
            [0.0, 0.0, 1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 1.0],
            "{g:?}"
        );
        assert!(g.iter().all(|g| g.is_finite()));
        Ok(())
    }
}
