//! What tests of runs and reports share.

use serde_json::json;

use super::{CycleSource, Identity, RunConfig};
use crate::{
    agent::AgentKind,
    reward::{RewardMode, Targets},
};

/// A configuration as `compress` would resolve it.
pub(crate) fn config() -> RunConfig {
    let settings = json!({ "channel_step": 8, "weight_widths": [2, 4, 8], "finetune_epochs": 5 });
    RunConfig {
        run: String::new(),
        created: String::new(),
        version: String::new(),
        identity: Identity::of(b"weights", &settings).expect("settings are JSON"),
        model: "vgg-small".into(),
        dataset: "cifar10-sample".into(),
        board: "virtual-stm32f405".into(),
        build_id: "1c291ca3".into(),
        clock_hz: 168_000_000,
        cycle_source: CycleSource::Model,
        seed: 0,
        agent: AgentKind::Ddpg,
        reward: RewardMode::Board,
        targets: Targets {
            macs: Some(9_300_000),
            flash_bytes: Some(917_504),
            sram_bytes: Some(98_304),
            cycles: Some(12_000_000),
        },
        prune_episodes: 40,
        quantize_episodes: 30,
        settings,
    }
}
