//! Quantization-aware training on a toy problem.

use super::qat::QatNet;
use crate::data::Dataset;
use crate::data::testing::halves;
use crate::lower::{
    Bits, accuracy, calibrate, centre, entropy, quantize, simulate, weight_section,
};
use crate::nn::{OptimizerKind, Rng};
use crate::vgg::{Item, TrainConfig, Trainer, Vgg, VggConfig, evaluate};
use candle_core::{Device, Result};
use shared::spec::{Encoding, LayerSpec};
use std::ops::ControlFlow;

fn trained(data: &Dataset, all: &[usize]) -> Vgg {
    use Item::{AvgPool as A, Conv as C, MaxPool as M};
    let preset = VggConfig::preset("vgg-small").expect("known");
    let config = VggConfig {
        cfg: vec![C(8), M, C(8), A],
        input: [8, 8, 3],
        num_classes: 2,
        ..preset
    };
    let net = Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid");
    let train = TrainConfig {
        augment: None,
        lr: 0.05,
        ..TrainConfig::fine_tune(40, 32, 0)
    };
    Trainer::new(&net, train)
        .and_then(|mut t| t.run(data, all, |_, _| ControlFlow::Continue(())))
        .expect("trains");
    net
}

#[test]
fn integers_follow_the_fake_quantized_network() -> Result<()> {
    let data = halves(64, 5);
    let all: Vec<usize> = (0..64).collect();
    let net = trained(&data, &all);
    assert_eq!(
        evaluate(&net.fold()?, &data, &all),
        1.0,
        "the problem is easy"
    );
    let centred = centre(&net.fold()?);
    let ranges = calibrate(&centred.network, &data, &all);
    for bits in [
        Bits { w: 8, a: 8 },
        Bits { w: 4, a: 8 },
        Bits { w: 3, a: 4 },
    ] {
        let qat = QatNet::new(&centred, &[bits; 3], &ranges, &Device::Cpu)?;
        let float = qat.logits(&data, &all)?;
        let int_net = quantize(&qat.centred()?, &qat.quants()?).expect("lowers");
        let int = simulate(&int_net, &data.images).expect("runs");
        let scale = float.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (f, i) in float.iter().zip(&int) {
            let i = *i as f32 * int_net.logit_scale;
            assert!((f - i).abs() < 0.05 * scale, "{bits:?}: {f} against {i}");
        }
    }
    Ok(())
}

#[test]
fn training_repairs_two_bits_and_keeps_pruned_weights_zero() -> Result<()> {
    let data = halves(64, 5);
    let all: Vec<usize> = (0..64).collect();
    let mut centred = centre(&trained(&data, &all).fold()?);
    centred.network.layers[1]
        .weight
        .iter_mut()
        .step_by(2)
        .for_each(|w| *w = 0.0);
    let ranges = calibrate(&centred.network, &data, &all);
    let qat = QatNet::new(&centred, &[Bits { w: 2, a: 2 }; 3], &ranges, &Device::Cpu)?;
    let optimizer = OptimizerKind::Adam { weight_decay: 0.0 };
    let config = TrainConfig {
        augment: None,
        lr: 2e-3,
        optimizer,
        ..TrainConfig::fine_tune(60, 32, 0)
    };
    let loss = |n: usize| -> f64 {
        let config = TrainConfig {
            steps: n,
            ..config.clone()
        };
        let mut trainer = Trainer::new(&qat, config).expect("builds");
        trainer
            .run(&data, &all, |_, _| ControlFlow::Continue(()))
            .expect("trains")
            .mean_loss
    };
    let (first, second) = (loss(5), loss(60));
    assert!(second < first, "{second} after {first}");
    let weights = qat.centred()?.network.layers[1].weight.clone();
    assert!(weights.iter().step_by(2).all(|w| *w == 0.0));
    assert!(accuracy(&qat.logits(&data, &all)?, &data.labels) > 0.95);
    Ok(())
}

/// A training of `steps` steps.
fn config(steps: usize) -> TrainConfig {
    TrainConfig {
        augment: None,
        lr: 3e-3,
        optimizer: OptimizerKind::Adam { weight_decay: 0.0 },
        ..TrainConfig::fine_tune(steps, 32, 0)
    }
}

#[test]
fn the_rate_term_makes_coded_blobs_shorter_and_keeps_the_classes() -> Result<()> {
    let data = halves(64, 5);
    let all: Vec<usize> = (0..64).collect();
    let centred = centre(&trained(&data, &all).fold()?);
    let ranges = calibrate(&centred.network, &data, &all);
    let bits = [Bits { w: 4, a: 8 }; 3];
    let mut found = Vec::new();
    for weight in [0.0, 0.1, 0.5] {
        let qat = QatNet::new(&centred, &bits, &ranges, &Device::Cpu)?.with_rate(weight);
        Trainer::new(&qat, config(80))
            .and_then(|mut t| t.run(&data, &all, |_, _| ControlFlow::Continue(())))
            .expect("trains");
        let net = quantize(&qat.centred()?, &qat.quants()?).expect("lowers");
        let right = accuracy(&simulate(&net, &data.images).expect("runs"), &data.labels);
        assert!(right > 0.95, "{right} at {weight}");
        let coded = net.layers.iter().filter(|l| l.spec.has_weights()).map(|l| {
            let spec = LayerSpec {
                encoding: Encoding::Coded,
                ..l.spec
            };
            weight_section(l, &spec).expect("can be coded").len()
        });
        let weights: Vec<&[i8]> = net.layers.iter().map(|l| &l.weights[..]).collect();
        let each: f64 = weights.iter().map(|w| entropy(w) * w.len() as f64).sum();
        found.push((coded.sum::<usize>(), each));
    }
    assert!(
        found.is_sorted_by(|a, b| a.0 > b.0 && a.1 > b.1),
        "bytes and bits: {found:?}"
    );
    Ok(())
}

#[test]
fn a_training_with_the_rate_term_resumes_to_the_same_bits() -> Result<()> {
    let data = halves(64, 5);
    let all: Vec<usize> = (0..64).collect();
    let centred = centre(&trained(&data, &all).fold()?);
    let ranges = calibrate(&centred.network, &data, &all);
    let bits = [Bits { w: 4, a: 8 }; 3];
    let net = || {
        Ok::<_, candle_core::Error>(
            QatNet::new(&centred, &bits, &ranges, &Device::Cpu)?.with_rate(0.3),
        )
    };
    let whole = net()?;
    let mut trainer = Trainer::new(&whole, config(12)).expect("builds");
    trainer
        .run(&data, &all, |_, _| ControlFlow::Continue(()))
        .expect("trains");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("training.safetensors");
    let broken = net()?;
    let mut trainer = Trainer::new(&broken, config(12)).expect("builds");
    trainer
        .run(&data, &all, |t, p| match p.step {
            5 => {
                t.save(&path).expect("saves");
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .expect("trains");
    let resumed = net()?;
    let mut trainer = Trainer::new(&resumed, config(12)).expect("builds");
    trainer.restore(&path).expect("restores");
    trainer
        .run(&data, &all, |_, _| ControlFlow::Continue(()))
        .expect("trains");
    let weights = |net: &QatNet| -> Result<Vec<Vec<f32>>> {
        let layers = net.centred()?.network.layers;
        Ok(layers.into_iter().map(|l| l.weight).collect())
    };
    assert_eq!(weights(&whole)?, weights(&resumed)?);
    assert_ne!(weights(&whole)?, weights(&broken)?);
    Ok(())
}
