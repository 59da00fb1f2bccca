//! Both engines run the same firmware and must agree in every byte and every count.

use super::*;
use crate::search::{LayerCost, LayerKey, MeasureLayer};
use shared::pattern::Pattern;
use shared::spec::LayerSpec;

fn open_on(engine: EngineChoice) -> Box<dyn Board> {
    open(
        "virtual-stm32f405",
        Options {
            engine,
            verbose: false,
        },
    )
    .unwrap()
}

fn small_layers() -> Vec<BenchLayer> {
    let specs = [
        LayerSpec::conv3x3(8, 8, 16, 8),
        LayerSpec {
            w_bits: 4,
            pool: 2,
            ..LayerSpec::conv3x3(8, 8, 12, 6)
        },
        LayerSpec {
            w_bits: 2,
            ..LayerSpec::conv3x3(4, 6, 37, 5)
        },
        LayerSpec::fully_connected(1, 1, 64, 10),
    ];
    specs
        .into_iter()
        .map(|spec| BenchLayer {
            spec,
            blocks: spec.blocks(),
            density_percent: 100,
            pattern: Pattern::Typical,
            seed: 7,
        })
        .collect()
}

#[test]
fn the_virtual_board_answers_in_process() {
    let mut board = open_on(EngineChoice::InProcess);
    let hello = board.hello().unwrap();
    assert_eq!(hello.board, "stm32f405");
    assert_eq!(hello.build_id, board.build_id());
    assert_eq!(hello.stack_bytes, board.spec().sram.stack_bytes);
    for request in small_layers() {
        let timing = board.bench_layer(&request).unwrap();
        assert!(timing.fast || !request.spec.has_weights());
        let interval = timing.cycles.interval.unwrap();
        assert!(interval.cycles >= interval.instructions && timing.cycles.board >= interval.cycles);
    }
    let stack = board.stack().unwrap();
    assert!(stack.used > 0 && stack.used < stack.limit);
}

#[test]
fn both_engines_give_identical_bytes_and_counts() {
    if !qemu::is_installed() {
        eprintln!("skipped: {} is not installed", qemu::QEMU);
        return;
    }
    let mut boards = [
        open_on(EngineChoice::InProcess),
        open_on(EngineChoice::Qemu),
    ];
    assert_eq!(boards[0].engine(), Engine::InProcess);
    assert_eq!(boards[1].engine(), Engine::Qemu);
    for request in small_layers() {
        let [in_process, qemu] = boards
            .each_mut()
            .map(|board| board.bench_layer(&request).unwrap());
        assert_eq!(in_process, qemu, "{:?}", request.spec);
    }
}

/// The error of an extrapolated timing, in parts of the whole layer's.
fn extrapolation_error(in_process: &mut dyn Board, whole: &mut dyn Board, spec: &LayerSpec) -> f64 {
    let key = LayerKey::new(*spec, 1.0);
    let cycles = |board: &mut dyn Board, extent| {
        time_layer(board, &key, 100 << 10, extent).unwrap().cycles as f64
    };
    let extrapolated = cycles(in_process, Extent::Few);
    let measured = cycles(whole, Extent::Whole);
    println!(
        "{} to {}: {extrapolated} extrapolated, {measured} measured",
        spec.c_in, spec.c_out
    );
    extrapolated / measured - 1.0
}

#[test]
fn extrapolated_timings_are_close_to_whole_layers() {
    if !qemu::is_installed() {
        eprintln!("skipped: {} is not installed", qemu::QEMU);
        return;
    }
    let (mut in_process, mut qemu) = (
        open_on(EngineChoice::InProcess),
        open_on(EngineChoice::Qemu),
    );
    for spec in [
        LayerSpec::conv3x3(16, 16, 32, 32),
        LayerSpec {
            w_bits: 4,
            pool: 2,
            ..LayerSpec::conv3x3(16, 16, 24, 40)
        },
        LayerSpec {
            w_bits: 2,
            ..LayerSpec::conv3x3(8, 8, 64, 37)
        },
        LayerSpec::fully_connected(1, 1, 128, 64),
    ] {
        let error = extrapolation_error(&mut *in_process, &mut *qemu, &spec);
        assert!(error.abs() < 0.03, "{:.2} % off: {spec:?}", 100.0 * error);
    }
}

#[test]
fn a_table_answers_what_was_timed_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    let keys = [
        LayerSpec::conv3x3(4, 4, 8, 8),
        LayerSpec::conv3x3(64, 64, 64, 64),
    ]
    .map(|spec| LayerKey::new(spec, 1.0));
    let measure_all = |fresh: bool| {
        let table = LatencyTable::open(&path, fresh).unwrap();
        let board = TimedBoard::new(open_on(EngineChoice::InProcess)).unwrap();
        let mut board = board.with_table(table);
        keys.map(|key| board.measure(&key).unwrap())
    };
    let first = measure_all(false);
    assert!(matches!(first[0].cost, LayerCost::Cycles(1000..)));
    assert!(matches!(first[1].cost, LayerCost::TooLarge { .. }));
    assert!(first.iter().all(|timing| !timing.from_table));
    let second = measure_all(false);
    assert_eq!(
        second.map(|timing| timing.cost),
        first.map(|timing| timing.cost)
    );
    assert!(second.iter().all(|timing| timing.from_table));
    assert_eq!(measure_all(true), first);
}

#[test]
fn a_layer_too_large_is_refused_with_need_and_limit() {
    let mut board = open_on(EngineChoice::InProcess);
    let spec = LayerSpec::conv3x3(64, 64, 64, 64);
    let error = board
        .bench_layer(&BenchLayer {
            spec,
            blocks: 2,
            density_percent: 100,
            pattern: Pattern::Typical,
            seed: 1,
        })
        .unwrap_err();
    let (need, limit) = error.too_large().unwrap();
    assert!(need > limit && limit > 64 << 10, "{error}");
}

#[test]
fn a_blob_too_large_for_the_board_is_refused_before_it_is_flashed() {
    let mut board = open_on(EngineChoice::InProcess);
    let blob = vec![0; board.spec().blob.bytes as usize + 1];
    let error = board.flash(&blob).unwrap_err().to_string();
    assert!(
        error.contains("917505 bytes") && error.contains("917504"),
        "{error}"
    );
}

#[test]
fn a_real_board_without_a_probe_says_what_to_try() {
    if !connected_probes().is_empty() {
        return;
    }
    let error = open("stm32f405", Options::default()).err().unwrap();
    assert!(error.to_string().contains("none is connected"), "{error}");
    assert!(error.hint().unwrap().contains("virtual-stm32f405"));
}
