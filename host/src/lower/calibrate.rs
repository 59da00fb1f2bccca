//! Calibration: what range each layer's activations take on real images.

use super::LowerError;
use super::clip::Histogram;
use super::float::visit_activations;
use super::folded::FoldedNet;

/// Histograms of each layer's output (after ReLU and pool), from calibration images.
#[derive(Clone, Debug)]
pub struct ActivationRanges {
    histograms: Vec<Histogram>,
}

impl ActivationRanges {
    /// The clip of least squared error for layer `i`'s output at `a_bits`.
    #[must_use]
    pub fn clip(&self, i: usize, a_bits: u8) -> f32 {
        self.histograms[i].clip(a_bits)
    }
}

/// Runs `images` (`[n, h, w, c]` bytes) twice: for the maxima, then for the histograms.
///
/// # Errors
/// [`LowerError::ImageSize`].
pub fn calibrate(net: &FoldedNet, images: &[u8]) -> Result<ActivationRanges, LowerError> {
    let layers = net.len();
    let maxima = visit_activations(
        net,
        images,
        || vec![0f32; layers],
        |m, l, v| m[l] = v.iter().fold(m[l], |m, &v| m.max(v)),
        |a, b| a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect(),
    )?;
    let histograms = visit_activations(
        net,
        images,
        || {
            maxima
                .iter()
                .map(|&m| Histogram::new(m))
                .collect::<Vec<_>>()
        },
        |h, l, v| v.iter().for_each(|&v| h[l].add(v.max(0.0))),
        |mut a, b| {
            for (a, b) in a.iter_mut().zip(b) {
                a.bins.iter_mut().zip(b.bins).for_each(|(a, b)| *a += b);
            }
            a
        },
    )?;
    Ok(ActivationRanges { histograms })
}
