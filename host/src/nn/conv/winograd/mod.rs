//! Winograd's F(4x4, 3x3) in single precision for x86-64 with AVX-512 (Lavin and Gray 2016,
//! arXiv 1509.09308): 36 products for 16 outputs, where the direct kernels take 144.
//!
//! A tile of 4x4 outputs comes of a patch of 6x6 inputs. Patches, weights and outputs are taken
//! to 36 *points*, where the convolution is a product of matrices for each point:
//!
//! - forward: `M[p] = U[p]·V[p]`, with `V = Bᵀ·patch·B`, `U = G·weight·Gᵀ`, output `Aᵀ·M·A`;
//! - the input's gradient is the same with the weights turned and their channels exchanged;
//! - the weights' gradient is the adjoint: `dU[p] = dM[p]·V[p]ᵀ`, with `dM = A·dy·Aᵀ` and the
//!   gradient `Gᵀ·dU·G`.
//!
//! Vectors run over tiles, of one image or of several, so that small maps fill them as well.
//! Each output is summed in the same order however the work is spread.

mod forward;
mod geometry;
mod gradient;
mod transform;
mod weights;

use super::ConvShape;
use super::product::LANES;
pub(super) use forward::{forward, forward_serial};
pub(super) use gradient::weight_gradient;

/// Rows and columns of a tile of outputs.
const TILE: usize = 4;
/// Rows and columns of a patch of inputs.
const PATCH: usize = 6;
/// Points that a patch is taken to.
const POINTS: usize = PATCH * PATCH;
/// Fewest channels on either side that are worth the transformations, forward.
const FEWEST_CHANNELS: usize = 16;
/// The same for the gradient of the weights, whose sums over tiles are shorter.
const FEWEST_FOR_GRADIENT: usize = 24;

/// Whether these kernels run here, and are worth it for the shape.
pub(super) fn fits(s: ConvShape) -> bool {
    runs(s) && s.c_in.min(s.c_out) >= FEWEST_CHANNELS
}

/// The same for the gradient of the weights.
pub(super) fn fits_gradient(s: ConvShape) -> bool {
    runs(s) && s.c_in.min(s.c_out) >= FEWEST_FOR_GRADIENT
}

fn runs(s: ConvShape) -> bool {
    s.h >= TILE
        && s.w >= TILE
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vl")
}
