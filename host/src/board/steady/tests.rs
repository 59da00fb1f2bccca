//! Ten thousand requests over a link where one in a hundred goes wrong.

use super::super::device::{Device, Identity};
use super::super::link::Link;
use super::*;
use crate::board::virt::{Cut, Tear};
use crate::board::{Build, open_in_process};
use cycle_model::Interval;
use shared::bench::Rng;
use shared::message::{
    DeviceError, Infer, MAX_REPLY, Reply, Request, SCHEMA, UNNUMBERED, decode, encode,
};
use std::sync::{Arc, Mutex};

const REQUESTS: u32 = 10_000;
/// One fault in this many requests.
const RARE: u32 = 100;
const BUILD: u32 = 7;
const OTHER_BUILD: u32 = 8;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The probe is gone, and comes back after some attempts.
    Unplugged,
    /// The request reaches nobody, or the firmware hangs: no answer.
    Stuck,
    /// A bit of the answer changes.
    Flip,
    /// The answer ends early, and another frame runs into it.
    Truncated,
    /// Bytes that nobody sent come before the answer.
    Garbage,
    /// A reset in the middle: the answer is lost, and with it what was under way.
    Reset,
    /// Somebody put other firmware there, and reset the board.
    OtherFirmware,
    /// Flash does not hold what was written; the next time it does.
    Unverified,
    /// A bit of the request changes on its way.
    Request,
    /// The answer comes twice.
    Twice,
    /// The answer comes twice, the second time only after the next request.
    Late,
}

const FAULTS: [Fault; 11] = [
    Fault::Unplugged,
    Fault::Stuck,
    Fault::Flip,
    Fault::Truncated,
    Fault::Garbage,
    Fault::Reset,
    Fault::OtherFirmware,
    Fault::Unverified,
    Fault::Request,
    Fault::Twice,
    Fault::Late,
];

/// What the fake board computes of an image.
fn logits(image: &[u8]) -> [i32; 2] {
    let crc = shared::CRC32.checksum(image);
    [crc as i32, image.len() as i32]
}

/// What is counted.
#[derive(Default)]
struct Counts {
    faults: [u32; FAULTS.len()],
    loads: u32,
    programmed: u32,
}

/// A fast board that misbehaves.
struct Noisy {
    rng: Rng,
    /// Draws the sizes of pieces: how many there are depends on time, faults must not.
    pieces: Rng,
    counts: Arc<Mutex<Counts>>,
    /// Attempts for which the probe stays away.
    away: u32,
    unverified: bool,
    running: u32,
    firmware_loaded: bool,
    blob: Option<Vec<u8>>,
    waiting: Vec<u8>,
    /// What comes before the next answer.
    late: Vec<u8>,
}

impl Noisy {
    fn fault(&mut self) -> Option<Fault> {
        if self.rng.below(RARE) != 0 {
            return None;
        }
        let n = self.rng.below(FAULTS.len() as u32) as usize;
        self.counts.lock().unwrap().faults[n] += 1;
        Some(FAULTS[n])
    }

    fn reply(&self, frame: &mut [u8]) -> (Reply, u8) {
        let Ok((request, number)) = decode::<Request>(frame) else {
            return (Reply::Error(DeviceError::BadFrame), UNNUMBERED);
        };
        let reply = match request {
            Request::Hello => Reply::Hello(Hello {
                schema: SCHEMA,
                board: "stm32f405".try_into().unwrap(),
                build_id: self.running,
                features: Default::default(),
                clock_hz: 168_000_000,
                hse: true,
                arena_limit: 1,
                stack_bytes: 1,
                blob: Ok(shared::CRC32.checksum(self.blob.as_deref().unwrap_or(&[]))),
            }),
            Request::Infer { image, .. } => Reply::Infer(Infer {
                logits: logits(image).into_iter().collect(),
                ..Infer::default()
            }),
            other => panic!("{other:?}"),
        };
        (reply, number)
    }

    fn answer(&mut self, request: &[u8], fault: Option<Fault>) {
        let mut frame = request[..request.len() - 1].to_vec();
        if fault == Some(Fault::Request) {
            let at = self.rng.below(frame.len() as u32) as usize;
            frame[at] ^= 1 << self.rng.below(8);
            // A zero in the middle ends a frame there: the rest is a frame of its own.
            frame.retain(|&byte| byte != 0);
        }
        let (mut scratch, mut out) = (vec![0; MAX_REPLY], vec![0; MAX_REPLY]);
        let (reply, number) = self.reply(&mut frame);
        let len = encode(&reply, number, &mut scratch, &mut out).unwrap();
        let mut bytes = std::mem::take(&mut self.late);
        let before = bytes.len();
        bytes.extend_from_slice(&out[..len]);
        match fault {
            Some(Fault::Flip) => {
                let at = self.rng.below(len as u32) as usize;
                bytes[before + at] ^= 1 << self.rng.below(8);
            }
            Some(Fault::Truncated) => {
                bytes.truncate(before + self.rng.below(len as u32) as usize);
                bytes.extend_from_slice(&out[..len]);
            }
            Some(Fault::Garbage) => {
                let noise: Vec<u8> = (0..9).map(|_| self.rng.next() as u8).collect();
                bytes.splice(0..0, noise);
            }
            Some(Fault::Twice) => bytes.extend_from_slice(&out[..len]),
            Some(Fault::Late) => self.late = out[..len].to_vec(),
            _ => {}
        }
        self.waiting.extend(bytes);
    }
}

