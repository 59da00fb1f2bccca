//! A toy problem, with a device that runs the portable engine.

use super::*;
use crate::data::testing::halves;
use crate::nn::Rng;
use crate::run::CycleSource;
use crate::search::{LayerKey, MeasureLayer, Timing};
use crate::vgg::{Item, TrainConfig, Trainer, VggConfig};
use candle_core::Device as Floats;
use firmware::engine::Network;
use shared::blob::Blob;
use std::ops::ControlFlow;

/// Costs a cycle per MAC and runs blobs on the portable engine.
pub(super) struct Portable;

#[repr(align(16))]
struct Arena([u8; 40_000]);

impl MeasureLayer for Portable {
    fn measure(&mut self, key: &LayerKey) -> Result<Timing> {
        let cycles = LayerCost::Cycles(key.spec.macs() + 100);
        Ok(Timing {
            cost: cycles,
            from_table: false,
        })
    }
}

impl Device for Portable {
    fn limits(&self) -> DeviceLimits {
        DeviceLimits {
            name: "portable".into(),
            description: "the portable engine".into(),
            arena: 40_000,
            blob: 100_000,
            clock_hz: 1_000_000,
            build_id: 7,
            cycle_source: CycleSource::Model,
        }
    }

    fn run(
        &mut self,
        blob: &[u8],
        images: &[u8],
        image_bytes: usize,
    ) -> Result<Vec<BoardInference>> {
        let mut arena = Box::new(Arena([0; 40_000]));
        let blob = Blob::new_checked(blob)?;
        let cycles: Vec<u64> = blob.layers().map(|l| l.spec().macs() + 100).collect();
        let mut network = Network::new(blob, &mut arena.0).map_err(|e| anyhow::anyhow!("{e:?}"))?;
        images
            .chunks_exact(image_bytes)
            .map(|image| {
                let logits = network
                    .infer(image, &mut ())
                    .map_err(|e| anyhow::anyhow!("{e:?}"))?;
                Ok(BoardInference {
                    logits: logits.iter().collect(),
                    cycles: cycles.clone(),
                })
            })
            .collect()
    }
}

pub(super) fn input() -> Input {
    use Item::{AvgPool as A, Conv as C, MaxPool as M};
    let preset = VggConfig::preset("vgg-small").expect("known");
    let config = VggConfig {
        cfg: vec![C(16), M, C(16), A],
        input: [8, 8, 3],
        num_classes: 2,
        ..preset
    };
    let network = Vgg::new(config, &mut Rng::new(1), &Floats::Cpu).expect("valid");
    let splits = Splits {
        train: halves(96, 1),
        validation: halves(48, 2),
        test: Some(halves(32, 3)),
    };
    let all: Vec<usize> = (0..96).collect();
    let train = TrainConfig {
        augment: None,
        lr: 0.05,
        ..TrainConfig::fine_tune(40, 32, 0)
    };
    let mut trainer = Trainer::new(&network, train).expect("builds");
    trainer
        .run(&splits.train, &all, |_, _| ControlFlow::Continue(()))
        .expect("trains");
    let (model, dataset) = ("toy".to_string(), "halves".to_string());
    Input {
        network,
        model_bytes: vec![1, 2, 3],
        model,
        splits,
        stream: None,
        dataset,
        device: Floats::Cpu,
    }
}

pub(super) fn settings() -> Settings {
    let mut s = Settings::quick(0);
    s.prune.episodes = 12;
    s.quantize.episodes = 12;
    for trial in [&mut s.prune.trial, &mut s.quantize.trial] {
        (
            trial.steps,
            trial.batch,
            trial.norm_images,
            trial.validation_images,
        ) = (2, 16, 32, 32);
    }
    s.variational.steps = 3;
    s.channel_step = 2;
    s.finetune.epochs = 2.0;
    s.qat.epochs = 2.0;
    s
}

pub(super) fn finish(run: Compress<Portable>) -> Summary {
    match run.run().expect("runs") {
        Outcome::Done(summary) => *summary,
        Outcome::Stopped(_) => panic!("nobody stopped it"),
    }
}
