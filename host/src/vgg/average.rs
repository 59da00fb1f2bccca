//! An exponential moving average of a model's tensors, batch normalization's statistics
//! included.

use candle_core::{Result, Tensor, Var, bail};
use std::collections::HashMap;

/// Before the names of averages in a checkpoint.
const PREFIX: &str = "average.";

/// The average, and how much of it a step leaves.
pub(super) struct Average {
    decay: f64,
    steps: u32,
    /// By the names of the model's tensors.
    values: Vec<(String, Tensor)>,
}

impl Average {
    /// Begins with the tensors as they are.
    pub fn new(decay: f64, tensors: &[(String, Var)]) -> Result<Self> {
        let copy =
            |(name, var): &(String, Var)| Ok((name.clone(), var.as_detached_tensor().copy()?));
        Ok(Self {
            decay,
            steps: 0,
            values: tensors.iter().map(copy).collect::<Result<_>>()?,
        })
    }

    /// Takes a step's tensors in. Early steps count more: what the random weights were is soon
    /// forgotten.
    pub fn add(&mut self, tensors: &[(String, Var)]) -> Result<()> {
        let steps = f64::from(self.steps);
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        for ((_, value), (_, var)) in self.values.iter_mut().zip(tensors) {
            let new = (var.as_detached_tensor() * (1.0 - decay))?;
            *value = ((&*value * decay)? + new)?;
        }
        self.steps += 1;
        Ok(())
    }

    /// Puts the average in the tensors' place.
    pub fn write(&self, tensors: &[(String, Var)]) -> Result<()> {
        for ((_, value), (_, var)) in self.values.iter().zip(tensors) {
            var.set(&value.copy()?)?;
        }
        Ok(())
    }

    /// What a checkpoint needs.
    pub fn state(&self) -> HashMap<String, Tensor> {
        let named = self.values.iter();
        let mut state: HashMap<_, _> = named
            .map(|(name, t)| (format!("{PREFIX}{name}"), t.clone()))
            .collect();
        let device = self.values.first().map(|(_, t)| t.device().clone());
        if let Some(steps) = device.and_then(|d| Tensor::new(&[self.steps], &d).ok()) {
            state.insert(format!("{PREFIX}steps"), steps);
        }
        state
    }

    /// Reads what [`Average::state`] gave; nothing changes where something is missing.
    pub fn restore(
        &mut self,
        stored: &HashMap<String, Tensor>,
        tensors: &[(String, Var)],
    ) -> Result<()> {
        let mut values = Vec::with_capacity(tensors.len());
        for (name, var) in tensors {
            match stored.get(&format!("{PREFIX}{name}")) {
                Some(t) if t.shape() == var.shape() => {
                    values.push((name.clone(), t.to_device(var.device())?));
                }
                _ => bail!("the average of `{name}` is missing or has another shape"),
            }
        }
        let Some(steps) = stored.get(&format!("{PREFIX}steps")) else {
            bail!("the steps of the average are missing");
        };
        self.steps = steps.get(0)?.to_scalar()?;
        self.values = values;
        Ok(())
    }
}
