//! Convolution, directly.
//!
//! For each strip of output rows: expand the input rows that it reads, then for each block
//! of two output channels unpack the weights and compute row by row. Padding is never
//! multiplied: a run covers the taps that exist. A sparse fully connected layer is a
//! convolution with one output pixel.

use super::dot::{self, Run};
use super::output::{self, Place};
use super::unpack::Weights;
use super::{Blocks, LayerError, as_signed, expand};
use core::num::NonZero;
use core::ops::Range;
use shared::coding::Corrupt;
use shared::index::ix;
use shared::semantics::Requant;
use shared::spec::{LINES, LayerSpec};

/// Runs the layer; `scratch` is exactly `spec.scratch_bytes()`, as words.
///
/// # Errors
/// [`LayerError`].
pub fn run(
    source: &Weights,
    r_c: [u8; 4],
    blocks: Blocks,
    input: &[u8],
    output: &mut [u8],
    scratch: &mut [u32],
) -> Result<(), LayerError> {
    let layer = source.layer;
    let spec = layer.spec();
    let plan = spec.scratch();
    let (activations, rest) = scratch
        .split_at_mut_checked(plan.activations as usize / 4)
        .ok_or(LayerError::Buffers)?;
    let (weights, accumulators) = rest
        .split_at_mut_checked(plan.weights as usize / 4)
        .ok_or(LayerError::Buffers)?;
    let geometry = Geometry::new(spec);
    let mut start = 0;
    while start < geometry.rows {
        let end = start.saturating_add(usize::from(spec.strip_rows).max(1));
        let strip = start..end.min(geometry.rows);
        let read = geometry.input_rows(&strip);
        expand::rows(spec, r_c, input, read.clone(), activations);
        for block in 0..blocks.count(spec.blocks()) {
            let stored = blocks.stored(block);
            source
                .unpack(stored, weights)
                .map_err(|Corrupt| LayerError::Corrupt { block })?;
            let work = Work {
                spec,
                geometry: &geometry,
                first_input_row: read.start,
                place: Place {
                    channel: 2 * usize::from(block),
                    channels: usize::from(layer.block_channels(block)),
                },
                requants: layer.block_requants(block),
                activations,
                weights,
            };
            work.strip(strip.clone(), as_signed(accumulators), output);
        }
        start = strip.end;
    }
    Ok(())
}

/// What does not change from row to row.
pub(super) struct Geometry {
    pub in_h: usize,
    pub in_w: usize,
    pub k_h: usize,
    pub k_w: usize,
    // Not zero, so that dividing by it cannot fail.
    pub stride: NonZero<usize>,
    pub pad: usize,
    pool: NonZero<usize>,
    /// Words of lanes of a pixel.
    pub pixel: usize,
    /// Rows of the convolution that reach the output.
    rows: usize,
    /// Columns of the convolution.
    columns: usize,
    /// Columns to which every tap applies, and rows.
    interior: Range<usize>,
    interior_rows: Range<usize>,
    /// Tap after tap over all columns, instead of all taps column after column.
    by_tap: bool,
}

impl Geometry {
    pub fn new(spec: &LayerSpec) -> Self {
        let (stride, pad) = (at_least_1(spec.stride), usize::from(spec.pad));
        let (k_w, in_w) = (usize::from(spec.k_w), usize::from(spec.in_w));
        let (rows, columns) = spec.conv_out();
        let pool = at_least_1(spec.pool);
        let columns = usize::from(columns);
        let interior = |len: usize, k: usize, outputs: usize| {
            let first = div_ceil(pad, stride).min(outputs);
            match (len + pad).checked_sub(k) {
                Some(room) => first..(room / stride + 1).clamp(first, outputs),
                None => first..first,
            }
        };
        let (in_h, k_h) = (usize::from(spec.in_h), usize::from(spec.k_h));
        let mut g = Self {
            in_h,
            in_w,
            k_h,
            k_w,
            stride,
            pad,
            pool,
            pixel: spec.c_in4() as usize / 2,
            // A pool leaves an odd last row out.
            rows: usize::from(rows) / pool * pool.get(),
            columns,
            interior: interior(in_w, k_w, columns),
            interior_rows: interior(in_h, k_h, rows.into()),
            by_tap: false,
        };
        g.by_tap = g.cost_by_tap() < g.cost_by_column();
        g
    }

