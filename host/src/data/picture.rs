//! One encoded picture: whether it is whole, whether it has colour, its pixels.

use super::{DataError, guard::guarded};
use image::error::{DecodingError, ImageFormatHint};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Decodes picture `row` of `path`.
///
/// # Errors
/// [`DataError::CutShort`] for a JPEG without its end, which the decoder would fill with grey;
/// [`DataError::Decode`].
pub(super) fn decode(path: &Path, row: usize, file: &[u8]) -> Result<DynamicImage, DataError> {
    if is_cut_short(file) {
        return Err(DataError::CutShort {
            path: path.into(),
            row,
        });
    }
    decoded(path, row, || image::load_from_memory(file))
}

/// What calls of a decoder give; a panic of theirs is an error of the picture.
fn decoded<T>(
    path: &Path,
    row: usize,
    work: impl FnOnce() -> Result<T, ImageError>,
) -> Result<T, DataError> {
    let contradicts = || {
        let hint = ImageFormatHint::Unknown;
        let what = "the picture contradicts itself";
        Err(ImageError::Decoding(DecodingError::new(hint, what)))
    };
    let done = guarded(work).unwrap_or_else(contradicts);
    done.map_err(|source| DataError::Decode {
        path: path.into(),
        row,
        source,
    })
}

/// Most pixels that are decoded, each thread a picture: 192 MiB of them. No set that is
/// trained on has more, and a file of 4 kB can claim any number.
const MOST_PIXELS: usize = 1 << 26;

/// The same in three channels: grey pictures get their level in each, CMYK is converted.
///
/// # Errors
/// As [`decode`]; [`DataError::Pixels`].
pub(super) fn decode_rgb(path: &Path, row: usize, file: &[u8]) -> Result<RgbImage, DataError> {
    let [h, w] = size(path, row, file)?;
    if w.saturating_mul(h) > MOST_PIXELS {
        return Err(DataError::Pixels {
            path: path.into(),
            row,
            w,
            h,
            most: MOST_PIXELS,
        });
    }
    Ok(decode(path, row, file)?.into_rgb8())
}

/// Height and width that the picture's header says: a large picture is refused before it is decoded.
///
/// # Errors
/// [`DataError::Decode`].
pub(super) fn size(path: &Path, row: usize, file: &[u8]) -> Result<[usize; 2], DataError> {
    let (w, h) = decoded(path, row, || {
        let reader = ImageReader::new(Cursor::new(file)).with_guessed_format();
        reader.map_err(ImageError::IoError)?.into_dimensions()
    })?;
    Ok([h as usize, w as usize])
}

/// Whether the picture's header says that it has colour; `true` where there is no header.
pub(super) fn has_color(file: &[u8]) -> bool {
    let color = guarded(|| {
        let reader = ImageReader::new(Cursor::new(file)).with_guessed_format();
        let decoder = reader.map_err(ImageError::IoError)?.into_decoder()?;
        Ok::<_, ImageError>(decoder.color_type().has_color())
    });
    color.and_then(Result::ok).unwrap_or(true)
}

