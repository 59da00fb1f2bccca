//! Dense weights multiplied straight out of flash, unpacked in the loop: for fully connected
//! layers, which use each weight once, and for convolutions of at most four outputs a channel.
//!
//! One output pixel after the other, all channels: a pixel's taps that fall on the input are a
//! few runs, contiguous both in the weights and in the activations. Activations are shared by
//! four channels at a time, `first ± {0, 1, 2, 4}`, since that is what one base and one stride
//! address on Arm: two such sets, one of them backwards, are eight channels. Where fewer are
//! left, a set reaches over channels that are there and some of its sums are dropped.

#[cfg(all(feature = "dsp", target_arch = "arm"))]
use super::straight_m4::{UNSIGNED, run as products};
#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
use portable::{UNSIGNED, run as products};

use super::conv::Geometry;
use super::lanes::{smmulr, unpair, usat};
use super::{Blocks, LayerError, as_signed, expand};
use shared::act::{self, Act};
use shared::blob::Layer;
use shared::index::ix;
use shared::semantics::{REQUANT_BYTES, Requant};
use shared::spec::LayerSpec;

/// The channels of a set, in steps from its first.
pub const SET: [isize; 4] = [0, 1, 2, 4];

/// Channels of two sets.
const GROUP: usize = 8;

/// Sets of four channels, and where their sums go.
#[derive(Clone, Copy, Debug)]
pub struct Sets {
    /// Byte of the first channel's weights.
    pub first: usize,
    /// Bytes from a channel to the next, negative for backwards, 0 for one channel four times.
    pub stride: isize,
    /// Bytes from a set to the next.
    pub step: usize,
    /// How many, at least 1.
    pub count: usize,
    /// Index of the first channel's sum; the next set's lies eight on.
    pub sum: usize,
}

impl Sets {
    /// Sums from a channel to the next.
    #[must_use]
    pub const fn direction(&self) -> isize {
        if self.stride < 0 { -1 } else { 1 }
    }
}

/// The taps of one output pixel that fall on the input: a run for each kernel row.
#[derive(Clone, Copy, Debug)]
pub struct Taps {
    /// First element of a channel's weights.
    pub weight: usize,
    /// First word of activations.
    pub activation: usize,
    /// Elements of a run.
    pub len: usize,
    /// Kernel rows.
    pub rows: usize,
    /// Elements of weights from a row to the next.
    pub weight_row: usize,
    /// Words of activations from a row to the next.
    pub activation_row: usize,
}

/// What all runs of a layer share.
pub struct Source<'a> {
    /// The layer.
    pub spec: &'a LayerSpec,
    /// Stored weights.
    pub weights: &'a [u8],
    /// The input as lanes; behind it zeros, as far as whole words of weights reach.
    pub activations: &'a [u32],
}

/// Runs the layer; `scratch` is exactly `spec.scratch_bytes()`, as words.
///
/// # Errors
/// [`LayerError::Buffers`].
pub fn run(
    layer: &Layer,
    r_c: [u8; 4],
    blocks: Blocks,
    input: &[u8],
    output: &mut [u8],
    scratch: &mut [u32],
) -> Result<(), LayerError> {
    let spec = layer.spec();
    let words = spec.scratch().activations as usize / 4;
    let (activations, sums) = scratch
        .split_at_mut_checked(words)
        .ok_or(LayerError::Buffers)?;
    activations.fill(0);
    expand::rows(spec, r_c, input, 0..spec.in_h.into(), activations);
    let source = Source {
        spec,
        weights: layer.weights(),
        activations,
    };
    let sums = as_signed(sums);
    let padded = usize::from(spec.c_out).div_ceil(GROUP).max(1) * GROUP;
    let end = usize::from(spec.c_out).min(2 * usize::from(blocks.count(spec.blocks())));
    let stored = Stored::new(spec, blocks, source.weights.len());
    let geometry = Geometry::new(spec);
    let requants = layer.requants().as_chunks::<REQUANT_BYTES>().0;
    let (rows, columns) = spec.conv_out();
    let places = (0..rows.into()).flat_map(|y| (0..columns.into()).map(move |x| (y, x)));
    for ((y, x), sums) in places.zip(sums.chunks_exact_mut(padded)) {
        let taps = taps(&geometry, y, x);
        if let Some(sums) = sums.get_mut(..end) {
            sums.fill(0);
            pixel(&source, &taps, &stored, sums);
            let start = start(&source, &taps);
            for (sum, requant) in sums.iter_mut().zip(requants) {
                let bias = Requant::from_bytes(*requant).bias;
                *sum = sum.wrapping_add(bias.wrapping_add(start));
            }
        }
    }
    store(layer, end, padded, sums, output);
    Ok(())
}

