//! The message loop of Pressboard's firmware, generic over a board's parts.
//!
//! [`Board`] says what a board has. [`App::poll`] looks at each stream once; the first
//! whole frame is answered on the stream where it came. [`cycles`] has the markers that
//! emulators look for, [`paint`] finds out how far memory was used, [`receive`] collects
//! frames. The loop never sleeps: a debug probe needs the bus awake.

mod answer;
mod board;
mod cycles;
pub mod paint;
mod receive;

pub use board::{Board, Info};
pub use cycles::{pressboard_mark_begin, pressboard_mark_end};

use answer::Device;
use embedded_io::{Read, ReadReady, Write};
use receive::Receiver;
use shared::blob::{Blob, BlobError};
use shared::message::{MAX_REQUEST, Reply};

/// Buffer for one frame: requests are received in it, replies are made in it.
pub type FrameBuffer = [u8; MAX_REQUEST];

/// The firmware's state.
pub struct App<'a, B: Board> {
    board: B,
    arena: &'a mut [u8],
    blob: Result<Blob<'a>, BlobError>,
    frame: &'a mut FrameBuffer,
    receiver: Receiver,
}

impl<'a, B: Board> App<'a, B> {
    /// An app that runs the blob at `blob` in `arena`, which is aligned to 4.
    ///
    /// The blob is checked here, once: flash does not change while the app runs.
    pub fn new(board: B, blob: &'a [u8], arena: &'a mut [u8], frame: &'a mut FrameBuffer) -> Self {
        Self {
            board,
            arena,
            blob: Blob::new_checked(blob),
            frame,
            receiver: Receiver::default(),
        }
    }

    /// Answers requests for ever.
    pub fn run(mut self) -> ! {
        loop {
            self.poll();
        }
    }

    /// Takes what bytes have come; answers if they complete a frame.
    pub fn poll(&mut self) {
        for stream in 0..2 {
            let received = {
                let (probe, serial) = self.board.streams();
                if stream == 0 {
                    self.receiver.read(stream, probe, self.frame)
                } else {
                    self.receiver.read(stream, serial, self.frame)
                }
            };
            if let Some(len) = received {
                self.answer(stream, len);
            }
        }
    }

    /// Answers the frame in the first `len` bytes of the buffer; an empty one is none.
    fn answer(&mut self, stream: usize, len: usize) {
        if len == 0 {
            return;
        }
        let device = Device {
            board: &mut self.board,
            arena: self.arena,
            blob: self.blob,
        };
        let request = self.frame.get_mut(..len).unwrap_or(&mut []);
        let reply = device.answer(request);
        // The request is done with: its buffer holds the reply, before and after COBS.
        let (scratch, out) = self.frame.split_at_mut(MAX_REQUEST / 2);
        let Ok(n) = shared::message::encode(&reply, scratch, out) else {
            return;
        };
        let bytes = out.get(..n).unwrap_or(&[]);
        let (probe, serial) = self.board.streams();
        // A stream that nobody reads loses the reply; the host asks again.
        if stream == 0 {
            send(probe, bytes);
        } else {
            send(serial, bytes);
        }
        log(&reply);
    }
}

fn send<S: Read + ReadReady + Write>(stream: &mut S, bytes: &[u8]) {
    if stream.write_all(bytes).is_ok() {
        let _ = stream.flush();
    }
}

#[cfg(feature = "defmt")]
fn log(reply: &Reply) {
    match reply {
        Reply::Hello(h) => defmt::info!("hello: build {=u32:08x}", h.build_id),
        Reply::Infer(i) => defmt::info!("infer: {} logits", i.logits.len()),
        Reply::Bench(b) => defmt::info!("bench: cycles {}, fast {}", b.cycles, b.fast),
        Reply::Stack(s) => defmt::info!("stack: {} of {} bytes", s.used, s.limit),
        Reply::Error(e) => defmt::warn!("refused: {}", e),
    }
}

#[cfg(not(feature = "defmt"))]
fn log(_reply: &Reply) {}
