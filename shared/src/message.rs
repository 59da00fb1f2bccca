//! How host and board talk: requests, replies, and the frames that carry them.
//!
//! A frame is the postcard encoding of one message, the number of the request, the CRC-32 of both
//! (little-endian), all COBS-encoded, then a zero byte. A reply has its request's number, so that
//! none that comes late is taken for another's. Whatever is not a whole valid frame is dropped by the
//! board and reported by the host. Both sides state [`SCHEMA`] and refuse another.

use crate::CRC32;
use crate::blob::BlobError;
use crate::pattern::Pattern;
use crate::spec::{Abilities, Ability, LayerSpec, SpecError};
#[cfg(feature = "update")]
use crate::update::{UpdateError, UpdateReply, UpdateRequest};
use cobs::{DecodeResult, DecoderState};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Changes whenever the messages' source changes, so that a stale firmware is not misread.
pub const SCHEMA: u32 = {
    let parts = [
        CRC32.checksum(include_bytes!("message.rs")),
        crate::spec::SOURCE,
        CRC32.checksum(include_bytes!("bench.rs")) ^ CRC32.checksum(include_bytes!("pattern.rs")),
        CRC32.checksum(include_bytes!("blob/error.rs")),
        CRC32.checksum(include_bytes!("winograd.rs")),
        CRC32.checksum(include_bytes!("update.rs"))
            ^ CRC32.checksum(include_bytes!("envelope.rs")).rotate_left(1),
    ];
    parts[0].rotate_left(1)
        ^ parts[1].rotate_left(2)
        ^ parts[2].rotate_left(3)
        ^ parts[3].rotate_left(4)
        ^ parts[4].rotate_left(5)
        ^ parts[5].rotate_left(6)
};

/// Layers that a reply can time; a blob with more is refused by the board.
pub const MAX_LAYERS: usize = 48;

/// Classes that a reply can carry.
pub const MAX_CLASSES: usize = 128;

/// Bytes of the largest image that a request carries (32 x 32 x 3 and a little more).
pub const MAX_IMAGE: usize = 3 * 1024 + 512;

/// Bytes of the largest encoded request frame, its zero byte included.
pub const MAX_REQUEST: usize = frame_bytes(MAX_IMAGE + 32);

/// Bytes of the largest encoded reply frame, its zero byte included.
pub const MAX_REPLY: usize = frame_bytes(5 * MAX_CLASSES + 6 * MAX_LAYERS + 96);

/// The number of a reply to what was no request; no request has it.
pub const UNNUMBERED: u8 = 0;

/// COBS adds a byte in 254 and one, the number one, the CRC four, the delimiter one.
const fn frame_bytes(message: usize) -> usize {
    let raw = message + 5;
    raw + raw.div_ceil(254) + 2
}

/// What the host asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Who are you?
    Hello,
    /// Run the blob's network on one image, `[h, w, c]` bytes.
    Infer {
        /// The pixels.
        #[serde(borrow)]
        image: &'a [u8],
        /// Paint the free SRAM before and report how much of it was touched.
        paint: bool,
    },
    /// Time one layer on seeded data.
    BenchLayer(BenchLayer),
    /// How much of the stack was ever used?
    Stack,
    /// Replace the network; firmware without two slots takes it for a damaged frame.
    #[cfg(feature = "update")]
    #[serde(borrow)]
    Update(UpdateRequest<'a>),
}

/// One layer to time; see [`crate::bench`] for its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BenchLayer {
    /// The layer.
    pub spec: LayerSpec,
    /// Blocks of output channels to compute, from the first; at most `spec.blocks()`.
    pub blocks: u16,
    /// Share of weights that are stored, for the sparse encoding, in percent.
    pub density_percent: u8,
    /// What the data is like.
    pub pattern: Pattern,
    /// Seed of the input, the multipliers and the sparse stream.
    pub seed: u32,
}

/// What the board answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// Replies live one at a time, in the message loop; boxing needs a heap.
#[allow(clippy::large_enum_variant)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// To [`Request::Infer`].
    Infer(Infer),
    /// To [`Request::BenchLayer`].
    Bench(Bench),
    /// To [`Request::Stack`].
    Stack(Stack),
    /// The request could not be carried out.
    Error(DeviceError),
    /// To [`Request::Update`].
    #[cfg(feature = "update")]
    Update(UpdateReply),
}

/// What a board says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`SCHEMA`] of the firmware.
    pub schema: u32,
    /// The board's name, as its folder is called.
    pub board: String<32>,
    /// CRC-32 over the flash bytes that the ELF loads, `.blob` left out.
    pub build_id: u32,
    /// Which fast kernels were built in, and which kernels at all.
    pub features: Features,
    /// Core clock in Hz, as configured at start-up.
    pub clock_hz: u32,
    /// The clock comes from the external crystal; `false` after a fallback to the internal one.
    pub hse: bool,
    /// Bytes of SRAM that an arena may take.
    pub arena_limit: u32,
    /// Bytes reserved for the stack.
    pub stack_bytes: u32,
    /// CRC-32 that the blob in flash states, or why that blob is refused.
    pub blob: Result<u32, BlobError>,
}

