//! What `firmware` uses of the crate `salty`, with answers that the compiler knows nothing of.
//!
//! The real one indexes its tables and buffers in ways that a compiler cannot follow: whatever
//! it answers, the code around it cannot panic.
#![no_std]

use core::hint::black_box;

/// Stands in for salty's.
pub struct PublicKey;

/// Stands in for salty's.
pub struct Signature;

/// Stands in for salty's.
pub struct Error;

impl TryFrom<&[u8; 32]> for PublicKey {
    type Error = Error;

    fn try_from(bytes: &[u8; 32]) -> Result<Self, Error> {
        black_box(bytes);
        black_box(Ok(Self))
    }
}

impl From<&[u8; 64]> for Signature {
    fn from(bytes: &[u8; 64]) -> Self {
        black_box(bytes);
        Self
    }
}

impl PublicKey {
    /// Any answer.
    ///
    /// # Errors
    /// As it happens.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Error> {
        black_box((message, signature));
        black_box(Ok(()))
    }
}
