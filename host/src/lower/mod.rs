//! From a float network to an integer blob.
//!
//! [`FoldedNet`] (BN folded, float) + [`LayerQuant`] per layer → [`quantize`] →
//! [`IntNet`] (integers and their proofs) → [`plan`] (strips and arena offsets for one
//! board) → [`emit`] (bytes). [`simulate`] runs an [`IntNet`] on the host, bit for bit as
//! the firmware does.

mod calibrate;
pub mod clip;
mod conv;

mod emit;
mod error;
mod float;
mod folded;
mod integer;
mod plan;
mod quantize;
mod simulate;

pub use calibrate::{ActivationRanges, calibrate};
pub use emit::{Emitted, LayerBytes, choose_encoding, emit, sequence_of};
pub use error::LowerError;
pub use float::{float_logits, visit_activations};
pub use folded::{FoldedFc, FoldedLayer, FoldedNet, INPUT_STEP, LayerOp};
pub use integer::{IntLayer, IntNet, LayerQuant};
pub use plan::{MemoryPlan, PlannedLayer, layer_in, plan};
pub use quantize::quantize;
pub use simulate::{accuracy, argmax, simulate};
