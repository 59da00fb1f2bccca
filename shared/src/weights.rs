//! How weights are stored densely: a sequence per output channel, in bit planes.
//! [`crate::coding`] has what takes fewer bytes.
//!
//! The **sequence** of an output channel is its weights in the order `[k_h][k_w][c_in4]`,
//! input channels padded with zeros to a multiple of four. Kernels consume it as **pairs**
//! of 16-bit lanes: pair `j` holds elements `4·(j/2) + j%2` and that plus 2, because this
//! is what UXTB16 and SXTB16 make of four bytes.

use crate::index::{ix, low_bits, round_up};
use crate::spec::LayerSpec;
use crate::winograd;

/// Widths of the bit planes that a weight of `w_bits` below 8 is cut into, widest first.
const PLANES: [u32; 3] = [4, 2, 1];

/// Bytes of one output channel in the dense encoding.
///
/// 8 bits: one byte a weight, padded to whole words. Below: for each of the planes of 4, 2
/// and 1 bits that `w_bits` is the sum of, `sequence_len · plane` bits in whole words.
#[must_use]
pub const fn dense_channel_bytes(sequence_len: u32, w_bits: u8) -> u32 {
    if w_bits >= 8 {
        return round_up(sequence_len, 2);
    }
    let mut words = 0u32;
    let mut i = 0;
    while i < PLANES.len() {
        if w_bits as u32 & PLANES[i] != 0 {
            let plane = (sequence_len as u64 * PLANES[i] as u64).div_ceil(32) as u32;
            words = words.saturating_add(plane);
        }
        i += 1;
    }
    words.saturating_mul(4)
}

/// The sequence elements that lie in the low and high lane of pair `j`.
#[must_use]
pub const fn pair_elements(j: usize) -> (usize, usize) {
    let low = (j / 2).wrapping_mul(4) | (j % 2);
    (low, low | 2)
}

/// The word and the bit of element `e` within a plane of `plane` bits.
///
/// A word of a plane holds `32/plane` fields: the low lanes of its pairs in the low half,
/// the high lanes in the high half, so that `word >> (plane · pair) & mask` with a mask in
/// both halves yields a pair at once.
const fn plane_position(e: usize, plane: u32) -> (usize, u32) {
    // 32/plane fields a word, as a power of two, which saves a division that could fail.
    let log = 5u32.saturating_sub(plane.trailing_zeros());
    let within = e as u32 & ((1 << log) - 1);
    let pair = 2 * (within / 4) + within % 2;
    let high = (within % 4) / 2;
    // The pairs of a word fill its half: this is below 16.
    let bit = pair.wrapping_mul(plane) & 15;
    (e >> log, bit | (16 * high))
}

/// One output channel's weights in the dense encoding, readable in any order.
///
/// `w_bits` = 8: two's complement bytes. Below: the field, put together from its planes
/// with the widest as the lowest bits, is `weight + 2^(w_bits − 1)`.
#[derive(Clone, Copy, Debug)]
pub struct DenseChannel<'a> {
    bytes: &'a [u8],
    sequence_len: usize,
    w_bits: u8,
}

impl<'a> DenseChannel<'a> {
    /// A view of `bytes`; `None` where they are fewer than [`dense_channel_bytes`].
    #[must_use]
    pub fn new(bytes: &'a [u8], sequence_len: u32, w_bits: u8) -> Option<Self> {
        let bytes = bytes.get(..dense_channel_bytes(sequence_len, w_bits) as usize)?;
        Some(Self {
            bytes,
            sequence_len: sequence_len as usize,
            w_bits,
        })
    }

    /// Weight `e` of the sequence; 0 past its end.
    #[must_use]
    pub fn get(&self, e: usize) -> i16 {
        if e >= self.sequence_len {
            return 0;
        }
        if self.w_bits >= 8 {
            return self.bytes.get(e).map_or(0, |&b| i16::from(b as i8));
        }
        let (mut base, mut field, mut low) = (ix(0), 0, 0u32);
        for plane in PLANES {
            if u32::from(self.w_bits) & plane == 0 {
                continue;
            }
            let (word, bit) = plane_position(e, plane);
            let bits = word_at(self.bytes, (base + word).0) >> bit & ((1 << (plane & 7)) - 1);
            field |= bits.wrapping_shl(low);
            low = low.wrapping_add(plane);
            base = base
                + self
                    .sequence_len
                    .saturating_mul(plane as usize)
                    .div_ceil(32);
        }
        (field as i16).wrapping_sub(half(self.w_bits.into()))
    }
}

