//! The virtual board in process: a microcontroller that probe-rs debugs like a real one.
//!
//! [`Machine`] is the microcontroller. Its fast core executes what firmware mostly
//! consists of and counts it with the cycle model; whatever it does not know, it leaves to
//! the complete emulator of the `rsemu` crate, instruction by instruction, over the same
//! memory. The debug unit gives it the registers of a Cortex-M4's debug unit and [`probe`] wraps
//! that as a probe, so that attaching, flashing, RTT and resets go through probe-rs as they
//! do on a desk.

mod arithmetic;
mod bytes;
mod compute;
mod core;
mod debug;
mod decode;
mod execute;
mod flash;
mod machine;
mod parts;
mod peripherals;
pub mod probe;
mod reads;
mod tear;
mod transfer;
mod watchdog;

pub use machine::{Fault, Machine};
pub use parts::Parts;
pub use tear::{Cut, Tear};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod zero_skip_tests;
