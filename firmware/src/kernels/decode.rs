//! Weights of a block out of a stream: the `sparse`, `delta` and `coded` encodings.
//!
//! [`shared::coding`] defines the streams. Their order is that of the fast kernels' scratch,
//! so that with the assembly a block is written from its first halfword to its last.

#[cfg(all(feature = "dsp", target_arch = "arm"))]
pub use super::decode_m4::block;

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
pub use portable::block;

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
mod portable {
    use crate::kernels::dot::{PAIR_STEP, channel_start};
    use shared::blob::Layer;
    use shared::coding::Corrupt;
    use shared::coding::tans::STATES;
    use shared::weights::pair_elements;

    /// Decodes block `block` of `layer` into `out`, `sequence_len` words; see
    /// [`crate::kernels::dot`] for their order. `table` is the decoder's, where the layer is coded.
    ///
    /// # Errors
    /// [`Corrupt`]; `out` is then undefined.
    pub fn block(
        layer: &Layer,
        block: u16,
        table: Option<&[u32; STATES]>,
        out: &mut [u32],
    ) -> Result<(), Corrupt> {
        out.fill(0);
        let len = out.len() / 2;
        layer.decode_block(block, table.unwrap_or(&[0; STATES]), |channel, e, w| {
            let j = 2 * (e / 4) + e % 2;
            let high = e != pair_elements(j).0;
            if let Some(o) = out.get_mut(channel_start(channel, len) + j * PAIR_STEP) {
                *o |= u32::from(w as u16) << if high { 16 } else { 0 };
            }
        })
    }
}
