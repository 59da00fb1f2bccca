//! Pixels to points and back, sixteen tiles at a time, one lane each.

use super::super::transpose::transpose;
use super::geometry::Group;
use super::{PATCH, TILE};
use std::arch::x86_64::{
    __m128, __m256, __m512, _mm_mask_storeu_ps, _mm_maskz_loadu_ps, _mm256_castps_pd,
    _mm256_maskz_loadu_ps, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_castps128_ps512, _mm512_castps256_ps512, _mm512_castps512_ps128, _mm512_extractf32x4_ps,
    _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_insertf32x4, _mm512_insertf64x4, _mm512_loadu_ps,
    _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps,
    _mm512_sub_ps,
};
use std::mem::MaybeUninit;

/// `M` rows of `N` vectors that are set one by one: cleared first, each group of tiles calls
/// memset.
struct Vectors<const M: usize, const N: usize>([MaybeUninit<[__m512; N]>; M]);

impl<const M: usize, const N: usize> Vectors<M, N> {
    #[inline]
    fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; M])
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn set(&mut self, row: usize, vectors: [__m512; N]) {
        self.0[row].write(vectors);
    }

    /// # Safety
    /// All rows must have been set.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn column(&self, j: usize) -> [__m512; M] {
        // SAFETY: the caller's promise.
        std::array::from_fn(|i| unsafe { self.0[i].assume_init_ref()[j] })
    }
}

/// `Bᵀ·d` of one row or column of a patch.
#[target_feature(enable = "avx512f")]
fn patch_points(d: [__m512; PATCH]) -> [__m512; PATCH] {
    let (two, four, five) = (
        _mm512_set1_ps(2.0),
        _mm512_set1_ps(4.0),
        _mm512_set1_ps(5.0),
    );
    let even = _mm512_fnmadd_ps(four, d[2], d[4]);
    let odd = _mm512_fnmadd_ps(four, d[1], d[3]);
    let step = _mm512_sub_ps(d[4], d[2]);
    let slope = _mm512_mul_ps(two, _mm512_sub_ps(d[3], d[1]));
    [
        _mm512_fmadd_ps(four, d[0], _mm512_fnmadd_ps(five, d[2], d[4])),
        _mm512_add_ps(even, odd),
        _mm512_sub_ps(even, odd),
        _mm512_add_ps(step, slope),
        _mm512_sub_ps(step, slope),
        _mm512_fmadd_ps(four, d[1], _mm512_fnmadd_ps(five, d[3], d[5])),
    ]
}

/// `Aᵀ·m` of one row or column of points.
#[target_feature(enable = "avx512f")]
fn outputs(m: [__m512; PATCH]) -> [__m512; TILE] {
    let (two, four, eight) = (
        _mm512_set1_ps(2.0),
        _mm512_set1_ps(4.0),
        _mm512_set1_ps(8.0),
    );
    let (near, far) = (_mm512_add_ps(m[1], m[2]), _mm512_add_ps(m[3], m[4]));
    let (near_odd, far_odd) = (_mm512_sub_ps(m[1], m[2]), _mm512_sub_ps(m[3], m[4]));
    [
        _mm512_add_ps(m[0], _mm512_add_ps(near, far)),
        _mm512_fmadd_ps(two, far_odd, near_odd),
        _mm512_fmadd_ps(four, far, near),
        _mm512_add_ps(m[5], _mm512_fmadd_ps(eight, far_odd, near_odd)),
    ]
}

/// `A·y` of one row or column of a tile: the adjoint of [`outputs`].
#[target_feature(enable = "avx512f")]
fn output_points(y: [__m512; TILE]) -> [__m512; PATCH] {
    let (two, four) = (_mm512_set1_ps(2.0), _mm512_set1_ps(4.0));
    let (even, odd) = (_mm512_add_ps(y[0], y[2]), _mm512_add_ps(y[1], y[3]));
    let far_even = _mm512_fmadd_ps(four, y[2], y[0]);
    let far_odd = _mm512_mul_ps(two, _mm512_fmadd_ps(four, y[3], y[1]));
    [
        y[0],
        _mm512_add_ps(even, odd),
        _mm512_sub_ps(even, odd),
        _mm512_add_ps(far_even, far_odd),
        _mm512_sub_ps(far_even, far_odd),
        y[3],
    ]
}

/// The patches of a group in one plane, taken to their points: point `p` of lane `l` at
/// `to[p·stride + l]`.
///
/// # Safety
/// Needs AVX-512F and VL. `plane` must be the batch's plane that `group` was made for, and
/// `to` writable there.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) unsafe fn patches(plane: *const f32, group: &Group, to: *mut f32, stride: usize) {
    let mut rows = Vectors::<PATCH, PATCH>::new();
    for i in 0..PATCH {
        // SAFETY: masked lanes are not read, and the others lie in the plane.
        rows.set(i, patch_points(unsafe { patch_row(plane, group, i) }));
    }
    for j in 0..PATCH {
        // SAFETY: all rows were set.
        let column = patch_points(unsafe { rows.column(j) });
        for (i, points) in column.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to.add((i * PATCH + j) * stride), points) };
        }
    }
}

