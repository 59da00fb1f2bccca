//! The gate of a real device: a network is whole, trusted, and able to run here.

use super::{Gate, Trust};
use crate::bench::WEIGHTS;
use crate::engine::{EngineError, Network};
use crate::kernels;
use shared::CRC32;
use shared::blob::Blob;
use shared::spec::Ability;
use shared::update::UpdateError;

/// The gate of a device: whom it trusts, and the arena that its networks run in.
pub(super) struct Device<'a> {
    pub(super) trust: Trust,
    pub(super) arena: &'a mut [u8],
}

impl Gate for Device<'_> {
    fn check(&mut self, network: &[u8], floor: u32) -> Result<u32, UpdateError> {
        let (blob, version) = self
            .trust
            .admit(network, floor)
            .map_err(UpdateError::Blob)?;
        for (layer, l) in (0..u16::MAX).zip(blob.layers()) {
            let kernel = Ability::of(l.spec());
            if !kernels::BUILT.contains(kernel) {
                return Err(UpdateError::NotBuilt { layer, kernel });
            }
        }
        let (need, limit) = (blob.header().arena_bytes, self.arena.len() as u32);
        if need > limit {
            return Err(UpdateError::CannotRun { need, limit });
        }
        Ok(version)
    }

    fn self_test(&mut self, network: &[u8], expected: u32) -> Result<(), UpdateError> {
        let blob = Blob::new_checked(network).map_err(UpdateError::Blob)?;
        let limit = self.arena.len() as u32;
        let got = self_test_crc32(blob, self.arena).map_err(|_| UpdateError::CannotRun {
            need: blob.header().arena_bytes,
            limit,
        })?;
        if got == expected {
            Ok(())
        } else {
            Err(UpdateError::SelfTest { expected, got })
        }
    }
}

/// CRC-32 of the logits, as little-endian words, that a network gives for the image of the
/// self-test: the first bytes of the benchmark's weights, which host and device have alike.
///
/// # Errors
/// [`EngineError`], also where the network takes a larger image than there are bytes.
pub fn self_test_crc32(blob: Blob, arena: &mut [u8]) -> Result<u32, EngineError> {
    let need = blob.image_bytes();
    let image = WEIGHTS.bytes().get(..need).unwrap_or(WEIGHTS.bytes());
    let mut network = Network::new(blob, arena)?;
    let logits = network.infer(image, &mut ())?;
    let mut digest = CRC32.digest();
    for logit in logits.iter() {
        digest.update(&logit.to_le_bytes());
    }
    Ok(digest.finalize())
}
