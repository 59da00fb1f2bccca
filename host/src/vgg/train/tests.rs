//! What a training learns, and that a stopped one goes on to the same bits.

use super::super::{Item, evaluate};
use super::*;
use crate::data::Dataset;

/// Pictures of two classes: bright left half, bright right half.
fn halves(n: usize) -> Dataset {
    let mut rng = Rng::new(5);
    let mut images = Vec::new();
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
    for label in &labels {
        for i in 0..8 * 8 * 3 {
            let bright = (i / 3 % 8 >= 4) == (*label == 1);
            images.push((rng.below(100) + if bright { 120 } else { 0 }) as u8);
        }
    }
    Dataset {
        images,
        rows: (0..n as u32).collect(),
        labels,
        class_names: vec!["left".into(), "right".into()],
        h: 8,
        w: 8,
        c: 3,
    }
}

fn network() -> Vgg {
    let config = VggConfig {
        // Flattened, not averaged: the classes differ by place.
        cfg: vec![Item::Conv(8), Item::MaxPool, Item::Conv(8), Item::MaxPool],
        num_classes: 2,
        input: [8, 8, 3],
        ..VggConfig::preset("vgg-small").expect("known")
    };
    Vgg::new(config, &mut Rng::new(0), &Device::Cpu).expect("valid")
}

fn config() -> TrainConfig {
    TrainConfig {
        augment: Some(crate::data::Augment {
            pad: 1,
            flip: false,
            cutout: 0,
        }),
        ..TrainConfig::fine_tune(40, 16, 3)
    }
}

#[test]
fn learns_a_simple_task() -> Result<(), VggError> {
    let (data, net) = (halves(64), network());
    let all: Vec<usize> = (0..64).collect();
    let mut trainer = Trainer::new(&net, config())?;
    let outcome = trainer.run(&data, &all, |_, _| ControlFlow::Continue(()))?;
    assert!(outcome.finished && outcome.images == 40 * 16);
    let accuracy = evaluate(&net.fold()?, &data, &all);
    assert!(accuracy > 0.95, "{accuracy}");
    Ok(())
}

#[test]
fn cpu_and_gpu_train_the_same_network_alike() -> Result<(), VggError> {
    let gpu = match crate::nn::open_cuda(0) {
        Ok(gpu) => gpu,
        Err(reason) => {
            eprintln!("SKIPPED: {reason}");
            return Ok(());
        }
    };
    let (data, all) = (halves(64), (0..64).collect::<Vec<usize>>());
    let train = |device: &Device| -> Result<(Vec<f64>, f64), VggError> {
        let net = Vgg::new(network().config, &mut Rng::new(0), device)?;
        let mut losses = Vec::new();
        Trainer::new(&net, config())?.run(&data, &all, |_, p| {
            losses.push(p.loss);
            ControlFlow::Continue(())
        })?;
        Ok((losses, evaluate(&net.fold()?, &data, &all)))
    };
    let ((cpu, right), (gpu, right_on_gpu)) = (train(&Device::Cpu)?, train(&gpu)?);
    // TF32 keeps ten bits of each factor, and errors grow from step to step.
    let apart = |n: usize| (cpu[n] - gpu[n]).abs() / cpu[n].abs();
    assert!(apart(0) < 1e-2, "{} {}", cpu[0], gpu[0]);
    assert!(apart(4) < 0.1, "{} {}", cpu[4], gpu[4]);
    assert!(
        (right - right_on_gpu).abs() < 0.05,
        "{right} {right_on_gpu}"
    );
    Ok(())
}

/// Every setting that has a state or draws: warm-up, smoothing, cutout, average, dropout.
fn full_config() -> TrainConfig {
    TrainConfig {
        warmup: 0.3,
        label_smoothing: 0.1,
        ema: Some(0.9),
        augment: Some(crate::data::Augment {
            pad: 1,
            flip: true,
            cutout: 3,
        }),
        ..config()
    }
}

