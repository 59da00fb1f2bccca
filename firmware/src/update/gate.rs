//! Whose networks may run: anybody's that are whole, or only those that were signed.

#[cfg(feature = "signed")]
use shared::blob::Malformed;
use shared::blob::{Blob, BlobError};

/// Whose networks may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Anybody's.
    Anyone,
    /// Those signed with this Ed25519 key, none below the highest version that has run.
    #[cfg(feature = "signed")]
    Key(&'static [u8; 32]),
}

impl Trust {
    /// Checks structure, checksum and, where asked for, signature and version of the
    /// network at the start of `bytes`; returns it with its version.
    ///
    /// # Errors
    /// [`BlobError`] names the first thing that is wrong.
    pub fn admit<'a>(self, bytes: &'a [u8], floor: u32) -> Result<(Blob<'a>, u32), BlobError> {
        let blob = Blob::new_checked(bytes)?;
        match self {
            Self::Anyone => {
                let _ = floor;
                Ok((blob, 0))
            }
            #[cfg(feature = "signed")]
            Self::Key(key) => {
                let at = blob.bytes().len() as u32;
                let version = crate::signature::check(bytes, blob.bytes().len(), key, floor)
                    .map_err(|e| BlobError {
                        what: Malformed::Signature(e),
                        at,
                    })?;
                Ok((blob, version))
            }
        }
    }
}
