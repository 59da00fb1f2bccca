//! What the assembly in `m4.S` takes.

use core::arch::global_asm;

global_asm!(include_str!("m4.S"), options(raw));

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

unsafe extern "C" {
    /// Transforms a tile of 8 bits all of whose pixels exist.
    pub fn pressboard_winograd_input(arguments: *const Input);
    /// Transforms any tile of 8 bits.
    pub fn pressboard_winograd_edge(arguments: *const Input);
    /// Transforms any tile of 4 bits.
    pub fn pressboard_winograd_edge4(arguments: *const Input);
    /// Transforms the `pairs` pairs of a channel's weights, `[9][pairs]` every second word.
    pub fn pressboard_winograd_weights(plain: *const u32, out: *mut u32, pairs: usize);
    /// Multiplies a quad by a block.
    pub fn pressboard_winograd_multiply(arguments: *const Multiply);
    /// Transforms sums back and requantizes: `column` and `row` are steps in bytes.
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
