//! What the end-to-end tests in `tests/tests` share: the command as a user types it, a
//! network and pictures small enough for a run of seconds, and blobs without training.

pub mod command;
pub mod fixture;
pub mod network;
pub mod unbroken;

/// The board that the tests run on: `BOARD`, else the virtual one.
#[must_use]
pub fn board() -> String {
    std::env::var("BOARD").unwrap_or_else(|_| "virtual-stm32f405".into())
}

/// The folder of stored samples of formats.
#[must_use]
pub fn samples() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}