    /// Columns on which tap `k` falls on the input.
    fn columns_of(&self, k: usize) -> Range<usize> {
        let start = div_ceil(self.pad.saturating_sub(k), self.stride);
        let end = div_ceil(
            self.in_w.saturating_add(self.pad).saturating_sub(k),
            self.stride,
        );
        start..end.min(self.columns).max(start)
    }

    fn cost_by_tap(&self) -> usize {
        (0..self.k_w)
            .map(|k| dot::cost(self.columns_of(k).len(), self.pixel))
            .fold(0, usize::saturating_add)
    }

    fn cost_by_column(&self) -> usize {
        let edge = |x| {
            let taps = self.taps(x, self.k_w, self.in_w).len();
            dot::cost(1, taps.saturating_mul(self.pixel))
        };
        let edges = (0..self.interior.start).chain(self.interior.end..self.columns);
        let interior = dot::cost(self.interior.len(), self.k_w.saturating_mul(self.pixel));
        edges.map(edge).fold(interior, usize::saturating_add)
    }

    /// Input rows that the convolution's output rows `strip` read.
    fn input_rows(&self, strip: &Range<usize>) -> Range<usize> {
        let first = |row: usize| row.saturating_mul(self.stride.get());
        let start = first(strip.start).saturating_sub(self.pad);
        let last = first(strip.end.saturating_sub(1)).saturating_add(self.k_h);
        start..last.saturating_sub(self.pad).min(self.in_h)
    }

    /// Taps along one axis that fall on the input, for output coordinate `at`.
    pub fn taps(&self, at: usize, k: usize, len: usize) -> Range<usize> {
        let origin = at.saturating_mul(self.stride.get());
        let start = self.pad.saturating_sub(origin);
        start..len.saturating_add(self.pad).saturating_sub(origin).min(k)
    }
}

fn at_least_1(n: u8) -> NonZero<usize> {
    NonZero::new(usize::from(n)).unwrap_or(NonZero::<usize>::MIN)
}

fn div_ceil(a: usize, b: NonZero<usize>) -> usize {
    (a / b).saturating_add(usize::from(a % b != 0))
}

/// Taps, as kernel rows and columns, all of which fall on the input.
struct Window {
    rows: Range<usize>,
    columns: Range<usize>,
    /// The input row of the first, counted from the strip's first.
    input_row: usize,
}

/// One block of one strip.
struct Work<'a> {
    spec: &'a LayerSpec,
    geometry: &'a Geometry,
    first_input_row: usize,
    place: Place,
    requants: [Requant; 2],
    activations: &'a [u32],
    weights: &'a [u32],
}

