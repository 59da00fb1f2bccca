//! A blob with its streams, down to the kernels.

use crate::{DIRT, bytes_of};
use firmware::engine::{EngineError, Network, verify_streams};
use shared::CRC32;
use shared::blob::Blob;

/// Bytes of the arena that a blob is run in, as on a board.
const ARENA: usize = 96 * 1024;

/// Multiply-accumulates, and weights decoded, above which a network is not run: its time is
/// what it states, and a fuzzer has better uses for it.
pub(crate) const WORK: u64 = 1 << 21;

/// Checks, decodes and runs the blob in `data`, after making its length and checksum right:
/// damage that the checksum finds is the smallest part of what can be wrong.
///
/// # Panics
/// Where a stream that was found whole cannot be run, or one that cannot be run was found whole.
pub fn run(data: &[u8]) {
    let mut bytes = data.to_vec();
    seal(&mut bytes);
    let Ok(blob) = Blob::new_checked(&bytes) else {
        return;
    };
    if work(&blob) > WORK || blob.image_bytes() > ARENA {
        return;
    }
    let verified = verify_streams(&blob);
    let mut arena = vec![DIRT; ARENA / 8];
    let Ok(mut network) = Network::new(blob, bytes_of(&mut arena)) else {
        return;
    };
    let image: Vec<u8> = (0..blob.image_bytes()).map(|i| (i * 37) as u8).collect();
    match (verified, network.infer(&image, &mut ())) {
        (Ok(()), Ok(logits)) => assert_eq!(logits.iter().count(), usize::from(blob.classes())),
        // Weights for which a kernel is not exact are decoded all the same.
        (Err(EngineError::Corrupt { .. }), Ok(_) | Err(EngineError::Corrupt { .. })) => {}
        (verified, ran) => panic!("verified as {verified:?}, ran as {ran:?}"),
    }
}

/// Multiply-accumulates, and weights decoded, of a network.
pub(crate) fn work(blob: &Blob) -> u64 {
    let layers = blob.layers().map(|l| {
        let s = l.spec();
        let decoded = u64::from(s.sequence_len()) * u64::from(s.c_out);
        s.macs().saturating_add(2 * decoded)
    });
    layers.fold(0, u64::saturating_add)
}

/// The logits of an image by the portable kernels; `None` where they do not run it.
#[cfg(feature = "host")]
pub(crate) fn ran(blob: &Blob, image: &[u8]) -> Option<Vec<i32>> {
    let mut arena = vec![0; ARENA / 8];
    let mut network = Network::new(*blob, bytes_of(&mut arena)).ok()?;
    let logits = network.infer(image, &mut ()).ok()?;
    Some(logits.iter().collect())
}

/// States the length that there is, and the checksum that it has.
pub(crate) fn seal(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 4 * 4);
    if bytes.len() < 16 {
        return;
    }
    let len = bytes.len() as u32;
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    let mut digest = CRC32.digest();
    digest.update(&bytes[..12]);
    digest.update(&bytes[16..]);
    let crc = digest.finalize();
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}
