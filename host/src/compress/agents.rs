//! Who searches: builds each stage's agent, with what it has to know beforehand and what that
//! costs, in images sent forward plus three times images trained.

use super::{Compress, Device};
use crate::agent::{Agent, AgentKind, Prescribed};
use crate::lower::{ActivationRanges, Centred};
use crate::prune::{LayerLoss, Moments, PruneEnv, Rankings};
use crate::quant::{QuantEnv, Sensitivity};
use crate::search::{Environment, MeasureLayer, SearchData};
use anyhow::Result;

/// Batches of training images that the Fisher information is taken from.
const FISHER_BATCHES: usize = 8;
/// The most batches that `gradient` trains in a stage.
const GRADIENT_BATCHES: usize = 400;

/// An agent, and the images that went into it before its first episode.
pub(super) type Prepared = (Box<dyn Agent>, u64);

/// What stage 1's agents may need.
pub(super) struct PruneKnowledge<'a> {
    pub rankings: &'a Rankings,
    /// From [`Compress::channel_loss`], for the agents that use one.
    pub loss: Option<&'a LayerLoss>,
    /// Images that it took.
    pub cost: u64,
    pub seed: u64,
}

/// What stage 2's agents may need.
pub(super) struct QuantKnowledge<'a> {
    pub network: &'a Centred,
    pub ranges: &'a ActivationRanges,
    pub sensitivity: &'a Sensitivity,
    /// Widths of weights and of activations to choose from.
    pub widths: (&'a [u8], &'a [u8]),
    pub data: SearchData<'a>,
    pub device: &'a candle_core::Device,
    /// Validation images that the sensitivity was measured on.
    pub sensitivity_images: usize,
    pub batch: usize,
    pub seed: u64,
}

impl<D: Device + 'static> Compress<D> {
    /// The predicted losses of narrower convolutions that the agent goes by, measured once a
    /// run; and what they cost.
    pub(super) fn channel_loss(
        &mut self,
        rankings: &Rankings,
        moments: Option<&Moments>,
    ) -> Result<(Option<LayerLoss>, u64)> {
        let trial = &self.settings.prune.trial;
        let (norm, batch) = (trial.norm_images, trial.batch);
        let images = self.settings.sensitivity_images;
        let cost = match self.settings.agent {
            AgentKind::Uniform | AgentKind::Gradient => return Ok((None, 0)),
            AgentKind::Magnitude => 0,
            AgentKind::Hessian => LayerLoss::fisher_cost(FISHER_BATCHES, batch),
            AgentKind::Ddpg | AgentKind::Random | AgentKind::Greedy => {
                LayerLoss::cost(self.input.network.config.widths().len(), norm, images)
            }
        };
        if self.state.channel_loss.is_none() {
            let (network, data) = (&self.input.network, self.data());
            let loss = match self.settings.agent {
                AgentKind::Magnitude => LayerLoss::magnitude(network, rankings)?,
                AgentKind::Hessian => {
                    LayerLoss::fisher(network, rankings, &data, (FISHER_BATCHES, batch))?
                }
                _ => {
                    let mut bar = self.ui.bar("  sensitivity", 1, 0);
                    let progress = |done, of| bar.set_of(done, of, "widths");
                    let (known, sizes) = ((rankings, moments), (norm, images, batch));
                    let loss = LayerLoss::of_narrowing(network, known, &data, sizes, progress)?;
                    bar.finish("of channels measured");
                    loss
                }
            };
            self.state.channel_loss = Some(loss);
        }
        Ok((self.state.channel_loss.clone(), cost))
    }

    /// The same of layers with fewer weights, for the agents that measure accuracy.
    pub(super) fn element_loss(&mut self, rankings: &Rankings) -> Result<(Option<LayerLoss>, u64)> {
        if !self.settings.agent.measures_channels() {
            return Ok((None, 0));
        }
        let trial = &self.settings.prune.trial;
        let (norm, batch) = (trial.norm_images, trial.batch);
        let images = self.settings.sensitivity_images;
        if self.state.element_loss.is_none() {
            let mut bar = self.ui.bar("  sensitivity", 1, 0);
            let progress = |done, of| bar.set_of(done, of, "shares");
            let (network, sizes) = (&self.input.network, (norm, images, batch));
            let loss = LayerLoss::of_cutting(network, rankings, &self.data(), sizes, progress)?;
            bar.finish("of weights measured");
            self.state.element_loss = Some(loss);
        }
        let layers = self.input.network.config.layers().len();
        let cost = LayerLoss::cost(layers, norm, images);
        Ok((self.state.element_loss.clone(), cost))
    }
}

/// Stage 1's agent.
///
/// # Errors
/// Where a tensor operation fails.
pub(super) fn prune_agent<M: MeasureLayer + 'static>(
    kind: AgentKind,
    env: &mut PruneEnv<M>,
    episodes: usize,
    know: &PruneKnowledge,
) -> Result<Prepared> {
    let policy = match (kind, know.loss) {
        (AgentKind::Ddpg | AgentKind::Random, _) => {
            let agent = kind.build(env.state_dim(), 2, env.steps(), episodes, know.seed);
            return Ok((agent, know.cost));
        }
        (AgentKind::Gradient, _) => {
            let (policy, cost) = env.learned(know.rankings, GRADIENT_BATCHES, know.seed)?;
            return Ok((Box::new(Prescribed::new(kind, vec![policy])), cost));
        }
        (_, Some(loss)) => env.greedy(loss),
        (_, None) => env.guide(0)?.unwrap_or_default(),
    };
    Ok((Box::new(Prescribed::new(kind, vec![policy])), know.cost))
}

/// Stage 2's agent. All pay for the measured sensitivities, since all are repaired by them.
///
/// # Errors
/// Where the firmware cannot run a layer or a tensor operation fails.
pub(super) fn quant_agent<M: MeasureLayer + 'static>(
    kind: AgentKind,
    env: &QuantEnv<M>,
    episodes: usize,
    know: &QuantKnowledge,
) -> Result<Prepared> {
    let layers = know.network.network.layers.len();
    let cost = Sensitivity::cost(layers, know.widths, know.sensitivity_images);
    let (batches, batch) = (FISHER_BATCHES, know.batch);
    let (policies, more) = match kind {
        AgentKind::Ddpg | AgentKind::Random => {
            let agent = kind.build(env.state_dim(), 1, env.steps(), episodes, know.seed);
            return Ok((agent, cost));
        }
        AgentKind::Uniform => {
            let four = know.widths.0.iter().copied().find(|w| *w >= 4);
            let flats = know.widths.0.last().copied().into_iter().chain(four);
            (flats.map(|w| env.flat(w)).collect(), 0)
        }
        AgentKind::Greedy => (vec![env.greedy(know.sensitivity)?], 0),
        AgentKind::Magnitude => {
            let loss = Sensitivity::rounding(know.network, know.widths);
            (vec![env.greedy(&loss)?], 0)
        }
        AgentKind::Hessian => {
            let sizes = (batches, batch);
            let (network, ranges) = (know.network, know.ranges);
            let loss =
                Sensitivity::fisher(network, ranges, know.widths, &know.data, sizes, know.device)?;
            (vec![env.greedy(&loss)?], 3 * (batches * batch) as u64)
        }
        AgentKind::Gradient => {
            let (policy, cost) = env.learned(GRADIENT_BATCHES, know.seed)?;
            (vec![policy], cost)
        }
    };
    Ok((Box::new(Prescribed::new(kind, policies)), cost + more))
}
