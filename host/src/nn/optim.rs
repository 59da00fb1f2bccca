//! Optimizers whose whole state can be saved and restored.

use super::tensor::with_elements;
use candle_core::{Result, Tensor, Var, backprop::GradStore, bail};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A trainable tensor and how it is stepped.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Unique among a model's parameters; names the optimizer's state in checkpoints.
    pub name: String,
    /// The tensor.
    pub var: Var,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Whether weight decay applies (weights yes; biases and normalization no).
    pub decay: bool,
}

impl Parameter {
    /// A parameter at the common learning rate; weight decay where it is a matrix.
    pub fn new(name: impl Into<String>, var: &Var) -> Self {
        Self {
            name: name.into(),
            var: var.clone(),
            lr_scale: 1.0,
            decay: var.rank() >= 2,
        }
    }

    /// The same with a factor on the learning rate.
    pub fn with_lr_scale(self, lr_scale: f64) -> Self {
        Self { lr_scale, ..self }
    }
}

/// A first-order optimizer over a fixed list of parameters.
pub trait Optimizer {
    /// Steps every parameter that has a gradient.
    ///
    /// # Errors
    /// Where a gradient's shape does not fit.
    fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()>;

    /// Everything that the next step depends on besides the parameters, by name.
    fn state(&self) -> HashMap<String, Tensor>;

    /// Restores what [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// Where a tensor is missing or has another shape.
    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()>;
}

/// Which optimizer, as configurations write it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd {
        /// Momentum.
        momentum: f64,
        /// Coupled weight decay, added to the gradient.
        weight_decay: f64,
    },
    /// Adam with PyTorch's defaults (0.9, 0.999, 1e-8).
    Adam {
        /// Decoupled weight decay (AdamW), times the learning rate.
        weight_decay: f64,
    },
}

impl OptimizerKind {
    /// Replaces the weight decay.
    pub fn set_weight_decay(&mut self, decay: f64) {
        match self {
            Self::Sgd { weight_decay, .. } | Self::Adam { weight_decay } => *weight_decay = decay,
        }
    }

    /// The optimizer over these parameters, with fresh state.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn build(self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>> {
        Ok(match self {
            Self::Sgd {
                momentum,
                weight_decay,
            } => Box::new(Sgd::new(parameters, momentum, weight_decay)?),
            Self::Adam { weight_decay } => Box::new(Adam::new(parameters, weight_decay)?),
        })
    }
}

fn zeros_like(parameters: &[Parameter]) -> Result<Vec<Tensor>> {
    parameters.iter().map(|p| p.var.zeros_like()).collect()
}

fn restore(
    slots: &mut [Tensor],
    parameters: &[Parameter],
    prefix: &str,
    state: &HashMap<String, Tensor>,
) -> Result<()> {
    for (slot, p) in slots.iter_mut().zip(parameters) {
        let key = format!("{prefix}.{}", p.name);
        match state.get(&key) {
            Some(t) if t.shape() == p.var.shape() => *slot = t.to_device(p.var.device())?,
            Some(t) => bail!(
                "optimizer state `{key}` is {:?}, need {:?}",
                t.dims(),
                p.var.dims()
            ),
            None => bail!("optimizer state `{key}` is missing"),
        }
    }
    Ok(())
}

fn named<'a>(
    slots: &'a [Tensor],
    parameters: &'a [Parameter],
    prefix: &'a str,
) -> impl Iterator<Item = (String, Tensor)> + 'a {
    slots
        .iter()
        .zip(parameters)
        .map(move |(t, p)| (format!("{prefix}.{}", p.name), t.clone()))
}

/// SGD with Nesterov momentum and coupled weight decay, as PyTorch's.
pub struct Sgd {
    parameters: Vec<Parameter>,
    velocity: Vec<Tensor>,
    momentum: f64,
    weight_decay: f64,
}

