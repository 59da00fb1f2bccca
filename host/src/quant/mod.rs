//! Stage 2: bit widths as an environment.
//!
//! `fake_quant` rounds inside the float network, `qat` trains through it.

mod fake_quant;
mod qat;

pub use fake_quant::{fake_quant_relu, fake_quant_weight};
pub use qat::QatNet;
