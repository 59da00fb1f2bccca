//! From a float network to an integer blob.
//!
//! [`Centred`] (float, BN and input normalization folded) + [`LayerQuant`] per layer → [`quantize()`] →
//! [`IntNet`] (integers and their proofs) → [`plan()`] (strips and arena offsets for one
//! board) → [`emit()`] (bytes); [`from_blob`] reads them back. [`simulate()`] runs an [`IntNet`] on the host, bit for bit as
//! the firmware does.

mod calibrate;
mod centre;
mod choice;
pub mod clip;
mod conv;

mod emit;
mod encode;
mod error;
mod integer;
mod kernel;
mod plan;
mod post_training;
mod quantize;
mod read;
mod simulate;
mod specs;
mod winograd;

pub use calibrate::{ActivationRanges, calibrate};
pub use centre::{Centred, INPUT_STEP, centre, centre_owned};
pub use choice::{Prefer, Storage, all_candidates, choose, choose_encoding, take};
pub use emit::{Emitted, emit};
pub use encode::{
    Candidate, decode_cycles, decodes, encodings, encodings_of, entropy, fixed_bytes, sequence_of,
    weight_section,
};
pub use error::LowerError;
pub use integer::{IntLayer, IntNet, LayerQuant, one_sided_sum};
pub use kernel::{candidates, check_kernels, choose_kernel, computes, predicted_cycles};
pub use plan::{MemoryPlan, PlannedLayer, layer_in, plan};
pub use post_training::post_training;
pub(crate) use post_training::weight_steps;
pub use quantize::quantize;
pub use read::{ReadError, from_blob};
pub use simulate::{accuracy, argmax, simulate};
pub use specs::{Bits, NamedSpec, specs};
pub use winograd::tiled;
