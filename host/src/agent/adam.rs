//! Adam (Kingma & Ba, arXiv 1412.6980) with its moments in the open, so that they can be saved.

use serde::{Deserialize, Serialize};

/// Decay of the first moment.
const BETA1: f64 = 0.9;
/// Decay of the second moment.
const BETA2: f64 = 0.999;
/// Keeps the step finite where the second moment vanishes.
const EPSILON: f32 = 1e-8;

/// Adam without weight decay over one flat parameter vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    learning_rate: f32,
    steps: u32,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Adam {
    /// An optimizer of `len` parameters with zero moments.
    pub fn new(len: usize, learning_rate: f32) -> Self {
        Self {
            learning_rate,
            steps: 0,
            first: vec![0.0; len],
            second: vec![0.0; len],
        }
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.first.len().min(self.second.len())
    }

    /// Whether there is nothing to optimize.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One step down the gradient: `θ ← θ − lr · m̂ / (√v̂ + ε)`.
    ///
    /// # Panics
    /// If the lengths differ from the optimizer's.
    pub fn step(&mut self, parameters: &mut [f32], gradients: &[f32]) {
        assert_eq!(parameters.len(), self.len());
        assert_eq!(gradients.len(), self.len());
        self.steps = self.steps.saturating_add(1);
        let unbias1 = (1.0 / (1.0 - BETA1.powi(self.steps as i32))) as f32;
        let unbias2 = (1.0 / (1.0 - BETA2.powi(self.steps as i32))) as f32;
        let (beta1, beta2) = (BETA1 as f32, BETA2 as f32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((p, &g), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p -= self.learning_rate * (*m * unbias1) / ((*v * unbias2).sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_has_the_size_of_the_learning_rate() {
        let mut adam = Adam::new(2, 0.1);
        let mut p = [1.0, -1.0];
        adam.step(&mut p, &[3.0, -0.01]);
        assert!((p[0] - 0.9).abs() < 1e-5 && (p[1] + 0.9).abs() < 1e-5);
    }

    #[test]
    fn minimises_a_badly_scaled_bowl() {
        let mut adam = Adam::new(2, 0.05);
        let mut p = [2.0f32, -3.0];
        for _ in 0..2000 {
            let g = [200.0 * (p[0] - 1.0), 0.02 * (p[1] - 0.5)];
            adam.step(&mut p, &g);
        }
        assert!(
            (p[0] - 1.0).abs() < 1e-2 && (p[1] - 0.5).abs() < 1e-2,
            "{p:?}"
        );
    }
}
