//! What is fitted meets the budgets, uses them, and keeps the agent's proportions.

use super::LayerLoss;
use super::env::{PruneEnv, PruneSetup};
use super::policy::{MIN_ELEMENTS, PrunePolicy, Rankings, element_share};
use crate::data::Dataset;
use crate::lower::Prefer;
use crate::nn::Rng;
use crate::reward::{Costs, RewardMode, Targets};
use crate::search::{
    Environment, Latency, LayerCost, LayerKey, MeasureLayer, SearchData, TimedEnvironment, Timing,
    TrialConfig,
};
use crate::vgg::{Vgg, VggConfig};
use candle_core::Device;

/// A cycle per MAC, and a fixed price per layer that predictions from the dense network miss.
struct PerMac;

const FIXED: u64 = 100_000;

impl MeasureLayer for PerMac {
    fn measure(&mut self, key: &LayerKey) -> anyhow::Result<Timing> {
        Ok(Timing {
            cost: LayerCost::Cycles(key.spec.macs() + FIXED),
            from_table: false,
        })
    }
}

fn nothing() -> Dataset {
    Dataset {
        images: vec![],
        rows: vec![],
        labels: vec![],
        class_names: vec![],
        h: 32,
        w: 32,
        c: 3,
    }
}

/// Fits `actions` and gives them with the policy and its costs.
fn fitted(targets: Targets, actions: &[[f32; 2]]) -> (Vec<Vec<f32>>, PrunePolicy, Costs) {
    let config = VggConfig::preset("vgg-small").expect("known");
    fitted_in(config, targets, actions)
}

fn fitted_in(
    config: VggConfig,
    targets: Targets,
    actions: &[[f32; 2]],
) -> (Vec<Vec<f32>>, PrunePolicy, Costs) {
    with_env(config, targets, |env| {
        let actions: Vec<Vec<f32>> = actions.iter().map(|a| a.to_vec()).collect();
        let applied = env.project(actions).expect("fits");
        let policy = env.policy(&applied);
        let costs = env.costs(&policy).expect("is measured");
        (applied, policy, costs)
    })
}

fn with_env<R>(
    config: VggConfig,
    targets: Targets,
    job: impl FnOnce(&mut PruneEnv<PerMac>) -> R,
) -> R {
    let network = Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid");
    let rankings = Rankings {
        channels: vec![],
        elements: vec![],
    };
    let data = nothing();
    let mut latency = Latency::new(PerMac);
    let setup = PruneSetup {
        network: &network,
        rankings: &rankings,
        moments: None,
        data: SearchData::new(&data, &data),
        trial: TrialConfig {
            steps: 0,
            batch: 1,
            lr: 0.0,
            norm_images: 0,
            validation_images: 0,
        },
        channel_step: 8,
        arena_limit: 120_000,
        prefer: Prefer::Speed,
        mode: RewardMode::Board,
        fill: true,
        targets,
        finals: None,
        stored: crate::prune::STORED,
        loss: None,
        cut: None,
        seed: 0,
    };
    let mut env = PruneEnv::new(setup, &mut latency).expect("measures");
    job(&mut env)
}

fn cycles(cycles: u64) -> Targets {
    Targets {
        cycles: Some(cycles),
        ..Targets::default()
    }
}

#[test]
fn a_policy_fills_the_cycles_and_never_exceeds_them() {
    for budget in [5_000_000, 12_000_000, 25_000_000] {
        for share in [0.1, 0.5, 1.0] {
            let (_, policy, costs) = fitted(cycles(budget), &[[share, 1.0]; 7]);
            assert!(costs.cycles <= budget, "{} of {budget}", costs.cycles);
            assert!(
                costs.cycles as f64 > 0.9 * budget as f64,
                "{} of {budget} by {:?}",
                costs.cycles,
                policy.channels
            );
        }
    }
}

