//! The message loop over streams in memory.

mod common;

use common::network::Chain;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use firmware::app::{App, Board, FrameBuffer, Info};
use shared::message::{
    BenchLayer, DeviceError, MAX_REPLY, MAX_REQUEST, Reply, Request, SCHEMA, UNNUMBERED, decode,
    encode,
};
use shared::pattern::Pattern;
use shared::spec::LayerSpec;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

#[derive(Default, Clone)]
struct Wire {
    to_board: Rc<RefCell<VecDeque<u8>>>,
    from_board: Rc<RefCell<Vec<u8>>>,
}

impl ErrorType for Wire {
    type Error = ErrorKind;
}

impl ReadReady for Wire {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(!self.to_board.borrow().is_empty())
    }
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let byte = self.to_board.borrow_mut().pop_front();
        out[0] = byte.ok_or(ErrorKind::TimedOut)?;
        Ok(1)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.from_board.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[derive(Default, Clone)]
struct Pin(Rc<RefCell<Vec<bool>>>);

impl embedded_hal::digital::ErrorType for Pin {
    type Error = core::convert::Infallible;
}

impl embedded_hal::digital::OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        self.0.borrow_mut().push(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        self.0.borrow_mut().push(true);
        Ok(())
    }
}

/// A board in memory; its counter steps by `step` at each look.
#[derive(Default, Clone)]
struct Desk {
    probe: Wire,
    serial: Wire,
    pin: Pin,
    now: Cell<u32>,
    step: u32,
}

impl Board for Desk {
    type Probe = Wire;
    type Serial = Wire;
    type Marker = Pin;

    fn info(&self) -> Info {
        Info {
            name: "desk",
            build_id: 7,
            clock_hz: 1_000_000,
            hse: true,
            stack: 0..0,
        }
    }

    fn cycles(&self) -> u32 {
        self.now.set(self.now.get().wrapping_add(self.step));
        self.now.get()
    }

    fn streams(&mut self) -> (&mut Wire, &mut Wire) {
        (&mut self.probe, &mut self.serial)
    }

    fn marker(&mut self) -> &mut Pin {
        &mut self.pin
    }
}

/// A request's, and its reply's.
const NUMBER: u8 = 77;

fn frame(request: &Request) -> Vec<u8> {
    let (mut scratch, mut out) = (vec![0; MAX_REQUEST], vec![0; MAX_REQUEST]);
    let n = encode(request, NUMBER, &mut scratch, &mut out).unwrap();
    out.truncate(n);
    out
}

fn reply(wire: &Wire) -> Option<Reply> {
    let mut bytes = std::mem::take(&mut *wire.from_board.borrow_mut());
    assert!(bytes.len() <= MAX_REPLY);
    let zero = bytes.pop()?;
    assert_eq!(zero, 0);
    let (reply, number) = decode(&mut bytes).unwrap();
    let unread = reply == Reply::Error(DeviceError::BadFrame);
    assert_eq!(number, if unread { UNNUMBERED } else { NUMBER });
    Some(reply)
}

/// Runs `ask` with an app on a board whose blob is `blob`.
fn with_app(blob: &[u8], step: u32, ask: impl FnOnce(&Desk, &mut dyn FnMut())) {
    let desk = Desk {
        step,
        ..Desk::default()
    };
    let mut arena = vec![0u64; 1 << 13];
    let mut buffer: FrameBuffer = [0; MAX_REQUEST];
    let arena = common::bytes_of(&mut arena);
    let mut app = App::new(desk.clone(), blob, arena, &mut buffer);
    ask(&desk, &mut || {
        for _ in 0..10_000 {
            app.poll();
        }
    });
}

#[test]
fn both_streams_are_answered_where_they_asked() {
    with_app(&[], 0, |desk, poll| {
        for (wire, other) in [(&desk.probe, &desk.serial), (&desk.serial, &desk.probe)] {
            wire.to_board.borrow_mut().extend(frame(&Request::Hello));
            poll();
            let Some(Reply::Hello(hello)) = reply(wire) else {
                panic!("no hello");
            };
            assert_eq!((hello.schema, hello.build_id), (SCHEMA, 7));
            assert_eq!((hello.board.as_str(), hello.arena_limit), ("desk", 1 << 16));
            assert!(hello.blob.is_err(), "there is no blob");
            assert!(reply(other).is_none());
        }
    });
}

