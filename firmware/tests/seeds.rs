//! What fuzzing starts from: small whole networks of every kernel, encoding and width, and one
//! message of each kind.

mod common;

use common::small::networks;
use shared::message::{BenchLayer, MAX_REQUEST, Reply, Request, Stack};
use shared::pattern::Pattern;
use shared::spec::{Encoding, LayerSpec};
use std::path::Path;

/// Messages as they are before the checksum and COBS.
fn messages() -> Vec<Vec<u8>> {
    let bench = BenchLayer {
        spec: LayerSpec {
            encoding: Encoding::Coded,
            ..LayerSpec::conv3x3(4, 4, 4, 4)
        },
        blocks: 1,
        density_percent: 50,
        pattern: Pattern::Random,
        seed: 1,
    };
    let image = [7; 48];
    let requests = [
        Request::Hello,
        Request::Stack,
        Request::Infer {
            image: &image,
            paint: true,
        },
        Request::BenchLayer(bench),
    ];
    let bytes = |r: &Request| {
        let mut out = [0; MAX_REQUEST];
        postcard::to_slice(r, &mut out).unwrap().to_vec()
    };
    let mut all: Vec<Vec<u8>> = requests.iter().map(bytes).collect();
    let reply = Reply::Stack(Stack { limit: 9, used: 1 });
    let mut out = [0; 64];
    all.push(postcard::to_slice(&reply, &mut out).unwrap().to_vec());
    all
}

#[test]
fn the_seeds_are_valid() {
    for (name, chain) in networks() {
        let blob = shared::blob::Blob::new_checked(&chain.blob).unwrap();
        firmware::engine::verify_streams(&blob).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(chain.blob.len() < 4096, "{name}: {}", chain.blob.len());
    }
}

#[test]
#[ignore = "writes fuzz/corpus"]
fn write_seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let (blobs, frames) = (corpus.join("blob"), corpus.join("message"));
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&frames).unwrap();
    for (name, chain) in networks() {
        std::fs::write(blobs.join(format!("seed-{name}")), &chain.blob).unwrap();
    }
    for (i, message) in messages().iter().enumerate() {
        std::fs::write(frames.join(format!("seed-{i}")), message).unwrap();
    }
}
