//! What the assembly in `m4.S`, `m4_output.S` and `m4_2x2.S` takes.

use core::arch::global_asm;

// One piece, since the others use macros of the first.
global_asm!(
    concat!(
        include_str!("m4.S"),
        include_str!("m4_output.S"),
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

/// The functions of one kernel.
pub struct Stages {
    /// A tile of 8 bits all of whose pixels exist; any tile of 8 bits; any of 4; any of 2.
    pub input: [InputStage; 4],
    /// The `pairs` pairs of a channel's weights, `[9][pairs]` every second word.
    pub weights: unsafe extern "C" fn(*const u32, *mut u32, usize),
    /// A quad times a block.
    pub multiply: unsafe extern "C" fn(*const Multiply),
}

/// F(4x4,3x3).
pub const STAGES_4: Stages = Stages {
    input: [
        pressboard_winograd_input,
        pressboard_winograd_edge,
        pressboard_winograd_edge_u4,
        pressboard_winograd_edge_u2,
    ],
    weights: pressboard_winograd_weights,
    multiply: pressboard_winograd_multiply,
};

/// F(2x2,3x3).
pub const STAGES_2: Stages = Stages {
    input: [
        pressboard_winograd_input2,
        pressboard_winograd_edge2,
        pressboard_winograd_edge2_u4,
        pressboard_winograd_edge2_u2,
    ],
    weights: pressboard_winograd_weights2,
    multiply: pressboard_winograd_multiply2,
};

unsafe extern "C" {
    fn pressboard_winograd_input(arguments: *const Input);
    fn pressboard_winograd_edge(arguments: *const Input);
    fn pressboard_winograd_edge_u4(arguments: *const Input);
    fn pressboard_winograd_edge_u2(arguments: *const Input);
    fn pressboard_winograd_weights(plain: *const u32, out: *mut u32, pairs: usize);
    fn pressboard_winograd_multiply(arguments: *const Multiply);
    fn pressboard_winograd_input2(arguments: *const Input);
    fn pressboard_winograd_edge2(arguments: *const Input);
    fn pressboard_winograd_edge2_u4(arguments: *const Input);
    fn pressboard_winograd_edge2_u2(arguments: *const Input);
    fn pressboard_winograd_weights2(plain: *const u32, out: *mut u32, pairs: usize);
    fn pressboard_winograd_multiply2(arguments: *const Multiply);
    /// F(2x2,3x3): transforms the sums of four tiles and two channels back and requantizes.
    pub fn pressboard_winograd_output2(
        sums: *const u32,
        to: *const *mut u8,
        parameters: *const Output,
        row: usize,
        column: usize,
    );
    /// The same with a 2x2 max-pool before the requantization.
    pub fn pressboard_winograd_output2_pooled(
        sums: *const u32,
        to: *const *mut u8,
        parameters: *const Output,
        row: usize,
        column: usize,
    );
    /// F(4x4,3x3): transforms sums back and requantizes; `column` and `row` are steps in bytes.
    pub fn pressboard_winograd_output(
        sums: *const u32,
        to: *const *mut u8,
        parameters: *const Output,
        column: usize,
        row: usize,
        tiles: usize,
        channels: usize,
    );
    /// The same with a 2x2 max-pool before the requantization.
    pub fn pressboard_winograd_output_pooled(
        sums: *const u32,
        to: *const *mut u8,
        parameters: *const Output,
        column: usize,
        row: usize,
        tiles: usize,
        channels: usize,
    );
}
