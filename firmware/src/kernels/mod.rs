//! One layer at a time: input, output and scratch in, bytes out.
//!
//! A layer runs in stages, each a file of its own: [`expand`] turns rows of activations
//! into 16-bit lanes, [`unpack`] does the same for the weights of a pair of output channels,
//! [`dot`] multiplies and accumulates, [`output`] pools, requantizes and stores. [`conv`] and
//! [`global_avg_pool`] put them together; [`narrow`] is for first layers, [`straight`]
//! for layers that use a weight so seldom that unpacking it does not pay. [`lanes`] has the packed arithmetic that the
//! stages share; it and [`dot`] are where an ARM core with the DSP extension differs.

pub mod conv;
mod decode;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
mod decode_m4;
pub mod dot;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
mod dot_m4;
pub mod expand;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
mod expand_m4;
pub mod global_avg_pool;
pub mod lanes;
pub mod narrow;
#[cfg(all(feature = "dsp", feature = "fpu", target_arch = "arm"))]
mod narrow_m4;
pub mod output;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
mod output_m4;
pub mod straight;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
mod straight_m4;
pub mod unpack;
#[cfg(all(feature = "dsp", target_arch = "arm"))]
mod unpack_m4;
pub mod winograd;

use shared::blob::Layer;
use shared::spec::{Abilities, Ability, Kernel, LayerSpec};
use unpack::Weights;

/// The memory that one layer works on.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// Input tensor, or the image, `[h, w, c]` in the layer's input format.
    pub input: &'a [u8],
    /// Output tensor, `[h, w, c]` in the layer's output format.
    pub output: &'a mut [u8],
    /// Scratch of `spec.scratch_bytes()`, aligned to 4.
    pub scratch: &'a mut [u8],
}

/// Why a layer did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayerError {
    /// A buffer is shorter than the layer needs, or scratch is not aligned to 4.
    Buffers,
    /// This build has no such kernel.
    NotBuilt(Ability),
    /// The weight stream of this block is damaged.
    Corrupt {
        /// Index of the block of output channels.
        block: u16,
    },
}

/// Which blocks of output channels to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// All of them.
    All,
    /// As many as this, from the first, each with the weights of block 0: a benchmark. What
    /// [`straight`] computes takes the stored channels in turn.
    Repeated(u16),
}

impl Blocks {
    /// How many of `blocks` blocks are computed.
    #[must_use]
    pub fn count(self, blocks: u16) -> u16 {
        match self {
            Self::All => blocks,
            Self::Repeated(n) => n.min(blocks),
        }
    }

    /// The block whose stored weights block `i` takes.
    #[must_use]
    pub fn stored(self, i: u16) -> u16 {
        match self {
            Self::All => i,
            Self::Repeated(_) => 0,
        }
    }
}

/// What this build can compute, by its Cargo features.
pub const BUILT: Abilities = Abilities::NONE
    .with(Ability::Direct, cfg!(feature = "direct"))
    .with(Ability::Straight, cfg!(feature = "straight"))
    .with(Ability::Narrow, cfg!(feature = "narrow"))
    .with(Ability::Winograd4, cfg!(feature = "winograd4"))
    .with(Ability::Winograd2, cfg!(feature = "winograd2"))
    .with(Ability::GlobalAvgPool, cfg!(feature = "global-avg-pool"));

/// Whether the kernels of this build are the fast ones, as far as features go.
pub const FAST: bool = dot::FAST;

/// Whether this build runs `spec` by a fast kernel and not by the portable one.
#[must_use]
pub const fn is_fast(spec: &LayerSpec) -> bool {
    match spec.kernel {
        Kernel::Direct => dot::FAST,
        Kernel::Winograd4 | Kernel::Winograd2 => winograd::FAST,
        Kernel::Narrow => narrow::FAST,
    }
}

/// Runs a layer, or the first blocks of its output channels.
///
/// `r_c` is subtracted from the image's channels, where the input is one. `layer.spec()`
/// must have passed `check()`; what it says must be true of the buffers' lengths.
///
/// # Errors
/// [`LayerError`]; the output is then undefined, and nothing outside it was written.
pub fn run_layer(
    layer: &Layer,
    r_c: [u8; 4],
    blocks: Blocks,
    buffers: Buffers,
) -> Result<(), LayerError> {
    let spec = layer.spec();
    let [h, w, c] = [spec.in_h, spec.in_w, spec.c_in].map(usize::from);
    let image = h.saturating_mul(w).saturating_mul(c);
    let input_bytes = (spec.input_bytes() as usize).max(match spec.input {
        shared::act::Act::Image => image,
        _ => 0,
    });
    let Buffers {
        input,
        output,
        scratch,
    } = buffers;
    let input = input.get(..input_bytes).ok_or(LayerError::Buffers)?;
    let output = output
        .get_mut(..spec.output_bytes() as usize)
        .ok_or(LayerError::Buffers)?;
    let scratch = scratch
        .get_mut(..spec.scratch_bytes() as usize)
        .and_then(as_words)
        .ok_or(LayerError::Buffers)?;
    let (weights, scratch) = Weights::new(layer, scratch)?;
    // Calls behind a `cfg!` that is false are no calls: the linker drops such kernels.
    match Ability::of(spec) {
        Ability::GlobalAvgPool if cfg!(feature = "global-avg-pool") => {
            global_avg_pool::run(spec, blocks, input, output);
            Ok(())
        }
        Ability::Direct if cfg!(feature = "direct") => {
            conv::run(&weights, r_c, blocks, input, output, scratch)
        }
        Ability::Straight if cfg!(feature = "straight") => {
            straight::run(layer, r_c, blocks, input, output, scratch)
        }
        Ability::Narrow if cfg!(feature = "narrow") => {
            narrow::run(&weights, r_c, blocks, input, output, scratch)
        }
        Ability::Winograd4 if cfg!(feature = "winograd4") => {
            winograd::run(&weights, blocks, input, output, scratch)
        }
        Ability::Winograd2 if cfg!(feature = "winograd2") => {
            winograd::run(&weights, blocks, input, output, scratch)
        }
        kernel => Err(LayerError::NotBuilt(kernel)),
    }
}

/// The same bytes as words; `None` where they are not aligned or not whole words.
pub(crate) fn as_words(bytes: &mut [u8]) -> Option<&mut [u32]> {
    // SAFETY: every bit pattern is a valid u32 and a valid u8.
    match unsafe { bytes.align_to_mut::<u32>() } {
        ([], words, []) => Some(words),
        _ => None,
    }
}

/// The same words as signed numbers.
fn as_signed(words: &mut [u32]) -> &mut [i32] {
    let (pointer, len) = (words.as_mut_ptr().cast::<i32>(), words.len());
    // SAFETY: same size and alignment, every bit pattern valid, the borrow is handed on.
    unsafe { core::slice::from_raw_parts_mut(pointer, len) }
}
