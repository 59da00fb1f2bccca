//! What a board gives the app.

use core::ops::Range;
use embedded_hal::digital::OutputPin;
use embedded_io::{Read, ReadReady, Write};

/// A board's parts, made of `embedded-hal` and `embedded-io` traits.
pub trait Board {
    /// The stream to a debug probe (RTT).
    type Probe: Read + ReadReady + Write;
    /// The serial stream.
    type Serial: Read + ReadReady + Write;
    /// High while an inference runs, for a scope or a power analyser.
    type Marker: OutputPin;

    /// What it says of itself; must not change.
    fn info(&self) -> Info;
    /// The core's free-running cycle counter; always the same where there is none.
    fn cycles(&self) -> u32;
    /// Both streams.
    fn streams(&mut self) -> (&mut Self::Probe, &mut Self::Serial);
    /// The pin that marks inference.
    fn marker(&mut self) -> &mut Self::Marker;

    /// The loop goes round, or a layer begins: a board with a watchdog feeds it here, so that code
    /// that never ends is reset. Between two calls lie at most one layer, or what
    /// [`Networks`](super::Networks) does at a start or in an update: the check of each slot, self-tests, the
    /// erasing of a slot. Does nothing by default.
    fn alive(&self) {}
}

/// What a board says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The name of its folder.
    pub name: &'static str,
    /// See [`shared::message::Hello::build_id`].
    pub build_id: u32,
    /// Core clock in Hz.
    pub clock_hz: u32,
    /// Whether the clock comes from the crystal.
    pub hse: bool,
    /// Addresses of the stack, painted at start-up with [`super::paint::stack`].
    pub stack: Range<usize>,
}
