//! Single layers on the board: every output byte equals the naive reference.
//!
//! Layers are generated over all widths, formats, kernels, encodings and ragged sizes, with
//! data at the edges of what a blob can hold (`shared::pattern`). The board answers with the
//! CRC-32 of its output, channels of all blocks computed.

use firmware::bench::{R_C, stored_channels};
use firmware::reference::{self, Parameters};
use host::board::{Board, BoardError, Engine, EngineChoice, Options, open};
use shared::CRC32;
use shared::act::Act;
use shared::bench::Rng;
use shared::message::{BenchLayer, DeviceError};
use shared::pattern::Pattern;
use shared::semantics::weight_max;
use shared::spec::{Encoding, Kernel, Kind, LayerSpec, SpecError, Tiling};
use shared::winograd;

/// Layers of a whole run, and of a run in process, which is fifty times slower.
const CASES: usize = 360;
const EVERY_IN_PROCESS: usize = 12;
/// Most multiply-accumulates of a generated layer, so that a run takes seconds.
const MACS: u64 = 250_000;

const UNSIGNED: [Act; 3] = [Act::U8, Act::U4, Act::U2];

fn board_for_tests() -> Box<dyn Board> {
    let options = Options {
        engine: EngineChoice::Auto,
        verbose: false,
    };
    let name = tests::board();
    open(&name, options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn request(spec: LayerSpec, pattern: Pattern, seed: u32) -> BenchLayer {
    BenchLayer {
        spec,
        blocks: spec.blocks(),
        density_percent: match spec.encoding {
            Encoding::Dense => 100,
            Encoding::Sparse | Encoding::Delta | Encoding::Coded => 30,
        },
        pattern,
        seed,
    }
}

/// What a request's output must be, by the textbook.
fn expected(r: &BenchLayer) -> u32 {
    let spec = &r.spec;
    let pixels = usize::from(spec.in_h) * usize::from(spec.in_w);
    let mut input = vec![0; pixels * spec.input.pixel_bytes(spec.c_in) as usize];
    r.pattern.fill_input(spec, r.seed, &mut input);
    let stored = usize::from(stored_channels(spec));
    let data = (r.seed, r.density_percent);
    let mut r_c = [R_C; 4];
    r_c.iter_mut().skip(spec.c_in.into()).for_each(|r| *r = 0);
    let parameters = Parameters {
        // Later channels read the weights of the first.
        weight: &|channel, row, column, c| {
            let place = [row as u32, column as u32, c as u32];
            let channel = (channel % stored) as u16;
            i32::from(r.pattern.weight(spec, data, channel, place))
        },
        requant: &|channel| r.pattern.requant(spec, r.seed, channel as u16),
        r_c,
    };
    let mut output = vec![0; spec.output_bytes() as usize];
    reference::layer(spec, &parameters, &input, &mut output);
    CRC32.checksum(&output)
}

/// Whether the exporter could prove the layer's kernel exact for any weights.
fn is_exact(spec: &LayerSpec) -> bool {
    let taps = u64::from(spec.k_h) * u64::from(spec.k_w) * u64::from(spec.c_in);
    let weights = taps * weight_max(spec.w_bits) as u64;
    winograd::is_exact(spec.kernel, weights, weights, spec.input.max() as u32)
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u32) as usize]
}

/// A layer that makes sense, of the given kernel and width.
fn generate(rng: &mut Rng, kernel: Kernel, w_bits: u8) -> LayerSpec {
    loop {
        let spec = match (kernel, rng.below(8)) {
            (Kernel::Direct, 5) => dense(rng, w_bits),
            (Kernel::Direct, 6) | (Kernel::Narrow, _) => first_layer(rng, w_bits),
            (Kernel::Direct, 7) => smallest(rng, w_bits),
            _ => conv(rng, w_bits, kernel),
        };
        let spec = LayerSpec { kernel, ..spec };
        if spec.check().is_ok() && spec.macs() <= MACS && is_exact(&spec) {
            return spec;
        }
    }
}

fn conv(rng: &mut Rng, w_bits: u8, kernel: Kernel) -> LayerSpec {
    let direct = kernel == Kernel::Direct;
    let side = |rng: &mut Rng| 1 + rng.below(13) as u16;
    let (h, w) = (side(rng), side(rng));
    let c_in = pick(rng, &[1, 2, 3, 4, 5, 8, 12, 16, 24, 31, 32, 37, 40, 64, 96]);
    let k = if direct { pick(rng, &[1, 3, 3, 5]) } else { 3 };
    let base = LayerSpec {
        w_bits,
        input: pick(rng, &UNSIGNED),
        output: pick(rng, &UNSIGNED),
        encoding: pick(rng, &Encoding::ALL),
        k_h: k,
        k_w: k,
        pad: pick(rng, &[k / 2, k / 2, 0]),
        stride: if direct { pick(rng, &[1, 1, 2]) } else { 1 },
        pool: pick(rng, &[1, 2]),
        ..LayerSpec::conv3x3(h, w, c_in, 1 + rng.below(9) as u16)
    };
    if direct {
        in_strips(rng, base)
    } else {
        in_tiles(rng, LayerSpec { kernel, ..base })
    }
}