#[test]
fn only_proportions_count() {
    let shape = [0.2, 0.4, 0.3, 0.4, 0.1, 0.25, 1.0];
    let scaled = |factor: f32| shape.map(|s| [(s * factor).min(1.0), 1.0]);
    let (first, policy, _) = fitted(cycles(12_000_000), &scaled(1.0));
    let (second, ..) = fitted(cycles(12_000_000), &scaled(2.0));
    assert_eq!(first, second);
    let [a, b] = [policy.channels[0], policy.channels[1]];
    assert!(b > a, "conv1 was to keep twice conv0's share: {policy:?}");
}

#[test]
fn with_room_for_everything_everything_stays() {
    let (applied, policy, _) = fitted(cycles(100_000_000), &[[0.3, 0.2]; 7]);
    assert_eq!(policy.channels, [32, 32, 64, 64, 128, 128]);
    assert!(applied.iter().all(|a| a == &[1.0, 1.0]), "{applied:?}");
}

#[test]
fn weights_are_cut_as_far_as_flash_asks_and_where_the_agent_says() {
    let mut actions = [[1.0, 0.9]; 7];
    actions[5][1] = 0.1;
    let targets = Targets {
        flash_bytes: Some(90_000),
        ..cycles(100_000_000)
    };
    let (_, policy, costs) = fitted(targets, &actions);
    assert!(costs.flash_bytes <= 90_000, "{}", costs.flash_bytes);
    assert!(costs.flash_bytes > 80_000, "{}", costs.flash_bytes);
    assert!(policy.elements[5] < policy.elements[4]);
}

fn flash(bytes: u64) -> Targets {
    Targets {
        flash_bytes: Some(bytes),
        ..cycles(100_000_000)
    }
}

/// Channels go before a weight that the agent wants to keep, and stay where it gives weights up.
#[test]
fn weights_are_never_cut_below_what_the_agent_says() {
    let (_, dense, costs) = fitted(flash(60_000), &[[0.5, 1.0]; 7]);
    assert!(dense.elements.iter().all(|e| *e == 1.0), "{dense:?}");
    assert!((50_000..=60_000).contains(&costs.flash_bytes), "{costs:?}");
    let (_, some, costs) = fitted(flash(60_000), &[[0.5, 0.3]; 7]);
    let least = element_share(0.3) - 1e-3;
    assert!(some.elements.iter().all(|e| *e >= least), "{some:?}");
    assert!(costs.flash_bytes <= 60_000, "{costs:?}");
    let (_, sparse, costs) = fitted(flash(60_000), &[[0.5, 0.0]; 7]);
    assert_eq!(sparse.channels, [32, 32, 64, 64, 128, 128]);
    assert!((50_000..=60_000).contains(&costs.flash_bytes), "{costs:?}");
}

/// Where not even the narrowest network fits as the agent would cut it, it is cut further.
#[test]
fn a_flash_below_the_narrowest_network_is_met_by_its_weights() {
    let full = [[1.0, 1.0]; 7];
    let (.., narrowest) = fitted(cycles(1), &full);
    let budget = narrowest.flash_bytes - 200;
    let (_, policy, costs) = fitted(flash(budget), &full);
    assert!(costs.flash_bytes <= budget, "{costs:?}");
    assert!(policy.elements.iter().any(|e| *e < 1.0), "{policy:?}");
}

