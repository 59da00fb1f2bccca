//! The same for the message loop: bytes come in from two streams, in any order and number, and
//! answers go out. With `signed` and `update` also for the requests that replace a network.
#![no_std]
#![no_main]

#[path = "../flash.rs"]
mod flash;

use core::convert::Infallible;
use core::hint::black_box;
use embedded_hal::digital::{self, OutputPin};
use embedded_io::{Read, ReadReady, Write};
use firmware::app::{App, Board, FrameBuffer, Info};
use panic_never as _;
use shared::message::MAX_REQUEST;

/// A board of which the compiler knows nothing.
struct Unknown(Stream, Stream, Pin);

/// A stream of which it knows nothing either.
struct Stream;

/// A pin that does nothing.
struct Pin;

impl Board for Unknown {
    type Probe = Stream;
    type Serial = Stream;
    type Marker = Pin;

    fn info(&self) -> Info {
        black_box(Info {
            name: "",
            build_id: 0,
            clock_hz: 0,
            hse: false,
            stack: 0..0,
        })
    }

    fn cycles(&self) -> u32 {
        black_box(0)
    }

    fn streams(&mut self) -> (&mut Stream, &mut Stream) {
        (&mut self.0, &mut self.1)
    }

    fn marker(&mut self) -> &mut Pin {
        &mut self.2
    }
}

impl embedded_io::ErrorType for Stream {
    type Error = embedded_io::ErrorKind;
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
        black_box(bytes);
        black_box(Ok(1))
    }
}

impl ReadReady for Stream {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        black_box(Ok(true))
    }
}

impl Write for Stream {
    /// Takes something, as the trait demands of whatever does not fail.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        black_box(bytes);
        black_box(Ok(())).map(|()| bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        black_box(Ok(()))
    }
}

impl digital::ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    let mut frame: FrameBuffer = [0; MAX_REQUEST];
    let arena: &mut [u8] = black_box(&mut []);
    let board = Unknown(Stream, Stream, Pin);
    #[cfg(not(feature = "networks"))]
    let networks: &[u8] = black_box(&[]);
    #[cfg(feature = "networks")]
    let networks = flash::networks();
    App::new(board, networks, arena, &mut frame).run();
}
