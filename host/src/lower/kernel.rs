//! Which kernel computes a layer: the one with the fewest predicted cycles that fits.
//!
//! The prediction only chooses between kernels; what a layer costs is measured.

use super::LowerError;
use super::plan::layer_in;
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Kernel, LayerSpec, SpecError};
use shared::winograd;

/// Cycles of one 16-bit multiply-accumulate in the direct kernel's loop, loads included.
const PER_MAC: f64 = 1.05;
/// The same where weights are multiplied as they are packed.
const PER_PACKED_MAC: f64 = 1.46;
/// Cycles of beginning and ending an output, requantization included, direct.
const PER_OUTPUT: f64 = 45.0;
/// The same of a first layer.
const PER_NARROW_OUTPUT: f64 = 11.0;
/// Cycles of unpacking a weight for the direct kernel.
const PER_WEIGHT: f64 = 2.2;
/// Whether `kernel` computes such a layer, its weights aside; exactness is another question,
/// see [`winograd::is_exact`].
#[must_use]
pub fn computes(kernel: Kernel, spec: &LayerSpec) -> bool {
    let whole = LayerSpec {
        kernel,
        strip_rows: spec.conv_out().0.max(1),
        ..*spec
    };
    whole.check() != Err(SpecError::Kernel)
}

/// Whether there are such layers, and whether these kernels compute them.
///
/// # Errors
/// [`LowerError::NoLayer`], [`LowerError::Kernel`].
pub fn check_kernels<'a>(
    layers: impl Iterator<Item = (&'a str, &'a LayerSpec)> + Clone,
    choices: &[(String, Kernel)],
) -> Result<(), LowerError> {
    for (name, kernel) in choices {
        let Some((_, spec)) = layers.clone().find(|(n, _)| n == name) else {
            return Err(LowerError::NoLayer {
                layer: name.clone(),
                names: layers.map(|(n, _)| n.to_string()).collect(),
            });
        };
        if !spec.has_weights() || !computes(*kernel, spec) {
            return Err(LowerError::Kernel {
                layer: name.clone(),
                kernel: kernel.name(),
                shape: shape(spec),
            });
        }
    }
    Ok(())
}

fn shape(s: &LayerSpec) -> String {
    format!(
        "{:?} {}x{} of stride {}, {}x{}x{} {:?} to {} {:?}",
        s.kind, s.k_h, s.k_w, s.stride, s.in_h, s.in_w, s.c_in, s.input, s.c_out, s.output
    )
}

/// The layer by each kernel that computes it, is exact where products of one sign sum up to
/// `one_sided`, and fits `limit`; with the bytes of SRAM that it takes.
///
/// # Errors
/// The limit that is enough for the least demanding kernel, where none fits.
pub fn candidates(
    spec: &LayerSpec,
    limit: u32,
    one_sided: u64,
) -> Result<Vec<(LayerSpec, u32)>, u64> {
    let kernels = (0..=u8::MAX).filter_map(Kernel::from_code);
    let kernels = kernels.filter(|&k| computes(k, spec) && one_sided < winograd::sum_limit(k));
    let (mut fitting, mut least) = (Vec::new(), u64::MAX);
    for kernel in kernels {
        // A benchmark of the layer holds its multipliers in the arena too; the direct kernel
        // can then take smaller strips.
        let spare = match kernel {
            Kernel::Direct => 0,
            _ => u32::from(spec.c_out) * REQUANT_BYTES as u32 + 64,
        };
        match layer_in(&LayerSpec { kernel, ..*spec }, limit.saturating_sub(spare)) {
            Ok(placed) => fitting.push(placed),
            Err(need) => least = least.min(need + u64::from(spare)),
        }
    }
    if fitting.is_empty() {
        return Err(least);
    }
    Ok(fitting)
}

