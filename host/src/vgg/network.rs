//! A VGG's tensors and its forward pass for training.

use super::{Item, LayerKind, LayerShape, VggConfig, VggError};
use crate::data::{Dataset, plain_batch};
use crate::nn::{
    BatchNorm, Parameter, Rng, batch_norm_relu, channel_bias, conv3x3, global_avg_pool, linear,
    max_pool2,
};
use candle_core::{DType, Device, Result, Tensor, Var};

/// A convolution's tensors.
#[derive(Clone, Debug)]
pub struct ConvLayer {
    /// `[c_out, c_in·9]`: PyTorch's `[c_out, c_in, 3, 3]`, flattened.
    pub weight: Var,
    /// `[c_out]`, in networks without normalization.
    pub bias: Option<Var>,
    /// In networks with normalization.
    pub norm: Option<BatchNorm>,
}

/// A fully connected layer's tensors.
#[derive(Clone, Debug)]
pub struct LinearLayer {
    /// `[c_out, c_in]`; after a map, features are in PyTorch's order `(c, h, w)`.
    pub weight: Var,
    /// `[c_out]`.
    pub bias: Var,
}

/// A VGG with its weights.
#[derive(Clone, Debug)]
pub struct Vgg {
    /// What it looks like.
    pub config: VggConfig,
    /// Convolutions, in order.
    pub convs: Vec<ConvLayer>,
    /// Fully connected layers, in order.
    pub linears: Vec<LinearLayer>,
    /// For each layer with weights, convolutions first, an optional mask of ones and
    /// zeros of the weight's shape. [`Vgg::apply_masks`] enforces it after each step.
    pub masks: Vec<Option<Tensor>>,
}

/// How a forward pass treats the tensors.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    /// Build a graph for gradients.
    Train,
    /// Only move the running statistics, by this momentum.
    Statistics(f64),
}

impl Vgg {
    /// A network with random weights (He et al. 2015, normal, fan-in).
    ///
    /// # Errors
    /// [`VggError::Config`] where the configuration makes no network.
    pub fn new(
        config: VggConfig,
        rng: &mut Rng,
        device: &Device,
    ) -> std::result::Result<Self, VggError> {
        Self::with(config, device, |l, gain| {
            let deviation = (gain / l.fan_in() as f32).sqrt();
            let values = (0..l.weights()).map(|_| rng.normal() * deviation).collect();
            Var::from_vec::<_, f32>(values, (l.c_out, l.fan_in()), device)
        })
    }

    /// A network whose weights are all zero, to be filled in.
    ///
    /// # Errors
    /// As [`Vgg::new`].
    pub(super) fn empty(config: VggConfig, device: &Device) -> std::result::Result<Self, VggError> {
        Self::with(config, device, |l, _| {
            Var::zeros((l.c_out, l.fan_in()), DType::F32, device)
        })
    }

    /// `draw` gives the weights of a layer, whose variance is to be a gain over its fan-in.
    fn with(
        config: VggConfig,
        device: &Device,
        mut draw: impl FnMut(&LayerShape, f32) -> Result<Var>,
    ) -> std::result::Result<Self, VggError> {
        config.validate()?;
        let zeros = |n: usize| Var::zeros(n, DType::F32, device);
        let (mut convs, mut linears) = (Vec::new(), Vec::new());
        for l in config.layers() {
            match l.kind {
                LayerKind::Conv => convs.push(ConvLayer {
                    weight: draw(&l, 2.0)?,
                    bias: (!config.batch_norm).then(|| zeros(l.c_out)).transpose()?,
                    norm: config
                        .batch_norm
                        .then(|| BatchNorm::new(l.c_out, device))
                        .transpose()?,
                }),
                LayerKind::Linear => linears.push(LinearLayer {
                    weight: draw(&l, 1.0)?,
                    bias: zeros(l.c_out)?,
                }),
            }
        }
        Ok(Self {
            masks: vec![None; convs.len() + linears.len()],
            config,
            convs,
            linears,
        })
    }