/// What stored fields have added to a weight of `w_bits`, 1 to 8.
const fn half(w_bits: u32) -> i16 {
    1 << (w_bits.saturating_sub(1) & 7)
}

/// The field that stores weight `w`, `w + 2^(w_bits − 1)`; `None` where it does not fit.
fn field(w: i8, w_bits: u32) -> Option<u32> {
    let field = i32::from(w) + i32::from(half(w_bits));
    u32::try_from(field).ok().filter(|&f| f <= low_bits(w_bits))
}

/// Writes one output channel in the dense encoding; `None` where `out` is shorter than
/// [`dense_channel_bytes`], or a weight does not fit `w_bits`.
///
/// `sequence` is padded already (see the module's text); `out` must be zeroed.
#[must_use]
pub fn pack_dense(sequence: &[i8], w_bits: u8, out: &mut [u8]) -> Option<()> {
    let mut numbered = (0..sequence.len()).zip(sequence);
    numbered.try_for_each(|(e, &w)| put_dense(e, w, (w_bits, sequence.len()), out))
}

/// Writes element `e` of a channel of `len` weights of `w_bits`.
fn put_dense(e: usize, w: i8, (w_bits, len): (u8, usize), out: &mut [u8]) -> Option<()> {
    if w_bits >= 8 {
        *out.get_mut(e)? = w as u8;
        return Some(());
    }
    let (mut base, mut field) = (ix(0), field(w, w_bits.into())?);
    for plane in PLANES {
        if u32::from(w_bits) & plane == 0 {
            continue;
        }
        let (word, bit) = plane_position(e, plane);
        let at = (base + word) * 4 + bit as usize / 8;
        // A field never crosses a byte: planes divide 8.
        *out.get_mut(at.0)? |= ((field & low_bits(plane)) as u8) << (bit % 8);
        field = field.unbounded_shr(plane);
        base = base + len.saturating_mul(plane as usize).div_ceil(32);
    }
    Some(())
}

/// One output channel's dense weights as a layer's kernel stores them.
#[derive(Clone, Copy, Debug)]
pub struct StoredChannel<'a> {
    spec: &'a LayerSpec,
    planes: DenseChannel<'a>,
}

impl<'a> StoredChannel<'a> {
    /// A view of `bytes`; `None` where they are fewer than the channel has.
    #[must_use]
    pub fn new(spec: &'a LayerSpec, bytes: &'a [u8]) -> Option<Self> {
        let planes = DenseChannel::new(bytes, spec.sequence_len(), spec.stored_bits())?;
        Some(Self { spec, planes })
    }

    /// Weight `e` of the sequence; 0 past its end.
    #[must_use]
    pub fn get(&self, e: u32) -> i16 {
        if e >= self.spec.sequence_len() {
            return 0;
        }
        let stored = winograd::stored(self.spec, e);
        if winograd::in_lanes(self.spec) {
            lanes::get(self.planes.bytes, u32::from(self.spec.w_bits), stored)
        } else {
            self.planes.get(stored as usize)
        }
    }
}

/// Writes one output channel as `spec`'s kernel stores it, from its sequence in order; `None`
/// as [`pack_dense`].
///
/// `out` must be zeroed and have [`dense_channel_bytes`].
#[must_use]
pub fn pack_channel(spec: &LayerSpec, sequence: &[i8], out: &mut [u8]) -> Option<()> {
    let (w_bits, len) = (spec.stored_bits(), sequence.len());
    let in_lanes = winograd::in_lanes(spec);
    (0..spec.sequence_len())
        .zip(sequence)
        .try_for_each(|(e, &w)| {
            let stored = winograd::stored(spec, e);
            if in_lanes {
                lanes::put(out, u32::from(w_bits), stored, w)
            } else {
                put_dense(stored as usize, w, (w_bits, len), out)
            }
        })
}

