//! How activations lie in memory: `[h, w, c]`, channels of a pixel padded to whole bytes.

use serde::{Deserialize, Serialize};

/// The number format of a tensor between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Act {
    /// The image: unsigned bytes, read as `pixel − r_c`. Input of the first layer only.
    Image = 0,
    /// Unsigned 2 bits, zero point 0, four channels to a byte, low bits first.
    U2 = 2,
    /// Unsigned 4 bits, zero point 0, two channels to a byte, low bits first.
    U4 = 4,
    /// Unsigned 8 bits, zero point 0.
    U8 = 8,
    /// Signed 16 bits, little-endian: the sums of a global average pool.
    S16 = 16,
    /// Signed 32 bits, little-endian: the raw accumulators of the last layer, the logits.
    I32 = 32,
}

impl Act {
    /// The format with this code in a blob, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Image,
            2 => Self::U2,
            4 => Self::U4,
            8 => Self::U8,
            16 => Self::S16,
            32 => Self::I32,
            _ => return None,
        })
    }

    /// The code in a blob.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Stored bits of one channel.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Image => 8,
            other => other as u32,
        }
    }

    /// Largest value: 2^bits − 1 for the unsigned formats; 255 for a centred image's
    /// magnitude; the type's maximum for the signed ones.
    #[must_use]
    pub const fn max(self) -> i32 {
        match self {
            Self::U2 => 3,
            Self::U4 => 15,
            Self::U8 | Self::Image => 255,
            Self::S16 => i16::MAX as i32,
            Self::I32 => i32::MAX,
        }
    }

    /// Whether this is what ReLU and requantization give: `U2`, `U4` or `U8`.
    #[must_use]
    pub const fn is_unsigned(self) -> bool {
        matches!(self, Self::U2 | Self::U4 | Self::U8)
    }

    /// Bytes of one pixel of `channels` channels.
    #[must_use]
    pub const fn pixel_bytes(self, channels: u16) -> u32 {
        (channels as u32 * self.bits()).div_ceil(8)
    }

    /// Bytes of an `[h, w, c]` tensor; `None` above `u32::MAX`.
    #[must_use]
    pub const fn tensor_bytes(self, h: u16, w: u16, channels: u16) -> Option<u32> {
        (h as u32 * w as u32).checked_mul(self.pixel_bytes(channels))
    }
}

/// Reads channel `channel` of a pixel that starts at `pixel[0]`, for the unsigned formats.
///
/// Panics where the channel lies outside the slice. Other formats read as bytes.
#[must_use]
pub fn get(pixel: &[u8], act: Act, channel: usize) -> u8 {
    match act {
        Act::U4 => pixel[channel / 2] >> (4 * (channel % 2)) & 15,
        Act::U2 => pixel[channel / 4] >> (2 * (channel % 4)) & 3,
        _ => pixel[channel],
    }
}

/// Writes channel `channel` of a pixel, leaving its neighbours in the byte as they are.
///
/// Writes nothing where the channel lies outside the slice. Other formats write bytes.
pub fn set(pixel: &mut [u8], act: Act, channel: usize, value: u8) {
    let (at, shift, mask) = match act {
        Act::U4 => (channel / 2, 4 * (channel % 2), 15),
        Act::U2 => (channel / 4, 2 * (channel % 4), 3),
        _ => (channel, 0, 255),
    };
    if let Some(byte) = pixel.get_mut(at) {
        *byte = *byte & !(mask << shift) | (value & mask) << shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_byte_channels_lie_low_bits_first() {
        let mut pixel = [0u8; 2];
        for c in 0..4 {
            set(&mut pixel, Act::U4, c, c as u8 + 1);
        }
        assert_eq!(pixel, [0x21, 0x43]);
        let mut pixel = [0xffu8; 2];
        for c in 0..5 {
            set(&mut pixel, Act::U2, c, c as u8 % 4);
        }
        assert_eq!(pixel, [0b11_10_01_00, 0b1111_1100]);
        assert_eq!(get(&pixel, Act::U2, 2), 2);
    }

    #[test]
    fn pixels_are_whole_bytes() {
        assert_eq!(Act::U4.pixel_bytes(37), 19);
        assert_eq!(Act::U2.pixel_bytes(37), 10);
        assert_eq!(Act::S16.pixel_bytes(3), 6);
        assert_eq!(Act::U8.tensor_bytes(u16::MAX, u16::MAX, 2), None);
    }
}
