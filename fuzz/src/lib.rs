//! What every reader of foreign bytes must withstand: one function a target, which panics
//! where a promise is broken. libFuzzer calls them with bytes that it makes up
//! (`cargo +nightly fuzz run blob`), plain tests with the corpus that it left.

pub mod blob;
#[cfg(feature = "host")]
pub mod files;
pub mod message;
#[cfg(feature = "host")]
pub mod network;
