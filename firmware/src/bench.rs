//! One layer on seeded data: what the board times, and what the host expects of it.
//!
//! Both sides call [`run`]. The data comes from [`shared::bench`] and is written outside
//! the timed stretch. Every block of output channels reads the same weights, so that a
//! layer of any size needs no more than a few channels of them. A [`Pattern`] with weights of its
//! own has them made in the arena.

use crate::kernels::{self, Blocks, Buffers, LayerError};
use shared::CRC32;
use shared::act::Act;
use shared::bench::{self, WEIGHT_WORDS};
use shared::blob::{Layer, LayerRecord};
use shared::coding::BlockShape;
use shared::index::{reach, round_up};
use shared::message::{BenchLayer, DeviceError};
use shared::pattern::Pattern;
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Encoding, LayerSpec};
use shared::weights::pack_channel;

/// What a benchmark subtracts from each channel of an image.
pub const R_C: u8 = 128;

/// The weights that dense benchmark layers read, in flash on a board.
pub static WEIGHTS: Weights = Weights::new();

/// The canonical weights as aligned little-endian bytes.
#[repr(C, align(16))]
pub struct Weights([u8; 4 * WEIGHT_WORDS]);

impl Weights {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    const fn new() -> Self {
        let words = bench::weight_block();
        let mut bytes = [0; 4 * WEIGHT_WORDS];
        let mut i = 0;
        while i < bytes.len() {
            bytes[i] = words[i / 4].to_le_bytes()[i % 4];
            i += 1;
        }
        Self(bytes)
    }
}

/// Where the parts of a benchmark lie in the arena, as byte offsets.
struct Plan {
    input: usize,
    output: usize,
    requants: usize,
    scratch: usize,
    /// The end of everything but a sparse stream, which comes last.
    end: usize,
}

impl Plan {
    /// Offsets saturate, and no arena is so long.
    fn new(spec: &LayerSpec) -> Self {
        let input = match spec.input {
            Act::Image => {
                (u32::from(spec.in_h) * u32::from(spec.in_w)).saturating_mul(spec.c_in.into())
            }
            _ => spec.input_bytes(),
        };
        let output = reach(round_up(input, 2) as usize);
        let requants = output + round_up(spec.output_bytes(), 2) as usize;
        let table = match spec.has_weights() {
            true => usize::from(spec.c_out) * REQUANT_BYTES,
            false => 0,
        };
        let scratch = requants + table;
        Self {
            input: 0,
            output: output.0,
            requants: requants.0,
            scratch: scratch.0,
            end: (scratch + spec.scratch_bytes() as usize).0,
        }
    }
}

/// Bytes of arena that are enough for a request, whatever its density; `u32::MAX` where that is
/// more.
///
/// # Errors
/// [`DeviceError::Spec`] where the layer makes no sense.
pub fn arena_bytes(request: &BenchLayer) -> Result<u32, DeviceError> {
    request.spec.check().map_err(DeviceError::Spec)?;
    let end = reach(Plan::new(&request.spec).end);
    let bytes = end + stream_bound(request) + sequence_bytes(request);
    Ok(u32::try_from(bytes.0).unwrap_or(u32::MAX))
}

/// Most bytes of the weights of one block that lie in the arena, as a section.
fn stream_bound(request: &BenchLayer) -> usize {
    let spec = &request.spec;
    match spec.encoding {
        _ if !spec.has_weights() => 0,
        Encoding::Dense if request.pattern == Pattern::Typical => 0,
        Encoding::Dense => {
            (reach(stored_channels(spec).into()) * spec.dense_channel_bytes() as usize).0
        }
        Encoding::Sparse | Encoding::Delta | Encoding::Coded => bench::section_bound(spec),
    }
}

/// Bytes of a sequence from which weights are packed in the arena.
fn sequence_bytes(request: &BenchLayer) -> usize {
    match request.pattern {
        Pattern::Typical => 0,
        _ => request.spec.sequence_len() as usize,
    }
}

/// Channels that a benchmark stores and all others repeat: a block, or eight where so many
/// are computed together.
#[must_use]
pub fn stored_channels(spec: &LayerSpec) -> u16 {
    let together = match spec.is_straight() {
        true => 8,
        false => spec.kernel.block_channels(),
    };
    spec.c_out.min(together)
}

