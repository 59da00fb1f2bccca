//! Weights in every encoding, whole and damaged, on the board as on the host.

use firmware::engine::{EngineError, Network, verify_streams};
use host::board::{
    Board, BoardError, Engine, EngineChoice, Options, can_use_qemu, expected_crc32, open,
};
use host::lower::{Bits, IntNet, emit, one_sided_sum, plan, simulate};
use host::search::LayerKey;
use host::vgg::{Item, VggConfig};
use shared::bench::Rng;
use shared::blob::Blob;
use shared::message::{BenchLayer, DeviceError};
use shared::pattern::Pattern;
use shared::spec::{Encoding, Kernel, LayerSpec};
use tests::{board, network};

const ARENA: u32 = 100 * 1024;

fn open_on(engine: EngineChoice) -> Box<dyn Board> {
    let (name, options) = (
        board(),
        Options {
            engine,
            verbose: false,
        },
    );
    open(&name, options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The boards to compare with the host: the one that the tests run on, and QEMU beside it.
fn boards() -> Vec<Box<dyn Board>> {
    let own = open_on(EngineChoice::InProcess);
    if own.engine() == Engine::Probe || !can_use_qemu(own.spec()) {
        eprintln!("SKIPPED: QEMU is not here (./setup --qemu installs it)");
        return vec![own];
    }
    vec![own, open_on(EngineChoice::Qemu)]
}

/// Every encoding, width and density, from nothing to everything, on layers with whole and
/// ragged blocks.
fn cases() -> Vec<(LayerSpec, u8)> {
    let shapes = [
        LayerSpec::conv3x3(5, 4, 20, 3),
        LayerSpec {
            kernel: Kernel::Winograd2,
            ..LayerSpec::conv3x3(4, 4, 8, 4)
        },
    ];
    let mut cases = Vec::new();
    for encoding in Encoding::ALL {
        for w_bits in 2..=8 {
            for density in [0, 5, 20, 50, 100] {
                cases.extend(shapes.map(|shape| {
                    let spec = LayerSpec {
                        w_bits,
                        encoding,
                        ..shape
                    };
                    (spec, density)
                }));
            }
        }
    }
    cases
}

#[test]
fn single_layers_in_every_encoding_give_the_portable_kernels_bytes() {
    let cases = cases();
    assert!(cases.len() >= 200);
    let mut boards = boards();
    for (spec, density_percent) in cases {
        let key = LayerKey {
            spec,
            density_percent,
        };
        let expected = expected_crc32(&key).expect("makes sense");
        let request = BenchLayer {
            spec,
            blocks: spec.blocks(),
            density_percent,
            pattern: Pattern::Typical,
            seed: 1,
        };
        for board in &mut boards {
            let got = board.bench_layer(&request).expect("runs");
            assert_eq!(
                got.output_crc32,
                expected,
                "{:?}: {density_percent} % of {spec:?}",
                board.engine()
            );
        }
    }
}

/// A small network whose every layer is stored in `encoding`.
fn stored(mut net: IntNet, encoding: Encoding) -> (IntNet, Vec<u8>) {
    for layer in net.layers.iter_mut().filter(|l| l.spec.has_weights()) {
        layer.spec.encoding = encoding;
    }
    let plan = plan(&net, ARENA).expect("fits");
    let blob = emit(&net, &plan).expect("is valid").blob;
    (net, blob)
}

fn small(bits: Bits, density_percent: u32, seed: u32) -> IntNet {
    use Item::{AvgPool, Conv};
    let config = VggConfig {
        cfg: vec![Conv(8), Conv(9), AvgPool],
        input: [6, 6, 3],
        ..VggConfig::preset("vgg-small").expect("known")
    };
    network::random(&config, bits, density_percent, seed)
}

fn image(seed: u32) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..6 * 6 * 3).map(|_| rng.next() as u8).collect()
}

/// Nothing, one value everywhere, one rare value among others, all values.
fn patterns(w_bits: u8) -> [Box<dyn Fn(usize) -> i8>; 4] {
    let max = ((1i32 << (w_bits - 1)) - 1) as i8;
    [
        Box::new(|_| 0),
        Box::new(move |_| max),
        Box::new(move |i| if i % 97 == 96 { -max } else { (i % 2) as i8 }),
        Box::new(move |i| ((i % (2 * max as usize + 1)) as i32 - i32::from(max)) as i8),
    ]
}

