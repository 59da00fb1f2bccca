//! Whether a kernel that takes a short cut is exact for the weights of a blob.
//!
//! Shape and widths decide it for almost all layers, without a look at the weights. Where
//! they do not, each weight is read once, about as much work as the checksum.

use super::parse::Layer;
use crate::spec::Encoding;
use crate::weights::{StoredChannel, sparse};
use crate::winograd;

/// The first output channel of `layer` for which its kernel is not exact.
///
/// A sparse stream that cannot be decoded counts with what could be: it gives an error
/// when it is run.
pub(super) fn inexact_channel(layer: &Layer) -> Option<u16> {
    let spec = layer.spec();
    if !spec.kernel.is_winograd() {
        return None;
    }
    let x_max = spec.input.max() as u32;
    let most = u64::from(spec.sequence_len()) << (spec.w_bits.max(1) - 1);
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
    let spec = layer.spec();
    let (bytes, len) = (layer.block(block), spec.sequence_len() as usize);
    let mut sums = [0; 2];
    let mut add = |w: i16| sums[usize::from(w < 0)] += u64::from(w.unsigned_abs());
    match spec.encoding {
        Encoding::Dense => {
            let pitch = spec.dense_channel_bytes() as usize;
            let bytes = bytes.get(channel * pitch..).unwrap_or(&[]);
            if spec.w_bits == 8 {
                let weights = bytes.iter().take(len);
                weights.for_each(|&b| add(i16::from(b as i8)));
            } else if let Some(c) = StoredChannel::new(spec, bytes) {
                (0..spec.sequence_len()).for_each(|e| add(c.get(e)));
            }
        }
        Encoding::Sparse => {
            let channels = usize::from(layer.block_channels(block));
            let _ = sparse::decode(bytes, channels, len, spec.w_bits, |c, _, w| {
                if c == channel {
                    add(w);
                }
            });
        }
    }
    sums
}
