//! Before the search: what the given network costs, whether the budgets can be met at all,
//! and how its channels and weights rank.

use super::lowered::{Lowered, post_training_8bit};
use super::settings::Settings;
use super::state::RankingChoice;
use super::store::save_rankings;
use super::{Compress, Device, DeviceLimits, Infeasible, Input};
use crate::lower::{Bits, Storage, centre};
use crate::prune::{
    ChannelCriterion, Information, MIN_CHANNELS, MIN_ELEMENTS, PrunePolicy, Rankings, Variational,
    channel_scores, dense_price, magnitude_scores, rank_correlation, round_channels,
};
use crate::reward::{Costs, Targets};
use crate::search::{Latency, MeasureLayer, Price, price};
use crate::vgg::{LayerKind, evaluate};
use anyhow::Result;

/// Share of weights kept when two rankings are compared.
const COMPARE_AT: f32 = 0.5;

/// What the given network costs at 8 bits, dense, cycles summed from its layers, in all of the
/// board's arena: budgets that are a share of it must not depend on other budgets. Layers that
/// do not fit add no cycles.
pub(super) fn dense_costs<M: MeasureLayer + 'static>(
    input: &Input,
    limits: &DeviceLimits,
    latency: &mut Latency<M>,
) -> Result<Costs> {
    let priced = dense_price(&input.network.config, limits.arena)?;
    let measured = latency.costs(&priced.keys)?;
    Ok(priced.with_cycles(&measured))
}

/// Refuses budgets that the smallest network of the search space exceeds, from measurements.
pub(super) fn check_reachable<M: MeasureLayer + 'static>(
    input: &Input,
    settings: &Settings,
    limits: &DeviceLimits,
    targets: &Targets,
    latency: &mut Latency<M>,
) -> Result<()> {
    let given = &input.network.config;
    let narrow = |width| round_channels(MIN_CHANNELS, width, settings.channel_step);
    let narrowest: Vec<usize> = given.widths().into_iter().map(narrow).collect();
    let config = given.with_widths(&narrowest);
    // Narrow weights take fewer bytes but no fewer cycles: a budget that is out of reach is
    // out of reach at both ends.
    let ends = [<[u8]>::first, <[u8]>::last].map(|end| Bits {
        w: end(&settings.w_widths).copied().unwrap_or(8),
        a: end(&settings.a_widths).copied().unwrap_or(8),
    });
    let mut least = Vec::with_capacity(ends.len());
    for bits in ends {
        let bits = vec![bits; config.layers().len()];
        let density = vec![f64::from(MIN_ELEMENTS); bits.len()];
        let mut storage = Storage {
            flash: targets.flash_bytes.unwrap_or(u64::MAX),
            arena: super::arena_limit(settings, limits),
            cycles: targets.cycles,
            prefer: settings.prefer,
        };
        let mut priced = price(&config, (&bits, &bits), &density, &storage)?;
        // A network is as fast as its SRAM lets it be: what does not fit the budget is timed in
        // the least that it does fit, as far as the board has so much.
        while let Some(need) =
            largest(&priced).filter(|n| (storage.arena + 1..=limits.arena).contains(n))
        {
            storage.arena = need;
            priced = price(&config, (&bits, &bits), &density, &storage)?;
        }
        least.push(priced.with_cycles(&latency.costs(&priced.keys)?));
    }
    let of = |cost: fn(&Costs) -> u64| least.iter().map(cost).min().unwrap_or(0);
    let bound = Costs {
        macs: of(|c| c.macs),
        flash_bytes: of(|c| c.flash_bytes),
        sram_bytes: of(|c| c.sram_bytes),
        cycles: of(|c| c.cycles),
    };
    if targets.feasible(&bound) {
        return Ok(());
    }
    least.sort_by(|a, b| targets.excess(a).total_cmp(&targets.excess(b)));
    Err(Infeasible {
        nearest: describe(&least[0], limits),
        exceeded: exceeded(targets, &least[0], limits),
    }
    .into())
}

/// Bytes of arena that the largest of the layers that do not fit needs.
fn largest(priced: &Price) -> Option<u32> {
    let needs = priced.too_large.iter().map(|(_, need)| *need);
    needs.max().and_then(|need| u32::try_from(need).ok())
}

/// Costs in the user's units.
pub(super) fn describe(costs: &Costs, limits: &DeviceLimits) -> String {
    format!(
        "{:.2} ms, {:.1} KiB of flash, {:.1} KiB of SRAM, {:.2} M MACs",
        costs.cycles as f64 * 1e3 / limits.clock_hz as f64,
        costs.flash_bytes as f64 / 1024.0,
        costs.sram_bytes as f64 / 1024.0,
        costs.macs as f64 / 1e6
    )
}

/// The budgets that `costs` exceed, in the user's units.
pub(super) fn exceeded(targets: &Targets, costs: &Costs, limits: &DeviceLimits) -> String {
    let ms = |cycles: u64| format!("{:.2} ms", cycles as f64 * 1e3 / limits.clock_hz as f64);
    let all = targets.exceeded(costs);
    let parts = all.iter().map(|e| match e.cost {
        "cycles" => format!("the latency of {} (needs {})", ms(e.target), ms(e.value)),
        "macs" => format!("{} MACs (needs {})", e.target, e.value),
        cost => format!(
            "{} of {} bytes (needs {})",
            cost.trim_end_matches("_bytes"),
            e.target,
            e.value
        ),
    });
    parts.collect::<Vec<_>>().join(", ")
}

