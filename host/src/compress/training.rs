//! Fine-tuning inside a run: resumable, stoppable, with a bar.

use super::ui::Ui;
use crate::run::interrupt;
use crate::search::SearchData;
use crate::vgg::{Distillation, Model, TrainConfig, Trainer};
use anyhow::Result;
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

/// Removes the state of a training whose result is in a checkpoint.
pub fn forget(checkpoint: &Path) {
    // It only saves time; a stale one is recognised by its fingerprint.
    let _ = std::fs::remove_file(checkpoint);
}
