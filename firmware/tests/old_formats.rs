//! A stored blob of each format that there ever was: read to the same logits, or refused by name.

mod common;

use common::network::Chain;
use firmware::engine::Network;
use shared::blob::{Blob, BlobError, Malformed, VERSION};
use std::path::{Path, PathBuf};

fn sample(version: u16) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples");
    samples.join(format!("blob-{version}"))
}

#[test]
fn each_version_has_a_sample_and_others_are_refused_by_name() {
    for found in 1..VERSION {
        let bytes = std::fs::read(sample(found)).expect("a sample of each version");
        let what = Malformed::Version { found };
        let refused = Blob::new_checked(&bytes).err();
        assert_eq!(refused, Some(BlobError { what, at: 4 }));
    }
}

/// Where this fails, the format has changed: give it a new version, and it a new sample.
#[test]
fn the_sample_of_this_version_gives_the_logits_that_it_gave() {
    let bytes = std::fs::read(sample(VERSION)).expect("a sample of this version");
    let blob = Blob::new_checked(&bytes).expect("is read");
    let image: Vec<u8> = (0..blob.image_bytes()).map(|i| (i * 37) as u8).collect();
    let mut memory = vec![0u64; 4096];
    let mut network = Network::new(blob, common::bytes_of(&mut memory)).expect("fits");
    let logits: Vec<i32> = network
        .infer(&image, &mut ())
        .expect("runs")
        .iter()
        .collect();
    assert_eq!(logits, LOGITS);
}

const LOGITS: [i32; 10] = [
    -40571, -5424, 54206, 56979, -41358, -836, -43166, 12162, 37821, -51547,
];

#[test]
#[ignore = "writes the sample of this version"]
fn write_sample() {
    std::fs::write(sample(VERSION), Chain::new(1).blob).unwrap();
}