/// Weights of 3, 5, 6 and 7 bits in lanes: bytes of a word are neighbouring channels.
///
/// A unit of `4 · groups` channels of one tap takes `w · groups / 8` words. Channel `4 · g + b`
/// of the unit lies in byte `b` of its words, as the number `weight + 2^(w−1)`. The first groups
/// fill each byte from below, as many as fit whole: `8 / w` a word, in order. The bits above
/// them, low ones first and word after word, make up the other groups. So `word >> shift` under
/// a mask in all four bytes yields four channels at once, mostly with no shift.
pub mod lanes {
    use super::{field, half, word_at};
    use crate::index::{Ix, ix};

    /// Groups of four channels in a unit: as few as fill whole words.
    #[must_use]
    pub const fn groups(w_bits: u32) -> u32 {
        if w_bits.is_multiple_of(2) { 4 } else { 8 }
    }

    /// Word of the tap's, and bit of the lane, of bit `i` of group `g`.
    fn place(w_bits: usize, g: usize, i: usize) -> (usize, usize) {
        let whole = if w_bits < 4 { 2 } else { 1 };
        let direct = words(w_bits) * whole;
        if g < direct.0 {
            let shift = if whole == 2 { g % 2 } else { 0 };
            return (g / whole, (ix(w_bits) * shift + i).0);
        }
        let below = ix(w_bits) * whole;
        let rest = 8usize.saturating_sub(below.0).max(1);
        let bit = ((ix(g) - direct) * w_bits + i).0;
        (bit / rest, (below + bit % rest).0)
    }

    /// Words of a unit's tap.
    fn words(w_bits: usize) -> Ix {
        Ix((ix(w_bits) * groups(w_bits as u32) as usize).0 / 8)
    }

    /// Word and bit of bit `i` of the stored element `e`, from the channel's start.
    fn position(w_bits: u32, e: u32, i: u32) -> (usize, u32) {
        let unit = 4 * groups(w_bits);
        let (tap, c) = (e / unit, (e % unit) as usize);
        let (word, bit) = place(w_bits as usize, c / 4, i as usize);
        let word = words(w_bits as usize) * tap as usize + word;
        (word.0, (ix(8) * (c % 4) + bit).0 as u32)
    }

    /// Stored element `e`, counted `[unit][tap][channel]`; bits past `bytes` are 0.
    #[must_use]
    pub fn get(bytes: &[u8], w_bits: u32, e: u32) -> i16 {
        let field = (0..w_bits).fold(0, |field, i| {
            let (word, bit) = position(w_bits, e, i);
            field | (word_at(bytes, word).wrapping_shr(bit) & 1).wrapping_shl(i)
        });
        (field as i16).wrapping_sub(half(w_bits))
    }

    /// Writes stored element `e`; `out` was zero there. `None` where `out` is too short, or
    /// the weight does not fit.
    #[must_use]
    pub fn put(out: &mut [u8], w_bits: u32, e: u32, w: i8) -> Option<()> {
        let field = field(w, w_bits)?;
        for i in 0..w_bits {
            let (word, bit) = position(w_bits, e, i);
            let byte = (ix(4) * word + bit as usize / 8).0;
            *out.get_mut(byte)? |= (field.unbounded_shr(i) as u8 & 1) << (bit % 8);
        }
        Some(())
    }
}