/// Row `i` of the patches of a group, a vector for each column.
///
/// # Safety
/// As [`patches`].
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn patch_row(plane: *const f32, group: &Group, i: usize) -> [__m512; PATCH] {
    let row = |lane: usize| {
        // Addresses of masked columns may lie outside of the plane; they are not read.
        let at = plane
            .wrapping_add(group.first[lane] + i * group.row)
            .wrapping_sub(group.row + 1);
        // SAFETY: as above.
        unsafe { _mm256_maskz_loadu_ps(group.patch[lane][i], at) }
    };
    // Rows of lanes k and k + 4 of each half side by side; then each half is transposed, the
    // quarters of the halves falling into the order of lanes.
    let pairs: [__m512; 8] = std::array::from_fn(|k| {
        let lane = k % 4 + k / 4 * 8;
        join(_mm512_castps256_ps512(row(lane)), row(lane + 4))
    });
    let half = |k: usize| transpose(std::array::from_fn(|i| pairs[k + i]));
    let (a, b) = (half(0), half(4));
    let first = |c: usize| _mm512_shuffle_f32x4::<0b10_00_10_00>(a[c], b[c]);
    let second = |c: usize| _mm512_shuffle_f32x4::<0b11_01_11_01>(a[c], b[c]);
    [first(0), first(1), first(2), first(3), second(0), second(1)]
}

#[target_feature(enable = "avx512f,avx512vl")]
fn join(low: __m512, high: __m256) -> __m512 {
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(
        _mm512_castps_pd(low),
        _mm256_castps_pd(high),
    ))
}

/// The points of a group taken to outputs, written into one plane; point `p` of lane `l` at
/// `from[p·stride + l]`.
///
/// # Safety
/// As [`patches`], `plane` writable at the group's tiles and `from` readable.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) unsafe fn tiles(from: *const f32, stride: usize, group: &Group, plane: *mut f32) {
    let mut columns = Vectors::<PATCH, TILE>::new();
    for j in 0..PATCH {
        let points = std::array::from_fn(|i| {
            // SAFETY: the caller's promise.
            unsafe { _mm512_loadu_ps(from.add((i * PATCH + j) * stride)) }
        });
        columns.set(j, outputs(points));
    }
    for i in 0..TILE {
        // SAFETY: all columns were set.
        let rows = transpose(outputs(unsafe { columns.column(i) }));
        for (k, row) in rows.into_iter().enumerate() {
            for (quarter, tile) in quarters(row).into_iter().enumerate() {
                let lane = 4 * quarter + k;
                let at = plane.wrapping_add(group.first[lane] + i * group.row);
                // SAFETY: what is not masked lies inside of the plane.
                unsafe { _mm_mask_storeu_ps(at, group.tile[lane][i], tile) };
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
fn quarters(v: __m512) -> [__m128; 4] {
    [
        _mm512_castps512_ps128(v),
        _mm512_extractf32x4_ps::<1>(v),
        _mm512_extractf32x4_ps::<2>(v),
        _mm512_extractf32x4_ps::<3>(v),
    ]
}

/// The tiles of a group in one plane of an output's gradient, taken to their points as the
/// adjoint of [`tiles`] does.
///
/// # Safety
/// As [`patches`].
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) unsafe fn gradients(plane: *const f32, group: &Group, to: *mut f32, stride: usize) {
    let mut rows = Vectors::<TILE, PATCH>::new();
    for i in 0..TILE {
        let mut lanes = [_mm512_setzero_ps(); 4];
        for (k, lanes) in lanes.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let v = _mm512_castps128_ps512(tile_row(plane, group, i, k));
                let v = _mm512_insertf32x4::<1>(v, tile_row(plane, group, i, k + 4));
                let v = _mm512_insertf32x4::<2>(v, tile_row(plane, group, i, k + 8));
                *lanes = _mm512_insertf32x4::<3>(v, tile_row(plane, group, i, k + 12));
            }
        }
        rows.set(i, output_points(transpose(lanes)));
    }
    for j in 0..PATCH {
        // SAFETY: all rows were set.
        let column = output_points(unsafe { rows.column(j) });
        for (i, points) in column.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to.add((i * PATCH + j) * stride), points) };
        }
    }
}

/// Row `i` of the tile of a lane.
///
/// # Safety
/// As [`patches`].
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn tile_row(plane: *const f32, group: &Group, i: usize, lane: usize) -> __m128 {
    let at = plane.wrapping_add(group.first[lane] + i * group.row);
    // SAFETY: masked columns are not read, and the others lie in the plane.
    unsafe { _mm_maskz_loadu_ps(group.tile[lane][i], at) }
}
