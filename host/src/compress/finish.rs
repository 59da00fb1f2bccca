//! The end of a run: blob, board, test figures, policy, report. The only place of a run that
//! reads test labels.

use super::lowered::{Lowered, post_training_8bit};
use super::prepare::describe;
use super::store::{MODEL, load_quantized};
use super::{BoardInference, Compress, Device, Disagreement, sum_cycles};
use super::{ControlJob, Infeasible};
use crate::data::Dataset;
use crate::lower::{IntNet, Storage, accuracy, argmax, candidates, centre, quantize, simulate};
use crate::quant::QatNet;
use crate::reward::Costs;
use crate::run::{
    BrokenImage, ControlFigures, EpisodeLog, Evaluation, NetworkFigures, Progress, Stage, Summary,
    files, pareto_front,
};
use crate::search::{LayerCost, LayerKey, store_net};
use anyhow::{Result, bail};

/// Images in the report that the compression broke.
const BROKEN: usize = 12;

/// A network, lowered and tested.
pub(super) struct Tested {
    pub lowered: Lowered,
    pub figures: NetworkFigures,
    /// Predicted class of each test image, by the integers.
    predicted: Vec<usize>,
    /// Cycles of each layer of the blob; empty where a layer could not be timed.
    pub layer_cycles: Vec<u64>,
}

