//! Products of matrices in AVX-512, that the kernels for small and for wide maps are made of.

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
};

/// Lanes of a vector.
pub(super) const LANES: usize = 16;
/// Rows of the result that are computed together: 6x4 sums of 32 registers.
const ROWS: usize = 6;
/// Vectors of a row that are computed together.
pub(super) const VECTORS: usize = 4;

/// A matrix by rows.
#[derive(Clone, Copy)]
pub(super) struct Rows<P> {
    /// The first element.
    pub(super) at: P,
    /// Elements from one row to the next.
    pub(super) stride: usize,
}

impl<P> Rows<P> {
    pub(super) fn new(at: P, stride: usize) -> Self {
        Self { at, stride }
    }
}

/// `out (+)= a·b` with `a` `[m, k]`, `b` `[k, n]`, `out` `[m, n]`; `n` a multiple of `LANES`.
///
/// # Safety
/// Needs AVX-512, and memory that is valid for those sizes and strides; `out` overlaps neither.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(
    (m, n, k): (usize, usize, usize),
    a: Rows<*const f32>,
    b: Rows<*const f32>,
    out: Rows<*mut f32>,
    add: bool,
) {
    debug_assert_eq!(n % LANES, 0, "columns");
    for column in (0..n).step_by(VECTORS * LANES) {
        let vectors = ((n - column) / LANES).min(VECTORS);
        for row in (0..m).step_by(ROWS) {
            // SAFETY: `row` and `column` are inside; the rest is the caller's promise.
            unsafe {
                let a = Rows::new(a.at.add(row * a.stride), a.stride);
                let b = Rows::new(b.at.add(column), b.stride);
                let out = Rows::new(out.at.add(row * out.stride + column), out.stride);
                let rows = (m - row).min(ROWS);
                match vectors {
                    4 => rows_of::<4>(rows, k, a, b, out, add),
                    3 => rows_of::<3>(rows, k, a, b, out, add),
                    2 => rows_of::<2>(rows, k, a, b, out, add),
                    _ => rows_of::<1>(rows, k, a, b, out, add),
                }
            }
        }
    }
}

/// # Safety
/// As [`multiply`], for `rows` rows and `V` vectors.
#[target_feature(enable = "avx512f")]
unsafe fn rows_of<const V: usize>(
    rows: usize,
    k: usize,
    a: Rows<*const f32>,
    b: Rows<*const f32>,
    out: Rows<*mut f32>,
    add: bool,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            6 => block::<6, V>(k, a, b, out, add),
            5 => block::<5, V>(k, a, b, out, add),
            4 => block::<4, V>(k, a, b, out, add),
            3 => block::<3, V>(k, a, b, out, add),
            2 => block::<2, V>(k, a, b, out, add),
            _ => block::<1, V>(k, a, b, out, add),
        }
    }
}

/// # Safety
/// As [`multiply`], for `R` rows and `V` vectors.
#[target_feature(enable = "avx512f")]
unsafe fn block<const R: usize, const V: usize>(
    k: usize,
    a: Rows<*const f32>,
    b: Rows<*const f32>,
    out: Rows<*mut f32>,
    add: bool,
) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    let mut from = b.at;
    for i in 0..k {
        // SAFETY: the caller's promise.
        unsafe {
            let inputs: [__m512; V] = std::array::from_fn(|v| _mm512_loadu_ps(from.add(v * LANES)));
            for (r, row) in sums.iter_mut().enumerate() {
                let factor = _mm512_set1_ps(*a.at.add(r * a.stride + i));
                for (sum, input) in row.iter_mut().zip(inputs) {
                    *sum = _mm512_fmadd_ps(factor, input, *sum);
                }
            }
            from = from.add(b.stride);
        }
    }
    for (r, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let to = out.at.add(r * out.stride + v * LANES);
                let sum = if add {
                    _mm512_add_ps(_mm512_loadu_ps(to), *sum)
                } else {
                    *sum
                };
                _mm512_storeu_ps(to, sum);
            }
        }
    }
}