impl Sgd {
    /// With zero velocity.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn new(parameters: Vec<Parameter>, momentum: f64, weight_decay: f64) -> Result<Self> {
        Ok(Self {
            velocity: zeros_like(&parameters)?,
            parameters,
            momentum,
            weight_decay,
        })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        for (p, velocity) in self.parameters.iter().zip(&mut self.velocity) {
            let Some(grad) = grads.get(&p.var) else {
                continue;
            };
            let w = p.var.as_detached_tensor();
            let decay = if p.decay { self.weight_decay } else { 0.0 };
            if w.device().is_cpu() {
                let rates = [lr * p.lr_scale, self.momentum, decay];
                let (new_w, new_velocity) = nesterov(&w, velocity, grad, rates)?;
                *velocity = new_velocity;
                p.var.set(&new_w)?;
                continue;
            }
            let grad = match decay != 0.0 {
                true => (grad + (&w * decay)?)?,
                false => grad.clone(),
            };
            *velocity = ((&*velocity * self.momentum)? + &grad)?.detach();
            let direction = (grad + (&*velocity * self.momentum)?)?;
            p.var.set(&(w - (direction * (lr * p.lr_scale))?)?)?;
        }
        Ok(())
    }

    fn state(&self) -> HashMap<String, Tensor> {
        named(&self.velocity, &self.parameters, "velocity").collect()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        restore(&mut self.velocity, &self.parameters, "velocity", state)
    }
}

/// One step in one pass over plain memory: the new weights and the new velocity. candle's
/// element-wise operators take a pass each, and hand long ones to threads that spin.
fn nesterov(
    w: &Tensor,
    velocity: &Tensor,
    grad: &Tensor,
    rates: [f64; 3],
) -> Result<(Tensor, Tensor)> {
    let [lr, momentum, decay] = rates.map(|r| r as f32);
    let (new_w, new_v): (Vec<f32>, Vec<f32>) = with_elements(w, |w| {
        with_elements(velocity, |velocity| {
            with_elements(grad, |grad| {
                let all = w.iter().zip(velocity).zip(grad);
                all.map(|((w, v), g)| {
                    let g = g + decay * w;
                    let v = momentum * v + g;
                    (w - lr * (g + momentum * v), v)
                })
                .unzip()
            })
        })
    })???;
    let tensor = |values| Tensor::from_vec(values, w.shape(), w.device());
    Ok((tensor(new_w)?, tensor(new_v)?))
}

/// Adam with bias correction and decoupled weight decay.
pub struct Adam {
    parameters: Vec<Parameter>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    weight_decay: f64,
    steps: u32,
}

impl Adam {
    const BETA1: f64 = 0.9;
    const BETA2: f64 = 0.999;
    const EPS: f64 = 1e-8;

    /// With zero moments.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn new(parameters: Vec<Parameter>, weight_decay: f64) -> Result<Self> {
        Ok(Self {
            first: zeros_like(&parameters)?,
            second: zeros_like(&parameters)?,
            parameters,
            weight_decay,
            steps: 0,
        })
    }
}

