//! What a candidate costs, as far as it can be computed: bytes, SRAM, MACs, and which
//! layers the board has to time.

use super::estimate::encoded_estimate;
use super::latency::{LayerCost, LayerKey};
use crate::lower::{
    Bits, IntNet, LowerError, NamedSpec, Storage, choose, choose_kernel, encodings_of, specs,
    weight_section,
};
use crate::reward::Costs;
use crate::vgg::VggConfig;
use shared::blob::{HEADER_BYTES, LAYER_BYTES};
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Encoding, Kernel, LayerSpec};

/// A candidate's costs but for its cycles, and what to ask the board.
#[derive(Clone, Debug)]
pub struct Price {
    /// MACs, blob bytes and SRAM; `cycles` is 0 until [`Price::with_cycles`].
    pub costs: Costs,
    /// One per layer that fits the SRAM, in order.
    pub keys: Vec<LayerKey>,
    /// Names of the layers that do not fit, with the bytes that they need.
    pub too_large: Vec<(String, u64)>,
    /// Weight bytes of each layer with weights.
    pub layer_bytes: Vec<usize>,
}

impl Price {
    /// The costs with the cycles that the board measured for [`Price::keys`].
    ///
    /// A layer that the board found too large adds no cycles; its need goes into
    /// `sram_bytes`, where it exceeds the budget.
    #[must_use]
    pub fn with_cycles(&self, measured: &[LayerCost]) -> Costs {
        let mut costs = self.costs;
        for cost in measured {
            match cost {
                LayerCost::Cycles(cycles) => costs.cycles += cycles,
                LayerCost::TooLarge { need, .. } => {
                    costs.sram_bytes = costs.sram_bytes.max(u64::from(*need))
                }
            }
        }
        costs
    }
}

/// The price of a lowered network, exact: strips are chosen as [`crate::lower::plan()`]
/// does, encodings are those of its layers.
///
/// # Panics
/// Where a layer's encoding cannot hold it, which [`crate::lower::choose_encoding`] sees to.
#[must_use]
pub fn price_net(net: &IntNet, limit: u32) -> Price {
    let layers = net.layers.iter().enumerate().map(|(i, layer)| {
        let section = weight_section(layer, &layer.spec);
        Part {
            name: layer.name.clone(),
            spec: layer.spec,
            density: net.density(i),
            bytes: section
                .expect("the encoding was chosen for the layer")
                .len(),
            one_sided: layer.one_sided,
            forced: layer.forced,
        }
    });
    assemble(layers.collect(), limit)
}

/// The price of a network that exists as a plan only.
///
/// `timed` are the widths that cycles and SRAM are priced at, `stored` those of the
/// weights in flash, `density` the share of weights that are not zero, per layer. Encodings
/// are chosen as [`crate::lower::choose_encoding`] does, from what weights of that width and
/// density are expected to take.
///
/// # Errors
/// [`LowerError`] where the firmware cannot run a layer.
pub fn price(
    config: &VggConfig,
    (timed, stored): (&[Bits], &[Bits]),
    density: &[f64],
    storage: &Storage,
) -> Result<Price, LowerError> {
    let (timed, stored) = (specs(config, timed)?, specs(config, stored)?);
    let density_of = |s: &NamedSpec| s.index.map_or(1.0, |i| density[i]);
    let requants = stored.iter().filter(|s| s.spec.has_weights());
    let requants: usize = requants
        .map(|s| usize::from(s.spec.c_out) * REQUANT_BYTES)
        .sum();
    let fixed = HEADER_BYTES + LAYER_BYTES * stored.len() + requants;
    // Weights that do not exist yet cannot be proven; those of 8 bits and less are hundreds
    // of times below the bound.
    let all: Vec<_> = stored
        .iter()
        .zip(&timed)
        .map(|(stored, timed)| {
            let density = density_of(stored);
            let bytes = encoded_estimate(stored, density);
            encodings_of(&timed.spec, bytes, density, storage.arena, (0, None))
        })
        .collect();
    let chosen = choose(&all, fixed, storage);
    let parts = timed
        .into_iter()
        .zip(all)
        .zip(chosen)
        .map(|((t, candidates), i)| {
            let chosen = candidates.get(i);
            Part {
                density: density_of(&t),
                one_sided: 0,
                forced: None,
                name: t.name,
                spec: LayerSpec {
                    encoding: chosen.map_or(Encoding::Dense, |c| c.encoding),
                    ..t.spec
                },
                bytes: chosen.map_or(0, |c| c.bytes),
            }
        });
    Ok(assemble(parts.collect(), storage.arena))
}

/// A layer to price.
struct Part {
    name: String,
    spec: LayerSpec,
    density: f64,
    /// Of its weights as stored.
    bytes: usize,
    /// See [`crate::lower::IntLayer`].
    one_sided: u64,
    forced: Option<Kernel>,
}

