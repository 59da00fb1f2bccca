//! The conversation with a board, against a scripted link.

use super::*;
use shared::message::Infer;
use std::collections::VecDeque;

/// A link that answers from a script and notes what it is told to load.
struct Scripted {
    answers: VecDeque<Vec<Reply>>,
    loads: Vec<Option<Vec<u8>>>,
    waiting: Vec<u8>,
    /// Bytes of the first answer that come at once; the others after the next request.
    at_once: Option<usize>,
    slow: bool,
}

impl Link for Scripted {
    fn load(&mut self, blob: Option<&[u8]>) -> Result<(), BoardError> {
        self.loads.push(blob.map(<[u8]>::to_vec));
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BoardError> {
        if bytes == [0] {
            return Ok(());
        }
        self.slow = false;
        let mut request = bytes[..bytes.len() - 1].to_vec();
        let (request, number) = message::decode::<Request>(&mut request).unwrap();
        for reply in self.answers.pop_front().unwrap_or_default() {
            let (mut scratch, mut frame) = (vec![0; MAX_REPLY], vec![0; MAX_REPLY]);
            // A greeting's answer to something else is an earlier greeting's.
            let early = matches!(reply, Reply::Hello(_)) && request != Request::Hello;
            let number = match &reply {
                Reply::Error(DeviceError::BadFrame) => UNNUMBERED,
                _ => number - u8::from(early),
            };
            let len = encode(&reply, number, &mut scratch, &mut frame).unwrap();
            self.waiting.extend_from_slice(&frame[..len]);
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<(), BoardError> {
        if let Some(at_once) = self.at_once.take_if(|_| !self.waiting.is_empty()) {
            bytes.extend(self.waiting.drain(..at_once));
            self.slow = true;
            return Ok(());
        }
        if self.slow {
            return Ok(());
        }
        if self.waiting.is_empty() {
            return Err(BoardError::Qemu("silence".into()));
        }
        bytes.append(&mut self.waiting);
        Ok(())
    }

    fn intervals(&mut self) -> Result<Vec<Interval>, BoardError> {
        Ok(Vec::new())
    }
}

fn hello(build_id: u32, hse: bool) -> Reply {
    Reply::Hello(Hello {
        schema: SCHEMA,
        board: "stm32f405".try_into().unwrap(),
        build_id,
        features: Default::default(),
        clock_hz: 168_000_000,
        hse,
        arena_limit: 1,
        stack_bytes: 1,
        blob: Ok(0),
    })
}

fn device(answers: &[&[Reply]]) -> Device<Scripted> {
    let answers = answers.iter().map(|replies| replies.to_vec()).collect();
    let link = Scripted {
        answers,
        loads: Vec::new(),
        waiting: Vec::new(),
        at_once: None,
        slow: false,
    };
    let spec = crate::board::spec::find("stm32f405").unwrap().0;
    let network_limit = spec.blob.bytes;
    let identity = Identity {
        name: "stm32f405".into(),
        engine: Engine::Probe,
        build_id: 7,
        network_limit,
    };
    Device::new(link, spec, identity)
}

fn stack() -> Reply {
    Reply::Stack(Stack { limit: 9, used: 3 })
}

#[test]
fn late_greetings_are_passed_over() {
    let again = [hello(7, true), stack()];
    let mut device = device(&[&[hello(7, true)], &again]);
    assert_eq!(device.stack().unwrap().used, 3);
}

#[test]
fn a_greetings_answer_that_was_cut_in_two_is_passed_over() {
    // The host asked again in the middle of the answer, and dropped its first half.
    let mut device = device(&[&[hello(7, true)], &[hello(7, true)], &[stack()]]);
    device.link.at_once = Some(9);
    assert_eq!(device.stack().unwrap().used, 3);
    assert_eq!(device.link.loads.len(), 1, "no restart");
}

#[test]
fn an_answer_to_an_earlier_question_is_passed_over() {
    let mut device = device(&[&[hello(7, true)], &[stack()], &[stack()]]);
    device.stack().unwrap();
    // The first one's, once more, and only now.
    let stale = Reply::Stack(Stack { limit: 9, used: 8 });
    let (mut scratch, mut frame) = (vec![0; MAX_REPLY], vec![0; MAX_REPLY]);
    let len = encode(&stale, device.number, &mut scratch, &mut frame).unwrap();
    device.link.waiting = frame[..len].to_vec();
    assert_eq!(device.stack().unwrap().used, 3);
    assert_eq!(device.link.loads.len(), 1, "no restart");
}

#[test]
fn a_request_that_the_board_could_not_read_is_told() {
    let mut device = device(&[&[hello(7, true)], &[Reply::Error(DeviceError::BadFrame)]]);
    let error = device.stack().unwrap_err();
    assert!(matches!(error, BoardError::Refused { .. }), "{error}");
}

#[test]
fn requests_are_numbered_from_one_again_after_the_last() {
    let answers: Vec<&[Reply]> = Vec::new();
    let mut device = device(&answers);
    device.link.answers.push_back(vec![hello(7, true)]);
    for _ in 0..300 {
        device.link.answers.push_back(vec![stack()]);
        device.stack().unwrap();
        assert!(device.number != UNNUMBERED);
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_an_error() {
    let mut device = device(&[&[hello(7, true)], &[stack()]]);
    device.stack().unwrap();
    device.link.waiting = vec![7, 7, 7, 0];
    let error = device.stack().unwrap_err();
    assert!(matches!(error, BoardError::Frame { .. }), "{error}");
}

#[test]
fn after_an_error_the_board_restarts_with_its_blob() {
    let mut device = device(&[
        &[hello(7, true)],
        &[],
        &[hello(7, true)],
        &[stack()],
        &[stack()],
    ]);
    device.flash(&[1, 2]).unwrap();
    assert!(device.stack().is_err());
    assert_eq!(device.stack().unwrap().limit, 9);
    assert!(device.stack().is_ok());
    assert_eq!(device.link.loads, [Some(vec![1, 2]), Some(vec![1, 2])]);
}

#[test]
fn another_firmware_and_a_dead_crystal_are_refused() {
    let error = |reply| device(&[&[reply]]).stack().unwrap_err().to_string();
    assert!(error(hello(8, true)).contains("build id 0x00000008, expected 0x00000007"));
    assert!(error(hello(7, false)).contains("internal oscillator"));
}

#[test]
fn refusals_and_wrong_answers_are_told_apart() {
    let refused = Reply::Error(DeviceError::ImageSize { got: 1, need: 3072 });
    let mut device = device(&[
        &[hello(7, true)],
        &[refused],
        &[stack()],
        &[Reply::Infer(Infer::default())],
    ]);
    let error = device.infer(&[0], false).unwrap_err().to_string();
    assert!(error.contains("the image has 1 bytes, the network takes 3072"));
    let error = device.infer(&[0], false).unwrap_err().to_string();
    assert!(error.contains("something else"), "{error}");
    assert_eq!(device.infer(&[0], false).unwrap().cycles(), Some(0));
}
