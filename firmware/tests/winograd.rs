//! Where exact Winograd is exact: at the bound that the exporter proves, and not past it.

mod common;

use common::Case;
use firmware::kernels::Blocks;
use shared::bench::Rng;
use shared::semantics::Requant;
use shared::spec::{Kernel, LayerSpec};
use shared::winograd::is_exact;

/// A layer all of whose inputs are 255 and whose one channel's weights, all of one sign, sum
/// up to `sum`; outputs show the sum's sign and size.
fn extreme(kernel: Kernel, c_in: u16, sum: i64) -> Case {
    let spec = LayerSpec {
        kernel,
        pad: 0,
        ..LayerSpec::conv3x3(6, 6, c_in, 1)
    };
    let spec = LayerSpec {
        strip_rows: spec.conv_out().0,
        ..spec
    };
    let mut case = Case::new(spec, &mut Rng::new(1));
    case.input.fill(255);
    let mut left = sum;
    case.set_weights(|_, _| {
        let w = left.clamp(-127, 127);
        left -= w;
        w as i8
    });
    assert_eq!(left, 0, "the weights cannot sum up to {sum}");
    // An output of about 100 either way, so that a lost sign shows.
    let m = (100u64 << 32) / (255 * sum.unsigned_abs());
    let bias = if sum < 0 { (-2 * 255 * sum) as i32 } else { 0 };
    case.requants = Requant::new(bias, m as u32, 0).unwrap().to_bytes().to_vec();
    assert!(case.expected().iter().all(|y| (95..=100).contains(y)));
    case
}

fn agrees(case: &Case) -> bool {
    case.run(Blocks::All).unwrap() == case.expected()
}

#[test]
fn f44_is_exact_up_to_its_bound_and_not_past_it() {
    let last = ((1 << 25) - 1) / 255;
    let exact = |sum| is_exact(Kernel::Winograd4, sum, 0, 255);
    assert!(exact(last) && !exact(last + 1));
    assert!(agrees(&extreme(Kernel::Winograd4, 120, last as i64)));
    assert!(!agrees(&extreme(Kernel::Winograd4, 120, last as i64 + 1)));
    // The smaller tile is exact there, and so is the direct kernel.
    assert!(agrees(&extreme(Kernel::Winograd2, 120, last as i64 + 1)));
    assert!(agrees(&extreme(Kernel::Direct, 120, last as i64 + 1)));
}

#[test]
fn the_bound_holds_for_negative_weights_too() {
    // −2^31 itself fits, so the first sum that fails is one step further on this side.
    let last = (1i64 << 25) / 255;
    for (sum, exact) in [(last, true), (last + 1, false)] {
        let case = extreme(Kernel::Winograd4, 120, -sum);
        assert_eq!(agrees(&case), exact, "sum -{sum}");
    }
}

#[test]
fn f22_is_exact_up_to_its_bound_and_not_past_it() {
    let last = ((1i64 << 29) - 1) / 255;
    assert!(agrees(&extreme(Kernel::Winograd2, 1_848, last)));
    assert!(!agrees(&extreme(Kernel::Winograd2, 1_848, last + 1)));
}
