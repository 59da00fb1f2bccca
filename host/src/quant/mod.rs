//! Stage 2: bit widths as an environment.
//!
//! `fake_quant` rounds inside the float network, `qat` trains through it, `rate` is what
//! entropy-coded weights take, as a loss. `sensitivity` says what each width loses by itself,
//! `env` is what the agent walks, `fit` makes its choices meet the budgets, `plan` and `mixed`
//! choose without episodes.

mod env;
mod fake_quant;
mod fit;
#[cfg(test)]
mod fit_tests;
mod mixed;
mod plan;
mod qat;
#[cfg(test)]
mod qat_tests;
mod rate;
mod sensitivity;

pub use env::{QuantEnv, QuantSetup};
pub use fake_quant::{fake_quant_relu, fake_quant_weight};
pub use qat::QatNet;
pub use rate::soft_bits;
pub use sensitivity::Sensitivity;
