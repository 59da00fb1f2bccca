//! Whole networks on the virtual board, lowered anew with the kernels that there are: what
//! they take for a multiply-accumulate must not grow.

use host::board::{Board, Engine, EngineChoice, Options, open};
use host::lower::{IntNet, emit, from_blob, plan, simulate};
use shared::bench::Rng;
use shared::blob::Blob;
use std::path::Path;

/// Cycles per dense multiply-accumulate of a network.
struct Measured {
    zero_wait: f64,
    board: f64,
}

fn network(path: &str) -> IntNet {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let blob = Blob::new_checked(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    from_blob(&blob).expect("no damaged stream")
}

/// Plans, runs and prints `net` layer by layer; its logits must be the simulation's.
fn measure(net: &IntNet, board: &mut dyn Board) -> Measured {
    let arena = board.hello().expect("answers").arena_limit;
    let plan = plan(net, arena).expect("fits");
    let emitted = emit(net, &plan).expect("is valid");
    board.flash(&emitted.blob).expect("is flashed");
    let mut rng = Rng::new(1);
    let image: Vec<u8> = (0..net.input.iter().product::<usize>())
        .map(|_| rng.next() as u8)
        .collect();
    let ran = board.infer(&image, false).expect("runs");
    assert_eq!(ran.logits, simulate(net, &image).expect("fits"));
    let mut sums = (0, 0, 0);
    for ((layer, spec), cycles) in net.layers.iter().zip(&emitted.specs).zip(&ran.layers) {
        let cycles = cycles.expect("a virtual board counts");
        let zero = cycles.zero_wait().expect("a virtual board counts");
        let macs = spec.macs();
        // A pool has no multiplications: its own count stands there.
        let per_mac = |c: u64| c as f64 / macs.max(1) as f64;
        println!(
            "{:9} {:3}x{:<3} {:3}->{:<3} {:10} w{} {:>10} MACs {:>9} {:.3} {:>9} {:.3}",
            layer.name,
            spec.in_h,
            spec.in_w,
            spec.c_in,
            spec.c_out,
            spec.kernel.name(),
            spec.w_bits,
            macs,
            zero,
            per_mac(zero),
            cycles.board,
            per_mac(cycles.board)
        );
        sums = (sums.0 + macs, sums.1 + zero, sums.2 + cycles.board);
    }
    let measured = Measured {
        zero_wait: sums.1 as f64 / sums.0 as f64,
        board: sums.2 as f64 / sums.0 as f64,
    };
    println!(
        "{} MACs, {} cycles ({:.3} a MAC), with wait states {} ({:.3}); arena {} bytes",
        sums.0, sums.1, measured.zero_wait, sums.2, measured.board, plan.arena_bytes
    );
    measured
}

#[test]
fn both_networks_stay_below_0_6_cycles_a_mac_and_0_7_with_the_flash() {
    let options = Options {
        engine: EngineChoice::Auto,
        verbose: false,
    };
    let name = tests::board();
    let mut board = open(&name, options).expect("opens");
    if board.engine() != Engine::Qemu {
        eprintln!("SKIPPED: {name} does not run on QEMU here (./setup --qemu installs it)");
        return;
    }
    for path in [
        "boards/stm32f405/default.blob",
        "results/vgg16-half-cifar10/model.blob",
    ] {
        println!("{path}");
        let m = measure(&network(path), &mut *board);
        assert!(m.zero_wait <= 0.6, "{path}: {:.3}", m.zero_wait);
        assert!(m.board <= 0.7, "{path}: {:.3} with wait states", m.board);
    }
}