/// The layer by the kernel with the fewest predicted cycles, or by the `forced` one, in
/// strips that fit `limit`, and the bytes of SRAM that it takes. See [`candidates`].
///
/// # Errors
/// The limit that is enough for the least demanding kernel, where none fits `limit`.
pub fn choose_kernel(
    spec: &LayerSpec,
    limit: u32,
    one_sided: u64,
    forced: Option<Kernel>,
) -> Result<(LayerSpec, u32), u64> {
    if let Some(kernel) = forced {
        return layer_in(&LayerSpec { kernel, ..*spec }, limit);
    }
    let candidates = candidates(spec, limit, one_sided)?.into_iter();
    let fastest = candidates.min_by(|a, b| {
        let [a, b] = [a, b].map(|c| predicted_cycles(&c.0));
        a.total_cmp(&b)
    });
    fastest.ok_or(u64::MAX)
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
            if s.is_straight() {
                return outputs * (taps * PER_PACKED_MAC * valid + PER_OUTPUT);
            }
            outputs * taps * PER_MAC * valid
                + outputs * PER_OUTPUT
                + strips * taps * c_out * PER_WEIGHT
        }
        Kernel::Narrow => outputs * f64::from(9 * s.c_in) * PER_MAC + outputs * PER_NARROW_OUTPUT,
        Kernel::Winograd4 | Kernel::Winograd2 => super::winograd::cycles(s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::act::Act;

    /// The kernel that is chosen within 110,000 bytes for sums up to `one_sided`.
    fn chosen(spec: &LayerSpec, one_sided: u64) -> Result<Kernel, u64> {
        choose_kernel(spec, 110_000, one_sided, None).map(|c| c.0.kernel)
    }

    #[test]
    fn wide_maps_take_winograd_where_it_is_proven_and_fits() {
        let wide = LayerSpec::conv3x3(16, 16, 64, 64);
        assert_eq!(chosen(&wide, (1 << 25) - 1), Ok(Kernel::Winograd4));
        assert_eq!(chosen(&wide, 1 << 25), Ok(Kernel::Winograd2));
        assert_eq!(chosen(&wide, 1 << 29), Ok(Kernel::Direct));
        let small = LayerSpec::conv3x3(4, 4, 256, 256);
        assert_eq!(chosen(&small, 0), Ok(Kernel::Winograd2));
        let image = LayerSpec {
            input: Act::Image,
            ..LayerSpec::conv3x3(32, 32, 3, 32)
        };
        assert_eq!(chosen(&image, 0), Ok(Kernel::Narrow));
        let tiny = LayerSpec::conv3x3(2, 2, 64, 64);
        assert_eq!(chosen(&tiny, 0), Ok(Kernel::Direct));
        assert!(choose_kernel(&wide, 20_000, 0, None).is_err());
        for limit in [50_000, 60_000, 110_000] {
            let (spec, need) = choose_kernel(&wide, limit, 0, None).expect("fits");
            assert!(spec.check().is_ok() && need <= limit);
        }
    }

    /// What is told to those whose layers do not fit is enough, and no less is.
    #[test]
    fn the_limit_that_a_refusal_names_is_the_least() {
        for (map, c_in, c_out) in [
            (32, 3, 8),
            (32, 8, 8),
            (16, 64, 64),
            (8, 16, 128),
            (4, 256, 16),
        ] {
            let input = if c_in == 3 { Act::Image } else { Act::U8 };
            let spec = LayerSpec {
                input,
                ..LayerSpec::conv3x3(map, map, c_in, c_out)
            };
            let need = choose_kernel(&spec, 16, 0, None).expect_err("too little");
            let limit = u32::try_from(need).expect("some kilobytes");
            assert!(choose_kernel(&spec, limit, 0, None).is_ok(), "{spec:?}");
            let less = choose_kernel(&spec, limit - 1, 0, None);
            assert_eq!(less.expect_err("less is too little"), need, "{spec:?}");
        }
    }

    #[test]
    fn a_forced_kernel_is_taken_and_cut_to_fit() {
        let wide = LayerSpec::conv3x3(16, 16, 64, 64);
        for kernel in [Kernel::Direct, Kernel::Winograd2, Kernel::Winograd4] {
            let (spec, need) = choose_kernel(&wide, 70_000, 0, Some(kernel)).expect("fits");
            assert_eq!((spec.kernel, spec.check()), (kernel, Ok(())));
            assert!(need <= 70_000);
        }
        assert!(!computes(Kernel::Narrow, &wide) && computes(Kernel::Direct, &wide));
    }
}
