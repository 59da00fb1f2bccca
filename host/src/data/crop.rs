//! Crops of pictures of any size to one: from the centre to judge, at random to train.

use crate::nn::Rng;
use image::RgbImage;
use image::imageops::{FilterType, crop_imm, flip_horizontal_in_place, resize};
use serde::{Deserialize, Serialize};

/// Tries for a random crop that lies inside of the picture.
const TRIES: usize = 10;

/// How pictures of any size become squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crop {
    /// Height and width of the squares.
    pub side: usize,
    /// Where the centre is taken, the picture's shorter side is resized to this first.
    pub resize: usize,
}

impl Crop {
    /// Squares of `side` pixels; seven eighths of the shorter side, as 224 of 256.
    #[must_use]
    pub fn new(side: usize) -> Self {
        Self {
            side,
            resize: (side * 8).div_ceil(7),
        }
    }

    /// The centre of a picture.
    pub(super) fn centre(&self, picture: &RgbImage) -> RgbImage {
        let (w, h) = picture.dimensions();
        // The square that would be cut after resizing, cut before.
        let share = self.side as f64 / self.resize.max(self.side) as f64;
        let cut = ((f64::from(w.min(h)) * share).round() as u32).clamp(1, w.min(h));
        let part = crop_imm(picture, (w - cut) / 2, (h - cut) / 2, cut, cut).to_image();
        squared(&part, self.side)
    }

    /// A random part of 8 % to 100 % of the area and of an aspect of 3:4 to 4:3, mirrored half
    /// of the time where `flip` says so (Szegedy et al. 2015, as torchvision has it).
    pub(super) fn random(picture: &RgbImage, side: usize, flip: bool, rng: &mut Rng) -> RgbImage {
        let (x, y, w, h) = random_part(picture.dimensions(), rng);
        let part = crop_imm(picture, x, y, w, h).to_image();
        let mut out = squared(&part, side);
        if rng.coin() && flip {
            flip_horizontal_in_place(&mut out);
        }
        out
    }
}

fn squared(part: &RgbImage, side: usize) -> RgbImage {
    if part.dimensions() == (side as u32, side as u32) {
        return part.clone();
    }
    resize(part, side as u32, side as u32, FilterType::Triangle)
}

/// `(x, y, width, height)`.
fn random_part((w, h): (u32, u32), rng: &mut Rng) -> (u32, u32, u32, u32) {
    let area = f64::from(w) * f64::from(h);
    let widest = (4.0f32 / 3.0).ln();
    for _ in 0..TRIES {
        let target = area * f64::from(rng.uniform_in(0.08, 1.0));
        let ratio = f64::from(rng.uniform_in(-widest, widest).exp());
        let part_w = (target * ratio).sqrt().round() as u32;
        let part_h = (target / ratio).sqrt().round() as u32;
        if (1..=w).contains(&part_w) && (1..=h).contains(&part_h) {
            let x = rng.below((w - part_w) as usize + 1) as u32;
            let y = rng.below((h - part_h) as usize + 1) as u32;
            return (x, y, part_w, part_h);
        }
    }
    // A very long picture: the largest centred part of an allowed aspect.
    let part_w = w.min((f64::from(h) * 4.0 / 3.0).round() as u32).max(1);
    let part_h = h.min((f64::from(w) * 4.0 / 3.0).round() as u32).max(1);
    ((w - part_w) / 2, (h - part_h) / 2, part_w, part_h)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red grows to the right, green downwards.
    fn ramp(w: u32, h: u32) -> RgbImage {
        RgbImage::from_fn(w, h, |x, y| {
            image::Rgb([(x * 255 / w.max(2)) as u8, (y * 255 / h.max(2)) as u8, 9])
        })
    }

    #[test]
    fn the_centre_is_in_the_middle_whatever_the_shape() {
        for (w, h) in [(64, 64), (100, 60), (60, 100), (7, 300), (1, 1), (16, 16)] {
            let out = Crop::new(28).centre(&ramp(w, h));
            assert_eq!(out.dimensions(), (28, 28));
            if w.min(h) < 16 {
                continue;
            }
            let mean = |c: usize| {
                let sum: u32 = out.pixels().map(|p| u32::from(p.0[c])).sum();
                f64::from(sum) / 784.0
            };
            assert!((mean(0) - 127.0).abs() < 10.0 && (mean(1) - 127.0).abs() < 10.0);
        }
        // Seven eighths: what is left out at each border is a sixteenth.
        let out = Crop::new(56).centre(&ramp(64, 64));
        assert!(out.get_pixel(0, 0).0[0].abs_diff(16) <= 2);
    }

    #[test]
    fn random_parts_lie_inside_and_repeat_with_their_seed() {
        for (w, h) in [(64, 64), (640, 480), (1, 1), (3, 900), (900, 3)] {
            let mut areas = Vec::new();
            for seed in 0..200 {
                let part = random_part((w, h), &mut Rng::new(seed));
                assert_eq!(part, random_part((w, h), &mut Rng::new(seed)));
                assert!(part.2 > 0 && part.3 > 0);
                assert!(part.0 + part.2 <= w && part.1 + part.3 <= h, "{part:?}");
                areas.push(f64::from(part.2 * part.3) / f64::from(w * h));
            }
            if w == 640 {
                let least = areas.iter().copied().fold(1.0, f64::min);
                let most = areas.iter().copied().fold(0.0, f64::max);
                assert!((0.07..0.2).contains(&least) && most > 0.8, "{least} {most}");
            }
        }
        let out = |seed| Crop::random(&ramp(50, 40), 16, true, &mut Rng::new(seed));
        assert_eq!(out(1), out(1));
        assert_ne!(out(1), out(2));
        assert_eq!(out(3).dimensions(), (16, 16));
    }
}
