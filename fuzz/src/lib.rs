//! What every reader of foreign bytes must withstand: one function a target, which panics
//! where a promise is broken. libFuzzer calls them with bytes that it makes up
//! (`cargo +nightly fuzz run blob`), plain tests with the corpus that it left.

pub mod blob;
#[cfg(feature = "host")]
pub mod files;
pub mod message;
#[cfg(feature = "host")]
pub mod network;
pub mod update;

/// What arenas hold before a run.
pub(crate) const DIRT: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// The bytes of words, as an arena that is aligned as a board's.
pub(crate) fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: bytes have no alignment and no invalid patterns.
    unsafe { words.align_to_mut::<u8>().1 }
}