impl<D: Device + 'static> Compress<D> {
    pub(super) fn finish(&mut self) -> Result<Summary> {
        let test = self.test_images().clone();
        let after = self.test_after(&test)?;
        let before = self.test_before(&test)?;
        let control = if self.settings.control {
            self.control()?
        } else {
            self.earlier_control()?
        };
        self.run
            .write_json(files::POLICY, &self.policy(&before, &after))?;
        self.run
            .write_json(files::EVALUATION, &evaluation(&test, &before, &after)?)?;
        if self.settings.earlier.is_some() {
            self.keep_sensitivity()?;
        } else {
            self.run
                .write_json(files::SENSITIVITY, &self.layer_sensitivity(&after))?;
        }
        let log = EpisodeLog::read(&self.run.path(files::LOG))?;
        self.run.write_json(files::PARETO, &pareto_front(&log))?;
        self.timer.switch(Stage::Finish.label());
        let (measured, from_table) = self.latency.counts();
        let summary = Summary {
            run: self.run.dir().display().to_string(),
            board: self.limits.name.clone(),
            seed: self.settings.seed,
            before: before.figures,
            after: after.figures,
            control,
            episodes: self.settings.prune.episodes + self.settings.quantize.episodes,
            timings_measured: measured as u64,
            timings_cached: from_table as u64,
            seconds: self.timer.total(),
            seconds_by_part: self.timer.seconds(),
            report: self.run.path(files::REPORT).display().to_string(),
        };
        self.run.write_json(files::SUMMARY, &summary)?;
        crate::report::write(self.run.dir())?;
        self.save(
            Progress {
                stage: Stage::Done,
                step: 0,
            },
            None,
        )?;
        self.check_accuracy(&summary)?;
        Ok(summary)
    }

    /// Refuses a result below the accuracy that was asked for, after everything is written.
    fn check_accuracy(&self, summary: &Summary) -> Result<()> {
        let (wanted, found) = (
            self.settings.budgets.min_accuracy,
            self.state.validation_after,
        );
        let (Some(wanted), Some(found)) = (wanted, found) else {
            return Ok(());
        };
        if found >= wanted {
            return Ok(());
        }
        let costs = Costs {
            macs: summary.after.macs,
            flash_bytes: summary.after.blob_bytes,
            sram_bytes: summary.after.sram_bytes,
            cycles: summary.after.cycles,
        };
        let (wanted, found) = (100.0 * wanted, 100.0 * found);
        let costs = describe(&costs, &self.limits);
        Err(Infeasible {
            nearest: format!(
                "{found:.1} % of the validation pictures at {costs}; it is in the run's folder"
            ),
            exceeded: format!("the accuracy of {wanted:.1} % (has {found:.1} %)"),
        }
        .into())
    }

    fn test_after(&mut self, test: &Dataset) -> Result<Tested> {
        let (network, quants) = load_quantized(&self.run.path(MODEL), &self.input.device)?;
        let storage = self.storage(self.state.targets.flash_bytes.unwrap_or(u64::MAX));
        let mut net = quantize(&network, &quants)?;
        store_net(&mut net, &storage, &mut self.latency)?;
        net.force(&self.settings.kernels)?;
        let ways = self.run_each_encoding(&net, test)?;
        self.choose_kernels(&mut net)?;
        let lowered = Lowered::of(net, self.arena())?;
        if let Some(reason) = lowered.refusal(self.limits.blob) {
            bail!(
                "the compressed network does not fit {}: {reason}",
                self.limits.name
            );
        }
        let blob = lowered
            .emitted
            .as_ref()
            .map(|e| e.blob.clone())
            .unwrap_or_default();
        self.run.write(files::BLOB, &blob)?;
        let all: Vec<usize> = (0..test.len()).collect();
        let float = QatNet::restore(&network, &quants, &self.input.device)?.logits(test, &all)?;
        let n = self.settings.board_images.1.min(test.len());
        let (size, images) = (
            test.image_bytes(),
            test.images[..n * test.image_bytes()].to_vec(),
        );
        let pending = self
            .latency
            .with_board(move |board| board.run(&blob, &images, size));
        let integer = simulate(&lowered.net, &test.images)?;
        let board = pending.wait()??;
        let tested = self.tested(
            lowered,
            &accuracy(&float, &test.labels),
            &integer,
            &board,
            test,
        )?;
        let stored = self.stored_figures(ways, &tested, test)?;
        self.run.write_json(files::STORAGE, &stored)?;
        let table = sum_cycles(&self.latency.costs(&tested.lowered.price.keys)?);
        let whole = tested.figures.cycles;
        let error = table as f64 / whole.max(1) as f64 - 1.0;
        self.ui.say(&format!(
            "{:11} sum of layer timings off by {:+.2} % from the whole network",
            "  board",
            100.0 * error
        ));
        Ok(tested)
    }

    /// Gives each layer the kernel that the board is fastest with, where nobody has chosen.
    fn choose_kernels(&mut self, net: &mut IntNet) -> Result<()> {
        for i in 0..net.layers.len() {
            let (layer, density) = (&net.layers[i], net.density(i));
            let found = candidates(&layer.spec, self.arena(), layer.one_sided);
            // What does not fit is refused when the memory is planned, with need and limit.
            let Ok(found) = found else { continue };
            if layer.forced.is_some() || found.len() < 2 {
                continue;
            }
            let keys: Vec<LayerKey> = found
                .iter()
                .map(|(spec, _)| LayerKey::new(*spec, density))
                .collect();
            let costs = self.latency.costs(&keys)?;
            let timed = keys.iter().zip(costs).filter_map(|(key, cost)| match cost {
                LayerCost::Cycles(cycles) => Some((cycles, key.spec.kernel)),
                LayerCost::TooLarge { .. } => None,
            });
            net.layers[i].forced = timed.min().map(|(_, kernel)| kernel);
        }
        Ok(())
    }

    fn test_before(&mut self, test: &Dataset) -> Result<Tested> {
        let folded = self.input.network.fold()?;
        let network = centre(&folded);
        let images = self.settings.calibration_images;
        let quants = post_training_8bit(&network, &self.data(), images, &self.input.device)?;
        let lowered = Lowered::new(&network, &quants, &Storage::dense(self.arena()))?;
        let all: Vec<usize> = (0..test.len()).collect();
        let float = accuracy(&folded.logits(test, &all), &test.labels);
        let integer = simulate(&lowered.net, &test.images)?;
        let board = self.state.board_before.clone();
        let mut tested = self.tested(lowered, &float, &integer, &board, test)?;
        tested.figures.board_reason = self.state.refusal_before.clone();
        Ok(tested)
    }

    fn tested(
        &mut self,
        lowered: Lowered,
        accuracy_float: &f64,
        integer: &[i32],
        board: &[BoardInference],
        test: &Dataset,
    ) -> Result<Tested> {
        check_board(&lowered.net, integer, board, test)?;
        let classes = lowered.net.classes();
        let costs = self.latency.costs(&lowered.price.keys)?;
        let layer_cycles = match board.first() {
            Some(_) => mean_cycles(board),
            None if lowered.price.too_large.is_empty() => costs
                .iter()
                .map(|c| if let LayerCost::Cycles(c) = c { *c } else { 0 })
                .collect(),
            None => Vec::new(),
        };
        let cycles = if layer_cycles.is_empty() {
            sum_cycles(&costs)
        } else {
            layer_cycles.iter().sum()
        };
        let priced = lowered.price.costs;
        let blob_bytes = lowered
            .emitted
            .as_ref()
            .map_or(priced.flash_bytes, |e| e.blob.len() as u64);
        let board_logits: Vec<i32> = board
            .iter()
            .flat_map(|b| b.logits.iter().copied())
            .collect();
        let figures = NetworkFigures {
            accuracy_float: *accuracy_float,
            accuracy_integer: accuracy(integer, &test.labels),
            accuracy_board: (!board.is_empty())
                .then(|| accuracy(&board_logits, &test.labels[..board.len()])),
            images_board: board.len(),
            parameters: lowered.net.parameters(),
            parameters_dense: lowered.net.parameters_dense(),
            macs: lowered.net.macs(),
            blob_bytes,
            sram_bytes: priced.sram_bytes,
            cycles,
            ms: self.run.config().ms(cycles),
            board_reason: None,
        };
        let predicted = integer.chunks_exact(classes).map(argmax).collect();
        Ok(Tested {
            lowered,
            figures,
            predicted,
            layer_cycles,
        })
    }

    fn control_job(&self) -> ControlJob<'_> {
        ControlJob {
            input: &self.input,
            settings: &self.settings,
            folder: self.run.dir(),
            ui: &self.ui,
        }
    }

    /// The given network after the same fine-tuning.
    fn control(&mut self) -> Result<Option<ControlFigures>> {
        if self.state.control.is_none() {
            self.timer.switch("control");
            let job = self.control_job();
            let Some(control) = job.train(job.epochs())? else {
                bail!(
                    "stopped while training the control; continue with --resume {}",
                    self.run.dir().display()
                );
            };
            self.state.control = Some(control);
            self.save(
                Progress {
                    stage: Stage::Finish,
                    step: 0,
                },
                None,
            )?;
            self.control_job().forget();
        }
        let control = self.state.control.as_ref();
        Ok(control.map(|c| c.figures(&self.input)))
    }
}

