//! The batches of a training, made ahead of the steps that use them.

use super::{TrainConfig, VggConfig};
use crate::data::{Dataset, augmented_batch, plain_batch};
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
pub(super) struct Plan<'a> {
    pub network: VggConfig,
    pub config: TrainConfig,
    pub data: &'a Dataset,
    pub indices: &'a [usize],
}

impl Plan<'_> {
    /// Makes the batches of these steps, until nobody wants them.
    pub fn send_batches(&self, steps: std::ops::Range<usize>, sender: &SyncSender<Batch>) {
        let size = self.config.batch.clamp(1, self.indices.len());
        let per_epoch = self.indices.len() / size;
        let mut order: (Option<usize>, Vec<usize>) = (None, Vec::new());
        for step in steps {
            let epoch = step / per_epoch;
            if order.0 != Some(epoch) {
                order = (Some(epoch), self.indices.to_vec());
                Rng::stream(self.config.seed, epoch as u64).shuffle(&mut order.1);
            }
            let chosen = &order.1[step % per_epoch * size..][..size];
            // The receiver is gone when the training has been stopped.
            if sender.send(self.batch(step, chosen)).is_err() {
                return;
            }
        }
    }

    fn batch(&self, step: usize, indices: &[usize]) -> Batch {
        let normalization = &self.network.normalization;
        let side = self.config.side_at(step, self.data.h);
        let (x, size) = match self.config.augment {
            None => (
                plain_batch(self.data, indices, normalization),
                (self.data.h, self.data.w),
            ),
            Some(augment) => {
                let mut rng = Rng::stream(self.config.seed, AUGMENT_STREAM + step as u64);
                let x = augmented_batch(self.data, indices, normalization, augment, side, &mut rng);
                let full = side == self.data.h;
                (
                    x,
                    if full {
                        (self.data.h, self.data.w)
                    } else {
                        (side, side)
                    },
                )
            }
        };
        Batch {
            indices: indices.to_vec(),
            x,
            size,
        }
    }
}