fn hidden() -> Vgg {
    let config = VggConfig {
        hidden: vec![12],
        dropout: 0.5,
        ..network().config
    };
    Vgg::new(config, &mut Rng::new(0), &Device::Cpu).expect("valid")
}

#[test]
fn a_resumed_training_gives_the_same_bits() -> Result<(), VggError> {
    for (config, network) in [
        (config(), network as fn() -> Vgg),
        (full_config(), hidden as fn() -> Vgg),
    ] {
        let data = halves(48);
        let all: Vec<usize> = (0..48).collect();
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("checkpoint.safetensors");
        let whole = network();
        let mut trainer = Trainer::new(&whole, config.clone())?;
        trainer.run(&data, &all, |_, _| ControlFlow::Continue(()))?;
        trainer.take_average()?;

        let first = network();
        let mut trainer = Trainer::new(&first, config.clone())?;
        let stopped = trainer.run(&data, &all, |trainer, p| {
            if p.step == 17 {
                trainer.save(&path).expect("saves");
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        assert!(!stopped.finished && stopped.step == 17);
        let second = Vgg::new(network().config, &mut Rng::new(9), &Device::Cpu)?;
        let mut trainer = Trainer::new(&second, config)?;
        trainer.restore(&path)?;
        trainer.run(&data, &all, |_, _| ControlFlow::Continue(()))?;
        trainer.take_average()?;
        for ((name, a), (_, b)) in whole.tensors().iter().zip(second.tensors()) {
            let values = |v: &Var| v.flatten_all()?.to_vec1::<f32>();
            assert_eq!(values(a)?, values(&b)?, "{name}");
        }
    }
    Ok(())
}

/// A checkpoint that is cut anywhere, or that lacks a tensor, changes nothing and is named.
#[test]
fn a_half_written_checkpoint_is_never_read_as_whole() -> Result<(), VggError> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("checkpoint.safetensors");
    let net = network();
    Trainer::new(&net, full_config())?.save(&path)?;
    let whole = std::fs::read(&path).expect("reads");
    let before = net.fold()?;
    for end in [0, 7, 8, 500, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..end]).expect("writes");
        let other = network();
        let mut trainer = Trainer::new(&other, full_config())?;
        let error = trainer.restore(&path).expect_err("refused").to_string();
        assert!(error.contains("checkpoint.safetensors"), "{end}: {error}");
        assert_eq!((trainer.step(), other.fold()?), (0, before.clone()));
    }
    std::fs::write(&path, &whole).expect("writes");
    let stored = read_tensors(&path)?;
    for lost in ["optimizer.velocity.conv1.weight", "average.conv1.gamma"] {
        let mut tensors = stored.tensors.clone();
        tensors.remove(lost).expect("was there");
        write_tensors(&path, &tensors, stored.metadata.clone())?;
        let net = Vgg::new(network().config, &mut Rng::new(9), &Device::Cpu)?;
        let untouched = net.fold()?;
        let mut trainer = Trainer::new(&net, full_config())?;
        let error = trainer.restore(&path).expect_err("refused").to_string();
        let name = lost.rsplit_once("conv1").map_or(lost, |(_, name)| name);
        assert!(error.contains(name), "{error}");
        assert_eq!((trainer.step(), net.fold()?), (0, untouched), "{lost}");
    }
    Ok(())
}

