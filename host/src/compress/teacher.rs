//! The given network as a teacher of smaller ones.

use super::{Input, Settings, Ui};
use crate::lower::centre;
use crate::nn::{read_tensors, write_tensors};
use crate::vgg::{Distillation, Folded, Teacher};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::path::Path;

/// Its answers, kept for the later stages and for `--resume`.
const LOGITS: &str = "teacher.safetensors";
const TENSOR: &str = "logits";
/// Pictures between two looks at the bar.
const CHUNK: usize = 500;

/// How a student's pictures are normalized.
#[derive(Clone, Copy)]
pub(super) enum Normalized {
    /// As the given network's.
    AsTrained,
    /// Whole pixels minus whole means.
    Centred,
}

/// What a fine-tuning learns from besides labels.
pub(super) enum SavedTeacher {
    None,
    Logits(Vec<f32>),
    Network(Box<Folded>),
}

/// The given network as a teacher.
#[derive(Clone, Copy)]
pub(super) struct Teaching<'a> {
    pub input: &'a Input,
    pub settings: &'a Settings,
    /// Where its answers are kept.
    pub folder: &'a Path,
    pub ui: &'a Ui,
}

impl Teaching<'_> {
    /// A teacher of students that see pictures as `normalized` says.
    pub fn prepare(&self, normalized: Normalized) -> Result<SavedTeacher> {
        if self.settings.distillation == 0.0 {
            return Ok(SavedTeacher::None);
        }
        if !self.settings.distill_views {
            return Ok(SavedTeacher::Logits(self.logits()?));
        }
        let folded = self.input.network.fold()?;
        Ok(SavedTeacher::Network(Box::new(match normalized {
            Normalized::AsTrained => folded,
            Normalized::Centred => centre(&folded).network,
        })))
    }

    /// One row of logits per training picture, computed once a run: a large teacher takes
    /// longer over them than a small student over an epoch.
    fn logits(&self) -> Result<Vec<f32>> {
        let (train, path) = (self.input.data().source, self.folder.join(LOGITS));
        let count = train.count() * self.input.network.config.num_classes;
        if path.is_file() {
            let stored = read_tensors(&path)?;
            let rows = stored.tensors.get(TENSOR).map(Tensor::flatten_all);
            let logits = rows.transpose()?.map(|t| t.to_vec1::<f32>()).transpose()?;
            let logits = logits.unwrap_or_default();
            ensure!(
                logits.len() == count,
                "{} has {} logits, {count} wanted; remove it and it is made anew",
                path.display(),
                logits.len()
            );
            return Ok(logits);
        }
        let folded = self.input.network.fold()?;
        let indices: Vec<usize> = (0..train.count()).collect();
        let mut bar = self.ui.bar("  teacher", indices.len(), 0);
        let mut logits = Vec::with_capacity(count);
        for chunk in indices.chunks(CHUNK) {
            let all: Vec<usize> = (0..chunk.len()).collect();
            logits.extend(folded.logits(&train.part(chunk)?, &all));
            let done = logits.len() * indices.len() / count.max(1);
            bar.set(done, "pictures");
        }
        bar.finish(&format!("{} pictures", indices.len()));
        let tensor = Tensor::from_slice(&logits, logits.len(), &Device::Cpu)?;
        let tensors = HashMap::from([(TENSOR.to_owned(), tensor)]);
        write_tensors(&path, &tensors, HashMap::new())?;
        Ok(logits)
    }

    /// How a student learns from it.
    pub fn distillation<'t>(&self, teacher: &'t SavedTeacher) -> Option<Distillation<'t>> {
        let source = match teacher {
            SavedTeacher::None => return None,
            SavedTeacher::Logits(logits) => Teacher::Logits(logits),
            SavedTeacher::Network(network) => Teacher::Network(network),
        };
        let (weight, temperature) = (self.settings.distillation, self.settings.temperature);
        Some(Distillation {
            source,
            weight,
            temperature,
        })
    }
}
