//! The convolution, and with weights turned the gradient of its input.

use super::super::super::memory::{Buffer, filled};
use super::super::filters::Filters;
use super::super::product::{Rows, VECTORS, multiply};
use super::super::{ConvShape, Direction, SharedOutput, check};
use super::geometry::{Group, Tiles};
use super::weights::filter_points;
use super::{LANES, POINTS, transform};
use rayon::prelude::*;

/// Tiles that are computed together.
const BLOCK: usize = VECTORS * LANES;

/// The convolution of `x` `[c_in, n, h, w]`, by all threads. `weight` is
/// `[c_out, c_in·9]`, or backward `[c_in, c_out·9]`.
pub(in super::super) fn forward(
    x: &[f32],
    weight: &[f32],
    s: ConvShape,
    direction: Direction,
) -> Vec<f32> {
    let len = s.c_out * s.plane();
    check(x, weight.len(), len, s);
    // SAFETY: tiles cover all outputs, and each is written.
    unsafe { filled(len, |y| convolve(x, weight, s, direction, y)) }
}

fn convolve(x: &[f32], weight: &[f32], s: ConvShape, direction: Direction, y: *mut f32) {
    let job = Job::new(x, s, SharedOutput(y));
    let mut points = Buffer::take(POINTS * s.c_out * s.c_in);
    let to = SharedOutput(points.as_mut_ptr());
    (0..s.c_out)
        .into_par_iter()
        .for_each(|o| job.weights(weight, direction, o, to));
    (0..job.blocks()).into_par_iter().for_each(|b| {
        let mut scratch = Scratch::new(s);
        let (v, m) = scratch.parts(s);
        let groups = job.groups(b);
        (0..s.c_in)
            .into_par_iter()
            .for_each(|c| job.patches(&groups, c, v));
        (0..POINTS)
            .into_par_iter()
            .for_each(|p| job.product(p, to, v, m));
        (0..s.c_out)
            .into_par_iter()
            .for_each(|o| job.tiles(&groups, o, m));
    });
}

/// The same, by the calling thread alone.
pub(in super::super) fn forward_serial(x: &[f32], weight: &[f32], s: ConvShape, y: &mut [f32]) {
    check(x, weight.len(), y.len(), s);
    let job = Job::new(x, s, SharedOutput(y.as_mut_ptr()));
    let mut points = Buffer::take(POINTS * s.c_out * s.c_in);
    let to = SharedOutput(points.as_mut_ptr());
    (0..s.c_out).for_each(|o| job.weights(weight, Direction::Forward, o, to));
    let mut scratch = Scratch::new(s);
    let (v, m) = scratch.parts(s);
    for b in 0..job.blocks() {
        let groups = job.groups(b);
        (0..s.c_in).for_each(|c| job.patches(&groups, c, v));
        (0..POINTS).for_each(|p| job.product(p, to, v, m));
        (0..s.c_out).for_each(|o| job.tiles(&groups, o, m));
    }
}

/// Points of a block's patches and of its outputs.
struct Scratch(Buffer);

impl Scratch {
    fn new(s: ConvShape) -> Self {
        Self(Buffer::take(POINTS * (s.c_in + s.c_out) * BLOCK))
    }

    /// Patches' points `[p, c_in, BLOCK]` and outputs' `[p, c_out, BLOCK]`.
    fn parts(&mut self, s: ConvShape) -> (SharedOutput, SharedOutput) {
        let v = self.0.as_mut_ptr();
        (
            SharedOutput(v),
            SharedOutput(v.wrapping_add(POINTS * s.c_in * BLOCK)),
        )
    }
}

/// What the steps of one convolution need. Each step writes a part of its output that is its
/// own: channel `o`, channel `c`, point `p` or the tiles of a block.
struct Job<'a> {
    x: &'a [f32],
    s: ConvShape,
    y: SharedOutput,
    tiles: Tiles,
}

impl<'a> Job<'a> {
    /// `y` has `c_out` planes, and outlives the job.
    fn new(x: &'a [f32], s: ConvShape, y: SharedOutput) -> Self {
        let tiles = Tiles::of(s);
        Self { x, s, y, tiles }
    }

    fn blocks(&self) -> usize {
        self.tiles.count.div_ceil(BLOCK)
    }

    fn groups(&self, block: usize) -> [Group; VECTORS] {
        std::array::from_fn(|g| Group::at(self.tiles, block * BLOCK + g * LANES))
    }

    /// Points of the filters of output channel `o`, `[p, c_out, c_in]`.
    fn weights(&self, weight: &[f32], direction: Direction, o: usize, to: SharedOutput) {
        let (c_out, c_in) = (self.s.c_out, self.s.c_in);
        let filters = Filters::of(weight, (c_out, c_in), direction, o);
        // SAFETY: `fits` saw AVX-512; `to` has all points of `c_out·c_in` filters.
        unsafe { filter_points(&filters, to.get().add(o * c_in), c_out * c_in) }
    }

    /// Points of the patches of input channel `c`.
    fn patches(&self, groups: &[Group; VECTORS], c: usize, v: SharedOutput) {
        let plane = self.x[c * self.s.plane()..][..self.s.plane()].as_ptr();
        for (g, group) in groups.iter().enumerate() {
            // SAFETY: `fits` saw AVX-512 with VL; `v` is [p, c_in, BLOCK].
            unsafe {
                let to = v.get().add(c * BLOCK + g * LANES);
                transform::patches(plane, group, to, self.s.c_in * BLOCK);
            }
        }
    }

    /// Point `p` of all outputs of a block.
    fn product(&self, p: usize, weights: SharedOutput, v: SharedOutput, m: SharedOutput) {
        let (c_out, c_in) = (self.s.c_out, self.s.c_in);
        // SAFETY: `fits` saw AVX-512; the matrices of point `p` lie there.
        unsafe {
            multiply(
                (c_out, BLOCK, c_in),
                Rows::new(weights.get().add(p * c_out * c_in), c_in),
                Rows::new(v.get().add(p * c_in * BLOCK), BLOCK),
                Rows::new(m.get().add(p * c_out * BLOCK), BLOCK),
                false,
            );
        }
    }

    /// The outputs of channel `o`.
    fn tiles(&self, groups: &[Group; VECTORS], o: usize, m: SharedOutput) {
        for (g, group) in groups.iter().enumerate() {
            // SAFETY: `fits` saw AVX-512 with VL; `m` is [p, c_out, BLOCK]; the tiles of
            // this block in plane `o` are this step's own.
            unsafe {
                let from = m.get().add(o * BLOCK + g * LANES);
                let plane = self.y.get().add(o * self.s.plane());
                transform::tiles(from, self.s.c_out * BLOCK, group, plane);
            }
        }
    }
}