    /// A copy that shares no tensor with this one.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn duplicate(&self) -> Result<Self> {
        let copy = |v: &Var| Var::from_tensor(&v.as_detached_tensor().copy()?);
        let mut other = self.clone();
        for conv in &mut other.convs {
            conv.weight = copy(&conv.weight)?;
            if let Some(bias) = &mut conv.bias {
                *bias = copy(bias)?;
            }
            if let Some(norm) = &mut conv.norm {
                norm.gamma = copy(&norm.gamma)?;
                norm.beta = copy(&norm.beta)?;
                norm.running_mean = copy(&norm.running_mean)?;
                norm.running_var = copy(&norm.running_var)?;
            }
        }
        for l in &mut other.linears {
            l.weight = copy(&l.weight)?;
            l.bias = copy(&l.bias)?;
        }
        Ok(other)
    }

    /// Where the tensors are.
    pub fn device(&self) -> &Device {
        self.linears[0].weight.device()
    }

    /// The weight of layer `i`, convolutions first.
    ///
    /// # Panics
    /// Where there is no such layer.
    pub fn weight(&self, i: usize) -> &Var {
        match self.convs.get(i) {
            Some(conv) => &conv.weight,
            None => &self.linears[i - self.convs.len()].weight,
        }
    }

    /// Logits `[n, classes]` of `x` `[c, n, h, w]`, with batch statistics, for training;
    /// moves the running statistics.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn forward_train(&self, x: &Tensor) -> Result<Tensor> {
        self.forward(x, Pass::Train, |_, y| Ok(y))
    }

    /// The same with `hook` on the output of each layer but the last, after its ReLU:
    /// `[c, n, h, w]` of a convolution, `[n, c]` of a hidden layer.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn forward_train_with(
        &self,
        x: &Tensor,
        hook: impl FnMut(usize, Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        self.forward(x, Pass::Train, hook)
    }

    /// The same with the configured share of each hidden layer's outputs dropped, the rest
    /// scaled up in turn.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn forward_train_dropping(&self, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let (share, convs) = (self.config.dropout, self.convs.len());
        self.forward_train_with(x, |i, y| match i < convs || share == 0.0 {
            true => Ok(y),
            false => dropout(&y, share, rng),
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        pass: Pass,
        mut hook: impl FnMut(usize, Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        let mut convs = self.convs.iter().enumerate();
        for item in &self.config.cfg {
            x = match item {
                Item::MaxPool => max_pool2(&x)?,
                Item::AvgPool => {
                    let pooled = global_avg_pool(&x)?.t()?.contiguous()?;
                    let (c, n) = pooled.dims2()?;
                    pooled.reshape((c, n, 1, 1))?
                }
                Item::Conv(_) => match convs.next() {
                    Some((i, conv)) => hook(i, conv.forward(&x, pass)?)?,
                    None => candle_core::bail!("more convolutions in `cfg` than tensors"),
                },
            };
        }
        let (_, n, _, _) = x.dims4()?;
        let mut x = x.transpose(0, 1)?.contiguous()?.reshape((n, ()))?;
        for (i, l) in self.linears.iter().enumerate() {
            if i > 0 {
                x = hook(self.convs.len() + i - 1, x.relu()?)?;
            }
            x = linear(&x, &read(&l.weight, pass), &read(&l.bias, pass))?;
        }
        Ok(x)
    }

    /// Replaces the running statistics by the mean over batches of these pictures,
    /// without augmentation or gradients.
    ///
    /// # Errors
    /// Where the pictures do not fit the network.
    pub fn reestimate_norm(&self, data: &Dataset, indices: &[usize], batch: usize) -> Result<()> {
        for (i, chunk) in indices.chunks(batch.max(1)).enumerate() {
            let x = plain_batch(data, chunk, &self.config.normalization);
            let x = Tensor::from_vec(x, (data.c, chunk.len(), data.h, data.w), self.device())?;
            let pass = Pass::Statistics(1.0 / (i + 1) as f64);
            self.forward(&x, pass, |_, y| Ok(y))?;
        }
        Ok(())
    }

    /// Everything trainable.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = Vec::new();
        for (i, conv) in self.convs.iter().enumerate() {
            all.push(Parameter::new(format!("conv{i}.weight"), &conv.weight));
            all.extend(
                conv.bias
                    .iter()
                    .map(|b| Parameter::new(format!("conv{i}.bias"), b)),
            );
            if let Some(norm) = &conv.norm {
                all.push(Parameter::new(format!("conv{i}.gamma"), &norm.gamma));
                all.push(Parameter::new(format!("conv{i}.beta"), &norm.beta));
            }
        }
        for (i, l) in self.linears.iter().enumerate() {
            all.push(Parameter::new(format!("linear{i}.weight"), &l.weight));
            all.push(Parameter::new(format!("linear{i}.bias"), &l.bias));
        }
        all
    }

    /// Everything that a checkpoint needs: parameters and running statistics, by name.
    pub fn tensors(&self) -> Vec<(String, Var)> {
        let mut all: Vec<_> = self
            .parameters()
            .into_iter()
            .map(|p| (p.name, p.var))
            .collect();
        for (i, conv) in self.convs.iter().enumerate() {
            if let Some(norm) = &conv.norm {
                all.push((format!("conv{i}.running_mean"), norm.running_mean.clone()));
                all.push((format!("conv{i}.running_var"), norm.running_var.clone()));
            }
        }
        all
    }

    /// Holds every weight at zero that is zero now, as pruning left it.
    ///
    /// # Errors
    /// Where the device has no memory left.
    pub fn mask_zeros(&mut self) -> Result<()> {
        for i in 0..self.masks.len() {
            let weight = self.weight(i).as_detached_tensor();
            let mask = weight.ne(0.0)?.to_dtype(DType::F32)?;
            let zeros = mask.min_all()?.to_scalar::<f32>()? == 0.0;
            self.masks[i] = zeros.then_some(mask);
        }
        Ok(())
    }

    /// Sets masked weights to zero.
    ///
    /// # Errors
    /// Where a mask has another shape than its weight.
    pub fn apply_masks(&self) -> Result<()> {
        for (i, mask) in self.masks.iter().enumerate() {
            if let Some(mask) = mask {
                let weight = self.weight(i);
                weight.set(&(weight.as_detached_tensor() * mask)?)?;
            }
        }
        Ok(())
    }
}

