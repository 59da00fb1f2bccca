//! Which kernel computes a layer: the one with the fewest predicted cycles that fits.
//!
//! The prediction only chooses between kernels; what a layer costs is measured.

use super::plan::layer_in;
use shared::act::Act;
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Kernel, Kind, LayerSpec};
use shared::winograd;

/// Cycles of one 16-bit multiply-accumulate in the direct kernel's loop, loads included.
const PER_MAC: f64 = 1.06;
/// Cycles of bringing an output from accumulator to memory, direct.
const PER_OUTPUT: f64 = 12.0;
/// Cycles of unpacking a weight for the direct kernel.
const PER_WEIGHT: f64 = 3.0;
/// Cycles of one multiply-accumulate of transformed values, zeroing and storing included.
const PER_PRODUCT: f64 = 1.1;
/// How much longer the portable input transform takes, which serves channels that are left
/// over by groups of four.
const PORTABLE_INPUT: f64 = 20.0;

/// Cycles of a Winograd kernel's transforms.
struct Transforms {
    /// Of the 3x3 weights of one pair of channels, unpacking included.
    filter: f64,
    /// Of one channel of an input tile.
    input: f64,
    /// Of one channel of an output tile, requantization included.
    output: f64,
}

const WINOGRAD_4: Transforms = Transforms {
    filter: 84.0,
    input: 90.0,
    output: 350.0,
};
const WINOGRAD_2: Transforms = Transforms {
    filter: 47.0,
    input: 65.0,
    output: 95.0,
};

/// Whether the shape and formats are those of the Winograd kernels; exactness is another
/// question, see [`winograd::is_exact`].
#[must_use]
pub fn winograd_shape(s: &LayerSpec) -> bool {
    let conv = s.kind == Kind::Conv && (s.k_h, s.k_w, s.stride) == (3, 3, 1);
    conv && s.input.is_unsigned() && s.output.is_unsigned() && s.input != Act::Image
}

/// Whether the shape is that of the first layer's kernel.
#[must_use]
pub fn narrow_shape(s: &LayerSpec) -> bool {
    let conv = s.kind == Kind::Conv && (s.k_h, s.k_w, s.stride) == (3, 3, 1);
    conv && s.input == Act::Image && matches!(s.c_in, 1 | 3)
}

/// The layer with kernel and strips chosen, and the bytes of SRAM that it takes; `exact`
/// says whether Winograd is proven for its weights.
///
/// # Errors
/// The bytes that the least demanding kernel needs, where none fits `limit`.
pub fn choose_kernel(spec: &LayerSpec, limit: u32, exact: bool) -> Result<(LayerSpec, u32), u64> {
    let direct = layer_in(
        &LayerSpec {
            kernel: Kernel::Direct,
            ..*spec
        },
        limit,
    );
    if narrow_shape(spec) {
        // It has no strips, and is faster wherever it fits.
        let narrow = LayerSpec {
            kernel: Kernel::Narrow,
            ..*spec
        };
        return layer_in(&narrow, limit).or(direct);
    }
    let direct = direct?;
    if !exact || !winograd_shape(spec) {
        return Ok(direct);
    }
    // A benchmark of the layer holds its multipliers in the arena too.
    let spare = u32::from(spec.c_out) * REQUANT_BYTES as u32 + 64;
    // What proves F(4x4,3x3) exact proves F(2x2,3x3) too.
    let fast = [Kernel::Winograd4, Kernel::Winograd2].map(|kernel| {
        let spec = LayerSpec { kernel, ..*spec };
        layer_in(&spec, limit.saturating_sub(spare))
    });
    let cycles = |c: &(LayerSpec, u32)| predicted_cycles(&c.0);
    let candidates = fast.into_iter().flatten();
    Ok(candidates.fold(
        direct,
        |best, c| {
            if cycles(&c) < cycles(&best) { c } else { best }
        },
    ))
}

/// Rough cycles of a layer with weights, to compare kernels by.
#[must_use]
pub fn predicted_cycles(s: &LayerSpec) -> f64 {
    let strips = f64::from(s.conv_out().0.div_ceil(s.strip_rows.max(1)));
    let (c_in, c_out) = (f64::from(s.c_in4()), f64::from(s.c_out));
    let outputs = f64::from(s.conv_out().0) * f64::from(s.conv_out().1) * c_out;
    match s.kernel {
        Kernel::Direct => {
            let taps = f64::from(s.k_h) * f64::from(s.k_w) * c_in;
            // Padded taps are skipped; the share is that of a 3x3 kernel's border.
            let valid = (1.0 - f64::from(s.pad) * 2.0 / (3.0 * f64::from(s.in_h.max(1)))).powi(2);
            outputs * taps * PER_MAC * valid
                + outputs * PER_OUTPUT
                + strips * taps * c_out * PER_WEIGHT
        }
        // Compared with nothing: where it can run it is taken.
        Kernel::Narrow => outputs * f64::from(9 * s.c_in) * PER_MAC + outputs * PER_OUTPUT,
        Kernel::Winograd4 | Kernel::Winograd2 => {
            let quads: u32 = strip_quads(s);
            let tiles = 4.0 * f64::from(quads);
            let products = tiles * f64::from(winograd::positions(s.kernel)) * c_in * c_out;
            let each = match s.kernel {
                Kernel::Winograd2 => WINOGRAD_2,
                _ => WINOGRAD_4,
            };
            // The last channels of a pixel, where they are no group of four.
            let whole = f64::from(s.c_in / 4 * 4);
            let input = each.input * (whole + (c_in - whole) * PORTABLE_INPUT);
            products * PER_PRODUCT
                + tiles * (input + c_out * each.output)
                + strips * c_in * c_out * each.filter
        }
    }
}

fn strip_quads(s: &LayerSpec) -> u32 {
    let (rows, strip) = (s.conv_out().0, s.strip_rows.max(1));
    let rest = rows % strip;
    let last = if rest > 0 {
        winograd::quads(s, rest)
    } else {
        0
    };
    u32::from(rows / strip) * winograd::quads(s, strip) + last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_maps_take_winograd_where_it_is_proven_and_fits() {
        let wide = LayerSpec::conv3x3(16, 16, 64, 64);
        assert_eq!(
            choose_kernel(&wide, 110_000, true).map(|c| c.0.kernel),
            Ok(Kernel::Winograd4)
        );
        assert_eq!(
            choose_kernel(&wide, 110_000, false).map(|c| c.0.kernel),
            Ok(Kernel::Direct)
        );
        let small = LayerSpec::conv3x3(4, 4, 256, 256);
        assert_eq!(
            choose_kernel(&small, 110_000, true).map(|c| c.0.kernel),
            Ok(Kernel::Winograd2)
        );
        let image = LayerSpec {
            input: Act::Image,
            ..LayerSpec::conv3x3(32, 32, 3, 32)
        };
        assert_eq!(
            choose_kernel(&image, 110_000, true).map(|c| c.0.kernel),
            Ok(Kernel::Narrow)
        );
        let tiny = LayerSpec::conv3x3(2, 2, 64, 64);
        assert_eq!(
            choose_kernel(&tiny, 110_000, true).map(|c| c.0.kernel),
            Ok(Kernel::Direct)
        );
        assert!(choose_kernel(&wide, 20_000, true).is_err());
        for limit in [50_000, 60_000, 110_000] {
            let (chosen, need) = choose_kernel(&wide, limit, true).expect("fits");
            assert!(chosen.check().is_ok() && need <= limit);
        }
    }
}
