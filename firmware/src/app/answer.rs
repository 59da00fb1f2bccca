//! What each request does.

use super::board::Board;
use super::cycles::LayerTimes;
#[cfg(feature = "bench")]
use super::cycles::Stopwatch;
use super::networks::Networks;
use super::paint;
#[cfg(feature = "bench")]
use crate::bench;
use crate::engine::{EngineError, Network};
use crate::kernels;
use embedded_hal::digital::OutputPin;
use heapless::{String, Vec};
use shared::blob::{Blob, BlobError};
use shared::index::round_up;
#[cfg(feature = "bench")]
use shared::message::{Bench, BenchLayer};
use shared::message::{
    DeviceError, Features, Hello, Infer, MAX_CLASSES, MAX_LAYERS, Reply, Request, SCHEMA, Stack,
    decode,
};
#[cfg(feature = "update")]
use shared::update::UpdateRequest;

/// What requests work on.
pub(super) struct Device<'a, 'b, B: Board, N> {
    pub(super) board: &'b mut B,
    pub(super) arena: &'b mut [u8],
    pub(super) blob: Result<Blob<'a>, BlobError>,
    #[cfg(feature = "update")]
    pub(super) networks: &'b mut N,
    #[cfg(not(feature = "update"))]
    pub(super) networks: core::marker::PhantomData<N>,
    /// Set where the answer is that of [`Networks::finish`].
    #[cfg(feature = "update")]
    pub(super) finishes: &'b mut bool,
}

impl<'a, B: Board, N: Networks<'a>> Device<'a, '_, B, N> {
    /// Decodes `frame` in place and answers it; `number` becomes the request's. (Together with
    /// the reply it would take stack for another reply.)
    pub(super) fn answer(mut self, frame: &mut [u8], number: &mut u8) -> Reply {
        let request = decode::<Request>(frame).map(|(request, its)| {
            *number = its;
            request
        });
        let result = match request {
            Ok(Request::Hello) => Ok(self.hello()),
            Ok(Request::Infer { image, paint }) => self.infer(image, paint),
            #[cfg(feature = "bench")]
            Ok(Request::BenchLayer(request)) => self.bench(&request),
            #[cfg(not(feature = "bench"))]
            Ok(Request::BenchLayer(_)) => Err(DeviceError::NoBench),
            Ok(Request::Stack) => Ok(self.stack()),
            #[cfg(feature = "update")]
            Ok(Request::Update(request)) => self.update(request),
            Err(_) => Err(DeviceError::BadFrame),
        };
        result.unwrap_or_else(Reply::Error)
    }

    fn hello(&self) -> Reply {
        let info = self.board.info();
        Reply::Hello(Hello {
            schema: SCHEMA,
            board: String::try_from(info.name).unwrap_or_default(),
            build_id: info.build_id,
            features: Features {
                dsp: kernels::FAST,
                fpu: kernels::FAST && cfg!(feature = "fpu"),
                kernels: kernels::BUILT,
            },
            clock_hz: info.clock_hz,
            hse: info.hse,
            arena_limit: self.arena.len() as u32,
            stack_bytes: info.stack.len() as u32,
            blob: self.blob.map(|b| b.header().crc32),
        })
    }

    fn infer(&mut self, image: &[u8], paint: bool) -> Result<Reply, DeviceError> {
        let blob = self.blob.map_err(DeviceError::Blob)?;
        let too_long = usize::from(blob.header().layers) > MAX_LAYERS
            || usize::from(blob.classes()) > MAX_CLASSES;
        if too_long {
            return Err(DeviceError::ReplyTooLong);
        }
        if paint {
            paint::fill(self.arena);
        }
        let mut infer = Infer::default();
        let _ = self.board.marker().set_high();
        let result = run(blob, self.arena, image, &*self.board, &mut infer);
        let _ = self.board.marker().set_low();
        result.map_err(device_error)?;
        if paint {
            let touched = paint::extent(self.arena) as u32;
            // Painted by words: what lies past the stated end in the last one is a guard.
            let stated = blob.header().arena_bytes;
            let used = if touched == round_up(stated, 2) {
                stated
            } else {
                touched
            };
            infer.arena_used = Some(used);
        }
        Ok(Reply::Infer(infer))
    }

    #[cfg(feature = "bench")]
    fn bench(&mut self, request: &BenchLayer) -> Result<Reply, DeviceError> {
        let board = &*self.board;
        let mut cycles = None;
        let output_crc32 = bench::run(request, self.arena, |layer| {
            let watch = Stopwatch::start(board);
            layer();
            cycles = watch.stop();
        })?;
        Ok(Reply::Bench(Bench {
            cycles,
            output_crc32,
            fast: kernels::is_fast(&request.spec),
        }))
    }

    #[cfg(feature = "update")]
    fn update(&mut self, request: UpdateRequest) -> Result<Reply, DeviceError> {
        *self.finishes = matches!(request, UpdateRequest::Finish);
        let reply = self.networks.update(request).map_err(DeviceError::Update)?;
        Ok(Reply::Update(reply))
    }

    fn stack(&self) -> Reply {
        let stack = self.board.info().stack;
        Reply::Stack(Stack {
            limit: stack.len() as u32,
            // SAFETY: a board states its own stack's addresses.
            used: unsafe { paint::stack_used(stack) } as u32,
        })
    }
}

fn run<B: Board>(
    blob: Blob,
    arena: &mut [u8],
    image: &[u8],
    board: &B,
    infer: &mut Infer,
) -> Result<(), EngineError> {
    let mut times = LayerTimes::new(board);
    let mut network = Network::new(blob, arena)?;
    let logits = network.infer(image, &mut times)?;
    infer.logits = Vec::from_iter(logits.iter().take(MAX_CLASSES));
    infer.cycles = times.cycles;
    Ok(())
}

fn device_error(e: EngineError) -> DeviceError {
    match e {
        EngineError::ArenaTooSmall { need, limit } => DeviceError::TooLarge { need, limit },
        EngineError::ImageSize { got, need } => DeviceError::ImageSize { got, need },
        EngineError::NotBuilt { layer, kernel } => DeviceError::NotBuilt { layer, kernel },
        EngineError::Corrupt { layer, block } => DeviceError::Corrupt { layer, block },
        // Neither happens with a checked blob in an arena that the linker placed.
        EngineError::Unaligned | EngineError::Buffers { .. } => {
            DeviceError::TooLarge { need: 0, limit: 0 }
        }
    }
}
