//! Widths that are fitted meet the budgets, use them, and keep the agent's order.

use super::env::{QuantEnv, QuantSetup};
use super::sensitivity::Sensitivity;
use crate::data::Dataset;
use crate::lower::{Bits, Prefer, calibrate, centre};
use crate::nn::Rng;
use crate::reward::{Costs, Targets};
use crate::search::{
    Environment, Latency, LayerCost, LayerKey, MeasureLayer, SearchData, Timing, TrialConfig,
};
use crate::vgg::{Vgg, VggConfig};
use candle_core::Device;

/// A cycle per MAC with 8-bit weights; a tenth more with narrower ones.
struct NarrowIsSlower;

impl MeasureLayer for NarrowIsSlower {
    fn measure(&mut self, key: &LayerKey) -> anyhow::Result<Timing> {
        let macs = key.spec.macs();
        let narrow = key.spec.has_weights() && key.spec.w_bits < 8;
        let cycles = if narrow { macs * 11 / 10 } else { macs };
        Ok(Timing {
            cost: LayerCost::Cycles(cycles),
            from_table: false,
        })
    }
}

fn pictures() -> Dataset {
    let mut rng = Rng::new(4);
    Dataset {
        images: (0..4 * 32 * 32 * 3).map(|_| rng.below(256) as u8).collect(),
        rows: (0..4).collect(),
        labels: vec![0, 1, 2, 3],
        class_names: (0..10).map(|c| c.to_string()).collect(),
        h: 32,
        w: 32,
        c: 3,
    }
}

/// What `actions`, one a step, become, with costs.
fn fitted(targets: Targets, fill: bool, actions: &[f32]) -> (Vec<Bits>, Costs) {
    let config = VggConfig::preset("vgg-small").expect("known");
    let network = Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid");
    let (network, data) = (centre(&network.fold().expect("folds")), pictures());
    let ranges = calibrate(&network.network, &data, &[0, 1]);
    let sensitivity = Sensitivity::rounding(&network, (&[2, 4, 8], &[4, 8]));
    let mut latency = Latency::new(NarrowIsSlower);
    let setup = QuantSetup {
        network: &network,
        ranges: &ranges,
        sensitivity: &sensitivity,
        data: SearchData::new(&data, &data),
        trial: TrialConfig {
            steps: 0,
            batch: 1,
            lr: 0.0,
            norm_images: 0,
            validation_images: 4,
        },
        w_widths: vec![2, 4, 8],
        a_widths: vec![4, 8],
        arena_limit: 120_000,
        prefer: Prefer::Speed,
        targets,
        fill,
        seed: 0,
        device: &Device::Cpu,
    };
    let mut env = QuantEnv::new(setup, &mut latency).expect("measures");
    let actions = actions.iter().map(|&a| vec![a]).collect();
    let applied = env.project(actions).expect("fits");
    let bits = env.bits(&applied);
    let costs = env.measured(&bits).expect("is measured");
    (bits, costs)
}

fn flash(bytes: u64) -> Targets {
    Targets {
        flash_bytes: Some(bytes),
        ..Targets::default()
    }
}

#[test]
fn widths_fill_the_flash_in_the_order_of_the_actions() {
    let mut actions = [0.5; 13];
    // conv4's weights first, conv5's last.
    (actions[8], actions[10]) = (0.9, 0.1);
    for budget in [120_000, 180_000] {
        let (bits, costs) = fitted(flash(budget), true, &actions);
        assert!(
            costs.flash_bytes <= budget,
            "{} of {budget}",
            costs.flash_bytes
        );
        assert!(
            costs.flash_bytes as f64 > 0.85 * budget as f64,
            "{} of {budget}",
            costs.flash_bytes
        );
        assert!(bits[4].w > bits[5].w, "{bits:?}");
    }
    let (bits, _) = fitted(flash(1_000_000), true, &[0.0; 13]);
    assert!(
        bits.iter().all(|b| b.w == 8 && b.a == 8),
        "room for all: {bits:?}"
    );
}

#[test]
fn without_filling_widths_are_lowered_to_the_flash_and_no_further() {
    let (bits, _) = fitted(flash(1_000_000), false, &[0.4; 13]);
    assert!(bits.iter().all(|b| b.w == 4), "as asked: {bits:?}");
    let (_, costs) = fitted(flash(120_000), false, &[1.0; 13]);
    assert!(costs.flash_bytes <= 120_000, "{}", costs.flash_bytes);
}

#[test]
fn where_cycles_are_over_widths_that_cost_some_are_raised() {
    let macs = 38_634_752;
    let targets = Targets {
        cycles: Some(macs + macs / 50),
        ..flash(290_000)
    };
    // All narrow, a tenth too slow; the flash has room for most of the weights at 8 bits.
    let (bits, costs) = fitted(targets, false, &[0.1; 13]);
    assert!(targets.feasible(&costs), "{costs:?} with {bits:?}");
    assert!(
        bits.iter().any(|b| b.w == 8) && bits.iter().any(|b| b.w < 8),
        "{bits:?}"
    );
}

#[test]
fn where_single_widths_do_not_help_they_become_the_flattest() {
    let [flat, mut late] = [[0.5; 13]; 2];
    // Flash goes to the last layers, which have the fewest MACs a weight.
    for (step, action) in late.iter_mut().enumerate() {
        *action = if step >= 10 { 1.0 } else { 0.0 };
    }
    let bytes = flash(180_000);
    let (_, widest) = fitted(bytes, true, &flat);
    let (_, over) = fitted(bytes, true, &late);
    assert!(over.cycles > widest.cycles, "{over:?} {widest:?}");
    let targets = Targets {
        cycles: Some(widest.cycles + widest.cycles / 100),
        ..bytes
    };
    let (bits, costs) = fitted(targets, true, &late);
    assert!(targets.feasible(&costs), "{costs:?} with {bits:?}");
    let (flattest, _) = fitted(targets, true, &flat);
    assert_ne!(bits, flattest, "no further than that takes");
}
