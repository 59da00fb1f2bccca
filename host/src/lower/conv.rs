//! Convolution of `[h, w, c]` images as im2col and one matrix product, in f32 or f64.
//!
//! Used for the float reference and for the integer simulation, where every product and
//! sum is an integer small enough to be exact in the type that is used.

/// The shape of one convolution of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvShape {
    pub h: usize,
    pub w: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub k_h: usize,
    pub k_w: usize,
    pub stride: usize,
    pub pad: usize,
}

impl ConvShape {
    /// Output rows and columns.
    pub fn out(&self) -> (usize, usize) {
        let out = |len: usize, k: usize| (len + 2 * self.pad - k) / self.stride + 1;
        (out(self.h, self.k_h), out(self.w, self.k_w))
    }

    fn fan_in(&self) -> usize {
        self.k_h * self.k_w * self.c_in
    }
}

/// Scratch that is reused from layer to layer.
#[derive(Default)]
pub(super) struct Columns<T>(Vec<T>);

/// Element types that the matrix product takes.
pub(super) trait Element: Copy + Default + Send + Sync + 'static {
    const ONE: Self;
}

impl Element for f32 {
    const ONE: Self = 1.0;
}

impl Element for f64 {
    const ONE: Self = 1.0;
}

/// Rows of one matrix product, where there are enough images: each product packs the weights
/// anew, which costs as much as the product itself where a map has a few pixels only.
const ROWS: usize = 256;

/// Images `x` `[n, h, w, c_in]` with `weights` `[c_out, k_h, k_w, c_in]` into `out`
/// `[n, out_h, out_w, c_out]`. Single-threaded; callers spread images over threads.
pub(super) fn convolve<T: Element>(
    s: &ConvShape,
    x: &[T],
    weights: &[T],
    columns: &mut Columns<T>,
    out: &mut Vec<T>,
) {
    let (out_h, out_w) = s.out();
    let (image, pixels, k) = (s.h * s.w * s.c_in, out_h * out_w, s.fan_in());
    assert!(
        x.len().is_multiple_of(image) && weights.len() == s.c_out * k,
        "shapes disagree: {s:?}"
    );
    out.clear();
    out.resize(x.len() / image * pixels * s.c_out, T::default());
    let images = (ROWS / pixels).max(1);
    let outputs = out.chunks_mut(images * pixels * s.c_out);
    for (x, out) in x.chunks(images * image).zip(outputs) {
        // A kernel as large as the map sees each image as it lies in memory.
        if s.k_h == s.h && s.k_w == s.w && s.pad == 0 {
            product(s, x, weights, out);
        } else {
            columns.0.clear();
            x.chunks_exact(image)
                .for_each(|x| im2col(s, x, &mut columns.0));
            product(s, &columns.0, weights, out);
        }
    }
}

/// `lhs` `[rows, k]` by `weights` `[c_out, k]` into `out` `[rows, c_out]`.
fn product<T: Element>(s: &ConvShape, lhs: &[T], weights: &[T], out: &mut [T]) {
    let (rows, k) = (out.len() / s.c_out, s.fan_in());
    assert!(lhs.len() == rows * k && weights.len() == s.c_out * k);
    // SAFETY: `lhs` is [rows, k], `weights` [c_out, k] and `out` [rows, c_out], all row-major
    // and of exactly that many elements.
    unsafe {
        gemm::gemm(
            rows,
            s.c_out,
            k,
            out.as_mut_ptr(),
            1,
            s.c_out as isize,
            false,
            lhs.as_ptr(),
            1,
            k as isize,
            weights.as_ptr(),
            k as isize,
            1,
            T::default(),
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Appends the taps of each output pixel of one image, `[out_h * out_w, k]`.
fn im2col<T: Element>(s: &ConvShape, x: &[T], columns: &mut Vec<T>) {
    let (out_h, out_w) = s.out();
    let (k, start) = (s.fan_in(), columns.len());
    columns.resize(start + out_h * out_w * k, T::default());
    for (row, column) in columns[start..].chunks_exact_mut(k).enumerate() {
        let (oy, ox) = (row / out_w, row % out_w);
        for ky in 0..s.k_h {
            let Some(y) = (oy * s.stride + ky).checked_sub(s.pad).filter(|&y| y < s.h) else {
                continue;
            };
            // The taps of one kernel row that lie inside the image are contiguous on both sides.
            let left = ox * s.stride;
            let first = s.pad.saturating_sub(left);
            let end = s.k_w.min((s.w + s.pad).saturating_sub(left));
            if first >= end {
                continue;
            }
            let from = (y * s.w + left + first - s.pad) * s.c_in;
            let len = (end - first) * s.c_in;
            let to = (ky * s.k_w + first) * s.c_in;
            column[to..to + len].copy_from_slice(&x[from..from + len]);
        }
    }
}

/// 2x2 max-pool of images `[n, h, w, c]`, odd last rows and columns dropped.
pub(super) fn max_pool2(x: &[i32], h: usize, w: usize, c: usize, out: &mut Vec<i32>) {
    out.clear();
    out.reserve(x.len() / 4);
    for image in x.chunks_exact(h * w * c) {
        for rows in image
            .chunks_exact(w * c)
            .collect::<Vec<_>>()
            .chunks_exact(2)
        {
            let pairs = rows[0].chunks_exact(2 * c).zip(rows[1].chunks_exact(2 * c));
            for (top, bottom) in pairs {
                let ((a, b), (d, e)) = (top.split_at(c), bottom.split_at(c));
                out.extend((0..c).map(|i| a[i].max(b[i]).max(d[i]).max(e[i])));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_on_every_geometry() {
        for (h, w, k, stride, pad) in [
            (5, 7, 3, 1, 1),
            (6, 6, 5, 1, 2),
            (7, 5, 3, 2, 1),
            (4, 4, 1, 1, 0),
            (3, 3, 3, 1, 0),
        ] {
            let s = ConvShape {
                h,
                w,
                c_in: 3,
                c_out: 4,
                k_h: k,
                k_w: k,
                stride,
                pad,
            };
            let value = |i: usize| ((i * 7919 + 13) % 31) as f64 - 15.0;
            let (oh, ow) = s.out();
            // Two products, the second of them shorter.
            let n = ROWS / (oh * ow) + 1;
            let images: Vec<f64> = (0..n * h * w * 3).map(value).collect();
            let wt: Vec<f64> = (0..4 * k * k * 3).map(|i| value(i + 5)).collect();
            let (mut columns, mut out) = (Columns::default(), vec![]);
            convolve(&s, &images, &wt, &mut columns, &mut out);
            for (i, &got) in out.iter().enumerate() {
                let (o, ox, oy) = (i % 4, i / 4 % ow, i / 4 / ow % oh);
                let x = &images[i / 4 / ow / oh * h * w * 3..];
                let mut want = 0.0;
                for ky in 0..k {
                    for kx in 0..k {
                        let (y, xx) = (
                            (oy * stride + ky) as isize - pad as isize,
                            (ox * stride + kx) as isize - pad as isize,
                        );
                        if (0..h as isize).contains(&y) && (0..w as isize).contains(&xx) {
                            for c in 0..3 {
                                want += x[(y as usize * w + xx as usize) * 3 + c]
                                    * wt[((o * k + ky) * k + kx) * 3 + c];
                            }
                        }
                    }
                }
                assert_eq!(got, want, "{s:?} output {i}");
            }
            assert_eq!(out.len(), n * oh * ow * 4);
        }
    }
}
