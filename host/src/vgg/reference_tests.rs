//! Networks that PyTorch trained, its logits, and the pictures that they belong to.

use super::*;
use crate::data::Dataset;
use crate::nn::read_tensors;
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Models that PyTorch trained, if this checkout has them above it.
fn reference_models() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|a| a.join("shared/models"))
        .find(|p| p.join("vgg16-half-cifar10").is_dir())
}

/// The 64 pictures that the reference logits belong to.
fn pictures(reference: &HashMap<String, Tensor>) -> Result<Dataset, VggError> {
    Ok(Dataset {
        images: reference["pixels"].flatten_all()?.to_vec1()?,
        labels: vec![0; 64],
        rows: (0..64).collect(),
        class_names: (0..10).map(|i| i.to_string()).collect(),
        h: 32,
        w: 32,
        c: 3,
    })
}

/// PyTorch's users decode by libjpeg; the pictures of the references are the first of the
/// test set.
#[test]
fn pictures_are_those_that_libjpeg_decodes() -> Result<(), VggError> {
    let found = reference_models().map(|models| {
        let test = models.with_file_name("data/cifar10/test.parquet");
        (models.join("vgg19-cifar10/reference.safetensors"), test)
    });
    let Some((reference, test)) = found.filter(|(r, t)| r.is_file() && t.is_file()) else {
        eprintln!("SKIPPED: no shared/data/cifar10 and shared/models above this checkout");
        return Ok(());
    };
    let theirs = pictures(&read_tensors(&reference)?.tensors)?;
    let ours = crate::data::load(&test).expect("loads");
    let mut histogram = [0usize; 256];
    for (i, &row) in ours.train.rows.iter().enumerate().filter(|(_, r)| **r < 64) {
        let pairs = ours.train.image(i).iter().zip(theirs.image(row as usize));
        pairs.for_each(|(a, b)| histogram[usize::from(a.abs_diff(*b))] += 1);
    }
    let all: usize = histogram.iter().sum();
    assert!(all > 50 * 32 * 32 * 3);
    eprintln!(
        "{:?} of {all} values differ by 0, 1, 2, ...",
        &histogram[..16]
    );
    // Decoders round inverse transform and chroma in ways of their own.
    let far: usize = histogram[3..].iter().sum();
    assert!(far * 1000 < all, "{far} of {all} differ by more than 2");
    assert!(histogram[5..].iter().all(|n| *n == 0), "{histogram:?}");
    Ok(())
}

#[test]
fn equals_pytorch_on_the_reference_models() -> Result<(), VggError> {
    let Some(folder) = reference_models() else {
        eprintln!("SKIPPED: no shared/models/vgg16-half-cifar10 above this checkout");
        return Ok(());
    };
    // One ends in max-pooling and is in single precision, one in average pooling and
    // half.
    for (name, parameters) in [
        ("vgg16-half-cifar10", 3_684_842),
        ("vgg19-cifar10", 20_035_018),
    ] {
        let net = Vgg::load(&folder.join(name), &Device::Cpu)?;
        assert_eq!(net.config.parameters(), parameters);
        let path = folder.join(name).join("reference.safetensors");
        let reference = read_tensors(&path)?.tensors;
        let (data, folded) = (pictures(&reference)?, net.fold()?);
        let all: Vec<usize> = (0..64).collect();
        let logits = folded.logits(&data, &all);
        let expected = reference["logits"].flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(logits.len(), expected.len());
        let differences = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0, f32::max);
        eprintln!("{name}: logits differ by up to {worst:.1e}");
        assert!(worst < 1e-3, "{name}: logits differ by up to {worst}");
        // Under the other names, cut in files, the same network comes back.
        let exported = tempfile::tempdir().expect("folder");
        let export = Export {
            naming: Naming::HuggingFace,
            zero_biases: true,
            shard_bytes: Some(4_000_000),
            ..Export::default()
        };
        assert!(net.export(exported.path(), &export)?.len() > 2);
        assert_eq!(
            Vgg::load(exported.path(), &Device::Cpu)?.fold()?.layers,
            folded.layers
        );
        // The labels are all 0 here; what counts is that it is the share of zeros.
        let zeros = expected
            .chunks_exact(10)
            .filter(|row| row.iter().all(|v| *v <= row[0]))
            .count();
        assert_eq!(evaluate(&folded, &data, &all), zeros as f64 / 64.0);
    }
    Ok(())
}
