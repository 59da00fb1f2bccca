//! Which kernel computes a layer: the one with the fewest predicted cycles that fits.
//!
//! The prediction only chooses between kernels; what a layer costs is measured.

use super::plan::layer_in;
use shared::act::Act;
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Kernel, Kind, LayerSpec};
use shared::winograd;

/// Cycles of one 16-bit multiply-accumulate in either kernel's inner loop, loads included.
const PER_MAC: f64 = 1.06;
/// Cycles of bringing an output from accumulator to memory, direct.
const PER_OUTPUT: f64 = 12.0;
/// Cycles of unpacking a weight for the direct kernel.
const PER_WEIGHT: f64 = 3.0;
/// Cycles of transforming the 3x3 weights of one pair of channels, unpacking included.
const PER_FILTER: f64 = 80.0;
/// Cycles of transforming one channel of an input tile.
const PER_INPUT_TILE: f64 = 180.0;
/// Cycles of transforming and requantizing one channel of an output tile.
const PER_OUTPUT_TILE: f64 = 350.0;

/// Whether the shape and formats are those of [`Kernel::Winograd4`]; exactness is another
/// question, see [`winograd::is_exact`].
#[must_use]
pub fn winograd_shape(s: &LayerSpec) -> bool {
    let conv = s.kind == Kind::Conv && (s.k_h, s.k_w, s.stride) == (3, 3, 1);
    conv && s.input.is_unsigned() && s.output.is_unsigned() && s.input != Act::Image
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
    )?;
    if !exact || !winograd_shape(spec) {
        return Ok(direct);
    }
    // A benchmark of the layer holds its multipliers in the arena too.
    let spare = u32::from(spec.c_out) * REQUANT_BYTES as u32 + 64;
    let fast = LayerSpec {
        kernel: Kernel::Winograd4,
        ..*spec
    };
    match layer_in(&fast, limit.saturating_sub(spare)) {
        Ok(fast) if predicted_cycles(&fast.0) < predicted_cycles(&direct.0) => Ok(fast),
        _ => Ok(direct),
    }
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
        Kernel::Winograd4 => {
            let quads: u32 = strip_quads(s);
            let tiles = 4.0 * f64::from(quads);
            let products = tiles * f64::from(winograd::POSITIONS) * c_in * c_out;
            let transforms = tiles * (c_in * PER_INPUT_TILE + c_out * PER_OUTPUT_TILE);
            products * PER_MAC + transforms + strips * c_in * c_out * PER_FILTER
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
        let image = LayerSpec {
            input: Act::Image,
            ..LayerSpec::conv3x3(32, 32, 3, 32)
        };
        assert_eq!(
            choose_kernel(&image, 110_000, true).map(|c| c.0.kernel),
            Ok(Kernel::Direct)
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
