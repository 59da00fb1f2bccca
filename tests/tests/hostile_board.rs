//! What a board says to damaged blobs and frames, and how deep its stack gets.

use host::board::{Board, BoardError, EngineChoice, Options, can_use_qemu, open, spec};
use host::lower::Bits;
use host::vgg::{Item, VggConfig};
use shared::blob::{Blob, Malformed};
use shared::message::DeviceError;
use std::path::Path;
use tests::{board, network};

fn open_on(engine: EngineChoice) -> Box<dyn Board> {
    let options = Options {
        engine,
        verbose: false,
    };
    let name = board();
    open(&name, options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn small() -> Vec<u8> {
    use Item::{AvgPool, Conv};
    let config = VggConfig {
        cfg: vec![Conv(4), AvgPool],
        num_classes: 3,
        input: [4, 4, 3],
        ..VggConfig::preset("vgg-small").expect("known")
    };
    network::blob(
        network::random(&config, Bits { w: 4, a: 8 }, 100, 1),
        64 * 1024,
    )
}

/// The board refuses `blob` as the host does, whatever it is asked.
fn refused(board: &mut dyn Board, blob: &[u8], what: &str) {
    // The board sees all of its flash, erased behind what was written.
    let mut seen = blob.to_vec();
    seen.resize(128 * 1024, 0xff);
    let error = Blob::new_checked(&seen).expect_err("is damaged");
    board.flash(blob).expect("is flashed");
    let hello = board.hello().expect("answers");
    assert_eq!(hello.blob.map_err(|e| e.at), Err(error.at), "{what}");
    match board.infer(&[0; 48], false) {
        Err(BoardError::Refused {
            error: DeviceError::Blob(found),
            ..
        }) => {
            assert_eq!(found, error, "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_sample_of_flipped_bits_and_truncations_is_refused_on_the_board() {
    let mut board = open_on(EngineChoice::InProcess);
    let good = small();
    board.flash(&good).expect("is flashed");
    assert!(board.infer(&[0; 48], false).is_ok());
    // One in each part: magic, version, length, checksum, input, record, weights, multipliers.
    for bit in [
        3,
        32,
        65,
        100,
        130,
        8 * 50,
        8 * 100,
        8 * 260,
        8 * (good.len() - 2),
    ] {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        refused(&mut *board, &bad, &format!("bit {bit}"));
    }
    for len in [4, 48, good.len() / 2, good.len() - 4] {
        // Flash behind what was written is erased.
        let mut bad = good[..len].to_vec();
        bad.resize(good.len(), 0xff);
        refused(&mut *board, &bad, &format!("{len} bytes"));
    }
    let mut future = good.clone();
    future[4] += 1;
    let error = Blob::new_checked(&future)
        .expect_err("is of the future")
        .what;
    assert!(matches!(error, Malformed::Version { .. }));
    refused(&mut *board, &future, "a version from the future");
    board.flash(&good).expect("is flashed");
    assert!(
        board.infer(&[0; 48], false).is_ok(),
        "and the board still runs a good one"
    );
}

#[test]
fn the_stack_of_every_bundled_network_stays_below_three_quarters() {
    let (spec, emulated) = spec::find(&board()).expect("known");
    let quick = emulated && can_use_qemu(&spec);
    let mut paths = vec!["boards/stm32f405/default.blob"];
    if quick {
        paths.push("results/vgg16-half-cifar10/model.blob");
    }
    let engine = if quick {
        EngineChoice::Qemu
    } else {
        EngineChoice::Auto
    };
    let mut board = open_on(engine);
    for path in paths {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{path}: {e}"));
        let image = vec![7; Blob::new_checked(&bytes).expect("valid").image_bytes()];
        board.flash(&bytes).expect("is flashed");
        board.infer(&image, true).expect("runs");
        let stack = board.stack().expect("answers");
        println!("{path}: {} of {} bytes of stack", stack.used, stack.limit);
        assert!(
            0 < stack.used && 4 * stack.used <= 3 * stack.limit,
            "{path}: {stack:?}"
        );
    }
}
