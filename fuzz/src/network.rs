//! A blob read back into a network, as `inspect` and `verify` do, and simulated.

use crate::blob::{WORK, seal, work};
use host::lower::{from_blob, simulate};
use shared::blob::Blob;

/// Reads the blob in `data`, its length and checksum made right, and runs what was read on one
/// image, as the firmware does.
///
/// # Panics
/// Where the simulation and the portable kernels differ.
pub fn run(data: &[u8]) {
    let mut bytes = data.to_vec();
    seal(&mut bytes);
    let Ok(blob) = Blob::new_checked(&bytes) else {
        return;
    };
    let Ok(network) = from_blob(&blob) else {
        return;
    };
    if work(&blob) > WORK || blob.image_bytes() > 1 << 16 {
        return;
    }
    let image: Vec<u8> = (0..blob.image_bytes()).map(|i| (i * 37) as u8).collect();
    let (Ok(simulated), Some(ran)) = (simulate(&network, &image), crate::blob::ran(&blob, &image))
    else {
        return;
    };
    assert_eq!(simulated, ran, "simulation and kernels");
}
