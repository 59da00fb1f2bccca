//! Taking channels out: a smaller dense network, not a masked large one.

use super::criteria::top;
use crate::vgg::{ConvLayer, LinearLayer, Vgg};
use candle_core::{DType, Device, Result, Tensor, Var};

/// Rebuilds `network` with only the channels `keep[i]` (rising indices) of layer `i`, the last
/// one left out.
///
/// Removing an output channel removes the next layer's input channel, and all its `h·w`
/// columns where a fully connected layer follows a map. The input and the logits stay. Masks
/// are cleared.
///
/// # Errors
/// Where an index is out of range.
///
/// # Panics
/// Where `keep` has another length than there are layers but the last.
pub fn rebuild(network: &Vgg, keep: &[Vec<usize>]) -> Result<Vgg> {
    let n_convs = network.convs.len();
    assert_eq!(
        keep.len() + 1,
        n_convs + network.linears.len(),
        "one list of channels per layer but the last"
    );
    let device = network.device();
    let (keep_convs, keep_hidden) = keep.split_at(n_convs);
    let all: Vec<usize> = (0..network.config.input[2]).collect();
    let mut input = indices(&all, device)?;
    let mut convs = Vec::with_capacity(n_convs);
    for (conv, keep) in network.convs.iter().zip(keep_convs) {
        let output = indices(keep, device)?;
        convs.push(slice_conv(conv, &input, &output)?);
        input = output;
    }
    let linears = slice_linears(network, input, keep_hidden)?;
    let widths: Vec<usize> = keep.iter().map(Vec::len).collect();
    Ok(Vgg {
        masks: vec![None; convs.len() + linears.len()],
        config: network.config.with_widths(&widths),
        convs,
        linears,
    })
}

fn indices(keep: &[usize], device: &Device) -> Result<Tensor> {
    Tensor::from_vec(
        keep.iter().map(|&k| k as u32).collect::<Vec<_>>(),
        keep.len(),
        device,
    )
}

fn slice_conv(conv: &ConvLayer, input: &Tensor, output: &Tensor) -> Result<ConvLayer> {
    let (c_out, fan_in) = conv.weight.dims2()?;
    let weight = conv
        .weight
        .as_detached_tensor()
        .reshape((c_out, fan_in / 9, 9))?;
    let weight = weight.index_select(output, 0)?.index_select(input, 1)?;
    let pick = |v: &Var| Var::from_tensor(&v.as_detached_tensor().index_select(output, 0)?);
    let mut norm = conv.norm.clone();
    if let Some(n) = &mut norm {
        n.gamma = pick(&n.gamma)?;
        n.beta = pick(&n.beta)?;
        n.running_mean = pick(&n.running_mean)?;
        n.running_var = pick(&n.running_var)?;
    }
    Ok(ConvLayer {
        weight: Var::from_tensor(&weight.flatten(1, 2)?.contiguous()?)?,
        bias: conv.bias.as_ref().map(pick).transpose()?,
        norm,
    })
}

/// `input` are the channels kept of the map (or the image) before, `keep` the features kept of
/// each hidden layer.
fn slice_linears(network: &Vgg, input: Tensor, keep: &[Vec<usize>]) -> Result<Vec<LinearLayer>> {
    // A channel of the map has one column per pixel.
    let mut channels = network
        .convs
        .last()
        .map_or(network.config.input[2], |c| c.weight.dims()[0]);
    let mut input = input;
    let mut linears = Vec::with_capacity(network.linears.len());
    for (i, linear) in network.linears.iter().enumerate() {
        let (c_out, features) = linear.weight.dims2()?;
        let all: Vec<usize> = (0..c_out).collect();
        let output = indices(keep.get(i).unwrap_or(&all), network.device())?;
        let by_channel = (c_out, channels, features / channels);
        let weight = linear.weight.as_detached_tensor().reshape(by_channel)?;
        let weight = weight.index_select(&output, 0)?.index_select(&input, 1)?;
        let bias = linear.bias.as_detached_tensor().index_select(&output, 0)?;
        linears.push(LinearLayer {
            weight: Var::from_tensor(&weight.flatten(1, 2)?.contiguous()?)?,
            bias: Var::from_tensor(&bias)?,
        });
        (input, channels) = (output, c_out);
    }
    Ok(linears)
}

/// The scores of the weights that [`rebuild`] keeps, per layer, in the rebuilt order.
#[must_use]
pub fn select_scores(network: &Vgg, scores: &[Vec<f32>], keep: &[Vec<usize>]) -> Vec<Vec<f32>> {
    let mut input: Vec<usize> = (0..network.config.input[2]).collect();
    let mut channels = network.config.input[2];
    let mut out = Vec::with_capacity(scores.len());
    for (scores, shape) in scores.iter().zip(network.config.layers()) {
        let all: Vec<usize> = (0..shape.c_out).collect();
        let output = keep.get(out.len()).unwrap_or(&all);
        // Nine taps of a convolution, the pixels of a map before the first fully connected one.
        let each = shape.fan_in() / channels;
        let row = |o: usize, c: usize| &scores[(o * channels + c) * each..][..each];
        let kept = output
            .iter()
            .flat_map(|&o| input.iter().flat_map(move |&c| row(o, c)));
        out.push(kept.copied().collect());
        (input, channels) = (output.clone(), shape.c_out);
    }
    out
}

