//! The training loop, for networks from scratch and for fine-tuning.

use super::average::Average;
use super::batches::{Batch, Plan};
use super::{Folded, TrainConfig, Vgg, VggConfig, VggError};
use crate::data::Source;
use crate::nn::{
    Optimizer, Parameter, Rng, distillation, one_hot, read_tensors, soft_cross_entropy,
    write_tensors,
};
use candle_core::{Device, Result as CandleResult, Tensor, Var};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// Batches made ahead of the step that uses them.
const PREFETCH: usize = 2;
/// Pictures that one thread takes through a teacher at a time.
const TEACHER_CHUNK: usize = 32;
/// A loss that no training comes back from, far above those of classes and penalties.
const EXPLODED: f64 = 1e6;
/// Streams of the seed for the noise of each step begin here.
const NOISE_STREAM: u64 = 1 << 33;

/// What the loop trains.
pub trait Model {
    /// Input and classes.
    fn config(&self) -> &VggConfig;
    /// Logits `[n, classes]` of `x` `[c, n, h, w]`, with a graph for gradients. `rng` is
    /// the step's own, for noise.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    fn forward_train(&self, x: &Tensor, rng: &mut Rng) -> CandleResult<Tensor>;
    /// Everything trainable.
    fn parameters(&self) -> Vec<Parameter>;
    /// Everything that a checkpoint needs, by name.
    fn tensors(&self) -> Vec<(String, Var)>;
    /// A term that is added to the loss in step `step` of `steps`.
    ///
    /// # Errors
    /// Where an operator fails.
    fn regularizer(&self, _step: usize, _steps: usize) -> CandleResult<Option<Tensor>> {
        Ok(None)
    }
    /// Called after each step of the optimizer.
    ///
    /// # Errors
    /// Where an operator fails.
    fn after_step(&self) -> CandleResult<()> {
        Ok(())
    }
}

impl Model for Vgg {
    fn config(&self) -> &VggConfig {
        &self.config
    }

    fn forward_train(&self, x: &Tensor, rng: &mut Rng) -> CandleResult<Tensor> {
        self.forward_train_dropping(x, rng)
    }

    fn parameters(&self) -> Vec<Parameter> {
        Vgg::parameters(self)
    }

    fn tensors(&self) -> Vec<(String, Var)> {
        Vgg::tensors(self)
    }

    fn after_step(&self) -> CandleResult<()> {
        self.apply_masks()
    }
}

/// Where a teacher's logits come from.
#[derive(Clone, Copy, Debug)]
pub enum Teacher<'a> {
    /// `[images, classes]`, one row per picture of the data set, however it is augmented:
    /// cheap, for teachers that are much larger than the student.
    Logits(&'a [f32]),
    /// The teacher itself, asked about each augmented view: far more to learn from where
    /// pictures are few. It must take the student's normalization.
    Network(&'a Folded),
}

impl Teacher<'_> {
    /// Logits `[n, classes]` of a batch.
    fn logits(&self, batch: &Batch, channels: usize, classes: usize) -> Vec<f32> {
        match self {
            Self::Logits(all) => {
                let rows = batch.indices.iter().map(|i| &all[i * classes..][..classes]);
                rows.flatten().copied().collect()
            }
            Self::Network(network) => network_logits(network, batch, channels),
        }
    }
}

/// Runs the teacher over a batch `[c, n, h, w]`, a few pictures a thread.
fn network_logits(network: &Folded, batch: &Batch, channels: usize) -> Vec<f32> {
    let (n, plane) = (batch.indices.len(), batch.size.0 * batch.size.1);
    let chunks: Vec<usize> = (0..n).step_by(TEACHER_CHUNK).collect();
    chunks
        .into_par_iter()
        .flat_map_iter(|first| {
            let m = TEACHER_CHUNK.min(n - first);
            let part = |c: usize| &batch.x[(c * n + first) * plane..][..m * plane];
            let x = (0..channels).flat_map(part).copied().collect();
            network.forward(x, m, |_, _| {})
        })
        .collect()
}

/// A teacher's logits for the training pictures.
#[derive(Clone, Copy, Debug)]
pub struct Distillation<'a> {
    /// `[pictures of the data set, classes]`.
    pub source: Teacher<'a>,
    /// Share of the loss; the rest is the labels'.
    pub weight: f64,
    /// Softens both distributions.
    pub temperature: f64,
}

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Loss of the last step.
    pub loss: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Height of its pictures.
    pub side: usize,
    /// Pictures a second, over this run.
    pub images_per_second: f64,
}

/// What a run of the loop did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOutcome {
    /// Whether all steps are done; `false` where the observer stopped it.
    pub finished: bool,
    /// Steps done, those of earlier runs included.
    pub step: usize,
    /// Pictures trained on in this run.
    pub images: usize,
    /// Mean loss of this run's steps.
    pub mean_loss: f64,
}

