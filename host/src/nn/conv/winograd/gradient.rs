//! The gradient of the weights.

use super::super::super::memory::Buffer;
use super::super::product::{Rows, multiply};
use super::super::transpose::turn;
use super::super::{ConvShape, SharedOutput, check};
use super::geometry::{Group, Tiles};
use super::weights::filter_gradients;
use super::{LANES, POINTS, transform};
use rayon::prelude::*;

/// Elements of points that are held at a time, about.
const HELD: usize = 6 << 20;
/// Most tiles at a time: their columns of one point should stay in the second-level cache.
const MOST_TILES: usize = 512;

/// The gradient of the weights, `[c_out, c_in·9]`. The sum over tiles goes from the first
/// to the last in steps that depend on the shape alone.
pub(in super::super) fn weight_gradient(x: &[f32], dy: &[f32], s: ConvShape) -> Vec<f32> {
    let mut dw = vec![0.0f32; s.c_out * s.c_in * 9];
    check(x, dw.len(), dy.len(), s);
    let job = Job::new(s);
    let mut memory = Buffer::take(job.elements());
    let parts = job.parts(memory.as_mut_ptr());
    for first in (0..job.tiles.count).step_by(job.step) {
        let groups: Vec<Group> = (first..first + job.step)
            .step_by(LANES)
            .map(|t| Group::at(job.tiles, t))
            .collect();
        (0..s.c_in)
            .into_par_iter()
            .for_each(|c| job.patches(x, &groups, c, &parts));
        (0..s.c_out)
            .into_par_iter()
            .for_each(|o| job.gradients(dy, &groups, o, &parts));
        (0..POINTS)
            .into_par_iter()
            .for_each(|p| job.product(p, &parts, first > 0));
    }
    dw.par_chunks_mut(s.c_in * 9)
        .enumerate()
        .for_each(|(o, dw)| job.filters(o, &parts, dw));
    dw
}

struct Job {
    s: ConvShape,
    tiles: Tiles,
    /// Tiles at a time, a multiple of `LANES`.
    step: usize,
    /// Input channels, rounded up to whole vectors.
    c_in: usize,
}

/// Matrices at each point: `[p, c_in, step]`, `[p, c_out, step]` and `[p, c_out, c_in]`.
struct Parts {
    patches: SharedOutput,
    gradients: SharedOutput,
    weights: SharedOutput,
}

impl Job {
    fn new(s: ConvShape) -> Self {
        let tiles = Tiles::of(s);
        let held = HELD / (POINTS * (s.c_in + s.c_out));
        let most = tiles.count.next_multiple_of(LANES).min(MOST_TILES);
        Self {
            s,
            tiles,
            step: (held / LANES * LANES).clamp(LANES, most.max(LANES)),
            c_in: s.c_in.next_multiple_of(LANES),
        }
    }

    fn sizes(&self) -> [usize; 3] {
        [
            POINTS * self.c_in * self.step,
            POINTS * self.s.c_out * self.step,
            POINTS * self.s.c_out * self.c_in,
        ]
    }

    fn elements(&self) -> usize {
        self.sizes().iter().sum()
    }

    fn parts(&self, memory: *mut f32) -> Parts {
        let [patches, gradients, _] = self.sizes();
        Parts {
            patches: SharedOutput(memory),
            gradients: SharedOutput(memory.wrapping_add(patches)),
            weights: SharedOutput(memory.wrapping_add(patches + gradients)),
        }
    }

    fn patches(&self, x: &[f32], groups: &[Group], c: usize, parts: &Parts) {
        let plane = x[c * self.s.plane()..][..self.s.plane()].as_ptr();
        for (g, group) in groups.iter().enumerate() {
            // SAFETY: `fits` saw AVX-512 with VL; channel `c` of each point is ours.
            unsafe {
                let to = parts.patches.get().add(c * self.step + g * LANES);
                transform::patches(plane, group, to, self.c_in * self.step);
            }
        }
    }

    fn gradients(&self, dy: &[f32], groups: &[Group], o: usize, parts: &Parts) {
        let plane = dy[o * self.s.plane()..][..self.s.plane()].as_ptr();
        for (g, group) in groups.iter().enumerate() {
            // SAFETY: `fits` saw AVX-512 with VL; channel `o` of each point is ours.
            unsafe {
                let to = parts.gradients.get().add(o * self.step + g * LANES);
                transform::gradients(plane, group, to, self.s.c_out * self.step);
            }
        }
    }

    /// Adds the products of these tiles at point `p`.
    fn product(&self, p: usize, parts: &Parts, add: bool) {
        let (c_out, c_in, step) = (self.s.c_out, self.c_in, self.step);
        let mut turned = Buffer::take(step * c_in);
        // SAFETY: `fits` saw AVX-512; the matrices of point `p` lie there, and only this step
        // writes its weights. Channels that fill the last vector up hold what was in memory
        // before, and end in columns that nobody reads.
        unsafe {
            let patches = parts.patches.get().add(p * c_in * step);
            turn(patches, (c_in, step), turned.as_mut_ptr());
            multiply(
                (c_out, c_in, step),
                Rows::new(parts.gradients.get().add(p * c_out * step), step),
                Rows::new(turned.as_ptr(), c_in),
                Rows::new(parts.weights.get().add(p * c_out * c_in), c_in),
                add,
            );
        }
    }

    fn filters(&self, o: usize, parts: &Parts, dw: &mut [f32]) {
        // SAFETY: `fits` saw AVX-512; all points of channel `o` were computed.
        unsafe {
            let from = parts.weights.get().add(o * self.c_in);
            filter_gradients(from, self.s.c_out * self.c_in, dw);
        }
    }
}
