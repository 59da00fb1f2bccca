//! A firmware that carries some kernels only: what it needs, what it refuses.

use host::board::{BoardError, CodeSizes, EngineChoice, Firmware, Options, open, open_with, spec};
use host::lower::Bits;
use host::vgg::{Item, VggConfig};
use shared::blob::Blob;
use shared::message::{BenchLayer, DeviceError};
use shared::pattern::Pattern;
use shared::spec::{Abilities, Ability, Kernel, LayerSpec};
use tests::network;

const ARENA: u32 = 100 * 1024;

fn options() -> Options {
    Options {
        engine: EngineChoice::Auto,
        verbose: false,
    }
}

fn needs(blob: &Blob) -> Abilities {
    blob.layers().map(|l| Ability::of(l.spec())).collect()
}

/// A network of a `map`x`map` image; `forced` is the kernel of its second layer.
fn blob(map: usize, forced: Kernel) -> Vec<u8> {
    use Item::{AvgPool, Conv, MaxPool};
    let config = VggConfig {
        cfg: vec![Conv(8), MaxPool, Conv(16), AvgPool],
        input: [map, map, 3],
        ..VggConfig::preset("vgg-small").expect("known")
    };
    let mut net = network::random(&config, Bits { w: 8, a: 8 }, 100, 3);
    net.force(&[("conv1".into(), forced)]).expect("is exact");
    network::blob(net, ARENA)
}

#[test]
fn a_firmware_without_a_kernel_refuses_the_blobs_that_need_it_and_is_smaller() {
    let name = tests::board();
    let Some(folder) = name.strip_prefix(spec::VIRTUAL_PREFIX) else {
        eprintln!("SKIPPED: {name} is real, and keeps its firmware");
        return;
    };
    let wide = blob(16, Kernel::Winograd4);
    let checked = Blob::new_checked(&wide).expect("valid");
    let needed = needs(&checked);
    assert!(needed.contains(Ability::Winograd4) && !needed.contains(Ability::Winograd2));

    let mut few = open_with(&name, options(), Some(needed)).expect("opens");
    few.flash(&wide).expect("is flashed");
    let hello = few.hello().expect("answers");
    assert_eq!(hello.features.kernels, needed);
    let image = vec![99; checked.image_bytes()];
    let logits = few.infer(&image, false).expect("runs").logits;
    let mut all = open(&name, options()).expect("opens");
    all.flash(&wide).expect("is flashed");
    assert_eq!(all.infer(&image, false).expect("runs").logits, logits);

    let request = BenchLayer {
        spec: LayerSpec {
            kernel: Kernel::Winograd2,
            ..LayerSpec::conv3x3(4, 4, 8, 8)
        },
        blocks: 4,
        density_percent: 100,
        pattern: Pattern::Typical,
        seed: 1,
    };
    let kernel = Ability::Winograd2;
    match few.bench_layer(&request) {
        Err(BoardError::Refused { error, .. }) => {
            assert_eq!(error, DeviceError::NotBuilt { layer: 0, kernel });
        }
        other => panic!("{other:?}"),
    }
    all.bench_layer(&request).expect("runs");

    // Another folder, so that both ELFs are there to be compared.
    let (board, _) = spec::find(folder).expect("a board");
    let sizes = |kernels| {
        let firmware = Firmware::build_with(&board, kernels).expect("builds");
        CodeSizes::of(&firmware)
    };
    let (small, whole) = (sizes(Some(needed)), sizes(None));
    let predicted = whole.with_only(checked.layers().map(|l| *l.spec()));
    println!(
        "{} bytes with all kernels, {} with some, {predicted} predicted",
        whole.total(),
        small.total()
    );
    assert!(small.total() < whole.total());
    let error = predicted as f64 / small.total() as f64 - 1.0;
    assert!(error.abs() < 0.1, "{:+.1} %", 100.0 * error);
}

#[test]
fn a_blob_is_refused_where_the_firmware_lacks_its_kernel() {
    let name = tests::board();
    if !name.starts_with(spec::VIRTUAL_PREFIX) {
        eprintln!("SKIPPED: {name} is real, and keeps its firmware");
        return;
    }
    // The same set as the other test's: one build serves both.
    let wide = blob(16, Kernel::Winograd4);
    let checked = Blob::new_checked(&wide).expect("valid");
    let mut few = open_with(&name, options(), Some(needs(&checked))).expect("opens");
    let small = blob(16, Kernel::Winograd2);
    let checked = Blob::new_checked(&small).expect("valid");
    let (layer, kernel) = (1, Ability::Winograd2);
    few.flash(&small).expect("is flashed");
    let image = vec![99; checked.image_bytes()];
    match few.infer(&image, false) {
        Err(BoardError::Refused { error, .. }) => {
            assert_eq!(error, DeviceError::NotBuilt { layer, kernel });
        }
        other => panic!("{other:?}"),
    }
    few.hello().expect("the board is still there");
}
