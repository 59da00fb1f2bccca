//! Transpositions in AVX-512.

use super::product::LANES;
use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_shuffle_f32x4,
    _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

/// The lower 64 bits of each quarter of both, side by side.
#[target_feature(enable = "avx512f")]
fn low_pairs(v: [__m512; 2]) -> __m512 {
    _mm512_castpd_ps(_mm512_unpacklo_pd(
        _mm512_castps_pd(v[0]),
        _mm512_castps_pd(v[1]),
    ))
}

/// The upper 64 bits of each quarter of both, side by side.
#[target_feature(enable = "avx512f")]
fn high_pairs(v: [__m512; 2]) -> __m512 {
    _mm512_castpd_ps(_mm512_unpackhi_pd(
        _mm512_castps_pd(v[0]),
        _mm512_castps_pd(v[1]),
    ))
}

/// Four vectors whose quarters are 4x4 matrices, each transposed.
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(v: [__m512; 4]) -> [__m512; 4] {
    let low = [
        _mm512_unpacklo_ps(v[0], v[1]),
        _mm512_unpacklo_ps(v[2], v[3]),
    ];
    let high = [
        _mm512_unpackhi_ps(v[0], v[1]),
        _mm512_unpackhi_ps(v[2], v[3]),
    ];
    [
        low_pairs(low),
        high_pairs(low),
        low_pairs(high),
        high_pairs(high),
    ]
}

/// `from` `[rows, columns]` transposed to `to` `[columns, rows]`, both multiples of `LANES`.
///
/// # Safety
/// Needs AVX-512; both must be valid for their sizes.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn turn(from: *const f32, (rows, columns): (usize, usize), to: *mut f32) {
    debug_assert_eq!((rows % LANES, columns % LANES), (0, 0));
    for r in (0..rows).step_by(LANES) {
        for c in (0..columns).step_by(LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                turn_block(
                    from.add(r * columns + c),
                    columns,
                    to.add(c * rows + r),
                    rows,
                )
            };
        }
    }
}

/// # Safety
/// As [`turn`], for 16 rows and columns.
#[target_feature(enable = "avx512f")]
unsafe fn turn_block(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
    // 4x4 blocks are transposed inside of the vectors, then the blocks themselves.
    let fours: [[__m512; 4]; 4] = std::array::from_fn(|i| {
        // SAFETY: the caller's promise.
        transpose(std::array::from_fn(|k| unsafe {
            _mm512_loadu_ps(from.add((4 * i + k) * stride))
        }))
    });
    #[expect(
        clippy::needless_range_loop,
        reason = "it indexes inner arrays: a column"
    )]
    for k in 0..4 {
        let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(fours[0][k], fours[1][k]);
        let low_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(fours[0][k], fours[1][k]);
        let high = _mm512_shuffle_f32x4::<0b10_00_10_00>(fours[2][k], fours[3][k]);
        let high_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(fours[2][k], fours[3][k]);
        let columns = [
            _mm512_shuffle_f32x4::<0b10_00_10_00>(low, high),
            _mm512_shuffle_f32x4::<0b10_00_10_00>(low_odd, high_odd),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(low, high),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(low_odd, high_odd),
        ];
        for (quarter, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to.add((4 * quarter + k) * to_stride), column) };
        }
    }
}
