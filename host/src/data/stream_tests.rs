//! Streams give what is on the disk, in squares, whatever lies there.

use super::parquet::EncodedRows;
use super::picture::tests::{cmyk_jpeg, encoded, noise};
use super::sample::write_in_groups;
use super::{Augment, Crop, DataError, Normalization, Source, Stream, StreamSplits, load, open};
use crate::nn::Rng;
use image::{GrayImage, ImageFormat, Luma, RgbImage};
use std::fs;
use std::path::Path;

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
    fs::write(path, bytes).expect("writes");
}

fn level(w: u32, h: u32, level: u8) -> RgbImage {
    RgbImage::from_pixel(w, h, image::Rgb([level; 3]))
}

fn plain() -> Normalization {
    Normalization {
        mean: vec![0.0; 3],
        std: vec![1.0 / 255.0; 3],
    }
}

/// A folder as ImageNet's: sizes and kinds of files as they come, a class without pictures,
/// and things that are no pictures.
fn mixed(folder: &Path) -> StreamSplits {
    let at = |name: &str| folder.join(name);
    put(
        &at("train/n01/a.JPEG"),
        &encoded(noise(60, 40), ImageFormat::Jpeg),
    );
    put(
        &at("train/n01/b.jpeg"),
        &encoded(GrayImage::from_pixel(33, 70, Luma([77])), ImageFormat::Jpeg),
    );
    put(&at("train/n01/c.jpg"), &cmyk_jpeg([0, 255, 0, 0]));
    // ImageNet has a PNG under a JPEG's name.
    put(
        &at("train/n03/d.JPEG"),
        &encoded(level(20, 20, 90), ImageFormat::Png),
    );
    put(&at("train/n03/notes.txt"), b"no picture");
    fs::create_dir_all(at("train/n02")).expect("creates");
    put(
        &at("val/n03/e.png"),
        &encoded(level(9, 31, 200), ImageFormat::Png),
    );
    open(folder, Crop::new(16)).expect("opens")
}

#[test]
fn mixed_sizes_and_kinds_become_squares_of_three_channels() {
    let folder = tempfile::tempdir().expect("folder");
    let splits = mixed(folder.path());
    assert_eq!(splits.train.class_names, ["n01", "n03"]);
    assert_eq!((splits.train.len(), splits.validation.len()), (4, 1));
    assert!(splits.test.is_none());
    // The only validation picture is of the second class, by its name.
    assert_eq!(splits.validation.label(0), 1);
    let data = splits.train.dataset(&[0, 1, 2, 3]).expect("reads");
    assert_eq!([data.h, data.w, data.c], [16, 16, 3]);
    // They lie sorted by class and are mixed; rows tell which is which.
    let at = |row: u32| data.rows.iter().position(|r| *r == row).expect("there");
    for (row, label) in [0, 0, 0, 1].into_iter().enumerate() {
        assert_eq!(data.labels[at(row as u32)], label);
    }
    let near = |row: u32, rgb: [u8; 3]| {
        let pixels = data.image(at(row)).as_chunks::<3>().0;
        pixels
            .iter()
            .all(|p| (0..3).all(|c| p[c].abs_diff(rgb[c]) <= 4))
    };
    assert!(near(1, [77; 3]) && near(2, [255, 0, 255]) && near(3, [90; 3]));
    let x = splits
        .train
        .plain(&[at(3), at(1)], &plain())
        .expect("reads");
    assert_eq!(x.len(), 3 * 2 * 256);
    assert!((x[0] - 90.0).abs() < 1.0 && (x[256] - 77.0).abs() < 4.0);
}