impl<D: Device + 'static> Compress<D> {
    /// Rankings, and the given network on the board.
    pub(super) fn prepare(&mut self) -> Result<bool> {
        let folded = self.input.network.fold()?;
        let network = centre(&folded);
        if network.residual > 0.0 {
            self.ui.detail(&format!(
                "input mean folded with a residual of {:.2} pixel steps",
                network.residual
            ));
        }
        let quants = post_training_8bit(
            &network,
            &self.data(),
            self.settings.calibration_images,
            &self.input.device,
        )?;
        let lowered = Lowered::new(&network, &quants, &Storage::dense(self.arena()))?;
        self.state.refusal_before = lowered.refusal(self.limits.blob);
        let pending = self.start_board_before(&lowered);

        let judged = self
            .data()
            .first_validation(self.settings.prune.trial.validation_images);
        self.state.validation_before = evaluate(&folded, self.data().validation, &judged);
        if self.settings.earlier.is_none() {
            let rankings = self.rank()?;
            save_rankings(self.run.dir(), &rankings)?;
        }
        if let Some(pending) = pending {
            self.state.board_before = pending.wait()??;
        }
        Ok(true)
    }

    /// The board runs the given network while the host ranks.
    #[allow(clippy::type_complexity)]
    fn start_board_before(
        &self,
        lowered: &Lowered,
    ) -> Option<crate::search::Pending<Result<Vec<super::BoardInference>>>> {
        let emitted = lowered
            .emitted
            .as_ref()
            .filter(|_| self.state.refusal_before.is_none())?;
        let test = self.test_images();
        let n = self.settings.board_images.0.min(test.len());
        let (size, blob) = (test.image_bytes(), emitted.blob.clone());
        let images = test.images[..n * size].to_vec();
        Some(
            self.latency
                .with_board(move |board| board.run(&blob, &images, size)),
        )
    }

    fn rank(&mut self) -> Result<Rankings> {
        let network = &self.input.network;
        let magnitude = magnitude_scores(network)?;
        let config = self.settings.variational;
        let mut variational = None;
        if config.steps > 0 {
            let mut bar = self.ui.bar("0 variational", config.steps, 0);
            let data = self.data();
            let found =
                Variational::train(network, data.source, &data.train_indices(), &config, |p| {
                    bar.set(
                        p.step,
                        &format!("loss {:.3}  {:.0} img/s", p.loss, p.images_per_second),
                    );
                })?;
            bar.finish(&format!("{} steps", config.steps));
            variational = Some(found);
        }
        let log_alpha = variational.as_ref().map(|v| v.log_alpha.as_slice());
        let channels = match self.settings.criterion {
            ChannelCriterion::Information if config.steps > 0 => self.information()?.nats,
            criterion => channel_scores(network, criterion, log_alpha)?,
        };
        let scores = variational.as_ref().map(Variational::scores);
        let choice = RankingChoice {
            variational: false,
            accuracy_magnitude: self.cut_accuracy(&channels, &magnitude)?,
            accuracy_variational: scores
                .as_ref()
                .map(|s| self.cut_accuracy(&channels, s))
                .transpose()?,
            correlation: scores
                .iter()
                .flatten()
                .zip(&magnitude)
                .map(|(a, b)| rank_correlation(a, b))
                .collect(),
        };
        let better = choice
            .accuracy_variational
            .is_some_and(|v| v > choice.accuracy_magnitude);
        self.ui.detail(&format!(
            "weights ranked by {}: accuracy with half of them cut {:.2} % by magnitude, {} by noise",
            if better { "variational noise" } else { "magnitude" },
            100.0 * choice.accuracy_magnitude,
            choice.accuracy_variational.map_or("not tried".into(), |a| format!("{:.2} %", 100.0 * a))
        ));
        self.state.ranking = Some(RankingChoice {
            variational: better,
            ..choice
        });
        let elements = if better {
            scores.unwrap_or(magnitude)
        } else {
            magnitude
        };
        Ok(Rankings { channels, elements })
    }

    fn information(&self) -> Result<Information> {
        let (config, data) = (self.settings.variational, self.data());
        let mut bar = self.ui.bar("0 information", config.steps, 0);
        let network = &self.input.network;
        let found = Information::train(network, &data, &config, |p| {
            bar.set(
                p.step,
                &format!("loss {:.3}  {:.0} img/s", p.loss, p.images_per_second),
            );
        })?;
        bar.finish(&format!("{} steps", config.steps));
        Ok(found)
    }

    /// Validation accuracy with half of each convolution's weights cut by `scores`, without
    /// training: which ranking cuts the right ones.
    fn cut_accuracy(&self, channels: &[Vec<f32>], scores: &[Vec<f32>]) -> Result<f64> {
        let network = &self.input.network;
        let rankings = Rankings {
            channels: channels.to_vec(),
            elements: scores.to_vec(),
        };
        let mut policy = PrunePolicy::keep_all(network);
        for (share, layer) in policy.elements.iter_mut().zip(network.config.layers()) {
            if layer.kind == LayerKind::Conv {
                *share = COMPARE_AT;
            }
        }
        let small = policy.apply(network, &rankings)?;
        let (data, trial) = (self.data(), &self.settings.prune.trial);
        small.reestimate_norm(
            data.train,
            &data.first_train(trial.norm_images),
            trial.batch,
        )?;
        let judged = data.first_validation(trial.validation_images);
        Ok(evaluate(&small.fold()?, data.validation, &judged))
    }

    /// The test images; where the data has none, the validation images stand in.
    pub(super) fn test_images(&self) -> &crate::data::Dataset {
        self.input.test_images()
    }
}
