//! Whole networks made by chance: depth, widths, bits, pooling and encodings. The simulation, the
//! portable firmware and the boards give the same logits.

use firmware::engine::Network;
use host::board::{Board, EngineChoice, Options, can_use_qemu, open, spec};
use host::lower::{Bits, IntNet, emit, plan, simulate};
use host::vgg::{Item, VggConfig};
use shared::bench::Rng;
use shared::blob::Blob;
use shared::spec::Encoding;
use tests::{board, network};

const NETWORKS: u32 = 20;
const ARENA: u32 = 100 * 1024;

/// One to six convolutions, up to 40 channels each, pools wherever they fit.
fn config(rng: &mut Rng) -> VggConfig {
    let side = 4 + rng.below(9) as usize;
    let (mut left, mut cfg) = (side, Vec::new());
    for _ in 0..=rng.below(6) {
        cfg.push(Item::Conv(1 + rng.below(40) as usize));
        if left >= 4 && rng.below(3) == 0 {
            cfg.push(Item::MaxPool);
            left /= 2;
        }
    }
    if rng.below(3) > 0 && !matches!(cfg.last(), Some(Item::MaxPool)) {
        cfg.push(Item::AvgPool);
    }
    let colours = if rng.below(4) == 0 { 1 } else { 3 };
    let base = VggConfig::preset("vgg-small").expect("known");
    VggConfig {
        cfg,
        num_classes: 2 + rng.below(20) as usize,
        input: [side, side, colours],
        normalization: host::data::Normalization {
            mean: vec![0.5; colours],
            std: vec![0.25; colours],
        },
        hidden: (0..rng.below(2))
            .map(|_| 1 + rng.below(30) as usize)
            .collect(),
        ..base
    }
}

/// A network whose layers are stored in encodings drawn by chance, as a blob.
fn generate(seed: u32) -> (IntNet, Vec<u8>) {
    let mut rng = Rng::new(seed);
    let bits = Bits {
        w: 2 + rng.below(7) as u8,
        a: [2, 4, 8, 8][rng.below(4) as usize],
    };
    let config = config(&mut rng);
    let mut net = network::random(&config, bits, [5, 30, 100][rng.below(3) as usize], seed);
    for layer in net.layers.iter_mut().filter(|l| l.spec.has_weights()) {
        layer.spec.encoding = Encoding::ALL[rng.below(4) as usize];
    }
    let plan = plan(&net, ARENA).expect("fits");
    let emitted = emit(&net, &plan).expect("is valid");
    for (layer, spec) in net.layers.iter_mut().zip(&emitted.specs) {
        layer.spec = *spec;
    }
    (net, emitted.blob)
}

fn portable(blob: &[u8], image: &[u8]) -> Vec<i32> {
    let blob = Blob::new_checked(blob).expect("valid");
    let mut arena = vec![0u32; blob.header().arena_bytes as usize / 4 + 1];
    // SAFETY: bytes have no alignment and no invalid patterns.
    let arena = unsafe { arena.align_to_mut::<u8>().1 };
    let mut network = Network::new(blob, arena).expect("fits");
    let logits = network.infer(image, &mut ()).expect("runs");
    logits.iter().collect()
}

fn boards() -> Vec<Box<dyn Board>> {
    let name = board();
    let open_on = |engine| {
        let options = Options {
            engine,
            verbose: false,
        };
        open(&name, options).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let mut boards = vec![open_on(EngineChoice::InProcess)];
    let (spec, emulated) = spec::find(&name).expect("known");
    match emulated && can_use_qemu(&spec) {
        true => boards.push(open_on(EngineChoice::Qemu)),
        false => eprintln!("SKIPPED: QEMU is not here (./setup --qemu installs it)"),
    }
    boards
}

#[test]
fn generated_networks_give_the_same_logits_everywhere() {
    let mut boards = boards();
    let (mut kernels, mut layers) = (std::collections::BTreeSet::new(), 0);
    for seed in 1..=NETWORKS {
        let (net, blob) = generate(seed);
        let mut rng = Rng::new(seed);
        let image: Vec<u8> = (0..net.input.iter().product::<usize>())
            .map(|_| rng.next() as u8)
            .collect();
        let expected = simulate(&net, &image).expect("fits");
        assert_eq!(
            portable(&blob, &image),
            expected,
            "network {seed}, portable"
        );
        for board in &mut boards {
            board.flash(&blob).expect("is flashed");
            let ran = board.infer(&image, false).expect("runs");
            assert_eq!(ran.logits, expected, "network {seed}, {:?}", board.engine());
        }
        layers += net.layers.len();
        let kinds = net.layers.iter().map(|l| (l.spec.kernel, l.spec.encoding));
        kernels.extend(kinds);
    }
    println!(
        "{NETWORKS} networks, {layers} layers, {} ways to store and compute",
        kernels.len()
    );
    assert!(
        layers > 60 && kernels.len() >= 6,
        "{layers} layers, {kernels:?}"
    );
}
