//! A board, spoken to in messages over any [`Link`].

use super::link::Link;
use super::{Board, BoardError, BoardSpec, Cycles, Engine, Inference, Timing};
use cycle_model::Interval;
use shared::message::{
    self, BenchLayer, DeviceError, Hello, MAX_REPLY, MAX_REQUEST, Reply, Request, SCHEMA, Stack,
    UNNUMBERED, encode,
};
use shared::update::Status;
use std::time::{Duration, Instant};

/// How long a reply may take: the largest layer on the slowest engine.
const REPLY_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a start-up may take, and how often it is asked meanwhile.
const START_UP: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What a device is, and what its firmware takes.
pub(super) struct Identity {
    /// The name that it was asked for by.
    pub name: String,
    /// What executes the firmware.
    pub engine: Engine,
    /// Identity of the firmware.
    pub build_id: u32,
    /// Most bytes of a network.
    pub network_limit: u32,
}

/// The firmware behind a link.
pub(super) struct Device<L> {
    link: L,
    spec: BoardSpec,
    name: String,
    engine: Engine,
    build_id: u32,
    network_limit: u32,
    /// Whether the firmware runs and is in step with us.
    pub(super) loaded: bool,
    /// The blob in flash, to be put there again after a restart.
    pub(super) blob: Option<Vec<u8>>,
    /// Bytes that have come and are no whole frame yet.
    received: Vec<u8>,
    /// Greetings since the start that were not answered.
    greetings: u32,
    /// The last request's.
    number: u8,
    /// How long a reply may take.
    reply_timeout: Duration,
    /// How long a start-up may take.
    start_up: Duration,
}

/// A reply and the intervals that were counted while it was made.
struct Answer {
    reply: Reply,
    intervals: Vec<Interval>,
}

impl<L: Link> Device<L> {
    pub(super) fn new(link: L, spec: BoardSpec, identity: Identity) -> Self {
        Self {
            link,
            spec,
            name: identity.name,
            engine: identity.engine,
            build_id: identity.build_id,
            network_limit: identity.network_limit,
            loaded: false,
            blob: None,
            received: Vec::new(),
            greetings: 0,
            number: UNNUMBERED,
            reply_timeout: REPLY_TIMEOUT,
            start_up: START_UP,
        }
    }

    /// Waits no longer than this for whatever comes.
    #[cfg(test)]
    pub(super) fn wait_for(&mut self, timeout: Duration) {
        (self.reply_timeout, self.start_up) = (timeout, timeout);
    }

    /// Starts the firmware if it does not run, or after an error that may have left a late
    /// reply under way.
    pub(super) fn ensure_loaded(&mut self) -> Result<(), BoardError> {
        if self.loaded { Ok(()) } else { self.load() }
    }

    fn load(&mut self) -> Result<(), BoardError> {
        self.received.clear();
        self.loaded = false;
        self.link.load(self.blob.as_deref())?;
        let hello = self.greet()?;
        if let Err(error) = self.check(&hello) {
            self.link.forget();
            return Err(error);
        }
        self.loaded = true;
        Ok(())
    }