/// Prepares the data, runs the layer inside `timed`, returns the CRC-32 of the output.
///
/// `arena` must be aligned to 4. `timed` must call the closure that it is given once.
///
/// # Errors
/// [`DeviceError::Spec`]; [`DeviceError::TooLarge`] where data and layer exceed the arena,
/// or a block's weights the canonical ones; [`DeviceError::Corrupt`] never.
pub fn run(
    request: &BenchLayer,
    arena: &mut [u8],
    timed: impl FnOnce(&mut dyn FnMut()),
) -> Result<u32, DeviceError> {
    let (spec, seed) = (&request.spec, request.seed);
    let bound = arena_bytes(request)?;
    let limit = arena.len() as u32;
    let too_large = DeviceError::TooLarge { need: bound, limit };
    let plan = Plan::new(spec);
    let (data, stream) = arena.split_at_mut_checked(plan.end).ok_or(too_large)?;
    let (data, scratch) = data.split_at_mut_checked(plan.scratch).ok_or(too_large)?;
    let weights = weights(request, stream, scratch, too_large)?;
    let (data, requants) = data.split_at_mut_checked(plan.requants).ok_or(too_large)?;
    let (input, output) = data.split_at_mut_checked(plan.output).ok_or(too_large)?;

    let pixels = input.get_mut(plan.input..).unwrap_or(&mut []);
    match request.pattern {
        Pattern::Typical => bench::fill_input(spec, seed, pixels),
        pattern => pattern.fill_input(spec, seed, pixels),
    }
    output.fill(0);
    for (channel, r) in (0..spec.c_out).zip(requants.as_chunks_mut::<REQUANT_BYTES>().0) {
        let requant = match request.pattern {
            Pattern::Typical => bench::requant(spec, seed, channel),
            pattern => pattern.requant(spec, seed, channel),
        };
        *r = requant.to_bytes();
    }
    let layer = Layer::detached(LayerRecord::of(*spec), weights, requants);
    let mut r_c = [R_C; 4];
    r_c.iter_mut().skip(spec.c_in.into()).for_each(|r| *r = 0);

    let mut result = Ok(());
    timed(&mut || {
        let buffers = Buffers {
            input,
            output: &mut *output,
            scratch: &mut *scratch,
        };
        result = kernels::run_layer(&layer, r_c, Blocks::Repeated(request.blocks), buffers);
    });
    match result {
        Ok(()) => {}
        Err(LayerError::Corrupt { block }) => return Err(DeviceError::Corrupt { layer: 0, block }),
        Err(LayerError::Buffers) => return Err(too_large),
        Err(LayerError::NotBuilt(kernel)) => {
            return Err(DeviceError::NotBuilt { layer: 0, kernel });
        }
    }
    let output = output.get(..spec.output_bytes() as usize).unwrap_or(output);
    Ok(CRC32.checksum(output))
}

/// The CRC-32 that a board must answer to `request`, computed with this build's kernels.
///
/// `arena` is aligned to 4 and has [`arena_bytes`].
///
/// # Errors
/// As [`run`].
pub fn expected_crc32(request: &BenchLayer, arena: &mut [u8]) -> Result<u32, DeviceError> {
    run(request, arena, |layer| layer())
}

/// The weight section of a layer of one block, repeated; `work` is the layer's scratch.
fn weights<'a>(
    request: &BenchLayer,
    stream: &'a mut [u8],
    work: &mut [u8],
    too_large: DeviceError,
) -> Result<&'a [u8], DeviceError> {
    let spec = &request.spec;
    if !spec.has_weights() {
        return Ok(&[]);
    }
    let channels = stored_channels(spec);
    match (spec.encoding, request.pattern) {
        // All there is, since so many channels may overlap.
        (Encoding::Dense, Pattern::Typical) if spec.is_straight() => Ok(&WEIGHTS.0),
        (Encoding::Dense, Pattern::Typical) => {
            let need = spec.dense_channel_bytes().saturating_mul(channels.into());
            let limit = WEIGHTS.0.len() as u32;
            WEIGHTS
                .0
                .get(..need as usize)
                .ok_or(DeviceError::TooLarge { need, limit })
        }
        (Encoding::Dense, _) => pattern_weights(request, channels, stream).ok_or(too_large),
        _ => stream_weights(request, channels, stream, work).ok_or(too_large),
    }
}

/// Dense weights of the request's pattern; `None` where `stream` is too short.
fn pattern_weights<'a>(
    request: &BenchLayer,
    channels: u16,
    stream: &'a mut [u8],
) -> Option<&'a [u8]> {
    let spec = &request.spec;
    let data = (request.seed, request.density_percent);
    let (weights, rest) = stream.split_at_mut_checked(stream_bound(request))?;
    let sequence = as_signed(rest.get_mut(..sequence_bytes(request))?);
    weights.fill(0);
    let len = spec.dense_channel_bytes() as usize;
    for (channel, out) in (0..channels).zip(weights.chunks_exact_mut(len.max(1))) {
        request.pattern.fill_sequence(spec, data, channel, sequence);
        pack_channel(spec, sequence, out)?;
    }
    Some(weights)
}

/// Weights of one block in the layer's encoding, which is not dense; `None` where `stream` or
/// `work` is too short.
fn stream_weights<'a>(
    request: &BenchLayer,
    channels: u16,
    stream: &'a mut [u8],
    work: &mut [u8],
) -> Option<&'a [u8]> {
    let spec = &request.spec;
    let data = (request.seed, request.density_percent);
    let table = work.len().checked_sub(spec.scratch().table as usize)?;
    let (weights, work) = work.split_at_mut_checked(table)?;
    let shape = BlockShape {
        channels: channels.into(),
        sequence_len: spec.sequence_len() as usize,
    };
    let weights = as_signed(weights.get_mut(..shape.weights())?);
    let (section, rest) = stream.split_at_mut_checked(stream_bound(request))?;
    if request.pattern == Pattern::Typical {
        bench::fill_weights(spec, &shape, data, weights);
    } else {
        let sequence = as_signed(rest.get_mut(..sequence_bytes(request))?);
        for channel in 0..channels {
            request.pattern.fill_sequence(spec, data, channel, sequence);
            for (k, w) in (0..weights.len()).zip(weights.iter_mut()) {
                let (of, element) = shape.place(k);
                if of == usize::from(channel) {
                    *w = sequence.get(element).copied().unwrap_or(0);
                }
            }
        }
    }
    let bytes = bench::section(spec, weights, kernels::as_words(work)?, section)?;
    section.get(..bytes)
}

/// The same bytes as signed ones.
fn as_signed(bytes: &mut [u8]) -> &mut [i8] {
    let (pointer, len) = (bytes.as_mut_ptr().cast::<i8>(), bytes.len());
    // SAFETY: same size and alignment, every bit pattern valid, the borrow is handed on.
    unsafe { core::slice::from_raw_parts_mut(pointer, len) }
}
