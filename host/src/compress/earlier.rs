//! A run that goes on from what an earlier one found: its pruned network and its widths are
//! trained further, nothing is searched.

use super::prepare::{describe, exceeded};
use super::store::PRUNED;
use super::{Compress, Device, Infeasible, Settings};
use crate::lower::{Bits, Centred, calibrate, centre, quantize};
use crate::nn::write_atomically;
use crate::quant::QatNet;
use crate::run::{
    ControlFigures, EpisodeLog, Policy, RunFolder, Summary, files, fingerprint, read_json,
};
use crate::search::{price_net, store_net};
use crate::vgg::Vgg;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is copied from the earlier run lies in this folder of the new one, so that it does
/// not depend on the other any more.
const FOLDER: &str = "earlier";
/// The network's files, as [`Vgg::save`] names them.
const NETWORK: [&str; 2] = ["config.json", "model.safetensors"];

/// What an earlier run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its name.
    pub run: String,
    /// [`fingerprint`] of its pruned network's weights.
    pub network: String,
    /// Widths of its layers with weights.
    pub bits: Vec<Bits>,
    /// Passes over the training images that its network got, over all earlier runs.
    pub epochs: f64,
    /// How many runs went before this one.
    pub generation: u64,
    /// Whether it was trained by the recipe of the run that goes on, but for its length.
    pub same_recipe: bool,
    /// Episode of the pruning search that the network comes from.
    pub prune_episode: Option<usize>,
    /// Episode of the quantization search that the widths come from.
    pub quantize_episode: Option<usize>,
}

/// An earlier run's folder, read.
pub struct EarlierRun {
    dir: PathBuf,
    /// The settings that it had.
    pub settings: Settings,
    found: Earlier,
}

impl EarlierRun {
    /// Reads what the finished run in `dir` found; its `config.json`, `policy.json` and
    /// `pruned/` are enough.
    ///
    /// # Errors
    /// Where it is no run, is of another version, is not finished, or cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        let config = RunFolder::read_config(dir)?;
        let settings: Settings = serde_json::from_value(config.settings)
            .with_context(|| format!("{} is of another version", dir.display()))?;
        let policy: Policy = read_json(dir, files::POLICY)?.with_context(|| {
            format!(
                "{} is not finished: it has no {}; finish it with `compress --resume {}`",
                dir.display(),
                files::POLICY,
                dir.display()
            )
        })?;
        let weights = dir.join(PRUNED).join(NETWORK[1]);
        let bytes = std::fs::read(&weights)
            .with_context(|| format!("cannot read {}", weights.display()))?;
        let before = settings.earlier.as_ref();
        // The last layer's accumulators leave as they are.
        let bits = policy.layers.iter().map(|l| Bits {
            w: l.w_bits,
            a: l.a_bits.min(8),
        });
        let found = Earlier {
            run: config.run,
            network: fingerprint(&bytes),
            bits: bits.collect(),
            epochs: settings.epochs(),
            generation: before.map_or(0, |e| e.generation) + 1,
            same_recipe: false,
            prune_episode: policy.prune_episode,
            quantize_episode: policy.quantize_episode,
        };
        Ok(Self {
            dir: dir.into(),
            settings,
            found,
        })
    }

    /// `settings` for a run that goes on from this one.
    #[must_use]
    pub fn continued(&self, settings: Settings) -> Settings {
        let recipe = |s: &Settings| {
            let tune = s.finetune;
            let teaching = (s.distillation, s.distill_views, s.temperature);
            (tune.lr, tune.batch, teaching)
        };
        let earlier = Earlier {
            same_recipe: recipe(&self.settings) == recipe(&settings),
            ..self.found.clone()
        };
        Settings {
            earlier: Some(earlier),
            ..settings
        }
    }
}

