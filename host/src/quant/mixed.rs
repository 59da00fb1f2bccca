//! Widths learned in one training: the `gradient` agent of stage 2.
//!
//! Every layer computes with the mean of its weights rounded to each width, weighted by the
//! softmax of learned numbers, and likewise for its activations, so widths have gradients
//! (EdMIPS, arXiv 2004.05795). The loss gets a penalty where the bytes that the weights'
//! shares stand for exceed the flash, or the measured cycles theirs.

use super::env::QuantEnv;
use super::fake_quant::{fake_quant_relu, fake_quant_weight};
use super::qat::{forward, levels};
use crate::lower::{ActivationRanges, Centred, clip};
use crate::nn::{OptimizerKind, Parameter, Rng};
use crate::search::MeasureLayer;
use crate::vgg::{Model, TrainConfig, Trainer, VggConfig};
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::ops::softmax;
use shared::semantics::weight_max;
use std::ops::ControlFlow;

/// How steeply a cost above its budget is penalised, relative.
const PENALTY: f64 = 5.0;
/// Adam's learning rate for the weights; choices of width move this many times faster.
const LR: f64 = 5e-4;
const CHOICE_LR_SCALE: f64 = 40.0;

/// A folded network with every width at once.
struct Mixed {
    centred: Centred,
    weights: Vec<Var>,
    biases: Vec<Var>,
    /// `[layer][width]`: the steps of the rows, and the largest integer.
    grids: Vec<Vec<(Vec<f32>, f32)>>,
    /// `[layer][width]`: the clip, `[1]`, and the steps above 0.
    ranges: Vec<Vec<(Tensor, f32)>>,
    /// Logits over the widths of weights, `[widths]`, per layer.
    weight_choice: Vec<Var>,
    /// Logits over the widths of activations, per layer.
    activation_choice: Vec<Var>,
    /// `[layer][width]`, relative to the flash there is.
    bytes: Vec<Vec<f32>>,
    /// `[layer][width]`, relative to the cycles there are.
    cycles: Vec<Vec<f32>>,
}

/// What a layer's rows are rounded to at each width.
fn grids(centred: &Centred, widths: &[u8]) -> Vec<Vec<(Vec<f32>, f32)>> {
    let layers = &centred.network.layers;
    let grid = |i: usize, w: u8| {
        let l = &layers[i];
        // One step for all logits, so that raw accumulators compare.
        let rows = if i + 1 == layers.len() {
            vec![clip::weight_step(&l.weight, w); l.shape.c_out]
        } else {
            let rows = l.weight.chunks_exact(l.shape.fan_in());
            rows.map(|row| clip::weight_step(row, w)).collect()
        };
        (rows, weight_max(w) as f32)
    };
    (0..layers.len())
        .map(|i| widths.iter().map(|&w| grid(i, w)).collect())
        .collect()
}

impl Mixed {
    fn new(
        centred: &Centred,
        ranges: &ActivationRanges,
        (w_widths, a_widths): (&[u8], &[u8]),
        (bytes, cycles): (Vec<Vec<f32>>, Vec<Vec<f32>>),
        device: &Device,
    ) -> Result<Self> {
        let layers = &centred.network.layers;
        let range = |i: usize, a: u8| -> Result<(Tensor, f32)> {
            let clip = Tensor::from_vec(vec![ranges.clip(i, a)], 1, device)?;
            Ok((clip, levels(a)))
        };
        let each = |i: usize| a_widths.iter().map(|&a| range(i, a)).collect::<Result<_>>();
        let choice = |n: usize| Var::zeros(n, candle_core::DType::F32, device);
        let choices = |n: usize| layers.iter().map(|_| choice(n)).collect::<Result<_>>();
        let weight = |l: &crate::vgg::FoldedLayer| {
            let shape = (l.shape.c_out, l.shape.fan_in());
            Var::from_vec(l.weight.clone(), shape, device)
        };
        let bias =
            |l: &crate::vgg::FoldedLayer| Var::from_vec(l.bias.clone(), l.shape.c_out, device);
        Ok(Self {
            weights: layers.iter().map(weight).collect::<Result<_>>()?,
            biases: layers.iter().map(bias).collect::<Result<_>>()?,
            grids: grids(centred, w_widths),
            ranges: (0..layers.len() - 1).map(each).collect::<Result<_>>()?,
            weight_choice: choices(w_widths.len())?,
            activation_choice: choices(a_widths.len())?,
            centred: centred.clone(),
            bytes,
            cycles,
        })
    }