/// Which kernels a firmware has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// ARMv7E-M DSP kernels.
    pub dsp: bool,
    /// Kernels may keep values in FPU registers.
    pub fpu: bool,
    /// What it can compute.
    pub kernels: Abilities,
}

/// The result of one inference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infer {
    /// The last layer's raw accumulators.
    pub logits: Vec<i32, MAX_CLASSES>,
    /// Cycles of each layer; `None` where the core has no running counter.
    pub cycles: Vec<Option<u32>, MAX_LAYERS>,
    /// Bytes of the arena that were touched, where painting was asked for.
    pub arena_used: Option<u32>,
}

/// The result of timing one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bench {
    /// Cycles of the layer; `None` where the core has no running counter.
    pub cycles: Option<u32>,
    /// CRC-32 over the whole output tensor; channels that were not computed are zero.
    pub output_crc32: u32,
    /// Whether a fast kernel ran (and not the portable one).
    pub fast: bool,
}

/// How much stack there is and how much was ever used, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Bytes reserved.
    pub limit: u32,
    /// Deepest use since start-up.
    pub used: u32,
}

/// Why the board could not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DeviceError {
    /// The frame was damaged or is no request of this schema.
    BadFrame,
    /// The blob in flash is refused.
    Blob(BlobError),
    /// The image does not have as many bytes as the network takes.
    ImageSize {
        /// Bytes that came.
        got: u32,
        /// Bytes that the network takes.
        need: u32,
    },
    /// More SRAM is needed than there is.
    TooLarge {
        /// Bytes needed.
        need: u32,
        /// Bytes there are.
        limit: u32,
    },
    /// The layer to time makes no sense.
    Spec(SpecError),
    /// The firmware was built without a kernel that a layer needs.
    NotBuilt {
        /// Index of the layer; 0 for a layer to time.
        layer: u16,
        /// The kernel.
        kernel: Ability,
    },
    /// The firmware was built without the requests that time layers.
    NoBench,
    /// More layers or classes than a reply can carry.
    ReplyTooLong,
    /// A stored weight stream is damaged.
    Corrupt {
        /// Index of the layer.
        layer: u16,
        /// Index of the block of output channels.
        block: u16,
    },
    /// An update does not go on.
    #[cfg(feature = "update")]
    Update(UpdateError),
}

/// A frame that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FrameError {
    /// The buffer cannot hold the frame.
    BufferTooSmall,
    /// The COBS encoding is broken.
    Cobs,
    /// The checksum does not match.
    Crc,
    /// The bytes are no message of this schema.
    Message,
}

/// Encodes `message` into `out`, zero byte included; returns the bytes used.
///
/// `number` is the request's, or that of the request that is answered.
/// `scratch` holds the message before COBS; both need [`MAX_REQUEST`] or [`MAX_REPLY`].
///
/// # Errors
/// [`FrameError::BufferTooSmall`].
pub fn encode<T: Serialize>(
    message: &T,
    number: u8,
    scratch: &mut [u8],
    out: &mut [u8],
) -> Result<usize, FrameError> {
    let len = postcard::to_slice(message, scratch)
        .map_err(|_| FrameError::BufferTooSmall)?
        .len();
    let full = FrameError::BufferTooSmall;
    *scratch.get_mut(len).ok_or(full)? = number;
    let len = len.saturating_add(1);
    let (body, tail) = scratch.split_at_mut_checked(len).ok_or(full)?;
    let crc = tail.first_chunk_mut::<4>().ok_or(full)?;
    *crc = CRC32.checksum(body).to_le_bytes();
    let raw = scratch.get(..len.saturating_add(4)).ok_or(full)?;
    let n = cobs::try_encode(raw, out).map_err(|_| full)?;
    *out.get_mut(n).ok_or(full)? = 0;
    Ok(n.saturating_add(1))
}

/// Decodes one frame in place into its message and number; `frame` is what came before the zero
/// byte.
///
/// # Errors
/// [`FrameError`] says what is wrong with it.
pub fn decode<'a, T: Deserialize<'a>>(frame: &'a mut [u8]) -> Result<(T, u8), FrameError> {
    let len = unstuff(frame).ok_or(FrameError::Cobs)?;
    let raw = frame.get(..len).ok_or(FrameError::Cobs)?;
    let (body, crc) = raw.split_last_chunk::<4>().ok_or(FrameError::Crc)?;
    if *crc != CRC32.checksum(body).to_le_bytes() {
        return Err(FrameError::Crc);
    }
    let (&number, body) = body.split_last().ok_or(FrameError::Message)?;
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok((message, number)),
        _ => Err(FrameError::Message),
    }
}

