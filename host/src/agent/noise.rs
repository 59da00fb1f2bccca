//! Exploration: normal noise truncated to the actions' range, and its schedule.

use rand::Rng;
use serde::{Deserialize, Serialize};

/// Deviations above are no wider in `[0, 1]` than this one, and would be drawn ever longer.
const WIDEST: f32 = 10.0;

/// A normal deviate of mean `mean` and deviation `sigma`, at most 10, conditioned on lying in
/// `[0, 1]` (drawn anew until it does, which takes about two draws at worst for a mean inside and
/// a deviation of 1). A mean that is no number counts as 0.5, such a deviation as 0.
pub fn truncated_normal(mean: f32, sigma: f32, rng: &mut impl Rng) -> f32 {
    let mean = if mean.is_nan() {
        0.5
    } else {
        mean.clamp(0.0, 1.0)
    };
    if sigma.is_nan() || sigma <= 0.0 {
        return mean;
    }
    let sigma = sigma.min(WIDEST);
    loop {
        let value = mean + sigma * standard_normal(rng);
        if (0.0..=1.0).contains(&value) {
            return value;
        }
    }
}

/// Box and Muller's cosine branch.
fn standard_normal(rng: &mut impl Rng) -> f32 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// How exploration shrinks over a search of `episodes` episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Episodes of uniformly random actions at the start.
    pub warmup: usize,
    /// Deviation of the first episode after the warm-up.
    pub sigma_start: f32,
    /// Deviation from episode [`Self::settled`] on.
    pub sigma_end: f32,
    /// Episode at which the deviation has reached its end.
    pub settled: usize,
}

impl Schedule {
    /// Warm-up of max(10, E/5) episodes, then σ from 0.5 to 0.05, geometrically, by 0.9·E.
    ///
    /// AMC's schedule assumes 800 episodes; at tens of episodes it would stay random search.
    pub fn over(episodes: usize) -> Self {
        Self {
            warmup: (episodes / 5).max(10),
            sigma_start: 0.5,
            sigma_end: 0.05,
            settled: episodes * 9 / 10,
        }
    }

    /// Deviation in `episode` (from 0), or `None` while actions are uniformly random.
    pub fn sigma(&self, episode: usize) -> Option<f32> {
        if episode < self.warmup {
            return None;
        }
        if episode >= self.settled {
            return Some(self.sigma_end);
        }
        let t = (episode - self.warmup) as f32 / (self.settled - self.warmup) as f32;
        Some(self.sigma_start * (self.sigma_end / self.sigma_start).powf(t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn no_mean_and_no_deviation_is_drawn_for_ever() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for mean in [f32::NAN, f32::NEG_INFINITY, 0.3, f32::MAX] {
            for sigma in [f32::NAN, -1.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY] {
                let value = truncated_normal(mean, sigma, &mut rng);
                assert!((0.0..=1.0).contains(&value), "{mean} {sigma}: {value}");
            }
        }
    }

    #[test]
    fn schedule_is_the_documented_one() {
        let s = Schedule::over(40);
        assert_eq!((s.warmup, s.settled), (10, 36));
        assert_eq!(s.sigma(9), None);
        assert_eq!(s.sigma(10), Some(0.5));
        let mid = s.sigma(23).unwrap();
        assert!(
            (mid - 0.158_113_9).abs() < 1e-5,
            "geometric mean half-way: {mid}"
        );
        assert_eq!(s.sigma(36), Some(0.05));
        assert_eq!(s.sigma(39), Some(0.05));
        assert_eq!(Schedule::over(800).warmup, 160);
        // A search no longer than its warm-up has no division by zero.
        assert_eq!(Schedule::over(8).sigma(10), Some(0.05));
    }

    #[test]
    fn truncated_normal_stays_inside_and_spreads_by_sigma() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let draw = |mean, sigma, rng: &mut ChaCha8Rng| -> Vec<f32> {
            (0..4000)
                .map(|_| truncated_normal(mean, sigma, rng))
                .collect()
        };
        let narrow = draw(0.5, 0.05, &mut rng);
        let mean = narrow.iter().sum::<f32>() / 4000.0;
        let var = narrow.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.005 && (var.sqrt() - 0.05).abs() < 0.005);
        let edge = draw(1.3, 0.5, &mut rng);
        assert!(edge.iter().all(|v| (0.0..=1.0).contains(v)));
        assert!(edge.iter().sum::<f32>() / 4000.0 > 0.6);
        assert_eq!(truncated_normal(0.3, 0.0, &mut rng), 0.3);
    }
}