#[test]
fn the_average_follows_the_weights_and_is_taken_when_asked() -> Result<(), VggError> {
    let (data, net) = (halves(64), network());
    let all: Vec<usize> = (0..64).collect();
    let config = TrainConfig {
        ema: Some(0.5),
        lr: 0.01,
        steps: 5,
        ..config()
    };
    let mut seen = Vec::new();
    let bias = |net: &Vgg| net.linears[0].bias.to_vec1::<f32>().map(|v| v[0]);
    let mut trainer = Trainer::new(&net, config)?;
    trainer.run(&data, &all, |_, _| {
        seen.push(bias(&net).expect("reads"));
        ControlFlow::Continue(())
    })?;
    trainer.take_average()?;
    let mut average = 0.0f32;
    for (step, value) in seen.iter().enumerate() {
        let decay = 0.5f32.min((1.0 + step as f32) / (10.0 + step as f32));
        let start = if step == 0 { 0.0 } else { average };
        average = decay * start + (1.0 - decay) * value;
    }
    assert!(
        (bias(&net)? - average).abs() < 1e-6,
        "{} against {average}",
        bias(&net)?
    );
    Ok(())
}

#[test]
fn a_checkpoint_of_other_settings_is_refused() -> Result<(), VggError> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("checkpoint.safetensors");
    let net = network();
    Trainer::new(&net, config())?.save(&path)?;
    let other = TrainConfig {
        lr: 0.5,
        ..config()
    };
    let refused = Trainer::new(&net, other)?.restore(&path);
    assert!(matches!(refused, Err(VggError::Checkpoint { .. })));
    Ok(())
}

#[test]
fn a_loss_that_explodes_names_its_step_and_layer() -> Result<(), VggError> {
    let data = halves(32);
    let all: Vec<usize> = (0..32).collect();
    let broken = |factor: f32| -> Result<String, VggError> {
        let net = network();
        let run = Trainer::new(&net, config())?.run(&data, &all, |trainer, p| {
            if p.step == 3 {
                let bias = &trainer.model.linears[0].bias;
                let sign = |i| if i % 2 == 0 { factor } else { -factor };
                let values: Vec<f32> = (0..bias.elem_count()).map(sign).collect();
                let values = Tensor::from_vec(values, bias.shape(), bias.device());
                bias.set(&values.expect("a tensor")).expect("sets");
            }
            ControlFlow::Continue(())
        });
        match run {
            Err(VggError::Diverged { step: 3, found, .. }) => Ok(found),
            other => panic!("{other:?}"),
        }
    };
    let found = broken(f32::NAN)?;
    assert_eq!(
        found,
        "layer linear0 has values in its `bias` that are not finite"
    );
    // Finite, and the loss is not.
    let found = broken(3e38)?;
    assert!(
        found.ends_with("e38, in the `bias` of layer linear0"),
        "{found}"
    );
    // Finite, and so is the loss, which no training comes back from.
    let found = broken(1e9)?;
    assert!(found.contains("1.00e9, in the `bias`"), "{found}");
    Ok(())
}

#[test]
fn tensors_tell_their_layer() {
    let config = network().config;
    let of = |name: &str| layer_of(name, &config);
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(of("conv1.running_var"), pair("conv1", "running_var"));
    assert_eq!(of("linear0.bias"), pair("linear0", "bias"));
    let convs = config.layers().len() - 1;
    assert_eq!(of(&format!("weight{convs}")), pair("linear0", "weight"));
    assert_eq!(of("w-choice0"), pair("conv0", "w-choice"));
    assert_eq!(of("gate0.gain"), pair("conv0", "gate gain"));
}

#[test]
fn distillation_follows_the_teacher() -> Result<(), VggError> {
    let (data, net) = (halves(64), network());
    let all: Vec<usize> = (0..64).collect();
    // A teacher that says the opposite of the labels.
    let logits: Vec<f32> = data
        .labels
        .iter()
        .flat_map(|l| if *l == 0 { [-4.0, 4.0] } else { [4.0, -4.0] })
        .collect();
    let teacher = Distillation {
        source: Teacher::Logits(&logits),
        weight: 1.0,
        temperature: 2.0,
    };
    let mut trainer = Trainer::new(&net, config())?.with_teacher(teacher);
    trainer.run(&data, &all, |_, _| ControlFlow::Continue(()))?;
    assert!(evaluate(&net.fold()?, &data, &all) < 0.05);
    Ok(())
}