/// Where the channels are.
struct Stored {
    /// Bytes from one to the next.
    pitch: usize,
    /// How many there are.
    channels: usize,
    /// Channels from the one that sum 0 takes to the one that sum 8 takes.
    group: usize,
}

impl Stored {
    /// A benchmark has one group of channels for all; where it does not fit what is stored, its
    /// channels overlap.
    fn new(spec: &LayerSpec, blocks: Blocks, stored: usize) -> Self {
        let bytes = spec.dense_channel_bytes() as usize;
        let channels = usize::from(spec.c_out);
        let (channels, group) = match blocks {
            Blocks::All => (channels, GROUP),
            Blocks::Repeated(_) => (channels.min(GROUP), 0),
        };
        let pitch = match channels.saturating_mul(bytes) > stored {
            true => (stored.saturating_sub(bytes) / GROUP) & !15,
            false => bytes,
        };
        Self {
            pitch,
            channels,
            group,
        }
    }
}

/// The taps of output pixel (`y`, `x`).
fn taps(g: &Geometry, y: usize, x: usize) -> Taps {
    let (rows, columns) = (g.taps(y, g.k_h, g.in_h), g.taps(x, g.k_w, g.in_w));
    let at = |out: usize, tap: usize| (ix(out) * g.stride.get() + tap).0.saturating_sub(g.pad);
    let elements = ix(2) * g.pixel;
    let mut taps = Taps {
        weight: (elements * (ix(rows.start) * g.k_w + columns.start)).0,
        activation: ((ix(at(y, rows.start)) * g.in_w + at(x, columns.start)) * g.pixel).0,
        len: (elements * columns.len()).0,
        rows: if columns.is_empty() { 0 } else { rows.len() },
        weight_row: (elements * g.k_w).0,
        activation_row: (ix(g.in_w) * g.pixel).0,
    };
    if taps.len == taps.weight_row && taps.len / 2 == taps.activation_row {
        (taps.len, taps.rows) = ((ix(taps.len) * taps.rows).0, taps.rows.min(1));
    }
    taps
}

/// What is added with the biases, so that nothing is left of what unsigned fields add.
fn start(source: &Source, taps: &Taps) -> i32 {
    if !UNSIGNED || source.spec.stored_bits() >= 8 {
        return 0;
    }
    let runs = (0..taps.rows).filter_map(|row| {
        let at = ix(row) * taps.activation_row + taps.activation;
        source.activations.get(at.0..(at + taps.len / 2).0)
    });
    let total = runs.flatten().fold(0i32, |total, &word| {
        let [low, high] = unpair(word).map(i32::from);
        total.wrapping_add(low + high)
    });
    total
        .wrapping_neg()
        .wrapping_shl(u32::from(source.spec.stored_bits()).wrapping_sub(1))
}

/// Adds a pixel's products to the sums of all channels, which are 0.
fn pixel(source: &Source, taps: &Taps, stored: &Stored, sums: &mut [i32]) {
    let (pitch, stride) = (stored.pitch, stored.pitch as isize);
    let last = GROUP - 1;
    let (groups, rest) = sums.as_chunks_mut::<GROUP>();
    let count = groups.len();
    for (first, stride) in [(0, stride), (last, stride.wrapping_neg())] {
        let sets = Sets {
            first: (ix(first) * pitch).0,
            stride,
            step: (ix(stored.group) * pitch).0,
            count,
            sum: first,
        };
        products(source, taps, sets, groups.as_flattened_mut());
    }
    let first = (ix(count) * stored.group).0;
    let mut rest = rest.iter_mut();
    let mut done = 0;
    while rest.len() > 0 {
        let mut some = [0; GROUP];
        let (channel, wanted) = (first.saturating_add(done), rest.len().min(3));
        let (from, stride, sum, wanted) = if channel.saturating_add(5) <= stored.channels {
            (channel, stride, 0, wanted)
        } else if channel.saturating_add(wanted) >= 5 {
            let from = channel.saturating_add(wanted) - 1;
            (from, stride.wrapping_neg(), last, wanted)
        } else {
            (channel, 0, 0, 1)
        };
        let sets = Sets {
            first: (ix(from) * pitch).0,
            stride,
            step: 0,
            count: 1,
            sum,
        };
        products(source, taps, sets, &mut some);
        let skipped = if sum == 0 { 0 } else { GROUP - wanted };
        for (sum, found) in rest.by_ref().zip(some.iter().skip(skipped)).take(wanted) {
            *sum = sum.wrapping_add(*found);
        }
        done = done.saturating_add(wanted);
    }
}

