//! Clipping thresholds that minimise the squared error of rounding (MSE clipping).

/// Candidates tried between a fraction of the maximum and the maximum.
const CANDIDATES: usize = 40;

/// The symmetric step for one channel's weights at `w_bits`: weights become
/// `round(w / step)` in ±(2^(w−1) − 1).
///
/// Tries clipping at 30 % to 100 % of the largest magnitude and keeps the step with the
/// least squared error. All-zero weights get a step of 1e-8, so that scales stay finite.
#[must_use]
pub fn weight_step(weights: &[f32], w_bits: u8) -> f32 {
    let max = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
    let levels = shared::semantics::weight_max(w_bits) as f32;
    if max == 0.0 {
        return 1e-8;
    }
    let mut best = (f64::INFINITY, max / levels);
    // At 8 bits the maximum is within a percent of the best; the search pays below.
    let tries = if w_bits >= 8 { 1 } else { CANDIDATES };
    for i in 0..tries {
        let clip = max * (1.0 - 0.7 * i as f32 / CANDIDATES as f32);
        let step = clip / levels;
        let error = weight_error(weights, step, levels);
        if error < best.0 {
            best = (error, step);
        }
    }
    best.1
}

/// Squared error of quantizing `weights` with `step` to ±`levels`.
#[must_use]
pub fn weight_error(weights: &[f32], step: f32, levels: f32) -> f64 {
    weights
        .iter()
        .map(|&w| {
            let q = (w / step).round().clamp(-levels, levels) * step;
            f64::from((w - q) * (w - q))
        })
        .sum()
}

/// A histogram of non-negative activations with a fixed number of bins over `0..max`.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Upper end of the last bin.
    pub max: f32,
    /// Counts.
    pub bins: Vec<u64>,
}

impl Histogram {
    /// Number of bins.
    pub const BINS: usize = 2048;

    /// An empty histogram over `0..max`.
    #[must_use]
    pub fn new(max: f32) -> Self {
        Self {
            max: max.max(1e-6),
            bins: vec![0; Self::BINS],
        }
    }

    /// Counts one value; above the maximum it counts in the last bin.
    pub fn add(&mut self, value: f32) {
        let i = (value / self.max * Self::BINS as f32) as usize;
        self.bins[i.min(Self::BINS - 1)] += 1;
    }

    /// The clip (the value that maps to 2^a − 1) of least squared error at `a_bits`.
    #[must_use]
    pub fn clip(&self, a_bits: u8) -> f32 {
        let last = self.bins.iter().rposition(|&n| n > 0).unwrap_or(0);
        let top = self.max * (last + 1) as f32 / Self::BINS as f32;
        let levels = ((1u32 << a_bits) - 1) as f32;
        let lowest = if a_bits >= 8 { 0.5 } else { 0.1 };
        let mut best = (f64::INFINITY, top);
        for i in 0..CANDIDATES {
            let clip = top * (1.0 - (1.0 - lowest) * i as f32 / CANDIDATES as f32);
            let error = self.error(clip, levels);
            if error < best.0 {
                best = (error, clip);
            }
        }
        best.1
    }

    fn error(&self, clip: f32, levels: f32) -> f64 {
        let (width, step) = (self.max / Self::BINS as f32, clip / levels);
        self.bins
            .iter()
            .enumerate()
            .filter(|&(_, &n)| n > 0)
            .map(|(i, &n)| {
                // The first bin is mostly exact zeros, which cost nothing.
                let v = if i == 0 {
                    0.0
                } else {
                    (i as f32 + 0.5) * width
                };
                let q = (v / step).round().min(levels) * step;
                n as f64 * f64::from((v - q) * (v - q))
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_is_clipped_at_few_bits_only() {
        let mut w = vec![0.1f32; 200];
        w.iter_mut().step_by(2).for_each(|v| *v = -0.1);
        w.push(0.3);
        assert!((weight_step(&w, 8) - 0.3 / 127.0).abs() < 1e-6);
        let step = weight_step(&w, 2);
        assert!(step < 0.15, "ternary step {step} should clip the outlier");
        assert_eq!(weight_step(&[0.0; 4], 4), 1e-8);
    }

    #[test]
    fn activation_clip_follows_the_mass() {
        let mut h = Histogram::new(10.0);
        (0..10_000).for_each(|i| h.add(i as f32 / 10_000.0));
        h.add(9.9);
        assert!(h.clip(2) < 2.0, "2 bits: {}", h.clip(2));
        assert!(h.clip(8) >= h.clip(2));
    }
}
