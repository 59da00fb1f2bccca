//! Where the network comes from that the app runs.

use shared::blob::{Blob, BlobError};
#[cfg(feature = "update")]
use shared::update::{UpdateError, UpdateReply, UpdateRequest};

/// A source of networks.
pub trait Networks<'a> {
    /// The network to run. `arena` is free to be used meanwhile.
    ///
    /// # Errors
    /// Why there is none that may run.
    fn select(&mut self, arena: &mut [u8]) -> Result<Blob<'a>, BlobError>;

    /// Answers a request to replace the network; `Finish` is only noted.
    ///
    /// # Errors
    /// [`UpdateError::NotBegun`] where nothing can be replaced.
    #[cfg(feature = "update")]
    fn update(&mut self, request: UpdateRequest) -> Result<UpdateReply, UpdateError> {
        let _ = request;
        Err(UpdateError::NotBegun)
    }

    /// Has what was written checked and tried; the answer, and the network that runs now.
    ///
    /// # Errors
    /// Why it does not run: what ran before runs on.
    #[cfg(feature = "update")]
    fn finish(&mut self, arena: &mut [u8]) -> Result<(UpdateReply, Blob<'a>), UpdateError> {
        let _ = arena;
        Err(UpdateError::NotBegun)
    }
}

/// One network, wherever it lies; it is checked once, since flash does not change while the
/// app runs.
impl<'a> Networks<'a> for &'a [u8] {
    fn select(&mut self, _arena: &mut [u8]) -> Result<Blob<'a>, BlobError> {
        Blob::new_checked(self)
    }
}
