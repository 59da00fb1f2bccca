//! Fine-tuning inside a run: resumable, stoppable, with a bar.

use super::ui::Ui;
use crate::run::{interrupt, memory};
use crate::search::SearchData;
use crate::vgg::{Distillation, Model, TrainConfig, Trainer, VggConfig, VggError};
use anyhow::Result;
use candle_core::Device;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between checkpoints of a training.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// What a fine-tuning is to do.
pub struct Job<'a> {
    /// Label of its bar.
    pub label: &'static str,
    /// The schedule.
    pub config: TrainConfig,
    /// Whose logits to follow, if any.
    pub teacher: Option<Distillation<'a>>,
    /// Where its state lies between two processes.
    pub checkpoint: &'a Path,
}

/// Trains `model` from where `job.checkpoint` is, if it is there. Returns whether it was
/// finished (and not stopped by the user); then the checkpoint is gone.
///
/// # Errors
/// Where the loss is not a number, or the checkpoint is of another training.
pub fn train<M: Model>(model: &M, job: &Job, data: &SearchData, ui: &Ui) -> Result<bool> {
    let mut trainer = Trainer::new(model, job.config.clone())?;
    if let Some(teacher) = job.teacher {
        trainer = trainer.with_teacher(teacher);
    }
    if job.checkpoint.is_file() {
        trainer.restore(job.checkpoint)?;
        ui.say(&format!(
            "{}: resumed at step {} of {}",
            job.label,
            trainer.step(),
            job.config.steps
        ));
    }
    let mut bar = ui.bar(job.label, job.config.steps, trainer.step());
    let (mut saved, mut failure, mut loss) = (Instant::now(), None, 0.0);
    let indices = data.train_indices();
    let outcome = trainer.run(data.source, &indices, |trainer, p| {
        loss = if loss == 0.0 {
            p.loss
        } else {
            0.98 * loss + 0.02 * p.loss
        };
        bar.set(
            p.step,
            &format!("loss {loss:.3}  {:.0} img/s", p.images_per_second),
        );
        let stop = interrupt::requested() && p.step < p.steps;
        if stop || (saved.elapsed() > SAVE_EVERY && p.step < p.steps) {
            failure = trainer.save(job.checkpoint).err();
            saved = Instant::now();
        }
        if stop || failure.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    if outcome.finished {
        bar.finish(&format!("{} steps, loss {loss:.3}", job.config.steps));
    }
    Ok(outcome.finished)
}

/// Refuses to begin a training of `network` that this machine has no memory for; what a GPU has is
/// not known.
///
/// # Errors
/// [`VggError::Memory`], with the batch that fits.
pub fn check_memory(
    network: &VggConfig,
    training: &TrainConfig,
    device: &Device,
) -> Result<(), VggError> {
    match (device.is_cpu(), memory::available_bytes()) {
        (true, Some(available)) => {
            network.check_memory(training.batch, training.optimizer, available)
        }
        _ => Ok(()),
    }
}

/// What to tell the user before a run whose fine-tuning may not fit `available` bytes, if anything:
/// how much the pruned network will take is not known yet.
#[must_use]
pub fn memory_warning(network: &VggConfig, batch: usize, available: u64) -> Option<String> {
    let training = TrainConfig::fine_tune(1, batch, 0);
    let error = network
        .check_memory(batch, training.optimizer, available)
        .err()?;
    let VggError::Memory { fits, .. } = &error else {
        return None;
    };
    let fits = match fits {
        Some(batch) => format!("by the same estimate `--finetune-batch {batch}` would fit"),
        None => "no batch fits the given network".to_owned(),
    };
    Some(format!(
        "{error}, if nothing is pruned; the pruned network takes less; {fits}"
    ))
}

/// Removes the state of a training whose result is in a checkpoint.
pub fn forget(checkpoint: &Path) {
    // It only saves time; a stale one is recognised by its fingerprint.
    let _ = std::fs::remove_file(checkpoint);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_that_may_not_fit_is_told_with_the_batch_that_does() {
        let vgg16 = VggConfig::preset("vgg16").expect("known");
        assert_eq!(memory_warning(&vgg16, 64, 64 << 30), None);
        let told = memory_warning(&vgg16, 4096, 2 << 30).expect("a warning");
        let batch = told.split("--finetune-batch ").nth(1).expect("a batch");
        let batch: usize = batch
            .split('`')
            .next()
            .unwrap_or("")
            .parse()
            .expect("a number");
        assert!(batch > 1 && memory_warning(&vgg16, batch, 2 << 30).is_none());
        let told = memory_warning(&vgg16, 64, 1 << 20).expect("a warning");
        assert!(told.contains("no batch fits"), "{told}");
    }

    #[test]
    fn a_training_that_fits_is_begun() {
        let small = VggConfig::preset("vgg-small").expect("known");
        let training = TrainConfig::fine_tune(1, 8, 0);
        assert!(check_memory(&small, &training, &Device::Cpu).is_ok());
    }
}
