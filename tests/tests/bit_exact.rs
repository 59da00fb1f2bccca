//! The same bytes everywhere: host simulation, portable firmware, boards.

use firmware::engine::Network;
use host::board::{Board, Engine, EngineChoice, Firmware, Options, can_use_qemu, open};
use host::lower::{Bits, IntNet, from_blob, simulate};
use host::vgg::{Item, VggConfig};
use shared::bench::Rng;
use shared::blob::Blob;
use tests::{board, network};

const ARENA: u32 = 100 * 1024;
const IMAGES: usize = 3;

/// Small, with widths that no kernel likes.
fn config() -> VggConfig {
    use Item::{AvgPool, Conv, MaxPool};
    VggConfig {
        cfg: vec![Conv(8), Conv(13), MaxPool, Conv(37), Conv(24), AvgPool],
        input: [12, 12, 3],
        ..VggConfig::preset("vgg-small").expect("known")
    }
}

/// A flattened map and hidden layers, as VGG-16 for ImageNet has them.
fn hidden() -> VggConfig {
    use Item::{Conv, MaxPool};
    VggConfig {
        cfg: vec![Conv(9), MaxPool, Conv(14), MaxPool],
        hidden: vec![21, 12],
        ..config()
    }
}

/// Networks of all activation widths, dense and sparse.
fn networks() -> Vec<IntNet> {
    let flattened = [(8, 8, 100), (3, 4, 40), (4, 2, 70)].map(|(w, a, density)| {
        network::random(&hidden(), Bits { w, a }, density, u32::from(w) + 20)
    });
    averaged().into_iter().chain(flattened).collect()
}

fn averaged() -> Vec<IntNet> {
    [(8, 8, 100), (4, 8, 100), (5, 4, 20), (3, 2, 60), (2, 8, 10)]
        .into_iter()
        .enumerate()
        .map(|(i, (w, a, density))| {
            network::random(&config(), Bits { w, a }, density, i as u32 + 1)
        })
        .collect()
}

fn images(net: &IntNet) -> Vec<u8> {
    let mut rng = Rng::new(99);
    let bytes = net.input.iter().product::<usize>() * IMAGES;
    (0..bytes).map(|_| rng.next() as u8).collect()
}

#[test]
fn the_portable_firmware_gives_the_simulations_logits() {
    for net in networks() {
        let images = images(&net);
        let bytes = network::blob(net.clone(), ARENA);
        let blob = Blob::new_checked(&bytes).expect("valid");
        let mut arena = vec![0u32; blob.header().arena_bytes as usize / 4 + 1];
        // SAFETY: any bytes are a u32, and the slice covers exactly the vector.
        let arena = unsafe {
            std::slice::from_raw_parts_mut(arena.as_mut_ptr().cast::<u8>(), 4 * arena.len())
        };
        let mut engine = Network::new(blob, arena).expect("fits");
        let mut logits = Vec::new();
        for image in images.chunks_exact(blob.image_bytes()) {
            logits.extend(engine.infer(image, &mut ()).expect("runs").iter());
        }
        assert_eq!(logits, simulate(&net, &images).expect("fits"));
        let read = from_blob(&blob).expect("not damaged");
        assert_eq!(simulate(&read, &images).expect("fits"), logits);
    }
}

fn open_on(name: &str, engine: EngineChoice) -> Box<dyn Board> {
    let options = Options {
        engine,
        verbose: false,
    };
    open(name, options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn the_board_gives_the_simulations_logits_in_the_arena_that_the_blob_states() {
    let mut board = open_on(&board(), EngineChoice::InProcess);
    for net in networks() {
        let images = images(&net);
        let bytes = network::blob(net.clone(), ARENA);
        let blob = Blob::new_checked(&bytes).expect("valid");
        board.flash(&bytes).expect("is flashed");
        let mut logits = Vec::new();
        for image in images.chunks_exact(blob.image_bytes()) {
            let ran = board.infer(image, true).expect("runs");
            assert_eq!(ran.arena_used, Some(blob.header().arena_bytes));
            assert!(ran.cycles().is_some_and(|c| c > 0));
            logits.extend(ran.logits);
        }
        assert_eq!(logits, simulate(&net, &images).expect("fits"));
    }
    let stack = board.stack().expect("answers");
    let firmware = Firmware::build(board.spec()).expect("builds");
    assert!(
        0 < stack.used && stack.used <= firmware.stack.bytes,
        "measured {stack:?}, the bound is {}",
        firmware.stack.bytes
    );
}

#[test]
fn both_engines_of_a_virtual_board_agree_in_bytes_and_cycles() {
    let name = board();
    let mut own = open_on(&name, EngineChoice::InProcess);
    if own.engine() == Engine::Probe || !can_use_qemu(own.spec()) {
        eprintln!("SKIPPED: {name} does not run on QEMU here (./setup --qemu installs it)");
        return;
    }
    let mut qemu = open_on(&name, EngineChoice::Qemu);
    for net in networks().into_iter().take(3) {
        let images = images(&net);
        let bytes = network::blob(net.clone(), ARENA);
        let image = &images[..net.input.iter().product()];
        let [a, b] = [&mut own, &mut qemu].map(|board| {
            board.flash(&bytes).expect("is flashed");
            board.infer(image, true).expect("runs")
        });
        assert_eq!(a, b);
    }
}
