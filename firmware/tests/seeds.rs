//! What fuzzing starts from: small whole networks of every kernel, encoding and width, and one
//! message of each kind.

mod common;

use common::small::{self, networks};
use shared::act::Act;
use shared::message::{BenchLayer, MAX_REQUEST, Reply, Request, Stack};
use shared::pattern::Pattern;
use shared::spec::LayerSpec;
use std::path::Path;

/// Messages as they are before the checksum and COBS.
fn messages() -> Vec<Vec<u8>> {
    // Every layer of the networks, and a pool: all kernels, encodings and widths.
    let mut specs: Vec<LayerSpec> = small::specs();
    specs.push(LayerSpec::global_avg_pool(4, 4, 5, Act::U4));
    let patterns = Pattern::EDGES.into_iter().chain([Pattern::Typical]).cycle();
    let benches = specs.into_iter().zip(patterns).map(|(spec, pattern)| {
        Request::BenchLayer(BenchLayer {
            spec,
            blocks: 1,
            density_percent: 50,
            pattern,
            seed: 1,
        })
    });
    let image = [7; 48];
    let requests = [
        Request::Hello,
        Request::Stack,
        Request::Infer {
            image: &image,
            paint: true,
        },
    ];
    let bytes = |r: &Request| {
        let mut out = [0; MAX_REQUEST];
        postcard::to_slice(r, &mut out).unwrap().to_vec()
    };
    let mut all: Vec<Vec<u8>> = requests
        .into_iter()
        .chain(benches)
        .map(|r| bytes(&r))
        .collect();
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