#[test]
fn whole_networks_of_odd_weights_agree_in_every_encoding() {
    let mut boards = boards();
    for encoding in Encoding::ALL {
        for w_bits in [2, 4, 8] {
            for pattern in patterns(w_bits) {
                let mut net = small(Bits { w: w_bits, a: 8 }, 100, 3);
                for layer in &mut net.layers {
                    let weights = layer.weights.iter_mut().enumerate();
                    weights.for_each(|(i, w)| *w = pattern(i));
                    layer.one_sided = one_sided_sum(&layer.spec, &layer.weights);
                }
                let (net, blob) = stored(net, encoding);
                let image = image(7);
                let expected = simulate(&net, &image).expect("fits");
                for board in &mut boards {
                    board.flash(&blob).expect("is flashed");
                    let ran = board.infer(&image, true).expect("runs");
                    assert_eq!(ran.logits, expected, "{encoding:?} of {w_bits} bits");
                    let stated = Blob::new_checked(&blob)
                        .expect("valid")
                        .header()
                        .arena_bytes;
                    assert_eq!(ran.arena_used, Some(stated));
                }
            }
        }
    }
}

/// Damages the weights of a random layer and makes the checksum right again.
fn damaged(blob: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let checked = Blob::new_checked(blob).expect("valid");
    let layers: Vec<_> = checked
        .layers()
        .filter(|l| l.spec().has_weights())
        .collect();
    let layer = &layers[rng.below(layers.len() as u32) as usize];
    let (start, len) = (layer.record.weights_off as usize, layer.weights().len());
    // Behind the block table: what is wrong there is refused before.
    let table = 4 * (usize::from(layer.spec().blocks()) + 1);
    let mut bytes = blob.to_vec();
    let section = &mut bytes[start + table..start + len];
    let at = rng.below(section.len() as u32) as usize;
    match rng.below(3) {
        0 => section[at] ^= 1 << rng.below(8),
        1 => section[at..].iter_mut().take(8).for_each(|b| *b = 0xff),
        _ => section[at..]
            .iter_mut()
            .take(40)
            .for_each(|b| *b = rng.next() as u8),
    }
    let crc = shared::CRC32.checksum(&[&bytes[..12], &bytes[16..]].concat());
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    Blob::new_checked(&bytes).is_ok().then_some(bytes)
}

/// What the portable firmware makes of a blob: logits, or which block is damaged.
fn portable(bytes: &[u8], image: &[u8]) -> Result<Vec<i32>, EngineError> {
    let blob = Blob::new_checked(bytes).expect("checked before");
    let mut words = vec![0u64; blob.header().arena_bytes as usize / 8 + 1];
    // SAFETY: bytes have no invalid patterns and no alignment.
    let arena = unsafe { words.align_to_mut::<u8>().1 };
    let mut network = Network::new(blob, arena).expect("fits");
    let logits = network.infer(image, &mut ())?.iter().collect();
    Ok(logits)
}

#[test]
fn damaged_streams_are_named_on_the_board_as_on_the_host() {
    let mut boards = boards();
    let (mut rng, mut found, mut all) = (Rng::new(5), 0, 0);
    for encoding in [Encoding::Sparse, Encoding::Delta, Encoding::Coded] {
        for (i, w_bits) in [2, 3, 4, 5, 8, 8].into_iter().enumerate() {
            let net = small(Bits { w: w_bits, a: 8 }, 40, i as u32);
            let (_, blob) = stored(net, encoding);
            for _ in 0..6 {
                let Some(bytes) = damaged(&blob, &mut rng) else {
                    continue;
                };
                let image = image(all);
                let expected = portable(&bytes, &image);
                let verified = verify_streams(&Blob::new_checked(&bytes).expect("checked"));
                assert_eq!(
                    expected.as_ref().err(),
                    verified.as_ref().err(),
                    "{encoding:?}"
                );
                for board in &mut boards {
                    board.flash(&bytes).expect("is flashed");
                    match (board.infer(&image, true), &expected) {
                        (Ok(ran), Ok(logits)) => assert_eq!(&ran.logits, logits),
                        (
                            Err(BoardError::Refused {
                                error: DeviceError::Corrupt { layer, block },
                                ..
                            }),
                            Err(expected),
                        ) => assert_eq!(*expected, EngineError::Corrupt { layer, block }),
                        (got, expected) => panic!("{encoding:?}: {got:?}, host {expected:?}"),
                    }
                }
                found += u32::from(expected.is_err());
                all += 1;
            }
        }
    }
    assert!(all > 80 && found > all / 3, "{found} of {all}");
}
