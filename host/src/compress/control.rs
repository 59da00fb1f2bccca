//! The control: the given network after the fine-tuning that its compressed relative got, so
//! that more training is not counted as compression.

use super::teacher::{Normalized, Teaching};
use super::training::{Job, check_memory, forget, train};
use super::{Control, FineTune, Input, Settings, Ui};
use crate::lower::accuracy;
use crate::run::ControlFigures;
use crate::vgg::TrainConfig;
use anyhow::Result;
use std::path::Path;

/// State of its training between two processes.
const CHECKPOINT: &str = "control.safetensors";

/// A control that is to be trained.
#[derive(Clone, Copy)]
pub struct ControlJob<'a> {
    /// The given network and its images.
    pub input: &'a Input,
    /// The run's.
    pub settings: &'a Settings,
    /// Where the training's state is kept; its own, where two are trained.
    pub folder: &'a Path,
    /// Shows the progress.
    pub ui: &'a Ui,
}

impl ControlJob<'_> {
    /// Passes over the training images that the compressed network gets, after both stages.
    #[must_use]
    pub fn epochs(&self) -> f64 {
        self.settings.epochs()
    }

    /// Trains the given network by the recipe of the run's fine-tuning, from where an earlier
    /// process stopped, and asks it about the test images. Nothing where the user stopped it.
    /// Its state stays until [`forget`](Self::forget): the caller saves the result first.
    ///
    /// # Errors
    /// Where the training diverges, or what is kept in the folder cannot be read or written.
    pub fn train(&self, epochs: f64) -> Result<Option<Control>> {
        let network = self.input.network.duplicate()?;
        let (data, tune) = (self.input.data(), self.settings.finetune);
        let teaching = Teaching {
            input: self.input,
            settings: self.settings,
            folder: self.folder,
            ui: self.ui,
        };
        let teacher = teaching.prepare(Normalized::AsTrained)?;
        let steps = FineTune { epochs, ..tune }.steps(data.source.count());
        let checkpoint = self.folder.join(CHECKPOINT);
        let seed = self.settings.seed.wrapping_add(1);
        let job = Job {
            label: "  control",
            config: TrainConfig {
                lr: tune.lr,
                ..TrainConfig::fine_tune(steps, tune.batch, seed)
            },
            teacher: teaching.distillation(&teacher),
            checkpoint: &checkpoint,
        };
        check_memory(&network.config, &job.config, &self.input.device)?;
        if !train(&network, &job, &data, self.ui)? {
            return Ok(None);
        }
        let norm = data.first_train(4 * self.settings.prune.trial.norm_images);
        network.reestimate_norm(data.train, &norm, tune.batch)?;
        let test = self.input.test_images();
        let all: Vec<usize> = (0..test.len()).collect();
        let logits = network.fold()?.logits(test, &all);
        Ok(Some(Control {
            logits,
            images_trained: (steps * tune.batch) as u64,
        }))
    }

    /// Removes the training's state, once its result is saved.
    pub fn forget(&self) {
        forget(&self.folder.join(CHECKPOINT));
    }
}

impl Control {
    /// Its accuracy on the test images of `input`, and how long it was trained.
    #[must_use]
    pub fn figures(&self, input: &Input) -> ControlFigures {
        let images = input.data().source.count().max(1);
        ControlFigures {
            accuracy_float: accuracy(&self.logits, &input.test_images().labels),
            epochs: Some(self.images_trained as f64 / images as f64),
        }
    }
}