    /// Asks until the firmware answers: what comes before it listens is lost.
    fn greet(&mut self) -> Result<Hello, BoardError> {
        let started = Instant::now();
        self.greetings = 0;
        loop {
            // A zero ends whatever half a frame the firmware may have.
            self.link.send(&[0])?;
            self.greetings += 1;
            match self.exchange(&Request::Hello, ASK_AGAIN.min(self.start_up)) {
                Ok(Answer {
                    reply: Reply::Hello(hello),
                    ..
                }) => {
                    self.greetings -= 1;
                    return Ok(hello);
                }
                Ok(answer) => return Err(self.unexpected("hello", &answer.reply)),
                Err(BoardError::Silent { .. }) if started.elapsed() < self.start_up => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn check(&self, hello: &Hello) -> Result<(), BoardError> {
        let stale = |what, got, want| BoardError::Stale {
            board: self.name.clone(),
            what,
            got,
            want,
        };
        if hello.schema != SCHEMA {
            return Err(stale("message schema", hello.schema, SCHEMA));
        }
        if hello.build_id != self.build_id {
            return Err(stale("build id", hello.build_id, self.build_id));
        }
        if self.engine == Engine::Probe && !hello.hse {
            return Err(BoardError::NoCrystal {
                board: self.name.clone(),
                hz: hello.clock_hz,
            });
        }
        Ok(())
    }

    pub(super) fn check_size(&self, network: &[u8]) -> Result<(), BoardError> {
        let (need, limit) = (network.len(), self.network_limit as usize);
        if need <= limit {
            return Ok(());
        }
        Err(BoardError::BlobTooLarge {
            board: self.name.clone(),
            need,
            limit,
        })
    }

    /// Asks without restarting the board first, whatever went wrong before, and gives its
    /// reply, refusals included.
    pub(super) fn ask_running(&mut self, request: &Request) -> Result<Reply, BoardError> {
        let answer = self.exchange(request, self.reply_timeout)?;
        Ok(answer.reply)
    }

    pub(super) fn refused(&self, request: &'static str, error: DeviceError) -> BoardError {
        BoardError::Refused {
            board: self.name.clone(),
            request,
            error,
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, BoardError> {
        self.ensure_loaded()?;
        let answer = self.exchange(request, self.reply_timeout);
        self.link.rest();
        self.loaded = answer.is_ok();
        match answer? {
            Answer {
                reply: Reply::Error(error),
                ..
            } => Err(BoardError::Refused {
                board: self.name.clone(),
                request: name_of(request),
                error,
            }),
            answer => Ok(answer),
        }
    }

    fn exchange(&mut self, request: &Request, timeout: Duration) -> Result<Answer, BoardError> {
        self.link.intervals()?;
        // What came after the last answer answers nothing that is asked from now on.
        self.link.drain()?;
        self.received.clear();
        let (mut scratch, mut frame) = (vec![0; MAX_REQUEST], vec![0; MAX_REQUEST]);
        self.number = self.number % u8::MAX + 1;
        let len = encode(request, self.number, &mut scratch, &mut frame)
            .map_err(|_| self.oversized(request))?;
        self.link.send(&frame[..len])?;
        let started = Instant::now();
        let mut late = false;
        while !late {
            // A host that was held up itself looks once more.
            late = started.elapsed() >= timeout;
            self.link.receive(&mut self.received)?;
            while let Some(end) = self.received.iter().position(|&byte| byte == 0) {
                let mut frame: Vec<u8> = self.received.drain(..=end).collect();
                frame.pop();
                if frame.is_empty() {
                    continue;
                }
                let reply = match message::decode::<Reply>(&mut frame) {
                    Ok((reply, number)) if self.is_late(request, &reply, number) => {
                        let greeted = matches!(reply, Reply::Hello(_));
                        self.greetings = self.greetings.saturating_sub(u32::from(greeted));
                        continue;
                    }
                    Ok((reply, _)) => reply,
                    // A slow host may have dropped the first half of it.
                    Err(_) if self.late_greetings(request) > 0 => {
                        self.greetings -= 1;
                        continue;
                    }
                    Err(error) => {
                        let board = self.name.clone();
                        return Err(BoardError::Frame { board, error });
                    }
                };
                return Ok(Answer {
                    reply,
                    intervals: self.link.intervals()?,
                });
            }
            if self.received.len() > MAX_REPLY {
                self.received.clear();
                return Err(BoardError::Frame {
                    board: self.name.clone(),
                    error: message::FrameError::BufferTooSmall,
                });
            }
        }
        Err(BoardError::Silent {
            board: self.name.clone(),
            request: name_of(request),
            waited: timeout,
            log: self.link.log(),
        })
    }

    /// Whether a reply answers something earlier. A greeting is sent more than once, and any
    /// answer to it will do; before it an earlier host may have left half a frame.
    fn is_late(&self, request: &Request, reply: &Reply, number: u8) -> bool {
        let unread = number == UNNUMBERED && *reply == Reply::Error(DeviceError::BadFrame);
        match (request, reply) {
            (Request::Hello, Reply::Hello(_)) => false,
            (Request::Hello, _) if unread => true,
            _ => number != self.number && !unread,
        }
    }

    /// Answers to earlier greetings that are still under way while `request` is asked.
    fn late_greetings(&self, request: &Request) -> u32 {
        let its_own = matches!(request, Request::Hello);
        self.greetings.saturating_sub(u32::from(its_own))
    }

    fn oversized(&self, request: &Request) -> BoardError {
        let error = match request {
            Request::Infer { image, .. } => DeviceError::ImageSize {
                got: image.len() as u32,
                need: message::MAX_IMAGE as u32,
            },
            _ => DeviceError::BadFrame,
        };
        BoardError::Refused {
            board: self.name.clone(),
            request: name_of(request),
            error,
        }
    }

    pub(super) fn unexpected(&self, request: &'static str, reply: &Reply) -> BoardError {
        BoardError::Unexpected {
            board: self.name.clone(),
            request,
            got: format!("{reply:?}"),
        }
    }

    /// The one truth about the cycles of one measured stretch: the model's where an engine
    /// counts, else the device's own counter.
    fn cycles(&self, device: Option<u32>, interval: Option<Interval>) -> Option<Cycles> {
        match interval {
            Some(interval) => interval
                .flash_cycles(self.spec.flash.wait_states)
                .map(|board| Cycles {
                    board,
                    interval: Some(interval),
                }),
            None => device.map(|cycles| Cycles {
                board: u64::from(cycles),
                interval: None,
            }),
        }
    }

    fn intervals_of(
        &self,
        answer: &Answer,
        expected: usize,
    ) -> Result<Vec<Option<Interval>>, BoardError> {
        match answer.intervals.len() {
            _ if self.engine == Engine::Probe => Ok(vec![None; expected]),
            counted if counted == expected => {
                Ok(answer.intervals.iter().copied().map(Some).collect())
            }
            counted => Err(BoardError::Unexpected {
                board: self.name.clone(),
                request: "timing",
                got: format!("{counted} intervals for {expected} measured layers"),
            }),
        }
    }
}

impl<L: Link> Board for Device<L> {
    fn spec(&self) -> &BoardSpec {
        &self.spec
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&self) -> Engine {
        self.engine
    }

    fn build_id(&self) -> u32 {
        self.build_id
    }

    fn hello(&mut self) -> Result<Hello, BoardError> {
        let answer = self.ask(&Request::Hello)?;
        match answer.reply {
            Reply::Hello(hello) => Ok(hello),
            reply => Err(self.unexpected("hello", &reply)),
        }
    }

    fn flash(&mut self, blob: &[u8]) -> Result<(), BoardError> {
        self.check_size(blob)?;
        self.blob = Some(blob.to_vec());
        self.load()?;
        self.link.rest();
        Ok(())
    }

    fn infer(&mut self, image: &[u8], paint: bool) -> Result<Inference, BoardError> {
        let answer = self.ask(&Request::Infer { image, paint })?;
        let Reply::Infer(infer) = &answer.reply else {
            return Err(self.unexpected("infer", &answer.reply));
        };
        let intervals = self.intervals_of(&answer, infer.cycles.len())?;
        let layers = infer.cycles.iter().zip(intervals);
        Ok(Inference {
            logits: infer.logits.to_vec(),
            layers: layers
                .map(|(&device, interval)| self.cycles(device, interval))
                .collect(),
            arena_used: infer.arena_used,
        })
    }

    fn bench_layer(&mut self, request: &BenchLayer) -> Result<Timing, BoardError> {
        let answer = self.ask(&Request::BenchLayer(*request))?;
        let Reply::Bench(bench) = answer.reply else {
            return Err(self.unexpected("bench", &answer.reply));
        };
        let interval = self.intervals_of(&answer, 1)?[0];
        let cycles = self
            .cycles(bench.cycles, interval)
            .ok_or_else(|| BoardError::Unexpected {
                board: self.name.clone(),
                request: "bench",
                got: "no cycle count".into(),
            })?;
        Ok(Timing {
            cycles,
            output_crc32: bench.output_crc32,
            fast: bench.fast,
        })
    }

    fn stack(&mut self) -> Result<Stack, BoardError> {
        let answer = self.ask(&Request::Stack)?;
        match answer.reply {
            Reply::Stack(stack) => Ok(stack),
            reply => Err(self.unexpected("stack", &reply)),
        }
    }

    fn slots(&mut self) -> Result<Status, BoardError> {
        self.slots_now()
    }

    fn update(&mut self, network: &[u8], self_test: u32) -> Result<Status, BoardError> {
        self.replace(network, self_test)
    }
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Hello => "hello",
        Request::Infer { .. } => "infer",
        Request::BenchLayer(_) => "bench",
        Request::Stack => "stack",
        Request::Update(_) => "update",
    }
}

#[cfg(test)]
mod tests;
