//! What a stage leaves in the run folder for the next one.

use crate::lower::{Centred, LayerQuant, centre};
use crate::nn::write_atomically;
use crate::prune::Rankings;
use crate::vgg::{ConvLayer, Folded, LayerKind, LinearLayer, Vgg};
use anyhow::{Context, Result};
use candle_core::{Device, Var};
use std::path::Path;

/// Folder of the pruned, fine-tuned network.
pub const PRUNED: &str = "pruned";
/// Folder of the final network.
pub const MODEL: &str = "model";
/// Widths, steps and clips of each layer of the final network.
pub const QUANTIZATION: &str = "quantization.json";
const RANKINGS: &str = "rankings.bin";

/// Writes both rankings.
pub fn save_rankings(run: &Path, rankings: &Rankings) -> Result<()> {
    let bytes = postcard::to_allocvec(&(&rankings.channels, &rankings.elements))?;
    Ok(write_atomically(&run.join(RANKINGS), &bytes)?)
}

/// Reads both rankings.
pub fn load_rankings(run: &Path) -> Result<Rankings> {
    let path = run.join(RANKINGS);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (channels, elements) =
        postcard::from_bytes(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(Rankings { channels, elements })
}

/// A network without batch normalization that computes what `folded` does.
pub fn unfold(folded: &Folded, device: &Device) -> candle_core::Result<Vgg> {
    let mut config = folded.config.clone();
    config.batch_norm = false;
    let (mut convs, mut linears) = (Vec::new(), Vec::new());
    for layer in &folded.layers {
        let shape = (layer.shape.c_out, layer.shape.fan_in());
        let weight = Var::from_vec(layer.weight.clone(), shape, device)?;
        let bias = Var::from_vec(layer.bias.clone(), layer.shape.c_out, device)?;
        match layer.shape.kind {
            LayerKind::Conv => convs.push(ConvLayer {
                weight,
                bias: Some(bias),
                norm: None,
            }),
            LayerKind::Linear => linears.push(LinearLayer { weight, bias }),
        }
    }
    Ok(Vgg {
        masks: vec![None; convs.len() + linears.len()],
        config,
        convs,
        linears,
    })
}

/// Writes the final network: `model.safetensors` with `config.json` of its own in `folder`
/// (float weights as trained, batch normalization and input normalization folded), and
/// `quantization.json`.
pub fn save_quantized(
    folder: &Path,
    network: &Centred,
    quants: &[LayerQuant],
    device: &Device,
) -> Result<()> {
    unfold(&network.network, device)?.save(folder, false)?;
    Ok(write_atomically(
        &folder.join(QUANTIZATION),
        &serde_json::to_vec(quants)?,
    )?)
}

/// Reads what [`save_quantized`] wrote.
pub fn load_quantized(folder: &Path, device: &Device) -> Result<(Centred, Vec<LayerQuant>)> {
    let network = centre(&Vgg::load(folder, device)?.fold()?);
    let path = folder.join(QUANTIZATION);
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let quants: Vec<LayerQuant> =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    anyhow::ensure!(
        quants.len() == network.network.layers.len(),
        "{} has {} layers, the model beside it {}",
        path.display(),
        quants.len(),
        network.network.layers.len()
    );
    Ok((network, quants))
}
