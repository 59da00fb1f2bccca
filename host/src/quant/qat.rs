//! Quantization-aware training of a folded network: no batch normalization is left.

use super::fake_quant::{fake_quant_relu, fake_quant_weight};
use crate::data::{Dataset, plain_batch};
use crate::lower::{ActivationRanges, Bits, Centred, LayerQuant, clip};
use crate::nn::{Parameter, Rng, channel_bias, conv3x3, global_avg_pool, linear, max_pool2};
use crate::vgg::{LayerKind, Model, Pool, VggConfig};
use candle_core::{Device, Result, Tensor, Var};
use shared::semantics::weight_max;

/// Images per forward pass in evaluation.
const EVAL_BATCH: usize = 100;

/// Activation clips are a few units large and learn faster than weights.
const CLIP_LR_SCALE: f64 = 10.0;

/// A folded network with a quantizer on every weight and every activation.
pub struct QatNet {
    centred: Centred,
    bits: Vec<Bits>,
    weights: Vec<Var>,
    biases: Vec<Var>,
    clips: Vec<Var>,
    steps: Vec<Vec<f32>>,
    /// Ones where a weight is not zero: pruned weights stay zero.
    masks: Vec<Option<Tensor>>,
    device: Device,
}

impl QatNet {
    /// A quantized copy of `centred`: weight steps and activation clips by least squared
    /// error (`ranges` from [`crate::lower::calibrate`]). Weights that are exactly zero are
    /// taken as pruned.
    ///
    /// # Errors
    /// Where the device has no memory left.
    ///
    /// # Panics
    /// Where `bits` has another length than there are layers.
    pub fn new(
        centred: &Centred,
        bits: &[Bits],
        ranges: &ActivationRanges,
        device: &Device,
    ) -> Result<Self> {
        let layers = &centred.network.layers;
        assert_eq!(layers.len(), bits.len(), "widths for each layer");
        let clips: Vec<f32> = (0..layers.len())
            .map(|i| ranges.clip(i, bits[i].a))
            .collect();
        let steps = layers.iter().zip(bits).enumerate().map(|(i, (l, b))| {
            if i + 1 == layers.len() {
                // One step for all logits, so that raw accumulators compare.
                return vec![clip::weight_step(&l.weight, b.w); l.shape.c_out];
            }
            l.weight
                .chunks_exact(l.shape.fan_in())
                .map(|row| clip::weight_step(row, b.w))
                .collect()
        });
        Self::with(centred, bits, steps.collect(), &clips, device)
    }

    /// The network that [`QatNet::quants`] and [`QatNet::centred`] described.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn restore(centred: &Centred, quants: &[LayerQuant], device: &Device) -> Result<Self> {
        let bits: Vec<Bits> = quants
            .iter()
            .map(|q| Bits {
                w: q.w_bits,
                a: q.a_bits,
            })
            .collect();
        let clips: Vec<f32> = quants.iter().map(|q| q.a_clip).collect();
        Self::with(
            centred,
            &bits,
            quants.iter().map(|q| q.w_step.clone()).collect(),
            &clips,
            device,
        )
    }

    fn with(
        centred: &Centred,
        bits: &[Bits],
        steps: Vec<Vec<f32>>,
        clips: &[f32],
        device: &Device,
    ) -> Result<Self> {
        let layers = &centred.network.layers;
        let mut net = Self {
            centred: centred.clone(),
            bits: bits.to_vec(),
            weights: Vec::with_capacity(layers.len()),
            biases: Vec::with_capacity(layers.len()),
            clips: Vec::with_capacity(layers.len()),
            steps,
            masks: Vec::with_capacity(layers.len()),
            device: device.clone(),
        };
        for (layer, &clip) in layers.iter().zip(clips) {
            let shape = (layer.shape.c_out, layer.shape.fan_in());
            net.weights
                .push(Var::from_vec(layer.weight.clone(), shape, device)?);
            net.biases.push(Var::from_vec(
                layer.bias.clone(),
                layer.shape.c_out,
                device,
            )?);
            net.clips.push(Var::from_vec(vec![clip], 1, device)?);
            let pruned = layer.weight.contains(&0.0);
            let mask = || layer.weight.iter().map(|w| f32::from(*w != 0.0)).collect();
            net.masks.push(
                pruned
                    .then(|| Tensor::from_vec(mask(), shape, device))
                    .transpose()?,
            );
        }
        Ok(net)
    }

    /// Logits `[n, classes]` of `x` `[c, n, h, w]`; builds a graph where `train`.
    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let read = |v: &Var| {
            if train {
                v.as_tensor().clone()
            } else {
                v.as_detached_tensor()
            }
        };
        let weight = |i: usize| {
            let max = weight_max(self.bits[i].w) as f32;
            let weight = fake_quant_weight(&read(&self.weights[i]), &self.steps[i], max)?;
            Ok((weight, read(&self.biases[i])))
        };
        let activate = |i: usize, x: &Tensor| {
            fake_quant_relu(x, &read(&self.clips[i]), levels(self.bits[i].a))
        };
        forward(&self.centred, x, weight, activate)
    }

    /// Logits `[n, classes]` of the images with these indices, in floating point with every
    /// value rounded as the integers are.
    ///
    /// # Errors
    /// Where the images do not fit the network.
    pub fn logits(&self, data: &Dataset, indices: &[usize]) -> Result<Vec<f32>> {
        let mut out = Vec::with_capacity(indices.len() * self.config().num_classes);
        for chunk in indices.chunks(EVAL_BATCH) {
            let x = plain_batch(data, chunk, &self.config().normalization);
            let x = Tensor::from_vec(x, (data.c, chunk.len(), data.h, data.w), &self.device)?;
            out.extend(self.forward(&x, false)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(out)
    }

    /// The float network as trained: weights and biases before rounding.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn centred(&self) -> Result<Centred> {
        let mut centred = self.centred.clone();
        for (i, layer) in centred.network.layers.iter_mut().enumerate() {
            layer.weight = self.weights[i].flatten_all()?.to_vec1()?;
            layer.bias = self.biases[i].to_vec1()?;
        }
        Ok(centred)
    }

    /// How each layer is quantized, as [`crate::lower::quantize()`] takes it.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn quants(&self) -> Result<Vec<LayerQuant>> {
        (0..self.bits.len())
            .map(|i| {
                Ok(LayerQuant {
                    w_bits: self.bits[i].w,
                    a_bits: self.bits[i].a,
                    w_step: self.steps[i].clone(),
                    a_clip: self.clips[i].to_vec1::<f32>()?[0].max(1e-6),
                })
            })
            .collect()
    }
}

