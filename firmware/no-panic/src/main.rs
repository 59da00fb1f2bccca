//! A program that links only where nothing that the engine does can panic.
//!
//! Its panic handler calls a function that does not exist. The linker leaves the handler out
//! where no code reaches it, so a build of this is a proof, for whatever bytes the blob, the
//! image and the arena hold: every index is checked, every addition that could overflow too.
#![no_std]
#![no_main]

use core::hint::black_box;
use firmware::engine::{Network, verify_streams};
use panic_never as _;
use shared::blob::Blob;

/// What a board does with a network, on bytes that the compiler knows nothing of.
#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    let bytes: &[u8] = black_box(&[]);
    let image: &[u8] = black_box(&[]);
    let arena: &mut [u8] = black_box(&mut []);
    let Ok(blob) = Blob::new_checked(bytes) else {
        return;
    };
    black_box(verify_streams(&blob).is_ok());
    if let Ok(mut network) = Network::new(blob, arena)
        && let Ok(logits) = network.infer(image, &mut ())
    {
        black_box((logits.argmax(), logits.iter().fold(0, i32::wrapping_add)));
    }
}
