//! Whether a kernel that takes a short cut is exact for the weights of a blob.
//!
//! Shape and widths decide it for almost all layers, without a look at the weights. Where
//! they do not, each weight is read once, about as much work as the checksum.

use super::parse::Layer;
use crate::coding::Corrupt;
use crate::coding::tans::STATES;
use crate::spec::Encoding;
use crate::winograd;

/// The first output channel of `layer` for which its kernel is not exact.
///
/// A stream that cannot be decoded counts with what could be: it gives an error when it is
/// run. Coded layers are left to `verify_streams`: their table takes more stack than a board
/// has for this.
pub(super) fn inexact_channel(layer: &Layer) -> Option<u16> {
    let spec = layer.spec();
    if !spec.kernel.is_winograd() || spec.encoding == Encoding::Coded {
        return None;
    }
    let x_max = spec.input.max() as u32;
    let most = u64::from(spec.sequence_len()) << (spec.w_bits.clamp(1, 8) - 1);
    if winograd::is_exact(spec.kernel, most, most, x_max) {
        return None;
    }
    let full = spec.kernel.block_channels();
    (0..spec.c_out).find(|&channel| {
        let [positive, negative] = sums(layer, channel / full, usize::from(channel % full));
        !winograd::is_exact(spec.kernel, positive, negative, x_max)
    })
}

/// The sums of positive weights and of the magnitudes of negative ones.
fn sums(layer: &Layer, block: u16, channel: usize) -> [u64; 2] {
    let mut sums = [0; 2];
    let _ = layer.decode_plain(block, |c, _, w| {
        if c == channel {
            add(&mut sums, w);
        }
    });
    sums
}

/// Adds a weight to the sum of its sign.
fn add([positive, negative]: &mut [u64; 2], w: i16) {
    let sum = if w < 0 { negative } else { positive };
    *sum = sum.saturating_add(w.unsigned_abs().into());
}

impl Layer<'_> {
    /// Decodes block `i` for nothing but its errors; `table` is what
    /// [`Layer::decoder_table`] filled.
    ///
    /// # Errors
    /// [`Corrupt`] as [`Layer::decode_block`], or where the layer's kernel is not exact for
    /// what was decoded.
    pub fn verify_block(&self, i: u16, table: &[u32; STATES]) -> Result<(), Corrupt> {
        let mut sums = [[0u64; 2]; 2];
        self.decode_block(i, table, |channel, _, w| {
            if let Some(sums) = sums.get_mut(channel) {
                add(sums, w);
            }
        })?;
        let (kernel, x_max) = (self.spec().kernel, self.spec().input.max() as u32);
        let exact =
            |[positive, negative]: [u64; 2]| winograd::is_exact(kernel, positive, negative, x_max);
        if kernel.is_winograd() && !sums.into_iter().all(exact) {
            return Err(Corrupt);
        }
        Ok(())
    }
}
