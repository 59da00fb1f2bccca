//! The bundled network on both engines: every logit, every count, every predicted byte.

use super::*;
use crate::compress::{Device, Lowered, post_training_8bit};
use crate::data::{Splits, load};
use crate::lower::{Storage, centre, simulate};
use crate::search::{LayerCost, LayerKey, MeasureLayer, SearchData};
use crate::vgg::Vgg;
use shared::blob::Blob;
use std::path::{Path, PathBuf};
use std::time::Instant;

const IMAGE_BYTES: usize = 32 * 32 * 3;

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models")
        .join(name)
}

fn pictures() -> Splits {
    load(&bundled("cifar10-sample")).unwrap()
}

/// The bundled network in 8 bits, lowered for a board with this much arena.
fn lowered(pictures: &Splits, arena: u32) -> Lowered {
    let cpu = candle_core::Device::Cpu;
    let network = Vgg::load(&bundled("vgg-small-cifar10"), &cpu).unwrap();
    let network = centre(&network.fold().unwrap());
    let data = SearchData::new(&pictures.train, &pictures.validation);
    let quants = post_training_8bit(&network, &data, 64, &cpu).unwrap();
    Lowered::new(&network, &quants, &Storage::dense(arena)).unwrap()
}

/// Runs `images` on a board, compares logits with the host's and the arena with the blob's;
/// the cycles by layer.
fn run(board: &mut dyn Board, net: &Lowered, images: &[u8]) -> Vec<Vec<Option<Cycles>>> {
    let blob = &net.emitted.as_ref().unwrap().blob;
    let started = Instant::now();
    board.flash(blob).unwrap();
    println!(
        "{:?}: {} bytes in flash after {:.2?}",
        board.engine(),
        blob.len(),
        started.elapsed()
    );
    let expected = simulate(&net.net, images).unwrap();
    let arena = Blob::new_checked(blob).unwrap().header().arena_bytes;
    let mut layers = Vec::new();
    let started = Instant::now();
    for (image, logits) in images.chunks_exact(IMAGE_BYTES).zip(expected.chunks(10)) {
        let inference = board.infer(image, true).unwrap();
        assert_eq!(inference.logits, logits);
        assert_eq!(inference.arena_used, Some(arena));
        layers.push(inference.layers);
    }
    println!(
        "{:?}: {:.2?} an image",
        board.engine(),
        started.elapsed() / layers.len() as u32
    );
    layers
}

fn open_on(engine: EngineChoice) -> Box<dyn Board> {
    let options = Options {
        engine,
        verbose: false,
    };
    open("virtual-stm32f405", options).unwrap()
}

#[test]
fn the_bundled_network_gives_the_same_on_host_and_both_engines() {
    let pictures = pictures();
    let images = &pictures.validation.images[..2 * IMAGE_BYTES];
    let mut board = open_on(EngineChoice::InProcess);
    let net = lowered(&pictures, board.hello().unwrap().arena_limit);
    let in_process = run(&mut *board, &net, images);
    if qemu::is_installed() {
        let on_qemu = run(&mut *open_on(EngineChoice::Qemu), &net, images);
        assert_eq!(in_process, on_qemu);
    }
}

#[test]
fn layer_timings_add_up_to_the_network() {
    let pictures = pictures();
    let mut board = TimedBoard::new(open_on(EngineChoice::InProcess)).unwrap();
    let net = lowered(&pictures, board.limits().arena);
    let emitted = net.emitted.as_ref().unwrap();
    let image = &pictures.validation.images[..IMAGE_BYTES];
    let whole = board.run(&emitted.blob, image, IMAGE_BYTES).unwrap()[0].total();
    let mut sum = 0;
    let started = Instant::now();
    for (spec, i) in emitted.specs.iter().zip(0..) {
        let key = LayerKey::new(*spec, net.net.density(i));
        match board.measure(&key).unwrap().cost {
            LayerCost::Cycles(cycles) => sum += cycles,
            LayerCost::TooLarge { need, limit } => panic!("layer {i} needs {need} of {limit}"),
        }
    }
    let error = sum as f64 / whole as f64 - 1.0;
    println!(
        "layers {sum}, network {whole}, {:+.2} %, timed in {:.2?}",
        100.0 * error,
        started.elapsed()
    );
    assert!(error.abs() < 0.03);
}