/// Every logit that the board gave must be the host's.
fn check_board(
    net: &IntNet,
    integer: &[i32],
    board: &[BoardInference],
    test: &Dataset,
) -> Result<()> {
    let host = integer.chunks_exact(net.classes());
    for (i, (ours, theirs)) in host.zip(board).enumerate() {
        if ours != theirs.logits {
            return Err(Disagreement {
                image: i,
                row: test.rows[i],
                board: theirs.logits.clone(),
                host: ours.to_vec(),
            }
            .into());
        }
    }
    Ok(())
}

/// Mean cycles of each layer over the images.
fn mean_cycles(board: &[BoardInference]) -> Vec<u64> {
    let layers = board.first().map_or(0, |b| b.cycles.len());
    let n = board.len().max(1) as u64;
    (0..layers)
        .map(|l| board.iter().map(|b| b.cycles[l]).sum::<u64>() / n)
        .collect()
}

fn evaluation(test: &Dataset, before: &Tested, after: &Tested) -> Result<Evaluation> {
    let confusion = |predicted: &[usize]| {
        let mut counts = vec![vec![0u32; test.classes()]; test.classes()];
        test.labels
            .iter()
            .zip(predicted)
            .for_each(|(&y, &p)| counts[y as usize][p] += 1);
        counts
    };
    let broke = (0..test.len()).filter(|&i| {
        let y = test.labels[i] as usize;
        before.predicted[i] == y && after.predicted[i] != y
    });
    let broken = if test.c == 3 {
        let picture = |i: usize| {
            let (row, y) = (test.rows[i] as usize, test.labels[i] as usize);
            BrokenImage::new(row, y, after.predicted[i], test.image(i), [test.h, test.w])
        };
        broke.take(BROKEN).map(picture).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    Ok(Evaluation {
        classes: test.class_names.clone(),
        before: confusion(&before.predicted),
        after: confusion(&after.predicted),
        broken,
    })
}