/// A map of few outputs, whose weights are multiplied as they are packed where their channels
/// begin at whole words.
fn smallest(rng: &mut Rng, w_bits: u8) -> LayerSpec {
    let spec = LayerSpec {
        encoding: Encoding::Dense,
        in_h: 1 + rng.below(3) as u16,
        in_w: 1 + rng.below(3) as u16,
        c_in: pick(rng, &[8, 16, 32, 64, 96, 37]),
        c_out: 1 + rng.below(40) as u16,
        ..conv(rng, w_bits, Kernel::Direct)
    };
    LayerSpec {
        strip_rows: spec.conv_out().0.max(1),
        ..spec
    }
}

/// With the whole height at once, or fewer rows.
fn in_strips(rng: &mut Rng, spec: LayerSpec) -> LayerSpec {
    let rows = spec.conv_out().0.max(1);
    let fewer = 1 + rng.below(u32::from(rows)) as u16;
    LayerSpec {
        strip_rows: pick(rng, &[rows, fewer]),
        ..spec
    }
}

/// For the Winograd kernels: all at once, in strips of some quads of tiles, and with input
/// channels in turns.
fn in_tiles(rng: &mut Rng, spec: LayerSpec) -> LayerSpec {
    let spec = LayerSpec {
        strip_rows: spec.conv_out().0,
        ..spec
    };
    let channels = match rng.below(2) {
        0 => 0,
        _ => (winograd::channel_step(&spec) * (1 + rng.below(10))) as u16,
    };
    let blocks = 1 + rng.below(u32::from(spec.blocks())) as u16;
    let tiling = Tiling {
        quads: rng.below(4) as u16,
        channels,
        blocks: if channels == 0 { 0 } else { blocks },
    };
    LayerSpec { tiling, ..spec }
}

fn first_layer(rng: &mut Rng, w_bits: u8) -> LayerSpec {
    let spec = conv(rng, w_bits, Kernel::Direct);
    LayerSpec {
        input: Act::Image,
        c_in: 1 + rng.below(4) as u16,
        ..spec
    }
}

fn dense(rng: &mut Rng, w_bits: u8) -> LayerSpec {
    let (h, w) = pick(rng, &[(1, 1), (1, 1), (2, 3)]);
    let c_in = pick(rng, &[1, 4, 10, 37, 64, 128, 512]);
    let last = rng.below(2) == 0;
    LayerSpec {
        w_bits,
        encoding: pick(rng, &Encoding::ALL),
        input: pick(rng, &[Act::U8, Act::U4, Act::U2, Act::S16]),
        output: if last { Act::I32 } else { pick(rng, &UNSIGNED) },
        ..LayerSpec::fully_connected(h, w, c_in, 1 + rng.below(12) as u16)
    }
}

/// The layers of a run: each kernel at each width with each pattern in turn, then some by hand.
fn layers() -> Vec<BenchLayer> {
    let mut rng = Rng::new(2026);
    let mut requests = by_hand();
    let kernels: Vec<Kernel> = (0..=u8::MAX).filter_map(Kernel::from_code).collect();
    let turns = kernels
        .iter()
        .flat_map(|k| (2..=8).map(move |w| (*k, w)))
        .flat_map(|(k, w)| Pattern::EDGES.map(|p| (k, w, p)));
    let turns: Vec<_> = turns.collect();
    for (kernel, w_bits, pattern) in turns.iter().cycle() {
        if requests.len() >= CASES {
            break;
        }
        let spec = generate(&mut rng, *kernel, *w_bits);
        requests.push(request(spec, *pattern, rng.next()));
    }
    requests
}