#[test]
fn damaged_and_unknown_files_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let splits = mixed(folder.path());
    let path = folder.path().join("train/n01/a.JPEG");
    let whole = fs::read(&path).expect("reads");
    fs::write(&path, &whole[..whole.len() / 2]).expect("writes");
    let error = splits.train.dataset(&[1, 0]).expect_err("refused");
    assert!(matches!(error, DataError::CutShort { .. }), "{error}");
    assert!(error.to_string().contains("a.JPEG"), "{error}");
    fs::remove_file(&path).expect("removes");
    let error = splits.train.dataset(&[0]).expect_err("refused");
    assert!(error.to_string().contains("a.JPEG"), "{error}");
    put(
        &folder.path().join("val/n09/x.png"),
        &encoded(level(9, 9, 1), ImageFormat::Png),
    );
    let error = open(folder.path(), Crop::new(16)).expect_err("refused");
    assert!(
        matches!(error, DataError::Class { .. }) && error.to_string().contains("n09"),
        "{error}"
    );
}

/// In sets of one size too: a class that is empty in one part keeps its number, and one
/// picture with colour makes all of them coloured.
#[test]
fn whole_sets_treat_empty_classes_and_grey_pictures_alike() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    for (name, picture) in [
        ("train/a/0.png", 10),
        ("train/b/0.png", 20),
        ("test/b/0.png", 30),
    ] {
        put(
            &at(name),
            &encoded(
                GrayImage::from_pixel(8, 8, Luma([picture])),
                ImageFormat::Png,
            ),
        );
    }
    fs::create_dir_all(at("test/a")).expect("creates");
    put(
        &at("validation/a/0.png"),
        &encoded(GrayImage::from_pixel(8, 8, Luma([40])), ImageFormat::Png),
    );
    let splits = load(folder.path()).expect("loads");
    let test = splits.test.expect("a part");
    assert_eq!(
        (test.labels, test.class_names),
        (vec![1], vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(splits.train.c, 1);
    put(
        &at("train/b/1.png"),
        &encoded(level(8, 8, 50), ImageFormat::Png),
    );
    let colour = RgbImage::from_pixel(8, 8, image::Rgb([1, 2, 3]));
    put(&at("train/b/2.png"), &encoded(colour, ImageFormat::Png));
    let train = load(folder.path());
    // The validation part is still grey, so the parts do not agree; the training part does.
    let train = train.map(|s| s.train).expect("loads");
    assert_eq!(train.c, 3);
    let pixel = |row: u32| {
        let at = train.rows.iter().position(|r| *r == row).expect("there");
        &train.image(at)[..3]
    };
    assert_eq!((pixel(3), pixel(0)), (&[1, 2, 3][..], &[10, 10, 10][..]));
}

/// Grey pictures `i` of level `i`, in two files of row groups of 3 and 4 pictures.
fn in_parquet(folder: &Path) -> Stream {
    for (file, rows, each) in [(0, 0..50u32, 3), (1, 50..90, 4)] {
        let rows: Vec<u32> = rows.collect();
        let picture = |i: &u32| encoded(level(10 + i % 7, 12, *i as u8), ImageFormat::Png);
        let encoded = EncodedRows {
            bytes: rows.iter().map(picture).collect(),
            paths: Vec::new(),
            labels: rows.iter().map(|i| i % 3).collect(),
            rows: rows.clone(),
            class_names: ["cat", "dog", "eel"].map(str::to_owned).to_vec(),
        };
        let path = folder.join(format!("train-{file:05}-of-00002.parquet"));
        write_in_groups(&path, &encoded, each).expect("writes");
    }
    let splits = open(folder, Crop::new(8)).expect("opens");
    // Every tenth row is kept for validation.
    assert_eq!((splits.train.len(), splits.validation.len()), (81, 9));
    assert_eq!(
        splits.validation.dataset(&[1]).expect("reads").images[0],
        19
    );
    splits.train
}

#[test]
fn parquet_rows_are_found_in_any_order() {
    let folder = tempfile::tempdir().expect("folder");
    let train = in_parquet(folder.path());
    assert_eq!(train.class_names, ["cat", "dog", "eel"]);
    let indices = [80, 0, 44, 45, 7, 46, 1, 80];
    let data = train.dataset(&indices).expect("reads");
    for (n, i) in indices.into_iter().enumerate() {
        // Nine of ten rows are in the training part.
        let row = (i + i / 9) as u32;
        let level = u32::from(data.image(n)[0]);
        assert_eq!((level, data.labels[n]), (row, row % 3), "picture {i}");
    }
}

#[test]
fn an_epoch_has_every_picture_once_and_reads_groups_together() {
    let folder = tempfile::tempdir().expect("folder");
    let train = in_parquet(folder.path());
    let order = |seed| {
        let mut order: Vec<usize> = (0..train.len()).collect();
        train.shuffle(&mut order, &mut Rng::new(seed));
        order
    };
    let first = order(1);
    assert_eq!((&first, first == order(2)), (&order(1), false));
    let mut sorted = first.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..train.len()).collect::<Vec<_>>());
    // Eight groups of at most four pictures are mixed: few others come between two of a group.
    let mut shuffled = false;
    for i in 0..first.len() - 1 {
        shuffled |= first[i].abs_diff(first[i + 1]) > 8;
    }
    assert!(shuffled);
    let at = |i: usize| first.iter().position(|&x| x == i).expect("there");
    assert!(at(0).abs_diff(at(1)) < 32 && at(71).abs_diff(at(72)) < 32);
}

