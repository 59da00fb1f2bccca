//! The integer network: weights, biases and multipliers, with their proofs.

use super::LowerError;
use super::kernel::check_kernels;
use serde::{Deserialize, Serialize};
use shared::semantics::Requant;
use shared::spec::{Kernel, LayerSpec};
use shared::winograd;

/// How one layer with weights is quantized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerQuant {
    /// Width of the weights, 2 to 8.
    pub w_bits: u8,
    /// Width of the output activations: 2, 4 or 8. Unused by the last layer.
    pub a_bits: u8,
    /// Step of the weights, one an output channel (all equal in the last layer).
    pub w_step: Vec<f32>,
    /// Activation that maps to `2^a_bits − 1`. Unused by the last layer.
    pub a_clip: f32,
}

impl LayerQuant {
    /// Step of the output activations.
    #[must_use]
    pub fn a_step(&self) -> f32 {
        self.a_clip / ((1u32 << self.a_bits) - 1) as f32
    }
}

/// One layer in integers.
#[derive(Clone, Debug, PartialEq)]
pub struct IntLayer {
    /// Name in reports and errors.
    pub name: String,
    /// Shape and formats; `encoding` and `strip_rows` are set by later steps.
    pub spec: LayerSpec,
    /// `[c_out, k_h, k_w, c_in]`; empty for a global pool.
    pub weights: Vec<i8>,
    /// One an output channel; empty for a global pool. The last layer uses biases only.
    pub requants: Vec<Requant>,
    /// Largest `Σ|w|·x_max` over the output channels: no partial sum exceeds it.
    pub bound: i64,
    /// Largest [`one_sided_sum`] over the output channels, which proves kernels exact.
    pub one_sided: u64,
    /// The kernel that computes it, where the user has chosen.
    pub forced: Option<Kernel>,
}

impl IntLayer {
    /// Whether `kernel` is proven to give the direct kernel's bytes.
    #[must_use]
    pub fn is_exact(&self, kernel: Kernel) -> bool {
        self.one_sided < winograd::sum_limit(kernel)
    }
}

/// The largest sum of products of one sign that an output channel can reach, the larger of
/// both signs, over `weights` `[c_out, ...]`: what [`winograd::is_exact`] bounds. 0 without
/// weights.
#[must_use]
pub fn one_sided_sum(spec: &LayerSpec, weights: &[i8]) -> u64 {
    let x_max = u64::from(spec.input.max().unsigned_abs());
    let fan_in = weights.len() / usize::from(spec.c_out).max(1);
    let sum = |w: &[i8], sign: i64| -> u64 {
        w.iter().map(|&w| (sign * i64::from(w)).max(0) as u64).sum()
    };
    let channels = weights.chunks_exact(fan_in.max(1));
    let sums = channels.map(|w| sum(w, 1).max(sum(w, -1)));
    sums.max().unwrap_or(0) * x_max
}

/// A network in integers.
#[derive(Clone, Debug, PartialEq)]
pub struct IntNet {
    /// Input `[h, w, c]`.
    pub input: [usize; 3],
    /// What is subtracted from each channel of a pixel.
    pub r_c: Vec<u8>,
    /// All layers, the global pool included.
    pub layers: Vec<IntLayer>,
    /// `logit = accumulator · logit_scale`.
    pub logit_scale: f32,
}

impl IntNet {
    /// Classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, |l| usize::from(l.spec.c_out))
    }

    /// Nonzero weights and biases, the `parameters` of reports.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let count = |l: &IntLayer| {
            let weights = l.weights.iter().filter(|&&w| w != 0).count();
            weights + l.requants.iter().filter(|r| r.bias != 0).count()
        };
        self.layers.iter().map(|l| count(l) as u64).sum()
    }

    /// All weights and biases, zero or not, the `parameters_dense` of reports.
    #[must_use]
    pub fn parameters_dense(&self) -> u64 {
        self.layers
            .iter()
            .map(|l| (l.weights.len() + l.requants.len()) as u64)
            .sum()
    }

    /// Dense multiply-accumulates of one inference.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|l| l.spec.macs()).sum()
    }

    /// Has the named layers computed by kernels of the user's choice.
    ///
    /// # Errors
    /// As [`check_kernels`], and [`LowerError::Inexact`].
    pub fn force(&mut self, choices: &[(String, Kernel)]) -> Result<(), LowerError> {
        let layers = self.layers.iter().map(|l| (l.name.as_str(), &l.spec));
        check_kernels(layers, choices)?;
        for (name, kernel) in choices {
            for layer in self.layers.iter_mut().filter(|l| l.name == *name) {
                if !layer.is_exact(*kernel) {
                    return Err(LowerError::Inexact {
                        layer: name.clone(),
                        kernel: kernel.name(),
                        need: layer.one_sided,
                        limit: winograd::sum_limit(*kernel),
                    });
                }
                layer.forced = Some(*kernel);
            }
        }
        Ok(())
    }

    /// Share of nonzero weights of layer `i`, 0 to 1; 1 for a layer without weights.
    #[must_use]
    pub fn density(&self, i: usize) -> f64 {
        let w = &self.layers[i].weights;
        if w.is_empty() {
            return 1.0;
        }
        w.iter().filter(|&&w| w != 0).count() as f64 / w.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 3x3 convolution of one output channel whose weights are all 127.
    fn layer(name: &str, c_in: u16) -> IntLayer {
        let spec = LayerSpec::conv3x3(8, 8, c_in, 1);
        let weights = vec![127; spec.weight_count() as usize];
        IntLayer {
            name: name.into(),
            one_sided: one_sided_sum(&spec, &weights),
            spec,
            weights,
            requants: vec![Requant::default()],
            bound: 0,
            forced: None,
        }
    }

    fn net() -> IntNet {
        let mut pool = layer("gap", 1);
        pool.spec = LayerSpec::global_avg_pool(8, 8, 1, shared::act::Act::U4);
        pool.weights.clear();
        IntNet {
            input: [8, 8, 3],
            r_c: vec![0; 3],
            layers: vec![layer("conv0", 115), layer("conv1", 116), pool],
            logit_scale: 1.0,
        }
    }

    #[test]
    fn kernels_are_proven_up_to_their_bounds() {
        let [exact, more] = [115, 116].map(|c_in| layer("", c_in));
        assert!(exact.is_exact(Kernel::Winograd4) && !more.is_exact(Kernel::Winograd4));
        assert!(more.is_exact(Kernel::Winograd2) && more.is_exact(Kernel::Direct));
    }

    #[test]
    fn choices_that_cannot_be_are_refused_with_need_and_limit() {
        let force = |name: &str, kernel| {
            let mut net = net();
            let done = net.force(&[(name.to_string(), kernel)]);
            done.map(|()| net.layers[0].forced)
                .map_err(|e| e.to_string())
        };
        assert_eq!(
            force("conv0", Kernel::Winograd4),
            Ok(Some(Kernel::Winograd4))
        );
        let said = force("conv1", Kernel::Winograd4).expect_err("not exact");
        for part in ["conv1", "winograd4", "33554432", "33809940"] {
            assert!(said.contains(part), "{said}");
        }
        let said = force("conv7", Kernel::Direct).expect_err("no such layer");
        assert!(
            said.contains("conv7") && said.contains("conv0, conv1, gap"),
            "{said}"
        );
        for (name, kernel) in [("conv0", Kernel::Narrow), ("gap", Kernel::Direct)] {
            let said = force(name, kernel).expect_err("another shape");
            assert!(
                said.contains(name) && said.contains(kernel.name()),
                "{said}"
            );
        }
    }
}
