//! How much accuracy each width of each layer loses by itself, measured without training.

use super::qat::QatNet;
use crate::data::Dataset;
use crate::lower::{ActivationRanges, Bits, Centred, accuracy};
use candle_core::{Device, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Accuracy lost, as a fraction (negative where it gained), by width and layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Of lowering the weights alone: width → one number a layer.
    #[serde(with = "crate::search::exact::rows")]
    pub weights: BTreeMap<u8, Vec<f64>>,
    /// Of lowering the output activations alone; the last layer has none and loses 0.
    #[serde(with = "crate::search::exact::rows")]
    pub activations: BTreeMap<u8, Vec<f64>>,
}

impl Sensitivity {
    /// Measures every layer at every width, all others at 8 bits, on the images with
    /// these indices. `progress(done, of)` is called after each.
    ///
    /// # Errors
    /// Where the images do not fit the network.
    pub fn measure(
        network: &Centred,
        ranges: &ActivationRanges,
        (w_widths, a_widths): (&[u8], &[u8]),
        (data, indices): (&Dataset, &[usize]),
        device: &Device,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let layers = network.network.layers.len();
        let base = vec![Bits { w: 8, a: 8 }; layers];
        let labels: Vec<u32> = indices.iter().map(|&i| data.labels[i]).collect();
        let judge = |bits: &[Bits]| -> Result<f64> {
            let logits = QatNet::new(network, bits, ranges, device)?.logits(data, indices)?;
            Ok(accuracy(&logits, &labels))
        };
        let reference = judge(&base)?;
        let below = |widths: &[u8]| {
            widths
                .iter()
                .copied()
                .filter(|&w| w < 8)
                .collect::<Vec<_>>()
        };
        let (w_below, a_below) = (below(w_widths), below(a_widths));
        let total = w_below.len() * layers + a_below.len() * (layers - 1);
        let (mut sensitivity, mut done) = (Self::default(), 0);
        let mut step = || {
            done += 1;
            progress(done, total);
        };
        for w in w_below {
            for i in 0..layers {
                let mut bits = base.clone();
                bits[i].w = w;
                sensitivity
                    .weights
                    .entry(w)
                    .or_default()
                    .push(reference - judge(&bits)?);
                step();
            }
        }
        for a in a_below {
            for i in 0..layers - 1 {
                let mut bits = base.clone();
                bits[i].a = a;
                sensitivity
                    .activations
                    .entry(a)
                    .or_default()
                    .push(reference - judge(&bits)?);
                step();
            }
        }
        Ok(sensitivity)
    }

    /// Images that [`Sensitivity::measure`] sends through a network of `layers` layers.
    #[must_use]
    pub fn cost(layers: usize, (w, a): (&[u8], &[u8]), images: usize) -> u64 {
        let below = |widths: &[u8]| widths.iter().filter(|w| **w < 8).count();
        ((1 + below(w) * layers + below(a) * (layers - 1)) * images) as u64
    }

    /// Loss of layer `layer`'s weights at `w` bits; 0 where it was not measured (8 bits).
    #[must_use]
    pub fn weight(&self, layer: usize, w: u8) -> f64 {
        self.weights
            .get(&w)
            .and_then(|row| row.get(layer))
            .copied()
            .unwrap_or(0.0)
    }

    /// Loss of layer `layer`'s activations at `a` bits; 0 where it was not measured.
    #[must_use]
    pub fn activation(&self, layer: usize, a: u8) -> f64 {
        self.activations
            .get(&a)
            .and_then(|row| row.get(layer))
            .copied()
            .unwrap_or(0.0)
    }
}
