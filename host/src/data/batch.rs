//! From pictures to normalized batches in `[c, n, h, w]`.

use super::Dataset;
use super::resize::AreaResize;
use crate::nn::Rng;
use serde::{Deserialize, Serialize};

/// How pixels become numbers: `x = (pixel − 255·mean_c)/(255·std_c)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Mean of each channel, as a fraction of 255.
    pub mean: Vec<f32>,
    /// Deviation of each channel, as a fraction of 255.
    pub std: Vec<f32>,
}

impl Normalization {
    /// Mean and deviation of each channel of these pictures, the mean rounded to a whole
    /// pixel value (`r_c/255`), so that an integer network centres its input exactly.
    pub fn measured(data: &Dataset) -> Self {
        let n = (data.images.len() / data.c).max(1) as f64;
        let (mut mean, mut std) = (Vec::new(), Vec::new());
        for c in 0..data.c {
            let pixels = || {
                data.images
                    .iter()
                    .skip(c)
                    .step_by(data.c)
                    .map(|p| f64::from(*p))
            };
            let centre = pixels().sum::<f64>() / n;
            let variance = pixels().map(|p| (p - centre).powi(2)).sum::<f64>() / n;
            mean.push((centre.round() / 255.0) as f32);
            // Four decimals say all there is to say; a flat channel is not scaled.
            let deviation = (variance.sqrt() / 255.0 * 1e4).round() / 1e4;
            std.push(if deviation > 0.0 {
                deviation as f32
            } else {
                1.0
            });
        }
        Self { mean, std }
    }

    /// The value of each of the 256 pixel values in channel `c`.
    fn table(&self, c: usize) -> [f32; 256] {
        let (mean, std) = (f64::from(self.mean[c]), f64::from(self.std[c]));
        std::array::from_fn(|pixel| ((pixel as f64 - 255.0 * mean) / (255.0 * std)) as f32)
    }
}

/// Random changes of training pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Pixels of mirrored border that a crop may reach into.
    pub pad: usize,
    /// Whether half of the pictures are mirrored left to right.
    pub flip: bool,
    /// Height and width of a square that is set to the mean, at a random place that may reach
    /// over the border (DeVries and Taylor 2017); 0 for none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cutout: usize,
}

/// Settings without cutout are written as they were before there was one.
#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_none(cutout: &usize) -> bool {
    *cutout == 0
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            pad: 4,
            flip: true,
            cutout: 0,
        }
    }
}

/// The pictures with these indices as they are: `[c, n, h, w]`; nothing of none.
///
/// # Panics
/// Where an index is out of range or the channels of `normalization` do not fit.
pub fn plain_batch(data: &Dataset, indices: &[usize], normalization: &Normalization) -> Vec<f32> {
    let plane = data.h * data.w;
    let mut out = vec![0.0f32; data.c * indices.len() * plane];
    for (c, channel) in out
        .chunks_exact_mut((indices.len() * plane).max(1))
        .enumerate()
    {
        let table = normalization.table(c);
        for (i, to) in indices.iter().zip(channel.chunks_exact_mut(plane)) {
            let pixels = data.image(*i).iter().skip(c).step_by(data.c);
            to.iter_mut()
                .zip(pixels)
                .for_each(|(t, p)| *t = table[usize::from(*p)]);
        }
    }
    out
}

