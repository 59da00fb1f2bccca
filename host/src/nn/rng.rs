//! The one source of randomness: ChaCha8 with a state that checkpoints can store.

use rand::{Rng as _, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A seeded generator whose state is serializable and whose output is the same on every
/// machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// An independent generator: stream `stream` of `seed`. Work that is addressed by a
    /// number (an epoch, a batch) draws from its own stream, so that it can be redone
    /// after a resume, or by another thread, without replaying what came before.
    pub fn stream(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// A new generator seeded from this one.
    pub fn fork(&mut self) -> Self {
        Self::new(self.0.next_u64())
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f32 {
        self.0.random::<f32>()
    }

    /// Uniform in `[low, high)`.
    pub fn uniform_in(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in `0..n`.
    ///
    /// # Panics
    /// Where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n as u64) as usize
    }

    /// A fair coin.
    pub fn coin(&mut self) -> bool {
        self.0.next_u32() & 1 == 1
    }

    /// Standard normal (Box–Muller, without keeping the second value, so that the
    /// generator's state is all the state there is).
    pub fn normal(&mut self) -> f32 {
        let u = 1.0 - self.0.random::<f64>();
        let v = self.0.random::<f64>();
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// Normal with this mean and deviation, redrawn until it lies in `[low, high]`.
    ///
    /// # Panics
    /// Where `low >= high`.
    pub fn truncated_normal(&mut self, mean: f32, deviation: f32, low: f32, high: f32) -> f32 {
        assert!(low < high, "empty interval [{low}, {high}]");
        for _ in 0..1000 {
            let x = mean + deviation * self.normal();
            if (low..=high).contains(&x) {
                return x;
            }
        }
        // The interval is far out in the tail: the nearest bound is the limit of the
        // truncated distribution there.
        mean.clamp(low, high)
    }

    /// `n` standard normal values.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// Shuffles in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_serialization() {
        let mut a = Rng::new(7);
        a.normals(13);
        let text = serde_json::to_string(&a).expect("serializable");
        let mut b: Rng = serde_json::from_str(&text).expect("deserializable");
        assert_eq!(a.normals(100), b.normals(100));
    }

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |s| Rng::stream(1, s).normals(4);
        assert_ne!(draw(0), draw(1));
        assert_eq!(draw(5), draw(5));
    }

    #[test]
    fn normal_has_unit_moments() {
        let x = Rng::new(3).normals(100_000);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.len() as f32;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((var - 1.0).abs() < 0.02, "variance {var}");
    }

    #[test]
    fn truncated_normal_stays_inside() {
        let mut rng = Rng::new(0);
        for _ in 0..1000 {
            let x = rng.truncated_normal(0.9, 0.5, 0.1, 1.0);
            assert!((0.1..=1.0).contains(&x));
        }
        assert_eq!(rng.truncated_normal(50.0, 0.1, 0.0, 1.0), 1.0);
    }
}
