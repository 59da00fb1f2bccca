//! Losses over logits `[n, classes]`.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::log_softmax;

/// Targets `[n, classes]` with `1 − smoothing` on each image's label and `smoothing`
/// spread over all classes.
///
/// # Errors
/// Where the device has no memory left.
///
/// # Panics
/// Where a label is not below `classes`.
pub fn one_hot(labels: &[u32], classes: usize, smoothing: f32, device: &Device) -> Result<Tensor> {
    let mut targets = vec![smoothing / classes as f32; labels.len() * classes];
    for (row, label) in targets.chunks_exact_mut(classes).zip(labels) {
        row[*label as usize] += 1.0 - smoothing;
    }
    Tensor::from_vec(targets, (labels.len(), classes), device)
}

/// Mean cross-entropy of softmax(`logits`) against target distributions, both
/// `[n, classes]`.
///
/// # Errors
/// Where the shapes differ.
pub fn soft_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let n = logits.dim(0)? as f64;
    (log_softmax(logits, D::Minus1)? * targets)?
        .sum_all()?
        .affine(-1.0 / n, 0.0)
}

/// Knowledge distillation (Hinton et al. 2015): `t²` times the cross-entropy against the
/// teacher's logits, both softened by the temperature `t`.
///
/// # Errors
/// Where the shapes differ.
pub fn distillation(logits: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let soften = |x: &Tensor| log_softmax(&(x / temperature)?, D::Minus1);
    let targets = soften(&teacher.detach())?.exp()?;
    let n = logits.dim(0)? as f64;
    (soften(logits)? * targets)?
        .sum_all()?
        .affine(-temperature * temperature / n, 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::gradcheck::{check_gradient, random};
    use super::*;
    use candle_core::Var;

    #[test]
    fn cross_entropy_of_equal_logits_is_the_log_of_the_classes() -> Result<()> {
        let logits = Tensor::zeros((3, 10), candle_core::DType::F32, &Device::Cpu)?;
        let targets = one_hot(&[0, 5, 9], 10, 0.1, &Device::Cpu)?;
        let loss = soft_cross_entropy(&logits, &targets)?.to_scalar::<f32>()?;
        assert!((loss - 10f32.ln()).abs() < 1e-5);
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let logits = Var::from_tensor(&random((4, 5), 1)?)?;
        let targets = one_hot(&[0, 2, 4, 1], 5, 0.1, &Device::Cpu)?;
        let vars = std::slice::from_ref(&logits);
        check_gradient(vars, || soft_cross_entropy(&logits, &targets))?;
        let teacher = random((4, 5), 2)?;
        check_gradient(vars, || distillation(&logits, &teacher, 3.0))
    }

    #[test]
    fn linear_gradients_equal_finite_differences() -> Result<()> {
        let x = Var::from_tensor(&random((4, 6), 3)?)?;
        let weight = Var::from_tensor(&random((5, 6), 4)?)?;
        let bias = Var::from_tensor(&random(5, 5)?)?;
        check_gradient(&[x.clone(), weight.clone(), bias.clone()], || {
            super::super::linear(&x, &weight, &bias)?.sqr()
        })
    }
}
