//! Differentiable operators, optimizers and randomness for candle.
//!
//! Activations are channel-major, `[c, n, h, w]`: one plane per channel that holds the
//! whole batch, so that a convolution is a matrix product over long rows. On the CPU the
//! operators here are several times faster than candle's own, and correct where those
//! are not (its max-pool gradient is a quarter of the true one). On another device they
//! fall back to compositions of candle operators whose gradients are right.
//!
//! `conv` → `batch_norm` (fused with ReLU) → `pool` → `linear` → `loss`, stepped by
//! `optim`; every random number comes from `rng`.

mod batch_norm;
mod bias;
mod conv;
mod cuda;
#[cfg(test)]
pub(crate) mod gradcheck;
mod loss;
mod memory;
mod optim;
mod pool;
mod rng;
mod shards;
mod store;
mod tensor;

pub use batch_norm::{BatchNorm, BatchStats, batch_norm_relu};
pub use bias::channel_bias;
pub use conv::{ConvShape, conv3x3, conv3x3_into};
pub use cuda::{Cuda, open_cuda};
pub use loss::{distillation, one_hot, soft_cross_entropy};
pub use optim::{Adam, Optimizer, OptimizerKind, Parameter, Sgd};
pub use pool::{global_avg_pool, max_pool2};
pub use rng::Rng;
pub use shards::{read_weights, weight_files};
pub use store::{StoreError, Stored, read_tensors, write_atomically, write_tensors};

use candle_core::{Result, Tensor};

/// A fully connected layer: `x` `[n, features]`, `weight` `[classes, features]`, `bias`
/// `[classes]`; gives `[n, classes]`.
///
/// # Errors
/// Where the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}
