//! Gradients against central differences, for the tests of every operator.

use super::Rng;
use candle_core::{Device, Result, Shape, Tensor, Var};

/// A tensor of standard normal values.
pub(crate) fn random(shape: impl Into<Shape>, seed: u64) -> Result<Tensor> {
    let shape = shape.into();
    Tensor::from_vec(
        Rng::new(seed).normals(shape.elem_count()),
        shape,
        &Device::Cpu,
    )
}

/// Compares the gradient of a random projection of `f`'s result with central
/// differences, in a few dozen coordinates of each variable.
///
/// # Panics
/// Where they disagree by more than one percent of the gradient's size.
pub(crate) fn check_gradient(vars: &[Var], f: impl Fn() -> Result<Tensor>) -> Result<()> {
    let direction = random(f()?.shape().clone(), 99)?;
    let project = || -> Result<Tensor> { (f()? * &direction)?.sum_all() };
    let grads = project()?.backward()?;
    for (which, var) in vars.iter().enumerate() {
        let analytic = grads.get(var).expect("a gradient for every variable");
        let analytic = analytic.flatten_all()?.to_vec1::<f32>()?;
        let scale = analytic.iter().fold(1e-3f32, |m, g| m.max(g.abs()));
        let start = var.as_detached_tensor().copy()?;
        let values = start.flatten_all()?.to_vec1::<f32>()?;
        for i in (0..values.len()).step_by(values.len().div_ceil(48)) {
            let at = |shift: f32| -> Result<f64> {
                let mut moved = values.clone();
                moved[i] += shift;
                var.set(&Tensor::from_vec(moved, start.shape(), start.device())?)?;
                Ok(f64::from(project()?.to_scalar::<f32>()?))
            };
            let step = 4e-3;
            let numeric = (at(step)? - at(-step)?) / (2.0 * f64::from(step));
            let error = (numeric - f64::from(analytic[i])).abs();
            assert!(
                error < 0.01 * f64::from(scale) + 2e-3,
                "variable {which}, element {i}: {numeric} against {}",
                analytic[i]
            );
        }
        var.set(&start)?;
    }
    Ok(())
}
