//! Stage 1: channel and element pruning as an environment.
//!
//! `criteria` ranks channels, by what `information` finds where asked, `variational` ranks single weights, `rebuild` makes the
//! smaller dense network, `policy` says what actions mean, `env` is what the agent walks, `fit`
//! makes its proportions meet the budgets, `loss` predicts, `plan` and `gates` choose without episodes, `features` describes its layers.

mod criteria;
mod env;
mod features;
mod fit;
#[cfg(test)]
mod fit_tests;
mod gates;
mod information;
mod loss;
mod plan;
mod policy;
mod rebuild;
mod reconstruct;
mod variational;

pub use criteria::{ChannelCriterion, channel_scores, magnitude_scores, top};
pub use env::{PruneEnv, PruneSetup, STORED, TIMED, dense_price, judge, pruned_layers};
pub use information::Information;
pub use loss::LayerLoss;
pub use policy::{
    MIN_CHANNELS, MIN_ELEMENTS, PrunePolicy, Rankings, element_share, round_channels,
};
pub use rebuild::{element_masks, rebuild, select_scores};
pub use reconstruct::{Moments, RECONSTRUCTION_IMAGES};
pub use variational::{Variational, VariationalConfig, rank_correlation};
