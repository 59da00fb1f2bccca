//! Maps of at most 2x2, in AVX-512: every pair of an input and an output pixel is a product of
//! matrices over the batch. That is 16 products for 4 outputs, where columns (im2col) have 36,
//! most of them with the padding.

use super::super::memory::{Buffer, filled};
use super::filters::Filters;
use super::product::{LANES, Rows, multiply};
use super::transpose::turn;
use super::{ConvShape, Direction, SharedOutput, check};
use rayon::prelude::*;
use std::arch::x86_64::_mm512_storeu_ps;

/// Rows and columns of the largest map.
const LARGEST: usize = 2;
/// Rows of the result that one task computes.
const ROWS: usize = 48;
/// Taps of a kernel.
const TAPS: usize = 9;

/// Whether these kernels run here, and are worth it for the shape.
pub(super) fn fits(s: ConvShape) -> bool {
    s.h.max(s.w) <= LARGEST && s.n >= LANES / 2 && std::arch::is_x86_feature_detected!("avx512f")
}

/// Sizes of a convolution of small maps.
#[derive(Clone, Copy)]
struct Maps {
    s: ConvShape,
    /// Pixels of a map.
    pixels: usize,
    /// Images and input channels, rounded up to whole vectors.
    images: usize,
    c_in: usize,
}

impl Maps {
    fn of(s: ConvShape) -> Self {
        Self {
            s,
            pixels: s.h * s.w,
            images: s.n.next_multiple_of(LANES),
            c_in: s.c_in.next_multiple_of(LANES),
        }
    }

    /// The tap that leads from input pixel `i` to output pixel `o`.
    fn tap(self, o: usize, i: usize) -> usize {
        let w = self.s.w;
        (1 + i / w - o / w) * 3 + 1 + i % w - o % w
    }

    /// Channel `c` of `x` `[c, n, pixels]` to `[pixels, channels, images]`, zero beyond the
    /// last image.
    ///
    /// # Safety
    /// `to` must be writable there, and nobody else may touch the channel.
    unsafe fn spread(self, x: &[f32], channels: usize, c: usize, to: SharedOutput) {
        let plane = &x[c * self.s.plane()..][..self.s.plane()];
        for p in 0..self.pixels {
            // SAFETY: the caller's promise.
            let row = unsafe {
                let at = to.get().add((p * channels + c) * self.images);
                std::slice::from_raw_parts_mut(at, self.images)
            };
            let (images, rest) = row.split_at_mut(self.s.n);
            for (to, image) in images.iter_mut().zip(plane.chunks_exact(self.pixels)) {
                *to = image[p];
            }
            rest.fill(0.0);
        }
    }
}

/// Tasks of `ROWS` rows of each of `matrices`: the matrix, and its rows.
fn tasks(matrices: usize, rows: usize) -> impl ParallelIterator<Item = (usize, usize, usize)> {
    let per_matrix = rows.div_ceil(ROWS);
    (0..matrices * per_matrix).into_par_iter().map(move |task| {
        let first = task % per_matrix * ROWS;
        (task / per_matrix, first, (rows - first).min(ROWS))
    })
}

/// The convolution, by all threads; see [`super::winograd::forward`].
pub(super) fn forward(x: &[f32], weight: &[f32], s: ConvShape, direction: Direction) -> Vec<f32> {
    let len = s.c_out * s.plane();
    check(x, weight.len(), len, s);
    // SAFETY: all outputs of all images are written.
    unsafe { filled(len, |y| convolve(x, weight, s, direction, SharedOutput(y))) }
}

/// The same into `y`.
pub(super) fn forward_into(x: &[f32], weight: &[f32], s: ConvShape, y: &mut [f32]) {
    check(x, weight.len(), y.len(), s);
    convolve(
        x,
        weight,
        s,
        Direction::Forward,
        SharedOutput(y.as_mut_ptr()),
    );
}

