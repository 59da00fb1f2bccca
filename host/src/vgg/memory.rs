//! What a training will take, before it takes it.

use super::{LayerKind, LayerShape, Pool, VggConfig, VggError};
use crate::nn::OptimizerKind;

/// Bytes of a number.
const FLOAT: u64 = 4;

impl VggConfig {
    /// Bytes that training with `batch` pictures at a time takes on a CPU, about: weights with
    /// their gradients and the optimizer's state, what each layer keeps for the way back, and
    /// the gradients in flight.
    #[must_use]
    pub fn training_bytes(&self, batch: usize, optimizer: OptimizerKind) -> u64 {
        let layers = self.layers();
        let moments = match optimizer {
            OptimizerKind::Sgd { .. } => 1,
            OptimizerKind::Adam { .. } => 2,
        };
        let kept: u64 = layers.iter().map(|l| self.kept(l)).sum();
        let largest = layers.iter().map(LayerShape::map).max().unwrap_or(0);
        // A gradient on each side of a layer, and one more while it is added up.
        let activations = (kept + 3 * largest) * batch as u64;
        let weights = (2 + moments) * self.parameters() as u64;
        // The optimizer makes the new weights and moments of a layer beside the old ones.
        let step = layers.iter().map(|l| l.weights()).max().unwrap_or(0) as u64 * 2;
        (activations + weights + step) * FLOAT
    }

    /// Numbers that a layer keeps of each picture.
    fn kept(&self, l: &LayerShape) -> u64 {
        let pooled = match l.pool {
            // A maximum keeps which of the four it was, in a byte.
            Some(Pool::Max) => l.map() / 4 + l.map() / 16,
            Some(Pool::Average) => l.c_out as u64,
            None => 0,
        };
        let before_activation = match (l.kind, self.batch_norm) {
            (LayerKind::Conv, false) => 2,
            _ => 1,
        };
        l.map() * (before_activation + 1) + pooled
    }

    /// Refuses a training that will not fit `available` bytes, with the batch that would.
    ///
    /// # Errors
    /// [`VggError::Memory`].
    pub fn check_memory(
        &self,
        batch: usize,
        optimizer: OptimizerKind,
        available: u64,
    ) -> Result<(), VggError> {
        let need = self.training_bytes(batch, optimizer);
        if need <= available {
            return Ok(());
        }
        let fits = |n: &usize| self.training_bytes(*n, optimizer) <= available;
        Err(VggError::Memory {
            batch,
            need,
            available,
            fits: (1..batch).rev().find(fits),
        })
    }
}

impl LayerShape {
    /// Numbers of its output before pooling, one picture.
    fn map(&self) -> u64 {
        (self.h * self.w * self.c_out) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SGD: OptimizerKind = OptimizerKind::Sgd {
        momentum: 0.9,
        weight_decay: 5e-4,
    };

    #[test]
    fn a_training_that_will_not_fit_names_the_batch_that_would() {
        let vgg16 = VggConfig::preset("vgg16-imagenet").expect("known");
        let gib = 1u64 << 30;
        assert!(vgg16.check_memory(8, SGD, 64 * gib).is_ok());
        let error = vgg16.check_memory(256, SGD, 16 * gib).expect_err("refused");
        let VggError::Memory {
            fits: Some(fits),
            need,
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert!(need > 16 * gib);
        assert!(vgg16.check_memory(fits, SGD, 16 * gib).is_ok());
        assert!(vgg16.check_memory(fits + 1, SGD, 16 * gib).is_err());
        // Weights alone take more than this.
        let error = vgg16.check_memory(256, SGD, gib).expect_err("refused");
        assert!(
            matches!(error, VggError::Memory { fits: None, .. }),
            "{error}"
        );
    }
}
