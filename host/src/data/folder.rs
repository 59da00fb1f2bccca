//! One folder of pictures per class, the classes in the order of their names.

use super::picture::{decode, has_color, size};
use super::{DataError, Dataset};
use rayon::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// The pictures of a folder whose sub-folders are the classes.
pub(super) struct Listing {
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Picture files.
    pub files: Vec<PathBuf>,
    /// Class of each.
    pub labels: Vec<u32>,
}

/// Lists a folder whose sub-folders are the classes: those of `classes`, where they are known
/// from another part, else those that hold pictures. A class without pictures keeps its number.
///
/// # Errors
/// [`DataError::Class`] where a sub-folder with pictures is none of `classes`.
pub(super) fn list(path: &Path, classes: Option<&[String]>) -> Result<Listing, DataError> {
    let mut listing = Listing {
        class_names: classes.map(<[String]>::to_vec).unwrap_or_default(),
        files: Vec::new(),
        labels: Vec::new(),
    };
    for folder in sorted_entries(path)?.into_iter().filter(|p| p.is_dir()) {
        let pictures: Vec<PathBuf> = sorted_entries(&folder)?
            .into_iter()
            .filter(|p| is_picture(p))
            .collect();
        if pictures.is_empty() {
            continue;
        }
        let name = file_name(&folder);
        let label = match classes {
            None => {
                listing.class_names.push(name);
                listing.class_names.len() - 1
            }
            Some(classes) => {
                let known = classes.iter().position(|c| *c == name);
                known.ok_or_else(|| DataError::Class {
                    path: folder.clone(),
                    classes: classes.len(),
                })?
            }
        };
        listing.labels.extend(pictures.iter().map(|_| label as u32));
        listing.files.extend(pictures);
    }
    Ok(listing)
}

/// Loads a folder whose sub-folders are the classes, see [`list`].
pub(super) fn load(path: &Path, classes: Option<&[String]>) -> Result<Dataset, DataError> {
    let Listing {
        class_names,
        files,
        labels,
    } = list(path, classes)?;
    let bytes = files
        .iter()
        .map(|f| fs::read(f).map_err(DataError::io(f)))
        .collect::<Result<Vec<_>, _>>()?;
    let (images, [h, w, c]) = decode_all(path, &bytes).map_err(|e| e.of_files(&files))?;
    Ok(Dataset {
        images,
        rows: (0..labels.len() as u32).collect(),
        labels,
        class_names,
        h,
        w,
        c,
    })
}

/// Whether a folder has sub-folders with pictures.
pub(super) fn is_class_folder(path: &Path) -> bool {
    let has_pictures = |p: &PathBuf| {
        p.is_dir() && sorted_entries(p).is_ok_and(|files| files.iter().any(|f| is_picture(f)))
    };
    sorted_entries(path).is_ok_and(|entries| entries.iter().any(has_pictures))
}

pub(super) fn sorted_entries(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut entries = fs::read_dir(path)
        .and_then(|entries| {
            entries
                .map(|e| Ok(e?.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(DataError::io(path))?;
    entries.sort();
    Ok(entries)
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    extension.is_some_and(|e| e == "png" || e == "jpg" || e == "jpeg")
}

/// Longest side of pictures that are held whole: as long as `--crop` makes them at most. A file of a
/// few kilobytes may say that it has thousands of pictures of hundreds of megabytes.
const LONGEST_SIDE: usize = 1024;

/// Decodes pictures, which must all have the size of the first, to `[n, h, w, c]`; one with
/// colour among grey ones makes all of them have three channels.
pub(super) fn decode_all(
    path: &Path,
    files: &[Vec<u8>],
) -> Result<(Vec<u8>, [usize; 3]), DataError> {
    let Some(first) = files.first() else {
        return Err(DataError::Empty { path: path.into() });
    };
    let [h, w] = size(path, 0, first)?;
    if w.max(h) > LONGEST_SIDE {
        return Err(DataError::TooLarge {
            path: path.into(),
            w,
            h,
            most: LONGEST_SIDE,
        });
    }
    let first = decode(path, 0, first)?;
    let color = first.color().has_color() || files.iter().any(|f| has_color(f));
    let channels = if color { 3 } else { 1 };
    let expected = [h, w, channels];
    let fits = |row, [h, w]: [usize; 2]| {
        let found = [h, w, channels];
        let path = path.to_owned();
        match found == expected {
            true => Ok(()),
            false => Err(DataError::ImageSize {
                path,
                row,
                found,
                expected,
            }),
        }
    };
    let mut pixels = zeros(expected, files.len()).map_err(DataError::io(path))?;
    pixels
        .par_chunks_mut(pixels_of(expected))
        .zip(files)
        .enumerate()
        .try_for_each(|(row, (to, file))| {
            // By its header first, so that a large one is not decoded to be refused.
            fits(row, size(path, row, file)?)?;
            let picture = decode(path, row, file)?;
            fits(
                row,
                [picture.height(), picture.width()].map(|side| side as usize),
            )?;
            match channels {
                3 => to.copy_from_slice(&picture.into_rgb8()),
                _ => to.copy_from_slice(&picture.into_luma8()),
            }
            Ok(())
        })?;
    Ok((pixels, expected))
}

/// Room for so many pictures; a first one that is a lie must not take the process with it.
fn zeros(size: [usize; 3], count: usize) -> std::io::Result<Vec<u8>> {
    let total = size.iter().try_fold(count, |n, side| n.checked_mul(*side));
    let mut pixels = Vec::new();
    let room = total.filter(|n| pixels.try_reserve_exact(*n).is_ok());
    pixels.resize(room.ok_or(std::io::ErrorKind::OutOfMemory)?, 0);
    Ok(pixels)
}

fn pixels_of(size: [usize; 3]) -> usize {
    size.iter().product::<usize>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_there_can_be_is_an_error() {
        for count in [1 << 40, usize::MAX] {
            let error = zeros([16_384, 16_384, 3], count).expect_err("too much");
            assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
        }
        assert_eq!(zeros([2, 3, 3], 2).expect("some"), vec![0; 36]);
    }

    #[test]
    fn pictures_that_only_a_crop_makes_use_of_are_not_held_whole() {
        let picture = |w, h| {
            let mut png = std::io::Cursor::new(Vec::new());
            let white = image::GrayImage::from_pixel(w, h, image::Luma([255]));
            white
                .write_to(&mut png, image::ImageFormat::Png)
                .expect("written");
            png.into_inner()
        };
        let (path, longest) = (Path::new("set"), LONGEST_SIDE as u32);
        let (pixels, size) = decode_all(path, &[picture(longest, 1)]).expect("held");
        assert_eq!((pixels.len(), size), (LONGEST_SIDE, [1, LONGEST_SIDE, 1]));
        let error = decode_all(path, &[picture(2, longest + 1)]).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "picture 0 of set has 2x1025 pixels; sets of at most 1024x1024 are held whole"
        );
    }
}
