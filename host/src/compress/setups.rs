//! What the two searches start from, for the stages and for the refinement between them.

use super::{Input, Settings};
use crate::lower::{ActivationRanges, Bits, Centred};
use crate::prune::{LayerLoss, Moments, PruneSetup, Rankings, TIMED};
use crate::quant::{QuantSetup, Sensitivity};
use crate::reward::{Reward, RewardMode, Targets};
use crate::search::TrialConfig;

/// What is known of the given network.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub rankings: &'a Rankings,
    pub moments: Option<&'a Moments>,
    pub loss: Option<&'a LayerLoss>,
    pub cut: Option<&'a LayerLoss>,
}

/// What is known of a pruned network.
#[derive(Clone, Copy)]
pub(super) struct Pruned<'a> {
    /// Folded and centred.
    pub network: &'a Centred,
    pub ranges: &'a ActivationRanges,
    pub sensitivity: &'a Sensitivity,
}

/// How candidates of stage 1 are scored, and what they have to keep to.
pub(super) fn prune_reward(settings: &Settings, targets: Targets, accuracy_before: f64) -> Reward {
    Reward {
        mode: if settings.reward == RewardMode::Haq {
            RewardMode::Board
        } else {
            settings.reward
        },
        targets,
        merit: settings.merit,
        accuracy_before,
    }
}

/// The same of stage 2, whose networks cannot change their MACs any more.
pub(super) fn quant_reward(settings: &Settings, targets: Targets, accuracy_before: f64) -> Reward {
    Reward {
        mode: settings.reward,
        targets: Targets {
            macs: None,
            ..targets
        },
        merit: settings.merit,
        accuracy_before,
    }
}

/// Stage 1 within `reward.targets`.
pub(super) fn prune_setup<'a>(
    input: &'a Input,
    settings: &Settings,
    arena_limit: u32,
    reward: &Reward,
    given: Given<'a>,
) -> PruneSetup<'a> {
    PruneSetup {
        network: &input.network,
        rankings: given.rankings,
        moments: given.moments,
        data: input.data(),
        trial: settings.prune.trial.clone(),
        channel_step: settings.channel_step,
        arena_limit,
        prefer: settings.prefer,
        stored: Bits {
            w: settings.expected_width,
            ..TIMED
        },
        mode: reward.mode,
        fill: settings.fill && reward.mode != RewardMode::AccuracyFlops,
        targets: reward.targets,
        finals: None,
        loss: given.loss,
        cut: given.cut,
        seed: settings.seed,
    }
}

/// Stage 2 within `reward.targets`, candidates judged as `trial` says.
pub(super) fn quant_setup<'a>(
    input: &'a Input,
    settings: &Settings,
    arena_limit: u32,
    reward: &Reward,
    trial: TrialConfig,
    pruned: Pruned<'a>,
) -> QuantSetup<'a> {
    QuantSetup {
        network: pruned.network,
        ranges: pruned.ranges,
        sensitivity: pruned.sensitivity,
        data: input.data(),
        trial,
        w_widths: settings.w_widths.clone(),
        a_widths: settings.a_widths.clone(),
        arena_limit,
        prefer: settings.prefer,
        targets: reward.targets,
        fill: settings.fill && settings.reward != RewardMode::AccuracyFlops,
        seed: settings.seed,
        device: &input.device,
    }
}
