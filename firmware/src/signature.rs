//! Whether a network was signed with the one key that is trusted.
//!
//! Ed25519 by the crate `salty`: of those for cores without an operating system the one
//! whose code (11 KiB) and stack (2.8 KiB) leave room for the rest. On the Cortex-M4 a check
//! takes about 130 cycles a byte of the network, for SHA-512, and 5.8 million for the curve.

use shared::envelope::{SIGNED_BYTES, SignatureError, Trailer, key_id};

/// Checks the trailer of the blob in the first `blob_len` bytes of `file`; returns the
/// network's version.
///
/// What costs nothing comes first: layout, key, version, then the signature.
///
/// # Errors
/// [`SignatureError`] says why the network may not run.
pub fn check(
    file: &[u8],
    blob_len: usize,
    trusted: &[u8; 32],
    floor: u32,
) -> Result<u32, SignatureError> {
    let trailer = Trailer::read(file, blob_len)?;
    if trailer.key != *trusted {
        return Err(SignatureError::Signer {
            key: key_id(&trailer.key),
            trusted: key_id(trusted),
        });
    }
    let version = trailer.version;
    if version < floor {
        return Err(SignatureError::Rollback { version, floor });
    }
    let forged = SignatureError::Forged;
    let signed = file
        .get(..blob_len.saturating_add(SIGNED_BYTES))
        .ok_or(forged)?;
    let key = salty::PublicKey::try_from(trusted).map_err(|_| forged)?;
    let signature = salty::Signature::from(&trailer.signature);
    match key.verify(signed, &signature) {
        Ok(()) => Ok(version),
        Err(_) => Err(forged),
    }
}
