//! Shrinking pictures by area, for training at low resolution first.

/// Weights of the source pixels of each output pixel along one axis.
pub(super) struct AreaResize {
    taps: Vec<(usize, Vec<f32>)>,
    from: usize,
}

impl AreaResize {
    /// From `from` to `to` pixels, `to` not larger than `from`.
    pub(super) fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let taps = (0..to)
            .map(|i| {
                let (start, end) = (i as f64 * scale, (i + 1) as f64 * scale);
                let first = start.floor() as usize;
                let last = (end.ceil() as usize).min(from);
                let share = |j: usize| {
                    let covered = end.min((j + 1) as f64) - start.max(j as f64);
                    (covered / scale) as f32
                };
                (first, (first..last).map(share).collect())
            })
            .collect();
        Self { taps, from }
    }

    /// Resizes a square plane `[from, from]` to `[to, to]`.
    pub(super) fn apply(&self, plane: &[f32], out: &mut [f32]) {
        let (from, to) = (self.from, self.taps.len());
        let mut row = vec![0.0f32; from];
        for ((first, weights), out) in self.taps.iter().zip(out.chunks_exact_mut(to)) {
            row.fill(0.0);
            for (i, weight) in weights.iter().enumerate() {
                let source = &plane[(first + i) * from..][..from];
                row.iter_mut()
                    .zip(source)
                    .for_each(|(r, s)| *r += weight * s);
            }
            for ((first, weights), out) in self.taps.iter().zip(out) {
                *out = weights.iter().zip(&row[*first..]).map(|(w, r)| w * r).sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_mean_and_flat_areas() {
        for to in [20, 24, 31, 32] {
            let resize = AreaResize::new(32, to);
            let plane: Vec<f32> = (0..32 * 32).map(|i| ((i * 37) % 101) as f32).collect();
            let mut out = vec![0.0; to * to];
            resize.apply(&plane, &mut out);
            let mean = |x: &[f32]| x.iter().sum::<f32>() / x.len() as f32;
            assert!((mean(&out) - mean(&plane)).abs() < 1e-2);
            resize.apply(&[3.0; 32 * 32], &mut out);
            assert!(out.iter().all(|v| (v - 3.0).abs() < 1e-5));
        }
    }

    #[test]
    fn halving_averages_four_pixels() {
        let mut out = [0.0];
        AreaResize::new(2, 1).apply(&[1.0, 2.0, 3.0, 6.0], &mut out);
        assert_eq!(out, [3.0]);
    }
}