#[test]
fn random_crops_repeat_with_their_seed_whatever_the_threads() {
    let folder = tempfile::tempdir().expect("folder");
    let splits = mixed(folder.path());
    let draw = |seed: u64, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let augment = Augment {
            cutout: 3,
            ..Augment::default()
        };
        pool.expect("a pool").install(|| {
            let mut rng = Rng::new(seed);
            let all = [0, 1, 2, 3];
            splits
                .train
                .augmented(&all, &plain(), augment, 12, &mut rng)
                .expect("reads")
        })
    };
    assert_eq!(draw(1, 1), draw(1, 4));
    assert_ne!(draw(1, 1), draw(2, 1));
    assert_eq!(draw(1, 1).len(), 3 * 4 * 144);
}

/// 40 pictures of two levels in class folders, sorted as they lie there.
fn sorted(folder: &Path) {
    for (class, bright) in [("dark", 40), ("light", 200)] {
        for i in 0..20 {
            let path = folder.join(format!("{class}/{i:02}.png"));
            put(&path, &encoded(level(16, 16, bright + i), ImageFormat::Png));
        }
    }
}

#[test]
fn the_first_pictures_of_sorted_folders_are_of_all_classes() {
    let folder = tempfile::tempdir().expect("folder");
    sorted(folder.path());
    let splits = load(folder.path()).expect("loads");
    let again = load(folder.path()).expect("loads");
    assert_eq!(splits, again, "the same order each time");
    assert_eq!((splits.train.len(), splits.validation.len()), (36, 4));
    for part in [&splits.train, &splits.validation] {
        let first = &part.labels[..part.len() / 2];
        assert!(first.contains(&0) && first.contains(&1), "{first:?}");
        // Rows still name the files.
        for (i, &row) in part.rows.iter().enumerate() {
            let level = [40, 200][part.labels[i] as usize] + (row % 20) as u8;
            assert_eq!(part.image(i)[0], level, "row {row}");
            assert_eq!(part.labels[i], row / 20);
        }
    }
    let mut held_out = splits.validation.rows.clone();
    held_out.sort_unstable();
    assert_eq!(held_out, [9, 19, 29, 39], "every tenth file, as ever");
    // Streamed, the same pictures come in the same order.
    let streams = open(folder.path(), Crop::new(16)).expect("opens");
    assert_eq!(streams.train.picks, splits.train.rows);
    assert_eq!(streams.train.labels, splits.train.labels);
    let all: Vec<usize> = (0..4).collect();
    let part = streams.validation.part(&all).expect("reads");
    assert_eq!(
        (part.rows, part.labels),
        (splits.validation.rows, splits.validation.labels)
    );
}