/// Randomly cropped and mirrored pictures, `[c, n, side, side]`; where `side` is smaller
/// than the pictures they are shrunk by area. `data` must hold square pictures for that, and
/// for cutout.
///
/// # Panics
/// As [`plain_batch`], and where pictures that are not square would be resized.
pub fn augmented_batch(
    data: &Dataset,
    indices: &[usize],
    normalization: &Normalization,
    augment: Augment,
    side: usize,
    rng: &mut Rng,
) -> Vec<f32> {
    let moves: Vec<Move> = indices.iter().map(|_| Move::draw(augment, rng)).collect();
    let resize = (side != data.h).then(|| {
        assert_eq!(data.h, data.w, "only square pictures can be resized");
        AreaResize::new(data.h, side)
    });
    let out_plane = if resize.is_some() {
        side * side
    } else {
        data.h * data.w
    };
    let mut out = vec![0.0f32; data.c * indices.len() * out_plane];
    let mut cropped = vec![0.0f32; data.h * data.w];
    for (c, channel) in out
        .chunks_exact_mut((indices.len() * out_plane).max(1))
        .enumerate()
    {
        let table = normalization.table(c);
        for ((i, m), to) in indices
            .iter()
            .zip(&moves)
            .zip(channel.chunks_exact_mut(out_plane))
        {
            match &resize {
                None => m.apply(data, *i, c, &table, to),
                Some(resize) => {
                    m.apply(data, *i, c, &table, &mut cropped);
                    resize.apply(&cropped, to);
                }
            }
        }
    }
    if data.h == data.w {
        cut_out(&mut out, (indices.len(), side), augment.cutout, rng);
    }
    out
}

/// Sets squares of `[c, n, side, side]` pictures to zero, which is the mean: one a picture, of
/// `size` pixels around a random one.
pub(super) fn cut_out(x: &mut [f32], (n, side): (usize, usize), size: usize, rng: &mut Rng) {
    if size == 0 {
        return;
    }
    let span = |centre: usize| {
        let first = centre.saturating_sub(size / 2);
        first..(centre + size.div_ceil(2)).min(side)
    };
    let draw = |_| (span(rng.below(side)), span(rng.below(side)));
    let squares: Vec<_> = (0..n).map(draw).collect();
    for (i, map) in x.chunks_exact_mut(side * side).enumerate() {
        let (rows, columns) = &squares[i % n];
        for row in rows.clone() {
            map[row * side..][columns.clone()].fill(0.0);
        }
    }
}

/// One picture's crop and reflection.
struct Move {
    down: isize,
    right: isize,
    flip: bool,
}

impl Move {
    fn draw(augment: Augment, rng: &mut Rng) -> Self {
        let mut shift = || rng.below(2 * augment.pad + 1) as isize - augment.pad as isize;
        let (down, right) = (shift(), shift());
        Self {
            down,
            right,
            flip: rng.coin() && augment.flip,
        }
    }

    fn apply(&self, data: &Dataset, i: usize, c: usize, table: &[f32; 256], to: &mut [f32]) {
        let image = data.image(i);
        let columns: Vec<usize> = (0..data.w)
            .map(|x| {
                let x = if self.flip { data.w - 1 - x } else { x };
                reflect(x as isize + self.right, data.w) * data.c + c
            })
            .collect();
        for (y, row) in to.chunks_exact_mut(data.w).enumerate() {
            let y = reflect(y as isize + self.down, data.h);
            let source = &image[y * data.w * data.c..][..data.w * data.c];
            for (t, x) in row.iter_mut().zip(&columns) {
                *t = table[usize::from(source[*x])];
            }
        }
    }
}

