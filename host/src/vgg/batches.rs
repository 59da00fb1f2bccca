//! The batches of a training, made ahead of the steps that use them.

use super::{TrainConfig, VggConfig};
use crate::data::{DataError, Source};
use crate::nn::Rng;
use std::sync::mpsc::SyncSender;

/// Streams of the seed: orders of the pictures from 0, augmentations from here on.
const AUGMENT_STREAM: u64 = 1 << 32;

/// A training step's pictures.
pub(super) struct Batch {
    /// Indices in the data set.
    pub indices: Vec<usize>,
    /// Normalized, `[c, n, side, side]`.
    pub x: Vec<f32>,
    /// Height and width.
    pub size: (usize, usize),
}

/// Which pictures each step gets, and how they are changed. Every step's draw has its own
/// stream of the seed, so that a resumed training sees the same batches.
pub(super) struct Plan<'a, S: ?Sized> {
    pub network: VggConfig,
    pub config: TrainConfig,
    pub data: &'a S,
    pub indices: &'a [usize],
}

impl<S: Source + ?Sized> Plan<'_, S> {
    /// Makes the batches of these steps, until nobody wants them or one cannot be read.
    pub fn send_batches(
        &self,
        steps: std::ops::Range<usize>,
        sender: &SyncSender<Result<Batch, DataError>>,
    ) {
        let size = self.config.batch.clamp(1, self.indices.len());
        let per_epoch = self.indices.len() / size;
        let mut order: (Option<usize>, Vec<usize>) = (None, Vec::new());
        for step in steps {
            let epoch = step / per_epoch;
            if order.0 != Some(epoch) {
                order = (Some(epoch), self.indices.to_vec());
                let mut rng = Rng::stream(self.config.seed, epoch as u64);
                self.data.shuffle(&mut order.1, &mut rng);
            }
            let chosen = &order.1[step % per_epoch * size..][..size];
            let batch = self.batch(step, chosen);
            let last = batch.is_err();
            // The receiver is gone when the training has been stopped.
            if sender.send(batch).is_err() || last {
                return;
            }
        }
    }

    fn batch(&self, step: usize, indices: &[usize]) -> Result<Batch, DataError> {
        let normalization = &self.network.normalization;
        let [h, w, _] = self.data.size();
        let side = self.config.side_at(step, h);
        let (x, size) = match self.config.augment {
            None => (self.data.plain(indices, normalization)?, (h, w)),
            Some(augment) => {
                let mut rng = Rng::stream(self.config.seed, AUGMENT_STREAM + step as u64);
                let data = self.data;
                let x = data.augmented(indices, normalization, augment, side, &mut rng)?;
                (x, if side == h { (h, w) } else { (side, side) })
            }
        };
        Ok(Batch {
            indices: indices.to_vec(),
            x,
            size,
        })
    }
}