/// A training that can be stopped, saved and gone on with, to the same bits.
pub struct Trainer<'a, M: Model> {
    model: &'a M,
    config: TrainConfig,
    optimizer: Box<dyn Optimizer>,
    step: usize,
    teacher: Option<Distillation<'a>>,
    average: Option<Average>,
}

impl<'a, M: Model> Trainer<'a, M> {
    /// A training at its first step.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn new(model: &'a M, config: TrainConfig) -> Result<Self, VggError> {
        Ok(Self {
            optimizer: config.optimizer.build(model.parameters())?,
            average: match config.ema {
                Some(decay) => Some(Average::new(decay, &model.tensors())?),
                None => None,
            },
            model,
            config,
            step: 0,
            teacher: None,
        })
    }

    /// The same with a teacher.
    pub fn with_teacher(mut self, teacher: Distillation<'a>) -> Self {
        self.teacher = Some(teacher);
        self
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Replaces the model's tensors by their average over the steps, where one is kept: for
    /// when the training is done.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn take_average(&self) -> Result<(), VggError> {
        match &self.average {
            Some(average) => Ok(average.write(&self.model.tensors())?),
            None => Ok(()),
        }
    }

    /// Writes everything that the rest of the training depends on, atomically.
    ///
    /// # Errors
    /// [`VggError::Store`].
    pub fn save(&self, path: &Path) -> Result<(), VggError> {
        let mut tensors = HashMap::new();
        for (name, var) in self.model.tensors() {
            tensors.insert(format!("model.{name}"), var.as_detached_tensor());
        }
        for (name, tensor) in self.optimizer.state() {
            tensors.insert(format!("optimizer.{name}"), tensor);
        }
        if let Some(average) = &self.average {
            tensors.extend(average.state());
        }
        let metadata = HashMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("config".to_owned(), fingerprint(&self.config)),
        ]);
        Ok(write_tensors(path, &tensors, metadata)?)
    }

    /// Goes on from what [`Trainer::save`] wrote.
    ///
    /// # Errors
    /// [`VggError::Checkpoint`] where it is of another training.
    pub fn restore(&mut self, path: &Path) -> Result<(), VggError> {
        let stored = read_tensors(path)?;
        let misfit = |reason: String| VggError::Checkpoint {
            path: path.to_owned(),
            reason,
        };
        if stored.metadata.get("config") != Some(&fingerprint(&self.config)) {
            return Err(misfit("it was made with other training settings".into()));
        }
        let step = stored.metadata.get("step").and_then(|s| s.parse().ok());
        let step = step.ok_or_else(|| misfit("it does not say its step".into()))?;
        let mut weights = Vec::new();
        for (name, var) in self.model.tensors() {
            match stored.tensors.get(&format!("model.{name}")) {
                Some(t) if t.shape() == var.shape() => weights.push((var, t.clone())),
                Some(t) => {
                    let shapes = format!("{:?}, not {:?}", t.dims(), var.dims());
                    return Err(misfit(format!("`{name}` is {shapes}")));
                }
                None => return Err(misfit(format!("`{name}` is missing"))),
            }
        }
        if let Some(average) = &mut self.average {
            let restored = average.restore(&stored.tensors, &self.model.tensors());
            restored.map_err(|e| misfit(e.to_string()))?;
        }
        let state = stored
            .tensors
            .into_iter()
            .filter_map(|(name, t)| Some((name.strip_prefix("optimizer.")?.to_owned(), t)))
            .collect();
        self.optimizer
            .load_state(&state)
            .map_err(|e| misfit(e.to_string()))?;
        // All of it is there: only now the model changes.
        for (var, tensor) in weights {
            var.set(&tensor.to_device(var.device())?)?;
        }
        self.step = step;
        Ok(())
    }

    /// Trains to the last step, on the pictures with these indices, or until `observe`,
    /// called after each step, breaks off.
    ///
    /// # Errors
    /// [`VggError::Diverged`], naming step and layer; [`VggError::NoData`]; [`VggError::Data`] where
    /// a picture cannot be read.
    pub fn run<S: Source + ?Sized>(
        &mut self,
        data: &S,
        indices: &[usize],
        mut observe: impl FnMut(&Self, &Progress) -> ControlFlow<()>,
    ) -> Result<TrainOutcome, VggError> {
        if indices.is_empty() {
            return Err(VggError::NoData);
        }
        let (start, first) = (Instant::now(), self.step);
        let plan = Plan {
            network: self.model.config().clone(),
            config: self.config.clone(),
            data,
            indices,
        };
        let steps = self.config.steps;
        std::thread::scope(|scope| {
            let (sender, batches) = sync_channel(PREFETCH);
            scope.spawn(move || plan.send_batches(first..steps, &sender));
            let (mut images, mut total) = (0, 0.0);
            let outcome = |step, finished, images, total: f64| TrainOutcome {
                finished,
                step,
                images,
                mean_loss: total / f64::max((step - first) as f64, 1.0),
            };
            while self.step < steps {
                let Ok(batch) = batches.recv() else {
                    break;
                };
                let batch = batch?;
                let (lr, side) = (self.config.lr_at(self.step), batch.size.0);
                images += batch.indices.len();
                let loss = self.take_step(data, batch, lr)?;
                total += loss;
                let progress = Progress {
                    step: self.step,
                    steps,
                    loss,
                    lr,
                    side,
                    images_per_second: images as f64 / start.elapsed().as_secs_f64(),
                };
                if observe(self, &progress).is_break() {
                    return Ok(outcome(self.step, self.step == steps, images, total));
                }
            }
            Ok(outcome(self.step, true, images, total))
        })
    }

    /// One step; gives its loss.
    fn take_step<S: Source + ?Sized>(
        &mut self,
        data: &S,
        batch: Batch,
        lr: f64,
    ) -> Result<f64, VggError> {
        let classes = self.model.config().num_classes;
        let parameters = self.model.parameters();
        let device = parameters
            .first()
            .map_or(Device::Cpu, |p| p.var.device().clone());
        let ((h, w), [_, _, c]) = (batch.size, data.size());
        let taught = self.teacher.map(|t| t.source.logits(&batch, c, classes));
        let x = Tensor::from_vec(batch.x, (c, batch.indices.len(), h, w), &device)?;
        let mut rng = Rng::stream(self.config.seed, NOISE_STREAM + self.step as u64);
        let logits = self.model.forward_train(&x, &mut rng)?;
        let labels: Vec<u32> = batch.indices.iter().map(|i| data.label(*i)).collect();
        let targets = one_hot(&labels, classes, self.config.label_smoothing, &device)?;
        let mut loss = soft_cross_entropy(&logits, &targets)?;
        if let (Some(teacher), Some(rows)) = (self.teacher, taught) {
            let rows = Tensor::from_vec(rows, logits.shape(), &device)?;
            let soft = distillation(&logits, &rows, teacher.temperature)?;
            loss = ((loss * (1.0 - teacher.weight))? + (soft * teacher.weight)?)?;
        }
        if let Some(term) = self.model.regularizer(self.step, self.config.steps)? {
            loss = (loss + term)?;
        }
        let value = f64::from(loss.to_scalar::<f32>()?);
        if value.is_nan() || value > EXPLODED {
            let (step, found) = (
                self.step,
                diverged(&self.model.tensors(), self.model.config())?,
            );
            return Err(VggError::Diverged {
                step,
                loss: value,
                lr,
                found,
            });
        }
        self.optimizer.step(&loss.backward()?, lr)?;
        self.model.after_step()?;
        if let Some(average) = &mut self.average {
            average.add(&self.model.tensors())?;
        }
        self.step += 1;
        Ok(value)
    }
}