/// The index inside `0..n` that `i` mirrors to, the border pixel not repeated.
fn reflect(i: isize, n: usize) -> usize {
    let last = n as isize - 1;
    let i = if i < 0 { -i } else { i };
    let i = if i > last { 2 * last - i } else { i };
    i.clamp(0, last) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Dataset {
        let images = (0..2 * 8 * 8 * 3).map(|i| (i * 7 % 256) as u8).collect();
        Dataset {
            images,
            labels: vec![0, 1],
            rows: vec![0, 1],
            class_names: vec!["a".into(), "b".into()],
            h: 8,
            w: 8,
            c: 3,
        }
    }

    fn identity() -> Normalization {
        Normalization {
            mean: vec![0.0; 3],
            std: vec![1.0 / 255.0; 3],
        }
    }

    #[test]
    fn measured_normalization_centres_on_whole_pixels() {
        let data = data();
        let measured = Normalization::measured(&data);
        let x = plain_batch(&data, &[0, 1], &measured);
        for (c, channel) in x.chunks_exact(128).enumerate() {
            let r = 255.0 * measured.mean[c];
            assert!((r - r.round()).abs() < 1e-4);
            let mean = channel.iter().sum::<f32>() / 128.0;
            let var = channel.iter().map(|v| v * v).sum::<f32>() / 128.0;
            assert!(
                mean.abs() < 0.02 && (var - 1.0).abs() < 0.01,
                "{mean} {var}"
            );
        }
    }

    #[test]
    fn plain_batch_is_channel_major() {
        let data = data();
        let x = plain_batch(&data, &[1, 0], &identity());
        let at = |c: usize, n: usize, y: usize, x_: usize| x[((c * 2 + n) * 8 + y) * 8 + x_];
        for (c, y, x_) in [(0, 0, 0), (2, 3, 4), (1, 7, 7)] {
            let pixel = data.image(1)[(y * 8 + x_) * 3 + c];
            assert!((at(c, 0, y, x_) - f32::from(pixel)).abs() < 1e-3);
        }
        assert!(plain_batch(&data, &[], &identity()).is_empty());
    }

    #[test]
    fn no_augmentation_equals_the_plain_batch() {
        let data = data();
        let none = Augment {
            pad: 0,
            flip: false,
            cutout: 0,
        };
        let x = augmented_batch(&data, &[0, 1], &identity(), none, 8, &mut Rng::new(0));
        assert_eq!(x, plain_batch(&data, &[0, 1], &identity()));
    }

    #[test]
    fn augmentation_repeats_with_its_seed() {
        let data = data();
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            augmented_batch(
                &data,
                &[0; 16],
                &identity(),
                Augment::default(),
                6,
                &mut rng,
            )
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(draw(1).len(), 3 * 16 * 36);
    }

    #[test]
    fn cutout_takes_one_square_of_every_picture() {
        let with = |cutout| {
            let augment = Augment {
                pad: 2,
                flip: true,
                cutout,
            };
            let mut rng = Rng::new(5);
            augmented_batch(&data(), &[0, 1], &identity(), augment, 8, &mut rng)
        };
        let (plain, cut) = (with(0), with(4));
        for i in 0..2 {
            let changed = |c: usize| -> Vec<usize> {
                let at = (c * 2 + i) * 64;
                let pairs = plain[at..at + 64].iter().zip(&cut[at..at + 64]);
                let pairs = pairs.enumerate();
                pairs
                    .filter(|(_, (a, b))| a != b)
                    .map(|(k, (_, b))| {
                        assert_eq!(*b, 0.0);
                        k
                    })
                    .collect()
            };
            let all: std::collections::BTreeSet<usize> = (0..3).flat_map(changed).collect();
            let (rows, columns): (Vec<_>, Vec<_>) = all.iter().map(|k| (k / 8, k % 8)).unzip();
            let span = |v: &[usize]| v.iter().max().unwrap() - v.iter().min().unwrap() + 1;
            assert!(
                (2..=4).contains(&span(&rows)) && (2..=4).contains(&span(&columns)),
                "{all:?}"
            );
        }
    }

    #[test]
    fn settings_without_cutout_are_written_as_ever() {
        let text = serde_json::to_string(&Augment::default()).expect("writes");
        assert_eq!(text, r#"{"pad":4,"flip":true}"#);
        assert_eq!(
            serde_json::from_str::<Augment>(&text).expect("parses"),
            Augment::default()
        );
    }

    #[test]
    fn reflection_does_not_repeat_the_border() {
        let indices: Vec<usize> = (-3..11).map(|i| reflect(i, 8)).collect();
        assert_eq!(indices, [3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 6, 5, 4]);
    }
}