fn assemble(layers: Vec<Part>, limit: u32) -> Price {
    let mut price = Price {
        costs: Costs::default(),
        keys: vec![],
        too_large: vec![],
        layer_bytes: vec![],
    };
    let mut bytes = HEADER_BYTES;
    for Part {
        name,
        spec,
        density,
        bytes: stored,
        one_sided,
        forced,
    } in layers
    {
        price.costs.macs += spec.macs();
        let requants = if spec.has_weights() {
            usize::from(spec.c_out) * REQUANT_BYTES
        } else {
            0
        };
        bytes += LAYER_BYTES + stored + requants;
        if spec.has_weights() {
            price.layer_bytes.push(stored);
        }
        let need = match choose_kernel(&spec, limit, one_sided, forced) {
            Ok((placed, need)) => {
                price.keys.push(LayerKey::new(placed, density));
                u64::from(need)
            }
            Err(need) => {
                price.too_large.push((name, need));
                need
            }
        };
        price.costs.sram_bytes = price.costs.sram_bytes.max(need);
    }
    price.costs.flash_bytes = bytes as u64;
    price
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::Prefer;

    fn small(bits: Bits, density: f64, limit: u32) -> Price {
        small_in(bits, density, limit, u64::MAX)
    }

    fn small_in(bits: Bits, density: f64, arena: u32, flash: u64) -> Price {
        let config = VggConfig::preset("vgg-small").expect("known");
        let bits = [bits; 7];
        let storage = Storage {
            flash,
            arena,
            cycles: None,
            prefer: Prefer::Speed,
        };
        price(&config, (&bits, &bits), &[density; 7], &storage).expect("runs")
    }

    #[test]
    fn fewer_bits_and_fewer_weights_take_less_flash() {
        let full = small(Bits { w: 8, a: 8 }, 1.0, 120_000).costs;
        let half = small(Bits { w: 4, a: 8 }, 1.0, 120_000).costs;
        let sparse = small_in(Bits { w: 8, a: 8 }, 0.2, 120_000, 0).costs;
        let default = small(Bits { w: 8, a: 8 }, 0.2, 120_000).costs;
        assert_eq!(
            default.flash_bytes, full.flash_bytes,
            "dense where nothing asks for less"
        );
        assert_eq!(full.macs, 38_634_752);
        assert!(
            full.flash_bytes > 286_560 && full.flash_bytes < 295_000,
            "{}",
            full.flash_bytes
        );
        assert!(half.flash_bytes < full.flash_bytes * 6 / 10);
        assert!(sparse.flash_bytes < full.flash_bytes / 2);
    }

    /// ImageNet's VGG-16 with all weights at a byte: 138 M parameters, larger than any
    /// microcontroller, counted exactly all the same.
    #[test]
    fn vgg16_for_imagenet_has_its_exact_bytes_and_macs() {
        let config = VggConfig::preset("vgg16-imagenet").expect("known");
        let bits = [Bits { w: 8, a: 8 }; 16];
        let storage = Storage::dense(u32::MAX);
        let price = price(&config, (&bits, &bits), &[1.0; 16], &storage).expect("runs");
        assert_eq!(price.costs.macs, 15_470_264_320);
        let biases = 4_224 + 4_096 + 4_096 + 1_000;
        // The three channels of the image are stored as four.
        let weights = config.parameters() - biases + 9 * 64;
        let fixed = HEADER_BYTES + 16 * LAYER_BYTES + biases * REQUANT_BYTES;
        assert_eq!(price.costs.flash_bytes, (weights + fixed) as u64);
        assert_eq!(price.costs.flash_bytes, 138_453_104);
        // On a board every map of 224x224 is too large, and said to be.
        let small = Storage::dense(120_000);
        let refused = super::price(&config, (&bits, &bits), &[1.0; 16], &small).expect("runs");
        let named: Vec<&str> = refused.too_large.iter().map(|(n, _)| n.as_str()).collect();
        assert!(
            named.contains(&"conv0") && named.contains(&"conv1"),
            "{named:?}"
        );
    }

    #[test]
    fn what_does_not_fit_is_named_and_counted() {
        let price = small(Bits { w: 8, a: 8 }, 1.0, 30_000);
        assert!(
            price.too_large.iter().any(|(name, _)| name == "conv1"),
            "{:?}",
            price.too_large
        );
        assert!(price.costs.sram_bytes > 30_000);
        let costs = small(Bits { w: 8, a: 8 }, 1.0, 120_000).with_cycles(&[
            LayerCost::Cycles(5),
            LayerCost::TooLarge {
                need: 200_000,
                limit: 120_000,
            },
        ]);
        assert_eq!((costs.cycles, costs.sram_bytes), (5, 200_000));
    }
}