fn gone() -> BoardError {
    BoardError::Probe {
        doing: "reaching the core",
        reason: "the probe was unplugged".into(),
    }
}

impl Link for Noisy {
    fn load(&mut self, blob: Option<&[u8]>) -> Result<(), BoardError> {
        if self.away > 0 {
            self.away -= 1;
            return Err(gone());
        }
        let mut counts = self.counts.lock().unwrap();
        counts.loads += 1;
        if std::mem::take(&mut self.unverified) {
            return Err(BoardError::Probe {
                doing: "programming flash",
                reason: "the content does not match".into(),
            });
        }
        if !self.firmware_loaded {
            (self.running, self.firmware_loaded) = (BUILD, true);
            counts.programmed += 1;
        }
        if let Some(blob) = blob {
            self.blob = Some(blob.to_vec());
        }
        self.waiting.clear();
        Ok(())
    }

    fn forget(&mut self) {
        self.firmware_loaded = false;
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BoardError> {
        if self.away > 0 {
            return Err(gone());
        }
        if bytes == [0] {
            return Ok(());
        }
        let fault = self.fault();
        match fault {
            Some(Fault::Unplugged) => {
                self.away = 1 + self.rng.below(3);
                return Err(gone());
            }
            Some(Fault::Stuck | Fault::Reset) => {}
            Some(Fault::OtherFirmware) => {
                self.running = OTHER_BUILD;
            }
            Some(Fault::Unverified) => self.unverified = true,
            fault => self.answer(bytes, fault),
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<(), BoardError> {
        // A few bytes at a time, as they come.
        let n = self.waiting.len().min(1 + self.pieces.below(40) as usize);
        bytes.extend(self.waiting.drain(..n));
        Ok(())
    }

    fn drain(&mut self) -> Result<(), BoardError> {
        self.waiting.clear();
        Ok(())
    }

    fn intervals(&mut self) -> Result<Vec<Interval>, BoardError> {
        Ok(Vec::new())
    }
}

fn noisy(counts: &Arc<Mutex<Counts>>) -> Device<Noisy> {
    let link = Noisy {
        rng: Rng::new(5),
        pieces: Rng::new(6),
        counts: counts.clone(),
        away: 0,
        unverified: false,
        running: OTHER_BUILD,
        firmware_loaded: false,
        blob: None,
        waiting: Vec::new(),
        late: Vec::new(),
    };
    let spec = crate::board::spec::find("stm32f405").unwrap().0;
    let identity = Identity {
        name: "stm32f405".into(),
        engine: Engine::Probe,
        build_id: BUILD,
        network_limit: spec.blob.bytes,
    };
    let mut device = Device::new(link, spec, identity);
    device.wait_for(Duration::from_millis(50));
    device
}

#[test]
fn ten_thousand_requests_with_a_fault_in_a_hundred_give_no_wrong_answer() {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let told = Arc::new(Mutex::new(0));
    let tell = told.clone();
    let patience = Patience {
        attempts: 10,
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };
    let mut board = Steady::new(
        Box::new(noisy(&counts)),
        patience,
        Box::new(move |_| *tell.lock().unwrap() += 1),
    );
    board.flash(&[1, 2, 3]).unwrap();
    let mut rng = Rng::new(9);
    for n in 0..REQUESTS {
        let len = 1 + rng.below(200);
        let image: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
        let inference = board.infer(&image, false).unwrap();
        assert_eq!(inference.logits, logits(&image), "request {n}");
    }
    let hello = board.hello().unwrap();
    assert_eq!(hello.build_id, BUILD);
    assert_eq!(hello.blob, Ok(shared::CRC32.checksum(&[1, 2, 3])));
    let counts = counts.lock().unwrap();
    let faults: u32 = counts.faults.iter().sum();
    println!(
        "{REQUESTS} requests, {faults} faults, {} restarts, firmware written {} times",
        counts.loads, counts.programmed
    );
    for (fault, n) in FAULTS.iter().zip(counts.faults) {
        println!("  {fault:?}: {n}");
        assert!(n > 0, "{fault:?} never happened");
    }
    assert!(faults >= REQUESTS / RARE * 8 / 10);
    assert!(counts.programmed > 1, "other firmware was replaced");
    assert!(*told.lock().unwrap() > 0);
}

#[test]
fn silence_is_counted_apart_from_a_probe_that_is_away() {
    let silent = || BoardError::Silent {
        board: "stm32f405".into(),
        request: "infer",
        waited: Duration::ZERO,
        log: Vec::new(),
    };
    let answer = |mut errors: Vec<BoardError>| {
        let board = noisy(&Arc::new(Mutex::new(Counts::default())));
        let mut board = Steady::new(Box::new(board), FAST, Box::new(|_| {}));
        board.patiently(|_| errors.pop().map_or(Ok(()), Err))
    };
    let away: Vec<BoardError> = (0..7).map(|_| gone()).collect();
    let thrice: Vec<BoardError> = (0..3).map(|_| silent()).collect();
    answer(thrice.into_iter().chain(away).collect()).unwrap();
    let error = answer((0..4).map(|_| silent()).collect()).unwrap_err();
    assert!(matches!(error, BoardError::Silent { .. }), "{error}");
    let error = answer((0..11).map(|_| gone()).collect()).unwrap_err();
    assert!(matches!(error, BoardError::Probe { .. }), "{error}");
}

#[test]
fn waits_double_up_to_the_longest() {
    let seconds = |attempt| Patience::LONG.wait(attempt).as_secs();
    assert_eq!([1, 2, 3, 5, 6, 64].map(seconds), [1, 2, 4, 16, 30, 30]);
}

/// What the user named wrongly is not asked twice.
#[test]
fn a_refusal_is_not_repeated() {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let tell: Tell = Box::new(|line| panic!("{line}"));
    let mut board = Steady::new(Box::new(noisy(&counts)), Patience::SHORT, tell);
    let limit = board.spec().blob.bytes as usize;
    let error = board.flash(&vec![0; limit + 1]).unwrap_err();
    assert!(matches!(error, BoardError::BlobTooLarge { .. }), "{error}");
}

const FAST: Patience = Patience {
    attempts: 10,
    first: Duration::ZERO,
    longest: Duration::ZERO,
};

/// The virtual board, whose troubles `put_right` ends once they were told.
fn board_with(
    put_right: impl Fn(&crate::board::virt::probe::Handle) + Send + 'static,
) -> (
    Steady,
    crate::board::virt::probe::Handle,
    Arc<Mutex<Vec<String>>>,
) {
    let (board, machine) = open_in_process("virtual-stm32f405", &Build::default()).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (lines, handle) = (told.clone(), machine.clone());
    let tell = Box::new(move |line: &str| {
        lines.lock().unwrap().push(line.to_string());
        put_right(&handle);
    });
    (Steady::new(board, FAST, tell), machine, told)
}

#[test]
fn a_board_that_is_unplugged_is_waited_for() {
    let (mut board, machine, told) = board_with(|machine| machine.unplug(false));
    let before = board.hello().unwrap();
    machine.unplug(true);
    assert_eq!(board.hello().unwrap(), before);
    let told = told.lock().unwrap();
    assert!(told[0].contains("debug cable"), "{told:?}");
    assert!(told[told.len() - 1].contains("answers again"), "{told:?}");
}

#[test]
fn a_brown_out_half_way_through_flashing_is_put_right() {
    let power_on = |machine: &crate::board::virt::probe::Handle| {
        machine.with(|m| {
            if !m.is_powered() {
                m.power_on();
            }
        });
    };
    let (mut board, machine, told) = board_with(power_on);
    let blob: Vec<u8> = (0..4000u32).map(|i| (i * 7) as u8).collect();
    board.flash(&blob).unwrap();
    let before = board.hello().unwrap();
    for (at, tear) in [
        (0, Tear::Within(3)),
        (1, Tear::Before),
        (500, Tear::Within(4)),
    ] {
        machine.with(|m| m.cut_power_at(Some(Cut { at, tear })));
        let other: Vec<u8> = blob.iter().map(|byte| byte ^ 0x55).collect();
        board.flash(&other).unwrap();
        let found = machine.with(|m| {
            let base = board.spec().blob.base;
            (0..4000)
                .map(|i| m.flash_byte(base + i))
                .collect::<Vec<_>>()
        });
        assert_eq!(found, other, "cut at {at}");
        assert_eq!(board.hello().unwrap().build_id, before.build_id);
    }
    let told = told.lock().unwrap();
    assert!(
        told.iter().any(|line| line.contains("has no power")),
        "{told:?}"
    );
}

#[test]
fn a_reset_in_the_middle_is_noticed_and_asked_again() {
    let (mut board, machine, told) = board_with(|_| {});
    let before = board.hello().unwrap();
    // SRAM is lost, and with it RTT's buffers.
    machine.with(|m| m.power_on());
    assert_eq!(board.hello().unwrap(), before);
    assert!(!told.lock().unwrap().is_empty());
}