impl Optimizer for Adam {
    fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        self.steps += 1;
        let t = self.steps as f64;
        let (c1, c2) = (1.0 - Self::BETA1.powf(t), 1.0 - Self::BETA2.powf(t));
        for (i, p) in self.parameters.iter().enumerate() {
            let Some(grad) = grads.get(&p.var) else {
                continue;
            };
            let lr = lr * p.lr_scale;
            let first = ((&self.first[i] * Self::BETA1)? + (grad * (1.0 - Self::BETA1))?)?;
            let second = ((&self.second[i] * Self::BETA2)? + (grad.sqr()? * (1.0 - Self::BETA2))?)?;
            let root = ((&second / c2)?.sqrt()? + Self::EPS)?;
            let direction = (&first / c1)?.div(&root)?;
            let mut w = p.var.as_detached_tensor();
            if p.decay && self.weight_decay != 0.0 {
                w = (w * (1.0 - lr * self.weight_decay))?;
            }
            p.var.set(&(w - (direction * lr)?)?)?;
            (self.first[i], self.second[i]) = (first.detach(), second.detach());
        }
        Ok(())
    }

    fn state(&self) -> HashMap<String, Tensor> {
        let mut state: HashMap<_, _> = named(&self.first, &self.parameters, "first")
            .chain(named(&self.second, &self.parameters, "second"))
            .collect();
        if let Some(p) = self.parameters.first()
            && let Ok(steps) = Tensor::new(&[self.steps], p.var.device())
        {
            state.insert("steps".into(), steps);
        }
        state
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        restore(&mut self.first, &self.parameters, "first", state)?;
        restore(&mut self.second, &self.parameters, "second", state)?;
        match state.get("steps") {
            Some(steps) => self.steps = steps.get(0)?.to_scalar()?,
            None => bail!("optimizer state `steps` is missing"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradcheck::random;
    use super::*;
    use candle_core::{DType, Device};

    fn quadratic(var: &Var, target: &Tensor) -> Result<GradStore> {
        (var.as_tensor() - target)?.sqr()?.sum_all()?.backward()
    }

    fn kinds() -> [OptimizerKind; 2] {
        [
            OptimizerKind::Sgd {
                momentum: 0.9,
                weight_decay: 1e-4,
            },
            OptimizerKind::Adam { weight_decay: 1e-4 },
        ]
    }

    #[test]
    fn both_find_the_minimum() -> Result<()> {
        for kind in kinds() {
            let var = Var::zeros((3, 4), DType::F32, &Device::Cpu)?;
            let target = random((3, 4), 1)?;
            let mut optimizer = kind.build(vec![Parameter::new("w", &var)])?;
            for _ in 0..600 {
                optimizer.step(&quadratic(&var, &target)?, 0.02)?;
            }
            let error = (var.as_tensor() - &target)?.abs()?.max_all()?;
            assert!(error.to_scalar::<f32>()? < 1e-2, "{kind:?}");
        }
        Ok(())
    }

    #[test]
    fn a_restored_optimizer_goes_on_identically() -> Result<()> {
        for kind in kinds() {
            let target = random((3, 4), 1)?;
            let run = |interrupt: bool| -> Result<Vec<f32>> {
                let var = Var::zeros((3, 4), DType::F32, &Device::Cpu)?;
                let mut optimizer = kind.build(vec![Parameter::new("w", &var)])?;
                for step in 0..20 {
                    if interrupt && step == 11 {
                        let state = optimizer.state();
                        optimizer = kind.build(vec![Parameter::new("w", &var)])?;
                        optimizer.load_state(&state)?;
                    }
                    optimizer.step(&quadratic(&var, &target)?, 0.01)?;
                }
                var.flatten_all()?.to_vec1()
            };
            assert_eq!(run(false)?, run(true)?);
        }
        Ok(())
    }

    #[test]
    fn nesterov_equals_pytorch_by_hand() -> Result<()> {
        let var = Var::new(&[1.0f32], &Device::Cpu)?;
        let mut sgd = Sgd::new(vec![Parameter::new("w", &var)], 0.9, 0.0)?;
        let zero = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        // g = 2w. Step 1: v = 2, w = 1 − 0.1·(2 + 1.8) = 0.62.
        sgd.step(&quadratic(&var, &zero)?, 0.1)?;
        assert!((var.to_vec1::<f32>()?[0] - 0.62).abs() < 1e-6);
        // Step 2: g = 1.24, v = 3.04, w = 0.62 − 0.1·(1.24 + 2.736) = 0.2224.
        sgd.step(&quadratic(&var, &zero)?, 0.1)?;
        assert!((var.to_vec1::<f32>()?[0] - 0.2224).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn a_missing_moment_is_named() -> Result<()> {
        let var = Var::zeros((3, 4), DType::F32, &Device::Cpu)?;
        let mut sgd = Sgd::new(vec![Parameter::new("w", &var)], 0.9, 0.0)?;
        let error = sgd.load_state(&HashMap::new()).expect_err("refused");
        assert!(error.to_string().contains("velocity.w"));
        Ok(())
    }
}