    /// `Σ softmax(choice)_k · part(k)`.
    fn mean(choice: &Var, part: impl Fn(usize) -> Result<Tensor>) -> Result<Tensor> {
        let shares = softmax(choice.as_tensor(), 0)?;
        let mut sum: Option<Tensor> = None;
        for k in 0..choice.elem_count() {
            let term = part(k)?.broadcast_mul(&shares.narrow(0, k, 1)?)?;
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        sum.map_or_else(|| candle_core::bail!("no widths to choose from"), Ok)
    }

    /// The part of a budget that the choices stand for, `[1]`.
    fn used(&self, costs: &[Vec<f32>]) -> Result<Tensor> {
        let device = self.weights[0].device();
        let mut used = Tensor::zeros(1, candle_core::DType::F32, device)?;
        for (choice, row) in self.weight_choice.iter().zip(costs) {
            let row = Tensor::from_vec(row.clone(), row.len(), device)?;
            let shares = softmax(choice.as_tensor(), 0)?;
            used = used.broadcast_add(&(shares * row)?.sum_all()?)?;
        }
        Ok(used)
    }
}

impl Model for Mixed {
    fn config(&self) -> &VggConfig {
        &self.centred.network.config
    }

    fn forward_train(&self, x: &Tensor, _rng: &mut Rng) -> Result<Tensor> {
        let weight = |i: usize| {
            let rounded = |k: usize| {
                let (steps, max) = &self.grids[i][k];
                fake_quant_weight(self.weights[i].as_tensor(), steps, *max)
            };
            let weight = Self::mean(&self.weight_choice[i], rounded)?;
            Ok((weight, self.biases[i].as_tensor().clone()))
        };
        let activate = |i: usize, x: &Tensor| {
            let rounded = |k: usize| {
                let (clip, levels) = &self.ranges[i][k];
                fake_quant_relu(x, clip, *levels)
            };
            Self::mean(&self.activation_choice[i], rounded)
        };
        forward(&self.centred, x, weight, activate)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let named = |kind: &'static str, vars: &[Var], scale: f64| -> Vec<Parameter> {
            let vars = vars.iter().enumerate();
            vars.map(|(i, v)| Parameter::new(format!("{kind}{i}"), v).with_lr_scale(scale))
                .collect()
        };
        let last = self.activation_choice.len() - 1;
        let mut all = named("weight", &self.weights, 1.0);
        all.extend(named("bias", &self.biases, 1.0));
        all.extend(named("w-choice", &self.weight_choice, CHOICE_LR_SCALE));
        all.extend(named(
            "a-choice",
            &self.activation_choice[..last],
            CHOICE_LR_SCALE,
        ));
        all
    }

    fn tensors(&self) -> Vec<(String, Var)> {
        let all = self.parameters().into_iter();
        all.map(|p| (p.name, p.var)).collect()
    }

    fn regularizer(&self, _step: usize, _steps: usize) -> Result<Option<Tensor>> {
        let over = |costs| (self.used(costs)? - 1.0)?.relu()?.sum_all();
        let excess = (over(&self.bytes)? + over(&self.cycles)?)?;
        Ok(Some((excess * PENALTY)?))
    }
}

/// The mean of the intervals' middles, weighted by the choice: the action, 0 to 1.
fn action(choice: &Var) -> Result<f32> {
    let shares = softmax(choice.as_tensor(), 0)?.to_vec1::<f32>()?;
    let middle = |k: usize| (k as f32 + 0.5) / shares.len() as f32;
    Ok(shares.iter().enumerate().map(|(k, s)| s * middle(k)).sum())
}

impl<M: MeasureLayer + 'static> QuantEnv<'_, M> {
    /// The actions that a training of `batches` batches gives, and what it cost in images.
    ///
    /// # Errors
    /// Where the loss is not a number.
    pub fn learned(&self, batches: usize, seed: u64) -> anyhow::Result<(Vec<Vec<f32>>, u64)> {
        let setup = &self.setup;
        let (w, a) = (&setup.w_widths, &setup.a_widths);
        let flash = setup.targets.flash_bytes.unwrap_or(u64::MAX) as f32;
        let bytes = self.layers.iter().map(|l| {
            let each = |w: &u8| l.weights() as f32 * f32::from(*w) / 8.0 / flash;
            w.iter().map(each).collect()
        });
        let limit = setup.targets.cycles.unwrap_or(u64::MAX) as f32;
        let rows = self.cycles_by_width.iter();
        let cycles = rows.map(|row| row.iter().map(|&c| c as f32 / limit).collect());
        let costs = (bytes.collect(), cycles.collect());
        let net = Mixed::new(setup.network, setup.ranges, (w, a), costs, setup.device)?;
        let batch = setup.trial.batch;
        let config = TrainConfig {
            lr: LR,
            optimizer: OptimizerKind::Adam { weight_decay: 0.0 },
            ..TrainConfig::fine_tune(batches, batch, seed)
        };
        let indices = setup.data.train_indices();
        Trainer::new(&net, config)?.run(setup.data.source, &indices, |_, _| {
            ControlFlow::Continue(())
        })?;
        let mut actions = Vec::with_capacity(2 * self.layers.len() - 1);
        for (i, choice) in net.weight_choice.iter().enumerate() {
            actions.push(vec![action(choice)?]);
            if i + 1 < self.layers.len() {
                actions.push(vec![action(&net.activation_choice[i])?]);
            }
        }
        Ok((actions, 3 * (batches * batch) as u64))
    }
}
