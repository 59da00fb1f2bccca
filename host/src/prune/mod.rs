//! Stage 1: channel and element pruning as an environment.
//!
//! `criteria` ranks channels, `variational` ranks single weights, `rebuild` makes the
//! smaller dense network, `env` is what the agent walks.

mod criteria;
mod rebuild;
mod variational;

pub use criteria::{ChannelCriterion, channel_scores, magnitude_scores, top};
pub use rebuild::{element_masks, rebuild, select_scores};
pub use variational::{Variational, VariationalConfig, rank_correlation};