#[test]
fn rows_of_parquet_groups_come_as_they_are_asked_for() {
    let folder = tempfile::tempdir().expect("folder");
    let encoded = EncodedRows {
        bytes: (0..30)
            .map(|i| encoded(level(8, 8, 4 * i), ImageFormat::Png))
            .collect(),
        paths: Vec::new(),
        labels: (0..30).map(|i| u32::from(i >= 15)).collect(),
        rows: (0..30).collect(),
        class_names: vec!["dark".into(), "light".into()],
    };
    let path = folder.path().join("train.parquet");
    write_in_groups(&path, &encoded, 7).expect("writes");
    let stream = open(folder.path(), Crop::new(8)).expect("opens").train;
    let asked = [20, 3, 11, 4, 25, 0];
    let part = stream.dataset(&asked).expect("reads");
    for (n, &i) in asked.iter().enumerate() {
        assert_eq!(part.rows[n], stream.picks[i]);
        assert_eq!(part.image(n)[0], 4 * stream.picks[i] as u8);
        assert_eq!(part.labels[n], u32::from(stream.picks[i] >= 15));
    }
}

/// A file of grey pictures with these labels.
fn labelled(path: &Path, labels: &[u32], class_names: &[&str]) {
    let rows = EncodedRows {
        bytes: labels
            .iter()
            .map(|i| encoded(level(8, 8, *i as u8), ImageFormat::Png))
            .collect(),
        paths: Vec::new(),
        labels: labels.to_vec(),
        rows: (0..labels.len() as u32).collect(),
        class_names: class_names.iter().map(|&name| name.into()).collect(),
    };
    write_in_groups(path, &rows, 2).expect("writes");
}

#[test]
fn files_that_each_know_of_some_classes_make_one_set() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    labelled(&at("train-0.parquet"), &[0, 0, 1, 1], &["ant", "bee"]);
    labelled(&at("train-1.parquet"), &[2, 2, 2], &["ant", "bee", "cow"]);
    labelled(&at("test.parquet"), &[2, 1], &["ant", "bee", "cow"]);
    let whole = load(folder.path()).expect("loads");
    assert_eq!(whole.train.class_names, ["ant", "bee", "cow"]);
    assert_eq!(whole.train.labels.len() + whole.validation.labels.len(), 7);
    let streams = open(folder.path(), Crop::new(8)).expect("opens");
    assert_eq!(streams.train.class_names, whole.train.class_names);
    assert_eq!(streams.train.labels, whole.train.labels);

    // A class that the training part has not.
    let more = ["ant", "bee", "cow", "dog"];
    labelled(&at("test.parquet"), &[1, 3], &more);
    let streamed = open(folder.path(), Crop::new(8)).map(drop);
    for refused in [load(folder.path()).map(drop), streamed] {
        let told = refused.expect_err("refused").to_string();
        assert!(told.contains("3 at row 1") && told.contains("test.parquet"));
    }
}

#[test]
fn a_damaged_footer_is_an_error_or_none() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("train.parquet");
    labelled(&path, &[0, 1, 0, 1, 1], &["ant", "bee"]);
    let whole = fs::read(&path).expect("reads");
    let (mut opened, mut lied) = (0, 0);
    let footer = whole.len() - 8;
    let start =
        footer - u32::from_le_bytes(*whole[footer..].first_chunk().expect("a word")) as usize;
    for at in start..footer {
        for change in [0x01, 0x02, 0x10, 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            fs::write(&path, damaged).expect("writes");
            match open(&path, Crop::new(8)) {
                Ok(splits) => {
                    opened += 1;
                    let all: Vec<usize> = (0..splits.train.len()).collect();
                    let _ = splits.train.dataset(&all);
                }
                Err(error) => lied += usize::from(error.to_string().contains("row groups")),
            }
            let _ = load(&path);
        }
    }
    assert!(opened > 0, "some bytes say nothing that matters");
    assert!(lied > 0, "groups that have not the rows of the file");
}