impl<D: Device + 'static> Compress<D> {
    /// Copies what a run that was started with [`EarlierRun::continued`] settings goes on
    /// from into its folder.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub fn take_over(&mut self, earlier: &EarlierRun) -> Result<()> {
        let folder = self.run.path(FOLDER);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let copy = |from: PathBuf, name: &str| -> Result<()> {
            let bytes =
                std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            Ok(write_atomically(&folder.join(name), &bytes)?)
        };
        // Figures of the search and a control are of use, but kept results may lack them.
        for name in [files::LOG, files::SENSITIVITY, files::SUMMARY] {
            let from = earlier.dir.join(name);
            if from.is_file() {
                copy(from, name)?;
            }
        }
        // The network last: where it is, everything is.
        for name in NETWORK {
            copy(earlier.dir.join(PRUNED).join(name), name)?;
        }
        Ok(())
    }

    /// The earlier run's network, its zeros held.
    pub(super) fn earlier_network(&self, earlier: &Earlier) -> Result<Vgg> {
        let folder = self.run.path(FOLDER);
        let weights = folder.join(NETWORK[1]);
        let bytes = std::fs::read(&weights).with_context(|| {
            format!(
                "cannot read {}, which was to be copied from {}: start anew",
                weights.display(),
                earlier.run
            )
        })?;
        anyhow::ensure!(
            fingerprint(&bytes) == earlier.network,
            "{} is not the network that {} found: start anew",
            weights.display(),
            earlier.run
        );
        let mut network = Vgg::load(&folder, &self.input.device)?;
        network.mask_zeros()?;
        Ok(network)
    }

    /// In place of the first search: whether what was found fits the budgets of this run.
    pub(super) fn check_earlier(&mut self, earlier: &Earlier) -> Result<bool> {
        let network = self.earlier_network(earlier)?;
        let (found, given) = (&network.config, &self.input.network.config);
        anyhow::ensure!(
            (found.input, found.num_classes) == (given.input, given.num_classes)
                && found.layers().len() == earlier.bits.len(),
            "{} found a network of {} layers for {:?} pictures and {} classes, which does not fit \
             the given one",
            earlier.run,
            found.layers().len(),
            found.input,
            found.num_classes
        );
        let costs = self.earlier_costs(&centre(&network.fold()?), earlier)?;
        if !self.state.targets.feasible(&costs) {
            let nearest = format!(
                "{} (what {} found)",
                describe(&costs, &self.limits),
                earlier.run
            );
            let exceeded = exceeded(&self.state.targets, &costs, &self.limits);
            return Err(Infeasible { nearest, exceeded }.into());
        }
        self.ui.say(&format!(
            "{:11} the network of {}, trained for {:.0} epochs so far: {}",
            "  found",
            earlier.run,
            earlier.epochs,
            describe(&costs, &self.limits)
        ));
        let log = self.run.path(FOLDER).join(files::LOG);
        if log.is_file() {
            for record in EpisodeLog::read(&log)? {
                self.run.log(&record)?;
            }
        }
        Ok(true)
    }

    fn earlier_costs(
        &mut self,
        network: &Centred,
        earlier: &Earlier,
    ) -> Result<crate::reward::Costs> {
        let (data, images) = (self.data(), self.settings.calibration_images);
        let ranges = calibrate(&network.network, data.train, &data.first_train(images));
        let qat = QatNet::new(network, &earlier.bits, &ranges, &self.input.device)?;
        let storage = self.storage(self.state.targets.flash_bytes.unwrap_or(u64::MAX));
        let mut net = quantize(&qat.centred()?, &qat.quants()?)?;
        store_net(&mut net, &storage, &mut self.latency)?;
        let priced = price_net(&net, self.arena());
        Ok(priced.with_cycles(&self.latency.costs(&priced.keys)?))
    }

    /// Keeps what the earlier run measured of each layer by itself, where it is known.
    pub(super) fn keep_sensitivity(&self) -> Result<()> {
        let path = self.run.path(FOLDER).join(files::SENSITIVITY);
        if path.is_file() {
            let bytes =
                std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            self.run.write(files::SENSITIVITY, &bytes)?;
        }
        Ok(())
    }

    /// The earlier run's control, where the recipe that it followed is this run's too.
    pub(super) fn earlier_control(&self) -> Result<Option<ControlFigures>> {
        let folder = self.run.path(FOLDER);
        let summary: Option<Summary> = read_json(&folder, files::SUMMARY)?;
        let same = self
            .settings
            .earlier
            .as_ref()
            .is_some_and(|e| e.same_recipe);
        Ok(summary.and_then(|s| s.control).filter(|_| same))
    }
}