/// Undoes COBS in place; returns the bytes that are left, or `None` where it is broken.
///
/// Byte by byte, since the crate's own way of doing so indexes as no compiler can follow.
fn unstuff(frame: &mut [u8]) -> Option<usize> {
    let mut state = DecoderState::Idle;
    let mut len = 0usize;
    for at in 0..frame.len() {
        let byte = *frame.get(at)?;
        match state.feed(byte).ok()? {
            DecodeResult::DataContinue(decoded) => {
                *frame.get_mut(len)? = decoded;
                len = len.saturating_add(1);
            }
            DecodeResult::NoData | DecodeResult::DataStart => {}
            // A zero byte ends a frame, and is none of its bytes.
            DecodeResult::DataComplete => return None,
        }
    }
    matches!(state.feed(0), Ok(DecodeResult::DataComplete)).then_some(len)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    fn round_trip(request: &Request) {
        let (mut scratch, mut out) = (vec![0; MAX_REQUEST], vec![0; MAX_REQUEST]);
        for number in [UNNUMBERED, 1, 255] {
            let n = encode(request, number, &mut scratch, &mut out).unwrap();
            assert_eq!(out[n - 1], 0);
            assert!(!out[..n - 1].contains(&0), "zero only at the end");
            let (found, its) = decode::<Request>(&mut out[..n - 1]).unwrap();
            assert_eq!((&found, its), (request, number));
        }
    }

    #[test]
    fn requests_round_trip_up_to_the_largest_image() {
        round_trip(&Request::Hello);
        round_trip(&Request::Infer {
            image: &[0; MAX_IMAGE],
            paint: true,
        });
        round_trip(&Request::Infer {
            image: &[7; MAX_IMAGE],
            paint: false,
        });
        let spec = LayerSpec::conv3x3(32, 32, 3, 32);
        round_trip(&Request::BenchLayer(BenchLayer {
            spec,
            blocks: 4,
            density_percent: 50,
            pattern: Pattern::Largest,
            seed: u32::MAX,
        }));
    }

    #[test]
    fn the_largest_reply_fits_its_buffer() {
        let mut infer = Infer {
            arena_used: Some(u32::MAX),
            ..Infer::default()
        };
        while infer.logits.push(i32::MIN).is_ok() {}
        while infer.cycles.push(Some(u32::MAX)).is_ok() {}
        let (mut scratch, mut out) = (vec![0; MAX_REPLY], vec![0; MAX_REPLY]);
        let n = encode(&Reply::Infer(infer.clone()), 9, &mut scratch, &mut out).unwrap();
        assert_eq!(
            decode::<Reply>(&mut out[..n - 1]).unwrap(),
            (Reply::Infer(infer), 9)
        );
    }

    #[test]
    fn frames_are_undone_as_the_crate_does() {
        let mut rng = crate::bench::Rng::new(5);
        // Miri takes a tenth of a second each.
        let rounds = if cfg!(miri) { 200 } else { 20_000 };
        for round in 0..rounds {
            // Runs of more than 254 bytes without a zero, and short ones with many.
            let len = rng.below(if round % 4 == 0 { 700 } else { 40 }) as usize;
            let rare = 1 + rng.below(400);
            let raw: std::vec::Vec<u8> = (0..len)
                .map(|_| match rng.below(rare) {
                    0 => 0,
                    n => n as u8,
                })
                .collect();
            let mut frame = vec![0; cobs::max_encoding_length(len)];
            let n = cobs::encode(&raw, &mut frame);
            frame.truncate(n);
            let mut whole = frame.clone();
            let undone = unstuff(&mut whole).map(|n| &whole[..n]);
            assert_eq!(undone, Some(&raw[..]), "{frame:?}");
            // Damaged, both say the same, but where a zero byte would have ended the frame.
            let at = rng.below(frame.len() as u32) as usize;
            frame[at] = 1 + rng.below(255) as u8;
            let (mut ours, mut theirs) = (frame.clone(), frame);
            let expected = cobs::decode_in_place(&mut theirs).ok();
            let found = unstuff(&mut ours);
            assert_eq!(found, expected);
            let n = found.unwrap_or(0);
            assert_eq!(ours[..n], theirs[..n]);
        }
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let (mut scratch, mut out) = ([0; 128], [0; 128]);
        let n = encode(&Request::Stack, 7, &mut scratch, &mut out).unwrap();
        for i in 0..n - 1 {
            for bit in 0..8 {
                let mut bad = out;
                bad[i] ^= 1 << bit;
                assert!(
                    decode::<Request>(&mut bad[..n - 1]).is_err(),
                    "byte {i} bit {bit}"
                );
            }
        }
        assert!(decode::<Request>(&mut []).is_err());
    }
}
