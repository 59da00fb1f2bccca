//! `evaluation.json`: how the compressed network errs, for the report.

use std::io::Cursor;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use serde::{Deserialize, Serialize};

/// Counts of test images by true class and predicted class, `[class][predicted]`.
pub type Confusion = Vec<Vec<u32>>;

/// How both networks do on the test images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Of the given network.
    pub before: Confusion,
    /// Of the compressed network.
    pub after: Confusion,
    /// A few images that only the given network gets right.
    #[serde(default)]
    pub broken: Vec<BrokenImage>,
}

/// An image that the given network gets right and the compressed one wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokenImage {
    /// Its row in the data set.
    pub row: usize,
    /// True class, which the given network finds.
    pub class: usize,
    /// What the compressed network says.
    pub predicted: usize,
    /// The picture as a PNG, base64.
    pub png_base64: String,
}

impl BrokenImage {
    /// From `pixels`, `[h, w, 3]` in RGB.
    ///
    /// # Errors
    /// The encoder's, such as for `pixels` of another length than `h·w·3`.
    pub fn new(
        row: usize,
        class: usize,
        predicted: usize,
        pixels: &[u8],
        [h, w]: [usize; 2],
    ) -> Result<Self, image::ImageError> {
        let mut png = Vec::new();
        // The encoder asserts the length; an error value is kinder.
        if pixels.len() != h * w * 3 {
            let reason = image::error::ParameterErrorKind::DimensionMismatch;
            let error = image::error::ParameterError::from_kind(reason);
            return Err(image::ImageError::Parameter(error));
        }
        PngEncoder::new(Cursor::new(&mut png)).write_image(
            pixels,
            w as u32,
            h as u32,
            ExtendedColorType::Rgb8,
        )?;
        Ok(Self {
            row,
            class,
            predicted,
            png_base64: base64(&png),
        })
    }
}

/// RFC 4648 base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0u32, |g, (i, &b)| g | u32::from(b) << (16 - 8 * i));
        for i in 0..4 {
            if i <= chunk.len() {
                text.push(char::from(ALPHABET[(group >> (18 - 6 * i) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfcs_examples() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_picture_becomes_a_png_and_a_wrong_size_an_error() {
        let image = BrokenImage::new(7, 1, 2, &[200; 2 * 3 * 3], [2, 3]).unwrap();
        assert!(image.png_base64.starts_with("iVBORw0KGgo"));
        assert!(BrokenImage::new(7, 1, 2, &[200; 17], [2, 3]).is_err());
    }
}