fn convolve(x: &[f32], weight: &[f32], s: ConvShape, direction: Direction, y: SharedOutput) {
    let maps = Maps::of(s);
    let (c_out, c_in, images) = (s.c_out, s.c_in, maps.images);
    let sizes = [
        maps.pixels * c_in * images,
        maps.pixels * c_out * images,
        TAPS * c_out * maps.c_in,
    ];
    let mut memory = Buffer::take(sizes.iter().sum());
    let inputs = SharedOutput(memory.as_mut_ptr());
    let outputs = SharedOutput(inputs.get().wrapping_add(sizes[0]));
    let weights = SharedOutput(outputs.get().wrapping_add(sizes[1]));

    (0..c_in).into_par_iter().for_each(|c| {
        // SAFETY: `inputs` is [pixels, c_in, images].
        unsafe { maps.spread(x, c_in, c, inputs) }
    });
    (0..c_out).into_par_iter().for_each(|o| {
        let filters = Filters::of(weight, (c_out, c_in), direction, o);
        // SAFETY: `fits` saw AVX-512; `weights` is [taps, c_out, c_in].
        unsafe {
            spread_taps(
                &filters,
                weights.get().add(o * maps.c_in),
                c_out * maps.c_in,
            )
        }
    });
    tasks(maps.pixels, c_out).for_each(|(o, row, rows)| {
        for i in 0..maps.pixels {
            let tap = maps.tap(o, i);
            // SAFETY: `fits` saw AVX-512; rows and matrices are inside of their parts.
            unsafe {
                multiply(
                    (rows, images, c_in),
                    Rows::new(
                        weights.get().add((tap * c_out + row) * maps.c_in),
                        maps.c_in,
                    ),
                    Rows::new(inputs.get().add(i * c_in * images), images),
                    Rows::new(outputs.get().add((o * c_out + row) * images), images),
                    i > 0,
                );
            }
        }
    });
    (0..c_out).into_par_iter().for_each(|o| {
        for p in 0..maps.pixels {
            for n in 0..s.n {
                // SAFETY: `outputs` is [pixels, c_out, images]; plane `o` of `y` is ours.
                unsafe {
                    let from = outputs.get().add((p * c_out + o) * images + n);
                    *y.get().add(o * s.plane() + n * maps.pixels + p) = *from;
                }
            }
        }
    });
}

/// The taps of one output channel's filters, each at `to[tap·stride + c]`, zero up to a whole
/// vector of channels.
///
/// # Safety
/// Needs AVX-512; `to` must be writable there.
#[target_feature(enable = "avx512f")]
unsafe fn spread_taps(filters: &Filters, to: *mut f32, stride: usize) {
    let indices = filters.indices();
    for c in (0..filters.channels).step_by(LANES) {
        for tap in 0..TAPS {
            // SAFETY: the caller's promise.
            unsafe {
                _mm512_storeu_ps(to.add(tap * stride + c), filters.tap(indices, c, tap));
            }
        }
    }
}

/// The gradient of the weights, `[c_out, c_in·9]`, summed over images and pixels in an order
/// that depends on the shape alone.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], s: ConvShape) -> Vec<f32> {
    let mut dw = vec![0.0f32; s.c_out * s.c_in * TAPS];
    check(x, dw.len(), dy.len(), s);
    let maps = Maps::of(s);
    let (c_out, c_in, images) = (s.c_out, maps.c_in, maps.images);
    let sizes = [
        maps.pixels * c_in * images,
        maps.pixels * c_in * images,
        maps.pixels * c_out * images,
        TAPS * c_out * c_in,
    ];
    let mut memory = Buffer::take(sizes.iter().sum());
    let spread = SharedOutput(memory.as_mut_ptr());
    let inputs = SharedOutput(spread.get().wrapping_add(sizes[0]));
    let gradients = SharedOutput(inputs.get().wrapping_add(sizes[1]));
    let weights = SharedOutput(gradients.get().wrapping_add(sizes[2]));

    // SAFETY: the parts are [pixels, c_in, images], [pixels, images, c_in] and
    // [pixels, c_out, images]; `fits` saw AVX-512. Channels beyond the last end in columns
    // that nobody reads.
    unsafe {
        (0..s.c_in)
            .into_par_iter()
            .for_each(|c| maps.spread(x, c_in, c, spread));
        (0..c_out)
            .into_par_iter()
            .for_each(|o| maps.spread(dy, c_out, o, gradients));
        (0..maps.pixels).into_par_iter().for_each(|p| {
            let matrix = p * c_in * images;
            turn(
                spread.get().add(matrix),
                (c_in, images),
                inputs.get().add(matrix),
            );
        });
    }
    tasks(TAPS, c_out).for_each(|(tap, row, rows)| {
        let mut add = false;
        for (o, i) in maps.pairs(tap) {
            // SAFETY: as in `convolve`.
            unsafe {
                multiply(
                    (rows, c_in, images),
                    Rows::new(gradients.get().add((o * c_out + row) * images), images),
                    Rows::new(inputs.get().add(i * c_in * images), c_in),
                    Rows::new(weights.get().add((tap * c_out + row) * c_in), c_in),
                    add,
                );
            }
            add = true;
        }
    });
    dw.par_chunks_mut(s.c_in * TAPS)
        .enumerate()
        .for_each(|(o, dw)| {
            for tap in (0..TAPS).filter(|tap| maps.pairs(*tap).next().is_some()) {
                for (c, taps) in dw.chunks_exact_mut(TAPS).enumerate() {
                    // SAFETY: `weights` is [taps, c_out, c_in], and this tap was computed.
                    taps[tap] = unsafe { *weights.get().add((tap * c_out + o) * c_in + c) };
                }
            }
        });
    dw
}

impl Maps {
    /// Pairs of an output and an input pixel that a tap joins.
    fn pairs(self, tap: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.pixels)
            .flat_map(move |o| (0..self.pixels).map(move |i| (o, i)))
            .filter(move |(o, i)| self.tap(*o, *i) == tap)
    }
}