fn word_at(bytes: &[u8], word: usize) -> u32 {
    let word = bytes.as_chunks().0.get(word);
    word.map_or(0, |&bytes| u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::bench::Rng;
    use crate::semantics::weight_max;
    use std::{vec, vec::Vec};

    fn sequence(len: usize, w_bits: u8, seed: u32) -> Vec<i8> {
        let (mut rng, max) = (Rng::new(seed), weight_max(w_bits));
        (0..len)
            .map(|_| (rng.below(2 * max as u32 + 1) as i32 - max) as i8)
            .collect()
    }

    #[test]
    fn kernels_read_what_was_packed_for_them_at_every_width() {
        for w_bits in 2..=8 {
            for c_in in [32, 37, 64] {
                let spec = LayerSpec {
                    kernel: crate::spec::Kernel::Winograd4,
                    w_bits,
                    ..LayerSpec::conv3x3(8, 8, c_in, 4)
                };
                let max = crate::semantics::weight_max(w_bits);
                let sequence: Vec<i8> = (0..spec.sequence_len() as i32)
                    .map(|e| (e * 37 % (2 * max + 1) - max) as i8)
                    .collect();
                let mut bytes = vec![0; spec.dense_channel_bytes() as usize];
                pack_channel(&spec, &sequence, &mut bytes).unwrap();
                let channel = StoredChannel::new(&spec, &bytes).unwrap();
                for (e, &w) in (0..).zip(&sequence) {
                    assert_eq!(channel.get(e), i16::from(w), "{w_bits} bits, {e}");
                }
                // No bit is used twice, or the numbers above would not come out; none is left.
                let used = unit_bits(&spec);
                assert!(used.is_none_or(|used| used == 8 * bytes.len() as u32));
            }
        }
    }

    fn unit_bits(spec: &LayerSpec) -> Option<u32> {
        winograd::unit(spec).map(|_| spec.sequence_len() * u32::from(spec.w_bits))
    }

    #[test]
    fn dense_round_trips_at_every_width_and_length() {
        for w_bits in 2..=8 {
            for len in [4, 8, 28, 32, 36, 64, 100, 288, 360] {
                let s = sequence(len, w_bits, len as u32);
                let mut bytes = vec![0; dense_channel_bytes(len as u32, w_bits) as usize];
                pack_dense(&s, w_bits, &mut bytes).unwrap();
                let channel = DenseChannel::new(&bytes, len as u32, w_bits).unwrap();
                for (e, &w) in s.iter().enumerate() {
                    assert_eq!(
                        channel.get(e),
                        i16::from(w),
                        "w{w_bits} len {len} element {e}"
                    );
                }
                assert_eq!(channel.get(len), 0);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_packed() {
        let mut out = [0; 16];
        for (weight, w_bits) in [(8, 4), (-9, 4), (4, 3), (i8::MIN, 7), (2, 2)] {
            assert_eq!(pack_dense(&[0, weight, 0, 0], w_bits, &mut out), None);
        }
        assert_eq!(pack_dense(&[1; 32], 4, &mut out[..12]), None);
        assert_eq!(pack_dense(&[1; 32], 8, &mut out), None);
        // Stored in lanes, where each weight lies in bits of several bytes.
        let spec = LayerSpec {
            kernel: crate::spec::Kernel::Winograd4,
            w_bits: 5,
            ..LayerSpec::conv3x3(8, 8, 32, 2)
        };
        let mut sequence = vec![0; spec.sequence_len() as usize];
        let mut out = vec![0; spec.dense_channel_bytes() as usize];
        assert!(winograd::in_lanes(&spec));
        assert_eq!(pack_channel(&spec, &sequence, &mut out[1..]), None);
        sequence[40] = 16;
        assert_eq!(pack_channel(&spec, &sequence, &mut out), None);
        sequence[40] = 15;
        out.fill(0);
        assert_eq!(pack_channel(&spec, &sequence, &mut out), Some(()));
    }

    #[test]
    fn dense_costs_its_bits_and_no_more_than_a_word_a_plane() {
        assert_eq!(dense_channel_bytes(288, 8), 288);
        assert_eq!(dense_channel_bytes(288, 4), 144);
        assert_eq!(dense_channel_bytes(288, 3), 108);
        assert_eq!(dense_channel_bytes(36, 7), 4 * (5 + 3 + 2));
    }

    #[test]
    fn one_mask_yields_a_pair_of_nibbles() {
        // What the fast kernels rely on: word >> 4j & 0x000F000F is pair j.
        let s: Vec<i8> = (0..8).map(|i| i - 4).collect();
        let mut bytes = [0; 4];
        pack_dense(&s, 4, &mut bytes).unwrap();
        let word = u32::from_le_bytes(bytes);
        for j in 0..4 {
            let (low, high) = pair_elements(j);
            let pair = word >> (4 * j) & 0x000f_000f;
            assert_eq!((pair & 0xffff) as i8 - 8, s[low]);
            assert_eq!((pair >> 16) as i8 - 8, s[high]);
        }
    }
}