impl Work<'_> {
    fn strip(&self, rows: Range<usize>, accumulators: &mut [i32], output: &mut [u8]) {
        let g = self.geometry;
        let pixel = self.spec.output.pixel_bytes(self.spec.c_out) as usize;
        let out_row = (ix(pixel) * usize::from(self.spec.out_hw().1)).0;
        let biases = self.requants.map(|r| r.bias);
        let row = (ix(2) * g.columns.max(1)).0;
        let mut y = rows.start;
        while y < rows.end {
            let lines = usize::from(LINES).min(rows.end - y);
            let end = y.saturating_add(lines);
            let Some(sums) = accumulators.get_mut(..(ix(lines) * row).0) else {
                return;
            };
            sums.as_chunks_mut::<2>().0.fill(biases);
            self.conv_rows(y..end, sums);
            // A pool joins two rows; without one the rows of the output follow each other.
            let together = if g.pool.get() == 2 { 2 } else { lines };
            let out = output
                .get_mut((ix(y / g.pool) * out_row).0..)
                .unwrap_or(&mut []);
            let out = out.chunks_mut((ix(together / g.pool) * out_row).0.max(1));
            for (sums, out) in sums.chunks_exact((ix(together) * row).0.max(1)).zip(out) {
                output::row(self.spec, self.place, self.requants, sums, out);
            }
            y = end;
        }
    }

    /// Accumulates rows of the convolution, `[rows][columns][2]`, as many at a time as the same
    /// kernel rows apply to.
    fn conv_rows(&self, rows: Range<usize>, accumulators: &mut [i32]) {
        let g = self.geometry;
        let mut y = rows.start;
        while y < rows.end {
            let end = match g.interior_rows.contains(&y) {
                true => g.interior_rows.end.min(rows.end),
                false => y.saturating_add(1),
            };
            let from = (ix(2) * g.columns * (ix(y) - rows.start)).0;
            let lines = end.saturating_sub(y);
            self.alike(y, lines, accumulators.get_mut(from..).unwrap_or(&mut []));
            y = end;
        }
    }

    /// Accumulates `lines` rows from `y` on to which the same kernel rows apply.
    fn alike(&self, y: usize, lines: usize, accumulators: &mut [i32]) {
        let g = self.geometry;
        let taps = g.taps(y, g.k_h, g.in_h);
        // The first input row that a tap falls on, counted from the strip's first.
        let input_row = (ix(y) * g.stride.get() + taps.start)
            .0
            .saturating_sub(g.pad)
            .saturating_sub(self.first_input_row);
        let interior = g.interior.clone();
        let mut run = |x: usize, pixels: usize, columns: Range<usize>| {
            let window = Window {
                rows: taps.clone(),
                columns,
                input_row,
            };
            self.run(x, [lines, pixels], window, accumulators);
        };
        if g.by_tap {
            for k in 0..g.k_w {
                let columns = g.columns_of(k);
                run(columns.start, columns.len(), k..k.saturating_add(1));
            }
            return;
        }
        (0..interior.start).for_each(|x| run(x, 1, g.taps(x, g.k_w, g.in_w)));
        if !interior.is_empty() {
            run(interior.start, interior.len(), 0..g.k_w);
        }
        (interior.end..g.columns).for_each(|x| run(x, 1, g.taps(x, g.k_w, g.in_w)));
    }

    /// `lines` rows of `pixels` pixels from column `x` on; all taps of `window` fall on the
    /// input.
    fn run(&self, x: usize, [lines, pixels]: [usize; 2], window: Window, accumulators: &mut [i32]) {
        let g = self.geometry;
        let Window {
            rows,
            columns,
            input_row,
        } = window;
        let column = (ix(x) * g.stride.get() + columns.start).0;
        let column = column.saturating_sub(g.pad);
        let pixel = |n: usize| ix(n) * g.pixel;
        let mut run = Run {
            weights: pixel((ix(rows.start) * g.k_w + columns.start).0).0,
            activations: pixel((ix(input_row) * g.in_w + column).0).0,
            accumulator: (ix(2) * x).0,
            pixels,
            pixel_step: pixel(g.stride.get()).0,
            pairs: pixel(columns.len()).0,
            rows: rows.len(),
            weight_row: pixel(g.k_w).0,
            activation_row: pixel(g.in_w).0,
            lines,
            line_activations: (pixel(g.in_w) * g.stride.get()).0,
            line_accumulators: (ix(2) * g.columns).0,
        };
        if run.pixels == 0 || run.pairs == 0 || run.rows == 0 {
            return;
        }
        if run.weight_row == run.pairs && run.activation_row == run.pairs {
            // Rows follow each other without a gap, as in a fully connected layer.
            (run.pairs, run.rows) = ((ix(run.pairs) * run.rows).0, 1);
        }
        dot::accumulate(&run, self.weights, self.activations, accumulators);
    }
}