#[test]
fn greedy_policies_meet_the_flash_by_channels_or_by_weights() {
    let config = VggConfig::preset("vgg-small").expect("known");
    // Each layer loses the same per share.
    let loss = LayerLoss {
        points: vec![vec![(0.0, 1.0), (1.0, 0.0)]; 6],
    };
    let cut = LayerLoss {
        points: vec![vec![(0.0, 1.0), (1.0, 0.0)]; 7],
    };
    let wide = |env: &mut PruneEnv<PerMac>| env.sparse_greedy(&loss, &cut).expect("priced");
    assert_eq!(with_env(config.clone(), flash(200_000), wide), None);
    with_env(config, flash(60_000), |env| {
        let narrow = env.policy(&env.greedy(&loss));
        assert!(env.flash_share(&narrow.channels) <= 1.0, "{narrow:?}");
        assert!(narrow.elements.iter().all(|e| *e == 1.0), "{narrow:?}");
        let sparse = env.sparse_greedy(&loss, &cut).expect("priced");
        let sparse = env.policy(&sparse.expect("flash is short"));
        assert_eq!(sparse.channels, [32, 32, 64, 64, 128, 128]);
        // What a weight costs is least in the largest layer, which goes first and all the way.
        let elements = &sparse.elements;
        assert!((elements[5] - MIN_ELEMENTS).abs() < 1e-3, "{elements:?}");
        assert!(elements[..3].iter().all(|e| *e == 1.0), "{elements:?}");
        // Where the largest layer cannot do without its weights, another one gives its own.
        let mut dear = cut.clone();
        dear.points[5] = vec![(0.0, 100.0), (1.0, 0.0)];
        let sparse = env.sparse_greedy(&loss, &dear).expect("priced");
        let elements = env.policy(&sparse.expect("flash is short")).elements;
        assert!(elements[5] > elements[4], "{elements:?}");
    });
}

/// Hidden layers have widths as convolutions do; the last layer has none.
#[test]
fn hidden_layers_are_fitted_too() {
    let config = VggConfig {
        hidden: vec![96, 64],
        ..VggConfig::preset("vgg-small").expect("known")
    };
    let actions = [[0.5, 1.0]; 9];
    for budget in [4_000_000, 12_000_000] {
        let (applied, policy, costs) = fitted_in(config.clone(), cycles(budget), &actions);
        assert!(costs.cycles <= budget, "{} of {budget}", costs.cycles);
        assert_eq!((policy.channels.len(), policy.elements.len()), (8, 9));
        for (i, full) in [(6, 96), (7, 64)] {
            let share = policy.channels[i] as f32 / full as f32;
            assert!((applied[i][0] - share).abs() < 1e-6, "{applied:?}");
        }
        assert_eq!(applied[8][0], 1.0);
    }
    // Macs and bytes are those of the narrowed network, the hidden layers' included.
    let (_, policy, costs) = fitted_in(config.clone(), cycles(1), &actions);
    assert_eq!(policy.channels, [8, 8, 8, 8, 16, 16, 8, 8]);
    assert_eq!(costs.macs, config.with_widths(&policy.channels).macs());
}

#[test]
fn what_cannot_fit_becomes_the_narrowest() {
    let (_, policy, _) = fitted(cycles(1), &[[0.9, 1.0]; 7]);
    assert_eq!(policy.channels, [8, 8, 8, 8, 16, 16]);
}

#[test]
fn by_macs_policies_get_equal_macs_and_finalists_the_measured_budget() {
    let config = VggConfig::preset("vgg-small").expect("known");
    let targets = cycles(12_000_000);
    with_env(config, targets, |env| {
        let uniform = env.project(env.uniform()).expect("fits");
        let wanted = env.costs(&env.policy(&uniform)).expect("is measured").macs;
        let limited = env.limit_macs().expect("measures");
        assert_eq!((limited.macs, limited.cycles), (Some(wanted), None));
        let late = [0.2, 0.3, 0.6, 0.7, 1.0, 1.0, 1.0].map(|share| vec![share, 1.0]);
        let by_macs = env.project(late.to_vec()).expect("fits");
        let costs = env.costs(&env.policy(&by_macs)).expect("is measured");
        assert!(costs.macs <= wanted, "{} of {wanted}", costs.macs);
        assert!(costs.macs as f64 > 0.95 * wanted as f64, "{}", costs.macs);
        assert!(env.begin_finals(), "they have budgets of their own");
        let settled = env.project(by_macs.clone()).expect("fits");
        let costs = env.costs(&env.policy(&settled)).expect("is measured");
        assert!(costs.cycles <= 12_000_000, "{}", costs.cycles);
        assert!(costs.cycles as f64 > 0.9 * 12e6, "{}", costs.cycles);
        assert!(!env.begin_finals(), "once");
    });
}
