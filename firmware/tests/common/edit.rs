//! A network that fields of are overwritten, with its checksum made right again.

use super::network::{Chain, specs};
use shared::blob::{Blob, HEADER_BYTES, LAYER_BYTES, Malformed};
use shared::spec::{Encoding, LayerSpec};

/// Bytes to write over, and where.
pub type Edit = (usize, Vec<u8>);

pub fn byte(at: usize, value: u8) -> Edit {
    (at, vec![value])
}

pub fn half(at: usize, value: u16) -> Edit {
    (at, value.to_le_bytes().to_vec())
}

pub fn word(at: usize, value: u32) -> Edit {
    (at, value.to_le_bytes().to_vec())
}

/// Where field `field` of layer `layer`'s record lies.
pub fn record(layer: usize, field: usize) -> usize {
    HEADER_BYTES + LAYER_BYTES * layer + field
}

pub fn word_of(blob: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(blob[at..at + 4].try_into().unwrap())
}

pub fn edited(blob: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut blob = blob.to_vec();
    for (at, bytes) in edits {
        blob[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    seal(&mut blob);
    blob
}

/// A network of a convolution, a sparse one, a global pool and a classifier.
pub fn chain() -> Vec<u8> {
    Chain::new(1).blob
}

pub fn refused(name: &str, blob: &[u8], what: Malformed, at: usize) {
    match Blob::new_checked(blob) {
        Ok(_) => panic!("{name}: taken"),
        Err(e) => assert_eq!((e.what, e.at as usize), (what, at), "{name}"),
    }
}

/// The network whose second layer is stored in `encoding`.
pub fn stored(encoding: Encoding) -> [LayerSpec; 4] {
    let [first, second, gap, last] = specs();
    [first, LayerSpec { encoding, ..second }, gap, last]
}

/// Makes a blob's checksum right.
pub fn seal(blob: &mut [u8]) {
    let mut digest = shared::CRC32.digest();
    digest.update(&blob[..12]);
    digest.update(&blob[16..]);
    let crc = digest.finalize();
    blob[12..16].copy_from_slice(&crc.to_le_bytes());
}