/// Pools, requantizes and stores the first `end` channels of `sums`, `[pixel][padded]`.
fn store(layer: &Layer, end: usize, padded: usize, sums: &mut [i32], output: &mut [u8]) {
    let spec = layer.spec();
    if spec.pool == 2 {
        // Of so few outputs a pool joins all.
        let (first, others) = sums.split_at_mut_checked(padded).unwrap_or_default();
        for other in others.chunks_exact(padded) {
            for (sum, other) in first.iter_mut().zip(other) {
                *sum = (*sum).max(*other);
            }
        }
    }
    let bytes = (spec.output.pixel_bytes(spec.c_out) as usize).max(1);
    for (pixel, sums) in output
        .chunks_exact_mut(bytes)
        .zip(sums.chunks_exact(padded))
    {
        channels(layer, sums.get(..end).unwrap_or(sums), pixel);
    }
}

/// Stores a pixel.
fn channels(layer: &Layer, sums: &[i32], pixel: &mut [u8]) {
    let requants = layer.requants().as_chunks::<REQUANT_BYTES>().0;
    let all = sums
        .iter()
        .copied()
        .zip(requants.iter().map(|&r| Requant::from_bytes(r)));
    let act = layer.spec().output;
    if act == Act::I32 {
        let words = pixel.as_chunks_mut::<4>().0;
        for ((acc, _), o) in all.zip(words) {
            *o = acc.to_le_bytes();
        }
        return;
    }
    let scaled = all.map(|(acc, requant)| smmulr(acc.wrapping_shl(requant.shift()), requant.m()));
    if matches!(act, Act::U8 | Act::Image) {
        scaled.zip(pixel).for_each(|(y, o)| *o = usat::<8>(y));
        return;
    }
    let per_byte = if act == Act::U4 { 2 } else { 4 };
    for (channel, y) in scaled.enumerate() {
        let value = if act == Act::U4 {
            usat::<4>(y)
        } else {
            usat::<2>(y)
        };
        if let Some(byte) = pixel.get_mut(channel / per_byte) {
            // The first of a byte sets all of it.
            let mut one = [if channel.is_multiple_of(per_byte) {
                0
            } else {
                *byte
            }];
            act::set(&mut one, act, channel % per_byte, value);
            [*byte] = one;
        }
    }
}

#[cfg(not(all(feature = "dsp", target_arch = "arm")))]
mod portable {
    use super::{SET, Sets, Source, Taps, unpair};
    use shared::index::{ix, part};
    use shared::weights::{DenseChannel, pair_elements};

    /// Weights are multiplied with their sign.
    pub const UNSIGNED: bool = false;

    /// Adds the products of a pixel's taps to the sums of sets of channels.
    pub fn run(source: &Source, taps: &Taps, sets: Sets, sums: &mut [i32]) {
        let (spec, direction) = (source.spec, sets.direction());
        let bytes = spec.dense_channel_bytes() as usize;
        for (set, i) in (0..sets.count).flat_map(|set| SET.map(|i| (set, i))) {
            let at = (ix(set) * sets.step + sets.first).0;
            let at = at.wrapping_add_signed(i.wrapping_mul(sets.stride));
            let weights = source.weights.get(at..at.wrapping_add(bytes));
            let channel =
                weights.and_then(|w| DenseChannel::new(w, spec.sequence_len(), spec.stored_bits()));
            let sum = (ix(8) * set + sets.sum).0;
            let sum = sum.wrapping_add_signed(i.wrapping_mul(direction));
            if let (Some(channel), Some(sum)) = (channel, sums.get_mut(sum)) {
                let rows = (0..taps.rows).map(|row| one_row(source, taps, row, &channel));
                *sum = rows.fold(*sum, i32::wrapping_add);
            }
        }
    }

    fn one_row(source: &Source, taps: &Taps, row: usize, channel: &DenseChannel) -> i32 {
        let first = ix(row) * taps.weight_row + taps.weight;
        let at = ix(row) * taps.activation_row + taps.activation;
        let activations = part(source.activations, at.0, taps.len / 2);
        let pairs = activations.iter().enumerate();
        pairs.fold(0i32, |sum, (j, &a)| {
            let ((low, high), [a0, a1]) = (pair_elements(j), unpair(a).map(i32::from));
            let low = a0 * i32::from(channel.get((first + low).0));
            let high = a1 * i32::from(channel.get((first + high).0));
            sum.wrapping_add(low.wrapping_add(high))
        })
    }
}
