//! Kernels against the naive reference, on generated layers of every kind.

mod common;

use common::{Case, generate};
use firmware::kernels::{Blocks, Buffers, LayerError, run_layer};
use shared::act::Act;
use shared::bench::Rng;
use shared::spec::{Encoding, Kind, LayerSpec};

#[test]
fn six_hundred_generated_layers_equal_the_reference() {
    let mut rng = Rng::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..600 {
        let spec = generate(&mut rng);
        seen.insert((spec.w_bits, spec.encoding, spec.input, spec.output));
        Case::new(spec, &mut rng).check(&format!("case {i}"));
    }
    // All widths, both encodings, all formats did come up.
    let combinations = seen.len();
    assert!(combinations > 150, "only {combinations} combinations");
}

#[test]
fn four_hundred_winograd_layers_equal_the_reference() {
    let mut rng = Rng::new(7);
    for i in 0..400 {
        let spec = common::generate_winograd(&mut rng);
        Case::new(spec, &mut rng).check(&format!("winograd case {i}"));
    }
}

#[test]
fn two_hundred_first_layers_equal_the_reference() {
    let mut rng = Rng::new(8);
    for i in 0..200 {
        let spec = common::generate_narrow(&mut rng);
        Case::new(spec, &mut rng).check(&format!("narrow case {i}"));
    }
}

#[test]
fn three_hundred_layers_of_packed_weights_equal_the_reference() {
    let mut rng = Rng::new(9);
    let mut convolutions = 0;
    for i in 0..300 {
        let spec = common::generate_straight(&mut rng);
        convolutions += usize::from(spec.kind == Kind::Conv);
        Case::new(spec, &mut rng).check(&format!("straight case {i}"));
    }
    assert!((50..250).contains(&convolutions), "{convolutions}");
}

#[test]
fn every_vgg_shape_equals_the_reference_at_every_width() {
    let mut rng = Rng::new(2);
    for w_bits in 2..=8 {
        for (h, c_in, c_out, pool) in [(16, 3, 4, 1), (8, 32, 4, 2), (4, 37, 3, 1), (2, 64, 5, 2)] {
            let spec = LayerSpec {
                w_bits,
                pool,
                input: if c_in == 3 { Act::Image } else { Act::U8 },
                ..LayerSpec::conv3x3(h, h, c_in, c_out)
            };
            Case::new(spec, &mut rng).check("vgg");
        }
    }
}

#[test]
fn extreme_weights_and_activations_stay_exact() {
    let mut rng = Rng::new(3);
    for w_bits in [2, 4, 8] {
        for sign in [1, -1] {
            let spec = LayerSpec {
                w_bits,
                output: Act::I32,
                ..LayerSpec::conv3x3(5, 7, 40, 3)
            };
            let mut case = Case::new(spec, &mut rng);
            let max = shared::semantics::weight_max(w_bits) as i8;
            case.set_weights(|_, _| sign * max);
            case.input.fill(255);
            case.check("extremes");
        }
    }
}

#[test]
fn only_the_blocks_asked_for_are_computed() {
    let mut rng = Rng::new(4);
    for kind in [Kind::Conv, Kind::GlobalAvgPool] {
        let spec = match kind {
            Kind::GlobalAvgPool => LayerSpec::global_avg_pool(4, 4, 9, Act::U8),
            _ => LayerSpec::conv3x3(4, 4, 5, 9),
        };
        let case = Case::new(spec, &mut rng);
        let output = case.run(Blocks::Repeated(2)).unwrap();
        let pixel = spec.output.pixel_bytes(9) as usize;
        let touched = 4 * spec.output.bits() as usize / 8;
        for p in output.chunks(pixel) {
            assert!(
                p[touched..].iter().all(|&b| b == common::UNTOUCHED),
                "{kind:?}"
            );
        }
    }
}

#[test]
fn wrong_buffers_are_refused() {
    let mut rng = Rng::new(5);
    let spec = LayerSpec::conv3x3(4, 4, 5, 6);
    let case = Case::new(spec, &mut rng);
    let (mut output, mut scratch) = (vec![0; 96], vec![0u64; 1024]);
    let scratch: &mut [u8] = common::bytes_of(&mut scratch);
    let mut run = |input: &[u8], out: usize, from: usize, to: usize| {
        let buffers = Buffers {
            input,
            output: &mut output[..out],
            scratch: &mut scratch[from..to],
        };
        run_layer(&case.layer(), [0; 4], Blocks::All, buffers)
    };
    let need = spec.scratch_bytes() as usize;
    assert_eq!(run(&case.input, 96, 0, need), Ok(()));
    assert_eq!(run(&case.input[1..], 96, 0, need), Err(LayerError::Buffers));
    assert_eq!(run(&case.input, 95, 0, need), Err(LayerError::Buffers));
    assert_eq!(run(&case.input, 96, 0, need - 1), Err(LayerError::Buffers));
    assert_eq!(run(&case.input, 96, 1, need + 1), Err(LayerError::Buffers));
}

#[test]
fn a_damaged_sparse_stream_is_found() {
    let mut rng = Rng::new(6);
    let spec = LayerSpec {
        encoding: Encoding::Sparse,
        ..LayerSpec::conv3x3(4, 4, 5, 6)
    };
    let mut case = Case::new(spec, &mut rng);
    // The bitmap of the second block's first channel claims another weight or fewer.
    let start = u32::from_le_bytes(case.weights[4..8].try_into().unwrap()) as usize;
    case.weights[start..start + 8].fill(0xff);
    assert_eq!(case.run(Blocks::All), Err(LayerError::Corrupt { block: 1 }));
}
