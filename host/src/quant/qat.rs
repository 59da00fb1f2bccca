//! Quantization-aware training of a folded network: no batch normalization is left.

use super::fake_quant::{fake_quant_relu, fake_quant_weight};
use super::rate::soft_bits;
use crate::data::{Dataset, plain_batch};
use crate::lower::{ActivationRanges, Bits, Centred, LayerQuant, weight_steps};
use crate::nn::{Parameter, Rng, channel_bias, conv3x3, global_avg_pool, linear, max_pool2};
use crate::vgg::{LayerKind, Model, Pool, VggConfig};
use candle_core::{DType, Device, Result, Tensor, Var};
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
    /// What a bit of a weight adds to the loss.
    rate_weight: f64,
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
        let steps = layers.iter().zip(bits).enumerate();
        let steps = steps.map(|(i, (l, b))| weight_steps(l, i + 1 == layers.len(), b.w));
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
            rate_weight: 0.0,
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

    /// The same, trained for few bytes too: each bit that a weight takes, as the mean over all
    /// weights of the network at the entropy of their layer, adds `weight` to the loss.
    #[must_use]
    pub fn with_rate(mut self, weight: f64) -> Self {
        self.rate_weight = weight;
        self
    }

    /// Mean bits of a weight at the entropy of its layer, weights between two grid points
    /// counted as a part of each; with a graph for gradients.
    ///
    /// # Errors
    /// Where an operator fails.
    pub fn bits_per_weight(&self) -> Result<Tensor> {
        let count: usize = self.weights.iter().map(|w| w.elem_count()).sum();
        let mut bits = Tensor::zeros((), DType::F32, &self.device)?;
        for ((w, steps), b) in self.weights.iter().zip(&self.steps).zip(&self.bits) {
            bits = (bits + soft_bits(w.as_tensor(), steps, weight_max(b.w) as f32)?)?;
        }
        bits / count.max(1) as f64
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

    fn regularizer(&self, _step: usize, _steps: usize) -> Result<Option<Tensor>> {
        if self.rate_weight == 0.0 {
            return Ok(None);
        }
        Ok(Some((self.bits_per_weight()? * self.rate_weight)?))
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
