//! Frames and messages, in both directions.

use crate::{DIRT, bytes_of};
use shared::CRC32;
use shared::message::{self, BenchLayer, DeviceError, MAX_REPLY, MAX_REQUEST, Reply, Request};

/// A request's.
const NUMBER: u8 = 0xa5;

/// Bytes of the arena that layers are timed in.
const ARENA: usize = 96 * 1024;

/// Multiply-accumulates above which a layer is not run.
const WORK: u64 = 1 << 21;

/// Reads `data` as a frame, then as what a frame with a right checksum contains.
///
/// # Panics
/// Where what was read is not written and read the same again.
pub fn run(data: &[u8]) {
    let mut frame = data.to_vec();
    if let Ok((found, _)) = message::decode::<Request>(&mut frame) {
        request(&found);
    }
    let mut frame = data.to_vec();
    if let Ok((found, _)) = message::decode::<Reply>(&mut frame) {
        reply(&found);
    }
    let mut frame = framed(data);
    if let Ok((found, _)) = message::decode::<Request>(&mut frame) {
        request(&found);
    }
    let mut frame = framed(data);
    if let Ok((found, _)) = message::decode::<Reply>(&mut frame) {
        reply(&found);
    }
}

/// The frame that carries these bytes, without its zero byte.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut raw = message.to_vec();
    raw.push(NUMBER);
    let crc = CRC32.checksum(&raw).to_le_bytes();
    raw.extend(crc);
    let mut frame = vec![0; cobs::max_encoding_length(raw.len())];
    let n = cobs::encode(&raw, &mut frame);
    frame.truncate(n);
    frame
}

/// Writes a request and reads it again.
fn request(request: &Request) {
    let (mut scratch, mut out) = (vec![0; MAX_REQUEST], vec![0; MAX_REQUEST]);
    // A frame that a board's buffer could not have held may carry more than it.
    let Ok(n) = message::encode(request, NUMBER, &mut scratch, &mut out) else {
        return;
    };
    let again = message::decode::<Request>(&mut out[..n - 1]).expect("what was written is read");
    assert_eq!((&again.0, again.1), (request, NUMBER));
    if let Request::BenchLayer(layer) = request {
        bench(layer);
    }
}

/// Writes a reply, which has room whatever it says, and reads it again.
fn reply(reply: &Reply) {
    let (mut scratch, mut out) = (vec![0; MAX_REPLY], vec![0; MAX_REPLY]);
    let n = message::encode(reply, NUMBER, &mut scratch, &mut out).expect("has room");
    let again = message::decode::<Reply>(&mut out[..n - 1]).expect("what was written is read");
    assert_eq!((&again.0, again.1), (reply, NUMBER));
}

/// Runs the layer as a board would, unless it takes too long.
fn bench(request: &BenchLayer) {
    let spec = &request.spec;
    if spec.check().is_err() || spec.macs() > WORK || u64::from(spec.sequence_len()) > WORK {
        return;
    }
    let mut arena = vec![DIRT; ARENA / 8];
    let mut calls = 0;
    let answer = firmware::bench::run(request, bytes_of(&mut arena), |layer| {
        calls += 1;
        layer();
    });
    assert!(calls == 1 || answer.is_err());
    assert!(!matches!(answer, Err(DeviceError::Corrupt { .. })));
}