#[test]
fn inference_gives_logits_cycles_and_the_arena_that_was_used() {
    let mut chain = Chain::new(3);
    let image = chain.image(3);
    let expected = chain.expected(&image);
    let blob = chain.blob.clone();
    let request = frame(&Request::Infer {
        image: &image,
        paint: true,
    });
    for (step, cycles) in [(5, Some(5)), (0, None)] {
        with_app(&blob, step, |desk, poll| {
            desk.probe.to_board.borrow_mut().extend(&request);
            poll();
            let Some(Reply::Infer(infer)) = reply(&desk.probe) else {
                panic!("no result");
            };
            assert_eq!(&infer.logits[..], &expected[..]);
            assert_eq!(&infer.cycles[..], &[cycles; 4][..]);
            assert_eq!(infer.arena_used, Some(chain.arena_bytes));
            assert_eq!(*desk.pin.0.borrow(), [true, false]);
        });
    }
}

#[cfg(feature = "bench")]
#[test]
fn a_benchmark_answers_what_the_host_computes() {
    let request = BenchLayer {
        spec: LayerSpec {
            pool: 2,
            w_bits: 5,
            ..LayerSpec::conv3x3(8, 8, 12, 6)
        },
        blocks: 2,
        density_percent: 100,
        pattern: Pattern::Typical,
        seed: 9,
    };
    let mut memory = vec![0u64; 1 << 13];
    let expected = firmware::bench::expected_crc32(&request, common::bytes_of(&mut memory));
    with_app(&[], 3, |desk, poll| {
        let bytes = frame(&Request::BenchLayer(request));
        desk.serial.to_board.borrow_mut().extend(bytes);
        poll();
        let Some(Reply::Bench(bench)) = reply(&desk.serial) else {
            panic!("no result");
        };
        assert_eq!(Ok(bench.output_crc32), expected);
        assert_eq!((bench.cycles, bench.fast), (Some(3), false));
    });
}

#[test]
fn nonsense_is_answered_with_an_error_and_forgotten() {
    with_app(&[], 0, |desk, poll| {
        let large = BenchLayer {
            spec: LayerSpec::conv3x3(64, 64, 64, 64),
            blocks: 1,
            density_percent: 0,
            pattern: Pattern::Typical,
            seed: 0,
        };
        let zero = BenchLayer {
            spec: LayerSpec::conv3x3(0, 1, 1, 1),
            ..large
        };
        let too_long = [vec![1; 2 * MAX_REQUEST], vec![0]].concat();
        let image = Request::Infer {
            image: &[1; 12],
            paint: false,
        };
        let wire = &desk.probe;
        let mut ask = |bytes: Vec<u8>| {
            wire.to_board.borrow_mut().extend(bytes);
            poll();
            match reply(wire) {
                Some(Reply::Error(e)) => e,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(ask(vec![3, 2, 1, 0]), DeviceError::BadFrame);
        assert_eq!(ask(too_long), DeviceError::BadFrame);
        assert!(matches!(ask(frame(&image)), DeviceError::Blob(_)));
        let zero = ask(frame(&Request::BenchLayer(zero)));
        let large = ask(frame(&Request::BenchLayer(large)));
        if cfg!(feature = "bench") {
            assert!(matches!(zero, DeviceError::Spec(_)));
            assert!(matches!(large, DeviceError::TooLarge { limit: 65_536, .. }));
        } else {
            assert_eq!((zero, large), (DeviceError::NoBench, DeviceError::NoBench));
        }
    });
}

#[test]
fn half_a_frame_does_not_block_the_other_stream_for_ever() {
    with_app(&[], 0, |desk, poll| {
        desk.serial.to_board.borrow_mut().extend([1, 2, 3]);
        poll();
        desk.probe
            .to_board
            .borrow_mut()
            .extend(frame(&Request::Hello));
        for _ in 0..10 {
            poll();
        }
        assert!(matches!(reply(&desk.probe), Some(Reply::Hello(_))));
    });
}