/// Masks that keep the best `share[i]` (0 to 1] of layer `i`'s weights by `scores`, at
/// least one weight a layer; `None` where all are kept.
///
/// # Errors
/// Where `scores` do not have the shapes of `network`'s weights.
pub fn element_masks(
    network: &Vgg,
    scores: &[Vec<f32>],
    share: &[f32],
) -> Result<Vec<Option<Tensor>>> {
    let mut masks = Vec::with_capacity(share.len());
    for (i, (scores, &share)) in scores.iter().zip(share).enumerate() {
        let n = ((scores.len() as f64 * f64::from(share)).round() as usize).clamp(1, scores.len());
        if n == scores.len() {
            masks.push(None);
            continue;
        }
        let mut mask = vec![0f32; scores.len()];
        top(scores, n).into_iter().for_each(|e| mask[e] = 1.0);
        let shape = network.weight(i).shape().clone();
        masks.push(Some(
            Tensor::from_vec(mask, shape, network.device())?.to_dtype(DType::F32)?,
        ));
    }
    Ok(masks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Rng;
    use crate::vgg::{Item, VggConfig};

    fn network(cfg: Vec<Item>) -> Vgg {
        with_hidden(cfg, vec![])
    }

    fn with_hidden(cfg: Vec<Item>, hidden: Vec<usize>) -> Vgg {
        let config = VggConfig {
            cfg,
            hidden,
            input: [8, 8, 3],
            ..VggConfig::preset("vgg-small").expect("known")
        };
        Vgg::new(config, &mut Rng::new(1), &Device::Cpu).expect("valid")
    }

    /// Zeroing a channel's outgoing weights must be the same as removing the channel.
    #[test]
    fn removing_dead_channels_changes_nothing() -> Result<()> {
        use Item::{AvgPool as A, Conv as C, MaxPool as M};
        for cfg in [vec![C(6), M, C(5), A], vec![C(6), M, C(5), M]] {
            let net = network(cfg);
            let keep = vec![vec![0, 2, 3], vec![1, 4]];
            let x = Tensor::from_vec(Rng::new(2).normals(3 * 2 * 64), (3, 2, 8, 8), &Device::Cpu)?;
            let mut full = net.fold()?;
            let small = rebuild(&net, &keep)?.fold()?;
            for (layer, kept, group) in [(1, &keep[0], 9), (2, &keep[1], 0)] {
                let c_out_before = full.layers[layer - 1].shape.c_out;
                let l = &mut full.layers[layer];
                let group = if group == 0 {
                    l.shape.fan_in() / c_out_before
                } else {
                    group
                };
                let fan_in = l.shape.fan_in();
                for row in l.weight.chunks_exact_mut(fan_in) {
                    for (c, taps) in row.chunks_exact_mut(group).enumerate() {
                        if !kept.contains(&c) {
                            taps.fill(0.0);
                        }
                    }
                }
            }
            let flat = x.flatten_all()?.to_vec1::<f32>()?;
            let (a, b) = (
                full.forward(flat.clone(), 2, |_, _| ()),
                small.forward(flat, 2, |_, _| ()),
            );
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() < 1e-4, "{a} against {b}");
            }
        }
        Ok(())
    }

    /// Hidden layers lose features as convolutions lose channels, and a channel of the map
    /// before them owns all of its pixels' columns.
    #[test]
    fn removing_dead_features_changes_nothing() -> Result<()> {
        use Item::{Conv as C, MaxPool as M};
        let net = with_hidden(vec![C(6), M, C(5), M], vec![7, 4]);
        let keep = vec![vec![0, 2, 3], vec![1, 4], vec![0, 3, 5, 6], vec![2]];
        let small = rebuild(&net, &keep)?;
        assert_eq!(small.config.widths(), [3, 2, 4, 1]);
        assert_eq!(small.linears[0].weight.dims(), [4, 2 * 4]);
        assert_eq!(small.linears[2].weight.dims(), [10, 1]);
        let mut full = net.fold()?;
        for (layer, kept) in keep.iter().enumerate() {
            let (before, next) = (full.layers[layer].shape.c_out, &mut full.layers[layer + 1]);
            let fan_in = next.shape.fan_in();
            for row in next.weight.chunks_exact_mut(fan_in) {
                for (c, taps) in row.chunks_exact_mut(fan_in / before).enumerate() {
                    if !kept.contains(&c) {
                        taps.fill(0.0);
                    }
                }
            }
        }
        let x = Rng::new(2).normals(3 * 2 * 64);
        let expected = full.forward(x.clone(), 2, |_, _| ());
        for (a, b) in expected.iter().zip(small.fold()?.forward(x, 2, |_, _| ())) {
            assert!((a - b).abs() < 1e-4, "{a} against {b}");
        }
        let weights = |n: &Vgg| -> Result<Vec<Vec<f32>>> {
            (0..5)
                .map(|i| n.weight(i).flatten_all()?.to_vec1())
                .collect()
        };
        assert_eq!(
            select_scores(&net, &weights(&net)?, &keep),
            weights(&small)?
        );
        Ok(())
    }

    #[test]
    fn scores_follow_their_weights_and_masks_keep_the_best() -> Result<()> {
        use Item::{Conv as C, MaxPool as M};
        let net = network(vec![C(6), M, C(5), M]);
        let keep = vec![vec![1, 5], vec![0, 3]];
        // Scores that are the weights themselves must end where rebuild puts the weights.
        let weights = |n: &Vgg| -> Result<Vec<Vec<f32>>> {
            (0..3)
                .map(|i| n.weight(i).flatten_all()?.to_vec1())
                .collect()
        };
        let small = rebuild(&net, &keep)?;
        let scores = select_scores(&net, &weights(&net)?, &keep);
        assert_eq!(scores, weights(&small)?);
        let masks = element_masks(&small, &scores, &[0.25, 1.0, 0.5])?;
        let count = |m: &Option<Tensor>| -> Result<f32> {
            m.as_ref().expect("a mask").sum_all()?.to_scalar()
        };
        assert_eq!(count(&masks[0])?, (scores[0].len() as f32 * 0.25).round());
        assert!(masks[1].is_none());
        Ok(())
    }
}