impl ConvLayer {
    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let y = conv3x3(x, &read(&self.weight, pass))?;
        let Some(norm) = &self.norm else {
            return match &self.bias {
                Some(bias) => channel_bias(&y, &read(bias, pass))?.relu(),
                None => y.relu(),
            };
        };
        let (gamma, beta) = (read(&norm.gamma, pass), read(&norm.beta, pass));
        let (y, stats) = batch_norm_relu(&y, &gamma, &beta, norm.eps)?;
        let momentum = match pass {
            Pass::Train => norm.momentum,
            Pass::Statistics(momentum) => momentum,
        };
        norm.update(&stats, momentum)?;
        Ok(y)
    }
}

/// `x` with a share of its elements zero and the others scaled by `1 / (1 − share)`.
fn dropout(x: &Tensor, share: f32, rng: &mut Rng) -> Result<Tensor> {
    let kept = 1.0 / (1.0 - share);
    let mask = (0..x.elem_count()).map(|_| if rng.uniform() < share { 0.0 } else { kept });
    x * Tensor::from_vec(mask.collect::<Vec<f32>>(), x.shape(), x.device())?
}

/// The tensor of a variable, cut off from the graph where no gradient is wanted.
fn read(var: &Var, pass: Pass) -> Tensor {
    match pass {
        Pass::Train => var.as_tensor().clone(),
        Pass::Statistics(_) => var.as_detached_tensor(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{one_hot, soft_cross_entropy};

    fn tiny(batch_norm: bool) -> Vgg {
        let config = VggConfig {
            cfg: vec![Item::Conv(4), Item::MaxPool, Item::Conv(6), Item::MaxPool],
            input: [8, 8, 3],
            batch_norm,
            hidden: vec![5],
            ..VggConfig::preset("vgg-small").expect("known")
        };
        Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid")
    }

    #[test]
    fn every_parameter_gets_a_gradient() -> Result<()> {
        for batch_norm in [true, false] {
            let net = tiny(batch_norm);
            let x = Tensor::from_vec(Rng::new(2).normals(3 * 4 * 64), (3, 4, 8, 8), &Device::Cpu)?;
            let targets = one_hot(&[0, 1, 2, 3], 10, 0.0, &Device::Cpu)?;
            let loss = soft_cross_entropy(&net.forward_train(&x)?, &targets)?;
            let grads = loss.backward()?;
            for p in net.parameters() {
                let grad = grads.get(&p.var).expect("gradient");
                assert_eq!(grad.dims(), p.var.dims(), "{}", p.name);
                assert!(
                    grad.abs()?.sum_all()?.to_scalar::<f32>()? > 0.0,
                    "{}",
                    p.name
                );
            }
        }
        Ok(())
    }

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() -> Result<()> {
        let x = Tensor::ones((40, 50), DType::F32, &Device::Cpu)?;
        let dropped = dropout(&x, 0.25, &mut Rng::new(3))?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let zeros = dropped.iter().filter(|v| **v == 0.0).count();
        assert!((430..570).contains(&zeros), "{zeros} of 2000");
        assert!(
            dropped
                .iter()
                .all(|v| *v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6)
        );
        // Only hidden layers drop, and by the generator that is given.
        let mut net = tiny(true);
        let x = Tensor::from_vec(Rng::new(2).normals(3 * 4 * 64), (3, 4, 8, 8), &Device::Cpu)?;
        let logits = |net: &Vgg, seed| -> Result<Vec<f32>> {
            let y = net.forward_train_dropping(&x, &mut Rng::new(seed))?;
            y.flatten_all()?.to_vec1()
        };
        assert_eq!(logits(&net, 1)?, logits(&net, 2)?);
        net.config.dropout = 0.5;
        assert_eq!(logits(&net, 1)?, logits(&net, 1)?);
        assert_ne!(logits(&net, 1)?, logits(&net, 2)?);
        Ok(())
    }

    #[test]
    fn masks_hold_weights_at_zero() -> Result<()> {
        let mut net = tiny(true);
        let weight = net.weight(1).as_detached_tensor();
        let mask = weight.ge(0.0)?.to_dtype(DType::F32)?;
        net.masks[1] = Some(mask.clone());
        net.apply_masks()?;
        let masked = net.weight(1).as_tensor() * (1.0 - &mask)?;
        assert_eq!(masked?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
        assert!(net.weight(1).min_all()?.to_scalar::<f32>()? >= 0.0);
        net.masks[1] = None;
        net.mask_zeros()?;
        let held = |i: usize| net.masks[i].as_ref().map(Tensor::to_vec2::<f32>);
        assert_eq!(held(1).transpose()?, Some(mask.to_vec2::<f32>()?));
        assert!(held(0).is_none(), "nothing is zero there");
        Ok(())
    }

    #[test]
    fn a_duplicate_shares_nothing() -> Result<()> {
        let net = tiny(true);
        let other = net.duplicate()?;
        for ((_, a), (_, b)) in net.tensors().iter().zip(other.tensors()) {
            b.set(&(b.as_detached_tensor() + 1.0)?)?;
            let difference = (b.as_tensor() - a.as_tensor())?.mean_all()?;
            assert!((difference.to_scalar::<f32>()? - 1.0).abs() < 1e-5);
        }
        Ok(())
    }
}
