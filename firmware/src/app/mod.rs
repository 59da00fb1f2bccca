//! The message loop of Pressboard's firmware, generic over a board's parts.
//!
//! [`Board`] says what a board has. [`App::poll`] looks at each stream once; the first
//! whole frame is answered on the stream where it came. [`cycles`] has the markers that
//! emulators look for, [`paint`] finds out how far memory was used, [`receive`] collects
//! frames, [`Networks`] says where the network comes from. The loop never sleeps: a debug probe needs the bus awake.

mod answer;
mod board;
mod cycles;
mod networks;
pub mod paint;
mod receive;

pub use board::{Board, Info};
pub use cycles::{pressboard_mark_begin, pressboard_mark_end};
pub use networks::Networks;

use answer::Device;
use embedded_io::{Read, ReadReady, Write};
use receive::Receiver;
use shared::blob::{Blob, BlobError};
#[cfg(feature = "update")]
use shared::message::DeviceError;
use shared::message::{MAX_REQUEST, Reply, UNNUMBERED};
#[cfg(feature = "update")]
use shared::update::{UpdateError, UpdateReply};

/// Buffer for one frame: requests are received in it, replies are made in it.
pub type FrameBuffer = [u8; MAX_REQUEST];

/// The firmware's state.
pub struct App<'a, B: Board, N = &'a [u8]> {
    board: B,
    #[cfg(feature = "update")]
    networks: N,
    #[cfg(not(feature = "update"))]
    networks: core::marker::PhantomData<N>,
    arena: &'a mut [u8],
    blob: Result<Blob<'a>, BlobError>,
    frame: &'a mut FrameBuffer,
    receiver: Receiver,
    /// The stream that waits for the end of an update, and its request's number.
    #[cfg(feature = "update")]
    finishing: Option<(usize, u8)>,
}

impl<'a, B: Board, N: Networks<'a>> App<'a, B, N> {
    /// An app that runs a network of `networks` (of one in memory: its bytes) in `arena`,
    /// which is aligned to 4. The network is checked here, once.
    pub fn new(board: B, mut networks: N, arena: &'a mut [u8], frame: &'a mut FrameBuffer) -> Self {
        let blob = networks.select(arena);
        Self {
            board,
            #[cfg(feature = "update")]
            networks,
            #[cfg(not(feature = "update"))]
            networks: core::marker::PhantomData,
            arena,
            blob,
            frame,
            receiver: Receiver::default(),
            #[cfg(feature = "update")]
            finishing: None,
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
        self.board.alive();
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
            #[cfg(feature = "update")]
            if let Some((stream, number)) = self.finishing.take() {
                self.finish(stream, number);
            }
        }
    }

    /// Answers the frame in the first `len` bytes of the buffer; an empty one is none.
    #[cfg_attr(feature = "update", inline(never))]
    fn answer(&mut self, stream: usize, len: usize) {
        if len == 0 {
            return;
        }
        #[cfg(feature = "update")]
        let mut finishes = false;
        let device = Device {
            board: &mut self.board,
            arena: self.arena,
            blob: self.blob,
            #[cfg(feature = "update")]
            networks: &mut self.networks,
            #[cfg(not(feature = "update"))]
            networks: self.networks,
            #[cfg(feature = "update")]
            finishes: &mut finishes,
        };
        let request = self.frame.get_mut(..len).unwrap_or(&mut []);
        let mut number = UNNUMBERED;
        let reply = device.answer(request, &mut number);
        #[cfg(feature = "update")]
        if finishes {
            self.finishing = Some((stream, number));
            return;
        }
        self.reply(stream, number, &reply);
    }

    fn reply(&mut self, stream: usize, number: u8, reply: &Reply) {
        // The request is done with: its buffer holds the reply, before and after COBS.
        let (scratch, out) = self.frame.split_at_mut(MAX_REQUEST / 2);
        let Ok(n) = shared::message::encode(reply, number, scratch, out) else {
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
        log(reply);
    }

    /// Has the network that was written checked and tried, and answers with what came of
    /// it. Apart from `answer`, so that the stack of a signature's check does not come on
    /// top of that of replies.
    #[cfg(feature = "update")]
    #[inline(never)]
    fn finish(&mut self, stream: usize, number: u8) {
        let reply = match self.networks.finish(self.arena) {
            Ok((reply, blob)) => {
                self.blob = Ok(blob);
                Ok(reply)
            }
            Err(error) => Err(error),
        };
        self.reply_to_finish(stream, number, reply);
    }

    #[cfg(feature = "update")]
    #[inline(never)]
    fn reply_to_finish(
        &mut self,
        stream: usize,
        number: u8,
        reply: Result<UpdateReply, UpdateError>,
    ) {
        let reply = match reply {
            Ok(reply) => Reply::Update(reply),
            Err(error) => Reply::Error(DeviceError::Update(error)),
        };
        self.reply(stream, number, &reply);
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
        #[cfg(feature = "update")]
        Reply::Update(u) => defmt::info!("update: {}", u),
    }
}

#[cfg(not(feature = "defmt"))]
fn log(_reply: &Reply) {}
