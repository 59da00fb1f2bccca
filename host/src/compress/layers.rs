//! A finished network layer by layer: the policy, and what each layer lost by itself.

use super::finish::Tested;
use super::{Compress, Device};
use crate::prune::LayerLoss;
use crate::run::{LayerFigures, LayerSensitivity, Loss, Policy, PolicyLayer};
use std::collections::BTreeMap;

/// What layer `i` was measured to lose, by share.
fn by_share(loss: Option<&LayerLoss>, i: usize) -> Vec<Loss<f32>> {
    let points = loss.and_then(|l| l.points.get(i)).into_iter().flatten();
    let points = points.filter(|(share, _)| *share < 1.0);
    points
        .map(|&(at, loss)| Loss {
            at,
            loss: f64::from(loss),
        })
        .collect()
}

impl<D: Device + 'static> Compress<D> {
    /// What was measured of each layer with weights by itself.
    pub(super) fn layer_sensitivity(&self, after: &Tested) -> Vec<LayerSensitivity> {
        let widths = self.state.sensitivity.clone().unwrap_or_default();
        // Other agents' predictions are not in points of accuracy.
        let channels = self.state.channel_loss.as_ref();
        let channels = channels.filter(|_| self.settings.agent.measures_channels());
        let of = |rows: &BTreeMap<u8, Vec<f64>>, i: usize| {
            let losses = rows.iter();
            let losses = losses.filter_map(|(&at, row)| {
                Some(Loss {
                    at,
                    loss: *row.get(i)?,
                })
            });
            losses.collect()
        };
        let rows = weight_layers(after).into_iter().enumerate();
        rows.map(|(i, row)| LayerSensitivity {
            name: row.name,
            channels: by_share(channels, i),
            elements: by_share(self.state.element_loss.as_ref(), i),
            weights: of(&widths.weights, i),
            activations: of(&widths.activations, i),
        })
        .collect()
    }

    pub(super) fn policy(&self, before: &Tested, after: &Tested) -> Policy {
        let folded = |t: &Tested| weight_layers(t);
        let rows = folded(before)
            .into_iter()
            .zip(folded(after))
            .map(|(b, a)| PolicyLayer {
                name: a.name,
                kind: a.kind,
                before: b.figures,
                after: a.figures,
                density: a.density,
                w_bits: a.w_bits,
                a_bits: a.a_bits,
                kernel: a.kernel,
                encoding: a.encoding,
            });
        let earlier = self.settings.earlier.as_ref();
        let [prune, quantize] = [&self.state.prune_best, &self.state.quantize_best]
            .map(|best| best.as_ref().map(|b| b.episode));
        Policy {
            layers: rows.collect(),
            prune_episode: prune.or(earlier.and_then(|e| e.prune_episode)),
            quantize_episode: quantize.or(earlier.and_then(|e| e.quantize_episode)),
        }
    }
}

struct LayerRow {
    name: String,
    kind: String,
    figures: LayerFigures,
    density: f64,
    w_bits: u8,
    a_bits: u8,
    kernel: String,
    encoding: String,
}

/// One row per layer with weights; a global pool's cycles count for the layer before it.
fn weight_layers(t: &Tested) -> Vec<LayerRow> {
    let mut rows: Vec<LayerRow> = Vec::new();
    for (i, layer) in t.lowered.net.layers.iter().enumerate() {
        let (s, cycles) = (&layer.spec, t.layer_cycles.get(i).copied().unwrap_or(0));
        if !s.has_weights() {
            if let Some(last) = rows.last_mut() {
                last.figures.cycles += cycles;
            }
            continue;
        }
        rows.push(LayerRow {
            name: layer.name.clone(),
            kind: if s.kind == shared::spec::Kind::Conv {
                "conv".into()
            } else {
                "linear".into()
            },
            figures: LayerFigures {
                c_in: s.c_in.into(),
                c_out: s.c_out.into(),
                macs: s.macs(),
                flash_bytes: t.lowered.price.layer_bytes[rows.len()] as u64,
                cycles,
            },
            density: t.lowered.net.density(i),
            w_bits: s.w_bits,
            a_bits: if s.output.is_unsigned() {
                s.output.bits() as u8
            } else {
                32
            },
            kernel: s.kernel.name().into(),
            encoding: s.encoding.name().into(),
        });
    }
    rows
}
