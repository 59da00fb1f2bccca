//! The signature beside a blob: a trailer of [`TRAILER_BYTES`] that follows it.
//!
//! | offset | type | what |
//! |---|---|---|
//! | 0 | `[u8; 4]` | [`MAGIC`] |
//! | 4 | u16 | [`FORMAT`] |
//! | 6 | u16 | bytes of the trailer |
//! | 8 | u32 | version of the network; a device takes none below the highest it has run |
//! | 12 | u32 | bytes of the blob before the trailer |
//! | 16 | `[u8; 32]` | the signer's Ed25519 public key |
//! | 48 | `[u8; 64]` | Ed25519 signature over the blob and the 48 bytes above |
//!
//! Numbers are little-endian. The blob itself does not change: it states its length, and
//! readers that know no signatures ignore what follows.

use serde::{Deserialize, Serialize};

/// The first bytes of a trailer.
pub const MAGIC: [u8; 4] = *b"PRSS";
/// The version of the trailer's layout.
pub const FORMAT: u16 = 1;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 112;
/// Bytes of the trailer that the signature covers.
pub const SIGNED_BYTES: usize = 48;

/// Order of the Ed25519 base point, little-endian (RFC 8032, 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Why a network is refused by firmware that runs only signed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignatureError {
    /// No trailer follows the blob.
    Unsigned,
    /// The trailer is of another layout, or states another length.
    Format {
        /// The layout's version that it states.
        found: u16,
    },
    /// Signed with another key than the one that the firmware trusts.
    Signer {
        /// The first four bytes of the key that it names, as a big-endian number.
        key: u32,
        /// The same of the trusted one.
        trusted: u32,
    },
    /// The signature does not belong to these bytes.
    Forged,
    /// The network is older than one that the device has run.
    Rollback {
        /// Its version.
        version: u32,
        /// The lowest that is taken.
        floor: u32,
    },
    /// The network's version is the highest so far, and cannot be noted in flash.
    Unnoted,
}

/// A trailer, taken apart; nothing of it is verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Version of the network.
    pub version: u32,
    /// The signer's public key.
    pub key: [u8; 32],
    /// Over the blob and the first [`SIGNED_BYTES`] of the trailer.
    pub signature: [u8; 64],
}

impl Trailer {
    /// The trailer of the blob that takes the first `blob_len` bytes of `file`.
    ///
    /// # Errors
    /// [`SignatureError::Unsigned`], [`SignatureError::Format`]; [`SignatureError::Forged`]
    /// where the signature is not in its one canonical form.
    pub fn read(file: &[u8], blob_len: usize) -> Result<Self, SignatureError> {
        let rest = file.get(blob_len..).unwrap_or(&[]);
        let Some(bytes) = rest.first_chunk::<TRAILER_BYTES>() else {
            return Err(SignatureError::Unsigned);
        };
        let (head, signature) = bytes.split_at(SIGNED_BYTES);
        if head[..4] != MAGIC {
            return Err(SignatureError::Unsigned);
        }
        let found = u16::from_le_bytes([head[4], head[5]]);
        let states = |at: usize, n: u32| head[at..at + 4] == n.to_le_bytes();
        let length = (TRAILER_BYTES as u16).to_le_bytes();
        if found != FORMAT || head[6..8] != length || !states(12, blob_len as u32) {
            return Err(SignatureError::Format { found });
        }
        let trailer = Self {
            version: u32::from_le_bytes([head[8], head[9], head[10], head[11]]),
            key: head.last_chunk().copied().unwrap_or([0; 32]),
            signature: signature.first_chunk().copied().unwrap_or([0; 64]),
        };
        // RFC 8032 demands S below the order, so that a signature has one form only.
        let s = trailer.signature.last_chunk::<32>().unwrap_or(&[0xff; 32]);
        if s.iter().rev().ge(ORDER.iter().rev()) {
            return Err(SignatureError::Forged);
        }
        Ok(trailer)
    }

    /// What is signed of a trailer: append it to the blob, sign both, append the signature.
    #[must_use]
    pub fn head(version: u32, blob_len: u32, key: &[u8; 32]) -> [u8; SIGNED_BYTES] {
        let mut head = [0; SIGNED_BYTES];
        head[..4].copy_from_slice(&MAGIC);
        head[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        head[6..8].copy_from_slice(&(TRAILER_BYTES as u16).to_le_bytes());
        head[8..12].copy_from_slice(&version.to_le_bytes());
        head[12..16].copy_from_slice(&blob_len.to_le_bytes());
        head[16..].copy_from_slice(key);
        head
    }
}

/// The part of a key by which messages name it: its first four bytes.
#[must_use]
pub fn key_id(key: &[u8; 32]) -> u32 {
    u32::from_be_bytes([key[0], key[1], key[2], key[3]])
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn file() -> Vec<u8> {
        let mut file = vec![7; 20];
        file.extend(Trailer::head(3, 20, &[9; 32]));
        file.extend([1; 64]);
        file
    }

    #[test]
    fn a_trailer_is_read_as_written() {
        let trailer = Trailer::read(&file(), 20).unwrap();
        assert_eq!((trailer.version, trailer.key), (3, [9; 32]));
        assert_eq!(trailer.signature, [1; 64]);
        let longer = [file(), vec![0xff; 9]].concat();
        assert_eq!(Trailer::read(&longer, 20), Ok(trailer));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let file = file();
        for len in 0..file.len() {
            let cut = Trailer::read(&file[..len], 20);
            assert_eq!(cut, Err(SignatureError::Unsigned), "{len} bytes");
        }
        for (at, error) in [
            (20, SignatureError::Unsigned),
            (24, SignatureError::Format { found: 0 }),
            (26, SignatureError::Format { found: 1 }),
            (32, SignatureError::Format { found: 1 }),
        ] {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert_eq!(Trailer::read(&bad, 20), Err(error), "byte {at}");
        }
    }

    #[test]
    fn a_signature_has_one_form_only() {
        let with_s = |s: [u8; 32]| {
            let mut file = file();
            file[100..132].copy_from_slice(&s);
            Trailer::read(&file, 20).map(|_| ())
        };
        let mut below = ORDER;
        below[0] -= 1;
        assert_eq!(with_s(below), Ok(()));
        assert_eq!(with_s(ORDER), Err(SignatureError::Forged));
        assert_eq!(with_s([0xff; 32]), Err(SignatureError::Forged));
    }
}
