//! Integer networks of random weights, and their blobs.

use host::lower::{
    Bits, IntLayer, IntNet, Storage, choose_encoding, emit, one_sided_sum, plan, specs,
};
use host::vgg::VggConfig;
use shared::act::Act;
use shared::bench::{Rng, requant};
use shared::semantics::{Requant, weight_max};
use shared::spec::LayerSpec;

/// A network of random integers; `density_percent` of the weights are not zero.
///
/// # Panics
/// Where the firmware cannot run `config`.
#[must_use]
pub fn random(config: &VggConfig, bits: Bits, density_percent: u32, seed: u32) -> IntNet {
    let mut rng = Rng::new(seed);
    let widths = vec![bits; config.layers().len()];
    let layers = specs(config, &widths).expect("runs on the firmware");
    IntNet {
        input: config.input,
        r_c: vec![128; config.input[2]],
        layers: layers
            .into_iter()
            .map(|l| layer(l.name, l.spec, density_percent, &mut rng))
            .collect(),
        logit_scale: 1.0,
    }
}

fn layer(name: String, spec: LayerSpec, density_percent: u32, rng: &mut Rng) -> IntLayer {
    if !spec.has_weights() {
        return IntLayer {
            name,
            spec,
            weights: vec![],
            requants: vec![],
            bound: 0,
            one_sided: 0,
            forced: None,
        };
    }
    let max = weight_max(spec.w_bits);
    let mut weight = || match rng.below(100) < density_percent {
        true => (rng.below(2 * max as u32 + 1) as i32 - max) as i8,
        false => 0,
    };
    let weights: Vec<i8> = (0..spec.weight_count()).map(|_| weight()).collect();
    let requants = (0..spec.c_out).map(|c| match spec.output {
        Act::I32 => Requant {
            bias: i32::from(c),
            multiplier: 0,
        },
        _ => requant(&spec, 3, c),
    });
    IntLayer {
        requants: requants.collect(),
        // No accumulator is larger, and the simulation may always calculate in f64.
        bound: i64::from(i32::MAX),
        one_sided: one_sided_sum(&spec, &weights),
        forced: None,
        name,
        spec,
        weights,
    }
}

/// The blob of `net` for a board with `arena` bytes.
///
/// # Panics
/// Where it does not fit.
#[must_use]
pub fn blob(mut net: IntNet, arena: u32) -> Vec<u8> {
    choose_encoding(&mut net, &Storage::smallest(arena));
    let plan = plan(&net, arena).expect("fits the arena");
    emit(&net, &plan).expect("is valid").blob
}