/// Steps above 0 of unsigned activations of `bits` bits.
pub(super) fn levels(bits: u8) -> f32 {
    ((1u32 << bits) - 1) as f32
}

/// The forward pass of a folded network `[c, n, h, w]` to `[n, classes]` with quantizers:
/// `weight` gives a layer's weight and bias, `activate` its ReLU.
pub(super) fn forward(
    centred: &Centred,
    x: &Tensor,
    weight: impl Fn(usize) -> Result<(Tensor, Tensor)>,
    activate: impl Fn(usize, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut x = x.clone();
    let layers = &centred.network.layers;
    for (i, shape) in layers.iter().map(|l| l.shape).enumerate() {
        let (weight, bias) = weight(i)?;
        if shape.kind == LayerKind::Linear {
            if x.rank() == 4 {
                let n = x.dim(1)?;
                x = x.transpose(0, 1)?.contiguous()?.reshape((n, ()))?;
            }
            x = linear(&x, &weight, &bias)?;
        } else {
            x = channel_bias(&conv3x3(&x, &weight)?, &bias)?;
            // Rounding is monotonic, so the pool may come first, on fewer values.
            if shape.pool == Some(Pool::Max) {
                x = max_pool2(&x)?;
            }
        }
        if i + 1 < layers.len() {
            x = activate(i, &x)?;
        }
        if shape.pool == Some(Pool::Average) {
            x = global_avg_pool(&x)?;
        }
    }
    Ok(x)
}

impl Model for QatNet {
    fn config(&self) -> &VggConfig {
        &self.centred.network.config
    }

    fn forward_train(&self, x: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        self.forward(x, true)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let last = self.clips.len() - 1;
        let named = |kind: &'static str, vars: &[Var]| -> Vec<Parameter> {
            vars.iter()
                .enumerate()
                .map(|(i, v)| Parameter::new(format!("{kind}{i}"), v))
                .collect()
        };
        let clips = named("clip", &self.clips[..last])
            .into_iter()
            .map(|p| p.with_lr_scale(CLIP_LR_SCALE));
        named("weight", &self.weights)
            .into_iter()
            .chain(named("bias", &self.biases))
            .chain(clips)
            .collect()
    }

    fn tensors(&self) -> Vec<(String, Var)> {
        self.parameters()
            .into_iter()
            .map(|p| (p.name, p.var))
            .collect()
    }

    fn after_step(&self) -> Result<()> {
        for (weight, mask) in self.weights.iter().zip(&self.masks) {
            if let Some(mask) = mask {
                weight.set(&(weight.as_detached_tensor() * mask)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::{calibrate, centre, quantize, simulate};
    use crate::nn::OptimizerKind;
    use crate::vgg::{Item, TrainConfig, Trainer, Vgg, evaluate};
    use std::ops::ControlFlow;

    /// 8x8 images of two classes: the left or the right half is bright.
    fn halves(n: usize) -> Dataset {
        let mut rng = Rng::new(5);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
        let mut images = Vec::new();
        for label in &labels {
            for i in 0..8 * 8 * 3 {
                let bright = (i / 3 % 8 >= 4) == (*label == 1);
                images.push((rng.below(90) + if bright { 130 } else { 0 }) as u8);
            }
        }
        let class_names = vec!["left".into(), "right".into()];
        Dataset {
            images,
            rows: (0..n as u32).collect(),
            labels,
            class_names,
            h: 8,
            w: 8,
            c: 3,
        }
    }

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
        let data = halves(64);
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
        let data = halves(64);
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
        assert!(crate::lower::accuracy(&qat.logits(&data, &all)?, &data.labels) > 0.95);
        Ok(())
    }
}
