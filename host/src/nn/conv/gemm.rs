//! The portable kernels: tiles of im2col and the `gemm` crate.

use super::{ConvShape, PARTIAL_SUMS, SharedOutput, check, sum};
use rayon::prelude::*;

/// Elements of an im2col tile: about what a core's second-level cache holds.
const TILE_ELEMENTS: usize = 1 << 18;

/// `dst = a·b`, or `dst += a·b` with `accumulate`. `a` is `[m, k]` with row stride
/// `a_row`; `b` is `[k, n]` with both strides given; `dst` is `[m, n]`.
///
/// # Safety
/// The matrices must lie inside memory that is valid for these sizes and strides, and
/// `dst` must not overlap the others.
#[allow(clippy::too_many_arguments)]
unsafe fn sgemm(
    (m, n, k): (usize, usize, usize),
    dst: *mut f32,
    dst_row: usize,
    accumulate: bool,
    a: *const f32,
    a_row: usize,
    b: *const f32,
    (b_row, b_col): (usize, usize),
) {
    let alpha = if accumulate { 1.0 } else { 0.0 };
    // SAFETY: the caller's promise is `gemm`'s.
    unsafe {
        ::gemm::gemm(
            m,
            n,
            k,
            dst,
            1,
            dst_row as isize,
            accumulate,
            a,
            1,
            a_row as isize,
            b,
            b_col as isize,
            b_row as isize,
            alpha,
            1.0f32,
            false,
            false,
            false,
            ::gemm::Parallelism::None,
        );
    }
}

/// Rows `r0..r1` of the flattened `(n, h)` space as columns: `col` `[c_in·9, (r1−r0)·w]`.
fn im2col(x: &[f32], s: ConvShape, (r0, r1): (usize, usize), col: &mut [f32]) {
    let (w, h, tile) = (s.w, s.h, (r1 - r0) * s.w);
    for (c, plane) in x.chunks_exact(s.plane()).enumerate() {
        for tap in 0..9 {
            let (ky, kx) = (tap / 3, tap % 3);
            let rows = &mut col[(c * 9 + tap) * tile..][..tile];
            for (r, to) in (r0..r1).zip(rows.chunks_exact_mut(w)) {
                let y = r % h + ky;
                if y < 1 || y > h {
                    to.fill(0.0);
                    continue;
                }
                shifted_row(&plane[(r + ky - 1) * w..][..w], kx, to);
            }
        }
    }
}

/// Copies a row shifted by the tap's column, with a zero where it leaves the map.
fn shifted_row(from: &[f32], kx: usize, to: &mut [f32]) {
    let w = from.len();
    match kx {
        0 => {
            to[0] = 0.0;
            to[1..].copy_from_slice(&from[..w - 1]);
        }
        1 => to.copy_from_slice(from),
        _ => {
            to[..w - 1].copy_from_slice(&from[1..]);
            to[w - 1] = 0.0;
        }
    }
}

/// Rows of the flattened `(n, h)` space in a tile; depends on the shape alone.
fn rows_per_tile(s: ConvShape) -> usize {
    let columns = (TILE_ELEMENTS / (s.c_in * 9)).clamp(192, 1024);
    (columns / s.w).clamp(1, (s.n * s.h).div_ceil(PARTIAL_SUMS))
}

/// One tile of the convolution, by the calling thread.
///
/// # Safety
/// `y` must hold `c_out` planes, and nobody else may touch rows `r0..r1` of them.
unsafe fn forward_tile(
    x: &[f32],
    weight: &[f32],
    s: ConvShape,
    (r0, r1): (usize, usize),
    col: &mut [f32],
    y: *mut f32,
) {
    let (k, tile) = (s.c_in * 9, (r1 - r0) * s.w);
    im2col(x, s, (r0, r1), col);
    // SAFETY: `weight` is [c_out, k], `col` holds [k, tile], and the caller gives us the
    // columns r0·w.. of [c_out, plane] at `y`.
    unsafe {
        sgemm(
            (s.c_out, tile, k),
            y.add(r0 * s.w),
            s.plane(),
            false,
            weight.as_ptr(),
            k,
            col.as_ptr(),
            (tile, 1),
        );
    }
}

/// The convolution with its tiles spread over the thread pool.
pub(super) fn forward(x: &[f32], weight: &[f32], s: ConvShape) -> Vec<f32> {
    let mut y = vec![0.0f32; s.c_out * s.plane()];
    check(x, weight.len(), y.len(), s);
    let (rows, step) = (s.n * s.h, rows_per_tile(s));
    let out = SharedOutput(y.as_mut_ptr());
    (0..rows.div_ceil(step)).into_par_iter().for_each_init(
        || vec![0.0f32; s.c_in * 9 * step * s.w],
        |col, i| {
            let range = (i * step, ((i + 1) * step).min(rows));
            // SAFETY: `y` lives until the loop ends; tiles cover disjoint rows.
            unsafe { forward_tile(x, weight, s, range, col, out.get()) }
        },
    );
    y
}

/// The convolution by the calling thread alone.
pub(super) fn forward_serial(x: &[f32], weight: &[f32], s: ConvShape, y: &mut [f32]) {
    check(x, weight.len(), y.len(), s);
    let (rows, step) = (s.n * s.h, rows_per_tile(s));
    let mut col = vec![0.0f32; s.c_in * 9 * step * s.w];
    for r0 in (0..rows).step_by(step) {
        let range = (r0, (r0 + step).min(rows));
        // SAFETY: `y` is ours alone and as long as `check` says.
        unsafe { forward_tile(x, weight, s, range, &mut col, y.as_mut_ptr()) }
    }
}

/// The gradient of the weights, `[c_out, c_in·9]`, from the input and the output's
/// gradient.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], s: ConvShape) -> Vec<f32> {
    check(x, s.c_out * s.c_in * 9, dy.len(), s);
    let (rows, step) = (s.n * s.h, rows_per_tile(s));
    let tiles = rows.div_ceil(step);
    let per_part = tiles.div_ceil(PARTIAL_SUMS);
    let parts: Vec<Vec<f32>> = (0..PARTIAL_SUMS)
        .into_par_iter()
        .map(|part| {
            let mut dw = vec![0.0f32; s.c_out * s.c_in * 9];
            let mut col = vec![0.0f32; s.c_in * 9 * step * s.w];
            for i in part * per_part..((part + 1) * per_part).min(tiles) {
                let range = (i * step, ((i + 1) * step).min(rows));
                add_tile_gradient(x, dy, s, range, &mut col, &mut dw);
            }
            dw
        })
        .collect();
    sum(parts)
}

fn add_tile_gradient(
    x: &[f32],
    dy: &[f32],
    s: ConvShape,
    (r0, r1): (usize, usize),
    col: &mut [f32],
    dw: &mut [f32],
) {
    let (k, tile) = (s.c_in * 9, (r1 - r0) * s.w);
    im2col(x, s, (r0, r1), col);
    // SAFETY: `dw` is [c_out, k]; the tile's columns of `dy` are [c_out, tile] with the
    // plane as row stride; `col` is read as its transpose, [tile, k].
    unsafe {
        sgemm(
            (s.c_out, k, tile),
            dw.as_mut_ptr(),
            k,
            true,
            dy.as_ptr().add(r0 * s.w),
            s.plane(),
            col.as_ptr(),
            (1, tile),
        );
    }
}
