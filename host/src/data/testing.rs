//! Pictures that tests learn from.

use super::Dataset;
use crate::nn::Rng;

/// 8x8 pictures of two classes: the left or the right half is bright.
pub fn halves(n: usize, seed: u64) -> Dataset {
    let mut rng = Rng::new(seed);
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
    let mut images = Vec::new();
    for label in &labels {
        for i in 0..8 * 8 * 3 {
            let bright = (i / 3 % 8 >= 4) == (*label == 1);
            images.push((rng.below(90) + if bright { 130 } else { 0 }) as u8);
        }
    }
    let class_names = vec!["left".into(), "right".into()];
    Dataset {
        images,
        rows: (0..n as u32).collect(),
        labels,
        class_names,
        h: 8,
        w: 8,
        c: 3,
    }
}
