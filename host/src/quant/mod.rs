//! Stage 2: bit widths as an environment.
//!
//! `fake_quant` rounds inside the float network, `qat` trains through it, `sensitivity`
//! says what each width loses by itself, `env` is what the agent walks, `fit` makes its
//! choices meet the budgets, `plan` and `mixed` choose without
//! episodes.

mod env;
mod fake_quant;
mod fit;
#[cfg(test)]
mod fit_tests;
mod mixed;
mod plan;
mod qat;
mod sensitivity;

pub use env::{QuantEnv, QuantSetup};
pub use fake_quant::{fake_quant_relu, fake_quant_weight};
pub use qat::QatNet;
pub use sensitivity::Sensitivity;