/// Whether this is a JPEG whose last scan does not end. In a scan, and nowhere after it, the
/// two markers can only be themselves.
fn is_cut_short(file: &[u8]) -> bool {
    const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
    const END: [u8; 2] = [0xff, 0xd9];
    if !file.starts_with(&[0xff, 0xd8]) {
        return false;
    }
    let last_scan = file.windows(2).rposition(|w| w == START_OF_SCAN);
    let scan = last_scan.map_or(file, |at| &file[at..]);
    !scan.windows(2).any(|w| w == END)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use image::{GrayImage, ImageFormat};

    pub fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let written = picture.into().write_to(&mut bytes, format);
        written.expect("encodes");
        bytes.into_inner()
    }

    pub fn noise(w: u32, h: u32) -> RgbImage {
        RgbImage::from_fn(w, h, |x, y| {
            image::Rgb([(x * 37 + y * 11) as u8, (x * y) as u8, (200 - y) as u8])
        })
    }

    /// A baseline JPEG of 8x8 pixels of one colour, four components, as Adobe writes CMYK:
    /// inverted, and not transformed.
    pub fn cmyk_jpeg([c, m, y, k]: [u8; 4]) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8];
        // APP14: version 100, no flags, transform 0.
        file.extend([0xff, 0xee, 0, 14]);
        file.extend(b"Adobe");
        file.extend([0, 100, 0, 0, 0, 0, 0]);
        file.extend([0xff, 0xdb, 0, 67, 0]);
        file.extend([8; 64]);
        file.extend([0xff, 0xc0, 0, 20, 8, 0, 8, 0, 8, 4]);
        for component in 1..=4 {
            file.extend([component, 0x11, 0]);
        }
        // DC: the sizes 0 to 8 by codes of 4 bits. AC: the end of a block by one bit.
        file.extend([0xff, 0xc4, 0, 28, 0x00, 0, 0, 0, 9]);
        file.extend([0; 12]);
        file.extend(0..9u8);
        file.extend([0xff, 0xc4, 0, 20, 0x10, 1]);
        file.extend([0; 15]);
        file.push(0);
        file.extend([0xff, 0xda, 0, 14, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
        let mut bits: Vec<bool> = Vec::new();
        for level in [c, m, y, k] {
            // The step is 8 and the transform gives 8 times the mean: one level a unit.
            let value = i32::from(255 - level) - 128;
            let size = 32 - value.unsigned_abs().leading_zeros();
            let coded = if value < 0 { value - 1 } else { value };
            bits.extend((0..4).rev().map(|b| size >> b & 1 == 1));
            bits.extend((0..size).rev().map(|b| coded >> b & 1 == 1));
            bits.push(false);
        }
        for byte in bits.chunks(8) {
            let ones = (0..8).map(|i| byte.get(i).copied().unwrap_or(true));
            let byte = ones.fold(0u8, |b, bit| b << 1 | u8::from(bit));
            file.push(byte);
            if byte == 0xff {
                file.push(0);
            }
        }
        file.extend([0xff, 0xd9]);
        file
    }

    #[test]
    fn cmyk_becomes_rgb() {
        for (ink, rgb) in [
            ([0, 0, 0, 0], [255, 255, 255]),
            ([255, 0, 0, 0], [0, 255, 255]),
            ([0, 255, 0, 0], [255, 0, 255]),
            ([0, 0, 127, 0], [255, 255, 128]),
            ([0, 0, 0, 255], [0, 0, 0]),
        ] {
            let file = cmyk_jpeg(ink);
            let picture = decode_rgb(Path::new("x"), 0, &file).expect("decodes");
            assert_eq!(picture.dimensions(), (8, 8));
            let pixel = picture.get_pixel(3, 5).0;
            let close = pixel.iter().zip(&rgb).all(|(a, b)| a.abs_diff(*b) <= 4);
            assert!(close, "{ink:?}: {pixel:?}, not {rgb:?}");
            assert!(has_color(&file));
        }
    }

    #[test]
    fn a_picture_that_claims_too_many_pixels_is_not_decoded() {
        let mut file = encoded(noise(8, 8), ImageFormat::Jpeg);
        let frame = file.windows(2).position(|w| w == [0xff, 0xc0]);
        let at = frame.expect("a baseline frame") + 5;
        file[at..at + 4].copy_from_slice(&[0xff, 0xff, 0x04, 0x01]);
        let error = decode_rgb(Path::new("set"), 3, &file).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "picture 3 of set has 1025x65535 pixels, more than 67108864"
        );
    }

    #[test]
    fn jpegs_that_are_cut_short_are_refused_wherever_they_end() {
        let file = encoded(noise(40, 30), ImageFormat::Jpeg);
        let at = Path::new("pictures");
        assert!(decode(at, 0, &file).is_ok());
        // Something behind the end is somebody else's.
        assert!(decode(at, 0, &[&file[..], b"tail"].concat()).is_ok());
        for end in [file.len() - 1, file.len() - 2, file.len() / 2, 300, 3] {
            let error = decode(at, 7, &file[..end])
                .expect_err("refused")
                .to_string();
            assert!(error.contains("picture 7 of pictures"), "{end}: {error}");
        }
        let png = encoded(noise(40, 30), ImageFormat::Png);
        assert!(decode(at, 0, &png[..png.len() / 2]).is_err());
    }

    #[test]
    fn grey_pictures_have_three_equal_channels() {
        let grey = GrayImage::from_fn(9, 7, |x, y| image::Luma([(x * 20 + y) as u8]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let file = encoded(grey.clone(), format);
            assert!(!has_color(&file));
            let picture = decode_rgb(Path::new("x"), 0, &file).expect("decodes");
            assert!(
                picture
                    .pixels()
                    .all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2])
            );
        }
    }
}
