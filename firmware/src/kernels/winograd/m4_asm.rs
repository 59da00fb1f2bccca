//! What the assembly takes: `m4.S` has what the two kernels share, `m4_4x4.S` and
//! `m4_4x4_output.S` the rest of F(4x4,3x3), `m4_2x2.S` that of F(2x2,3x3).

use core::arch::global_asm;

// One piece, since the others use macros of the first.
global_asm!(
    concat!(
        include_str!("m4.S"),
        include_str!("m4_lanes.S"),
        include_str!("m4_4x4.S"),
        include_str!("m4_4x4_output.S"),
        include_str!("m4_2x2.S")
    ),
    options(raw)
);

/// One tile's input.
#[repr(C)]
pub struct Input {
    /// The tile's first pixel in each of its rows; not read where a mask forbids it.
    pub rows: [*const u8; 6],
    /// Bit `i` of a row's mask: pixel `i` of the row exists; others are zero.
    pub masks: [u32; 6],
    /// Bytes from a pixel to the next.
    pub pixel: usize,
    pub three_pixels: usize,
    /// Bytes from a position to the next.
    pub position: usize,
    /// Groups of four channels.
    pub groups: usize,
    /// The tile's first word in its quad.
    pub out: *mut u32,
}

/// One quad times one block.
#[repr(C)]
pub struct Multiply {
    pub weights: *const u32,
    pub tiles: *const u32,
    pub sums: *mut u32,
    /// Groups of four channels.
    pub groups: usize,
    /// Not zero: products are added to the sums that are there.
    pub adds: usize,
}

/// Requantization of one output channel.
#[repr(C)]
pub struct Output {
    pub bias: i32,
    pub multiplier: i32,
    pub shift: u32,
}

/// A stage's function for a tile's input.
pub type InputStage = unsafe extern "C" fn(*const Input);

/// A stage's function for the way back of a quad's sums: sums, the four places, requantization
/// of each channel, two steps in bytes, tiles (always four), channels. F(4x4,3x3) takes the
/// step to the next column first, F(2x2,3x3) that to the next row.
pub type OutputStage =
    unsafe extern "C" fn(*const u32, *const *mut u8, *const Output, usize, usize, usize, usize);

/// A stage's function for a channel's stored weights.
pub type StoredStage = unsafe extern "C" fn(*const u8, *mut u32, usize);

/// The functions of one kernel.
pub struct Stages {
    /// A tile all of whose pixels exist; one that lacks none but of whole rows and of the first
    /// and last column.
    pub input: [InputStage; 2],
    /// A channel's weights as lanes, every second word: first word, place, pairs, bytes from
    /// a tap to the next.
    pub plain: unsafe extern "C" fn(*const u32, *mut u32, usize, usize),
    /// A channel's weights as stored, of 8, 4 and 2 bits: words, place, units.
    pub stored: [StoredStage; 3],
    /// A quad times a block.
    pub multiply: unsafe extern "C" fn(*const Multiply),
    /// Sums back to outputs, without and with a 2x2 max-pool.
    pub output: [OutputStage; 2],
}

/// F(4x4,3x3).
pub const STAGES_4: Stages = Stages {
    input: [pressboard_winograd_input, pressboard_winograd_border],
    plain: pressboard_winograd_weights,
    stored: [
        pressboard_winograd_weights_byte,
        pressboard_winograd_weights_nibble,
        pressboard_winograd_weights_crumb,
    ],
    multiply: pressboard_winograd_multiply,
    output: [
        pressboard_winograd_output,
        pressboard_winograd_output_pooled,
    ],
};

/// F(2x2,3x3).
pub const STAGES_2: Stages = Stages {
    input: [pressboard_winograd_input2, pressboard_winograd_border2],
    plain: pressboard_winograd_weights2,
    stored: [
        pressboard_winograd_weights2_byte,
        pressboard_winograd_weights2_nibble,
        pressboard_winograd_weights2_crumb,
    ],
    multiply: pressboard_winograd_multiply2,
    output: [
        pressboard_winograd_output2,
        pressboard_winograd_output2_pooled,
    ],
};

/// Functions that make bytes, nine words a group of four channels, of a unit of weights of 3
/// to 7 bits in lanes; that of 4 bits is never called.
pub const LANES: [unsafe extern "C" fn(*const u8, *mut u32); 5] = [
    pressboard_winograd_lanes_3,
    pressboard_winograd_lanes_6,
    pressboard_winograd_lanes_5,
    pressboard_winograd_lanes_6,
    pressboard_winograd_lanes_7,
];

unsafe extern "C" {
    fn pressboard_winograd_lanes_3(words: *const u8, bytes: *mut u32);
    fn pressboard_winograd_lanes_5(words: *const u8, bytes: *mut u32);
    fn pressboard_winograd_lanes_6(words: *const u8, bytes: *mut u32);
    fn pressboard_winograd_lanes_7(words: *const u8, bytes: *mut u32);
    fn pressboard_winograd_input(arguments: *const Input);
    fn pressboard_winograd_border(arguments: *const Input);
    fn pressboard_winograd_weights(plain: *const u32, out: *mut u32, pairs: usize, tap: usize);
    fn pressboard_winograd_weights_byte(words: *const u8, out: *mut u32, units: usize);
    fn pressboard_winograd_weights_nibble(words: *const u8, out: *mut u32, units: usize);
    fn pressboard_winograd_weights_crumb(words: *const u8, out: *mut u32, units: usize);
    fn pressboard_winograd_multiply(arguments: *const Multiply);
    fn pressboard_winograd_input2(arguments: *const Input);
    fn pressboard_winograd_border2(arguments: *const Input);
    fn pressboard_winograd_weights2(plain: *const u32, out: *mut u32, pairs: usize, tap: usize);
    fn pressboard_winograd_weights2_byte(words: *const u8, out: *mut u32, units: usize);
    fn pressboard_winograd_weights2_nibble(words: *const u8, out: *mut u32, units: usize);
    fn pressboard_winograd_weights2_crumb(words: *const u8, out: *mut u32, units: usize);
    fn pressboard_winograd_multiply2(arguments: *const Multiply);
    fn pressboard_winograd_output2(
        sums: *const u32,
        to: *const *mut u8,
        parameters: *const Output,
        first: usize,
        second: usize,
        tiles: usize,
        channels: usize,
    );
    fn pressboard_winograd_output2_pooled(
        sums: *const u32,
        to: *const *mut u8,
        parameters: *const Output,
        first: usize,
        second: usize,
        tiles: usize,
        channels: usize,
    );
    fn pressboard_winograd_output(
        sums: *const u32,
        to: *const *mut u8,
        parameters: *const Output,
        first: usize,
        second: usize,
        tiles: usize,
        channels: usize,
    );
    fn pressboard_winograd_output_pooled(
        sums: *const u32,
        to: *const *mut u8,
        parameters: *const Output,
        first: usize,
        second: usize,
        tiles: usize,
        channels: usize,
    );
}