/// Sums as close to the bounds as layers come, pools of odd maps, one pixel.
fn by_hand() -> Vec<BenchLayer> {
    let winograd = |kernel, h, c_in, w_bits, input| LayerSpec {
        kernel,
        w_bits,
        input,
        ..LayerSpec::conv3x3(h, 4, c_in, 2)
    };
    let (four, two) = (Kernel::Winograd4, Kernel::Winograd2);
    let specs = [
        // 115 · 9 · 127 · 255 = 33,518,475 of 33,554,432.
        winograd(four, 4, 115, 8, Act::U8),
        winograd(two, 4, 115, 8, Act::U8),
        winograd(four, 5, 96, 8, Act::U8),
        winograd(four, 4, 128, 7, Act::U8),
        winograd(four, 4, 160, 4, Act::U4),
        winograd(two, 2, 256, 2, Act::U8),
        LayerSpec::conv3x3(1, 1, 37, 5),
        LayerSpec {
            pool: 2,
            ..LayerSpec::conv3x3(7, 5, 8, 3)
        },
        LayerSpec {
            input: Act::S16,
            output: Act::I32,
            ..LayerSpec::fully_connected(1, 1, 512, 10)
        },
        LayerSpec::global_avg_pool(4, 8, 37, Act::U8),
        LayerSpec::global_avg_pool(8, 16, 5, Act::U8),
        LayerSpec::global_avg_pool(3, 3, 64, Act::U4),
        LayerSpec::global_avg_pool(7, 1, 9, Act::U2),
    ];
    let mut requests = Vec::new();
    for (seed, spec) in (0..).zip(specs) {
        requests.extend(Pattern::EDGES.map(|pattern| request(spec, pattern, seed)));
    }
    requests
}

#[test]
fn every_kernel_gives_the_references_bytes_on_the_board() {
    let mut board = board_for_tests();
    let step = match board.engine() {
        Engine::InProcess => EVERY_IN_PROCESS,
        Engine::Qemu | Engine::Probe => 1,
    };
    let layers = layers();
    assert!(layers.len() >= 300);
    let mut wrong = Vec::new();
    for r in layers.iter().step_by(step) {
        let ran = board
            .bench_layer(r)
            .unwrap_or_else(|e| panic!("{r:?}: {e}"));
        if ran.output_crc32 != expected(r) {
            wrong.push(r);
        }
        assert!(ran.fast || r.spec.kind == Kind::GlobalAvgPool, "{r:?}");
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}

#[test]
fn the_generated_layers_cover_what_there_is() {
    let layers = layers();
    let count = |f: &dyn Fn(&BenchLayer) -> bool| layers.iter().filter(|r| f(r)).count();
    for kernel in (0..=u8::MAX).filter_map(Kernel::from_code) {
        for w_bits in 2..=8 {
            let n = count(&|r| r.spec.kernel == kernel && r.spec.w_bits == w_bits);
            assert!(n >= 6, "{n} of {kernel:?} at {w_bits} bits");
        }
    }
    for act in UNSIGNED {
        assert!(count(&|r| r.spec.input == act) >= 30);
        assert!(count(&|r| r.spec.output == act) >= 30);
    }
    assert!(count(&|r| r.spec.input == Act::Image) >= 5);
    assert!(count(&|r| r.spec.kind == Kind::FullyConnected) >= 10);
    assert!(count(&|r| r.spec.encoding == Encoding::Sparse) >= 60);
    assert!(count(&|r| r.spec.stride == 2) >= 10 && count(&|r| r.spec.k_h == 5) >= 5);
    assert!(count(&|r| r.spec.pool == 2) >= 60);
    assert!(count(&|r| r.spec.strip_rows < r.spec.conv_out().0) >= 25);
    assert!(count(&|r| r.spec.tiling.quads > 0) >= 25);
    assert!(count(&|r| r.spec.tiling.channels > 0) >= 25);
}

#[test]
fn layers_without_a_size_are_refused_with_an_error_value() {
    let mut board = board_for_tests();
    let ok = LayerSpec::conv3x3(4, 4, 4, 4);
    for (spec, error) in [
        (LayerSpec { in_h: 0, ..ok }, SpecError::ZeroDimension),
        (LayerSpec { in_w: 0, ..ok }, SpecError::ZeroDimension),
        (LayerSpec { c_in: 0, ..ok }, SpecError::ZeroDimension),
        (LayerSpec { c_out: 0, ..ok }, SpecError::ZeroDimension),
        (LayerSpec { k_h: 0, ..ok }, SpecError::ZeroDimension),
        (LayerSpec { stride: 0, ..ok }, SpecError::ZeroDimension),
        (LayerSpec { w_bits: 1, ..ok }, SpecError::WeightBits),
        (LayerSpec { pool: 3, ..ok }, SpecError::Pool),
        (
            LayerSpec {
                strip_rows: 0,
                ..ok
            },
            SpecError::Strip,
        ),
        (
            LayerSpec {
                kernel: Kernel::Winograd4,
                stride: 2,
                strip_rows: 2,
                ..ok
            },
            SpecError::Kernel,
        ),
    ] {
        match board.bench_layer(&request(spec, Pattern::Random, 1)) {
            Err(BoardError::Refused { error: got, .. }) => {
                assert_eq!(got, DeviceError::Spec(error), "{spec:?}");
            }
            other => panic!("{spec:?}: {other:?}"),
        }
    }
    board.hello().expect("the board is still there");
}