/// What of a model's tensors is the likely cause of a loss that exploded: the first that is
/// not finite itself, or else the one with the largest value.
fn diverged(tensors: &[(String, Var)], config: &VggConfig) -> CandleResult<String> {
    let mut largest = (String::new(), 0.0f32);
    for (name, var) in tensors {
        let values = var.as_detached_tensor().flatten_all()?.to_vec1::<f32>()?;
        let (layer, part) = layer_of(name, config);
        if values.iter().any(|v| !v.is_finite()) {
            return Ok(format!(
                "layer {layer} has values in its `{part}` that are not finite"
            ));
        }
        let size = values.iter().fold(0.0, |a: f32, v| a.max(v.abs()));
        if size >= largest.1 {
            largest = (format!("the `{part}` of layer {layer}"), size);
        }
    }
    let (place, size) = largest;
    Ok(format!(
        "the largest value of its network is {size:.2e}, in {place}"
    ))
}

/// The layer that a tensor belongs to, and which of its tensors it is: they are called
/// `conv3.weight`, or `clip3` where models have them by number.
fn layer_of(tensor: &str, config: &VggConfig) -> (String, String) {
    let (head, part) = tensor.split_once('.').unwrap_or((tensor, ""));
    let kind = head.trim_end_matches(|c: char| c.is_ascii_digit());
    match head[kind.len()..].parse() {
        Ok(i) if !matches!(kind, "conv" | "linear") => {
            let parts = [kind, part].join(" ");
            (config.layer_name(i), parts.trim_end().to_owned())
        }
        _ => (head.to_owned(), part.to_owned()),
    }
}

/// Everything of a configuration that a checkpoint must agree with.
fn fingerprint(config: &TrainConfig) -> String {
    serde_json::to_string(config).unwrap_or_default()
}

#[cfg(test)]
mod tests;
