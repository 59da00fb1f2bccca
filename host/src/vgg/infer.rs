//! What network a weights file holds, read from the names and shapes of its tensors.

use super::{Item, LayerKind, VggConfig, VggError};
use crate::nn::read_tensors;
use candle_core::Tensor;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

impl VggConfig {
    /// The configuration that fits a safetensors file under PyTorch's names, for a model
    /// that came without one. Pooling is read from the gaps in the numbering of
    /// `features.N`; what the file cannot say is taken from the CIFAR-10 presets: the
    /// input's size and normalization.
    ///
    /// # Errors
    /// [`VggError::Store`] where the file cannot be read, [`VggError::Config`] where it
    /// holds no VGG.
    pub fn of_weights(path: &Path) -> Result<Self, VggError> {
        infer(&read_tensors(path)?.tensors).ok_or_else(|| VggError::Config {
            reason: format!("{} holds no VGG under PyTorch's names", path.display()),
        })
    }

    /// One line on what this network looks like, such as `vgg11 (8 convolutions)`.
    pub fn looks_like(&self) -> String {
        let convolutions = |c: &Self| c.cfg.iter().filter(|i| matches!(i, Item::Conv(_))).count();
        let n = convolutions(self);
        let preset = Self::PRESETS
            .iter()
            .filter_map(|name| Self::preset(name))
            .find(|p| convolutions(p) == n);
        match preset {
            Some(preset) => format!("{} ({n} convolutions)", preset.architecture),
            None => format!("a network of {n} convolutions"),
        }
    }
}

fn infer(tensors: &HashMap<String, Tensor>) -> Option<VggConfig> {
    let convolutions = numbered(tensors, "features", 4);
    let linears: Vec<Vec<usize>> = numbered(tensors, "classifier", 2).into_values().collect();
    let (inner, last) = linears.split_at(linears.len().checked_sub(1)?);
    let (features, classes) = (linears[0][1], last[0][0]);
    let batch_norm = tensors.keys().any(|k| k.ends_with(".running_mean"));
    // The convolution, its normalization, ReLU; what is missing in between is pooling.
    let step = if batch_norm { 3 } else { 2 };
    let mut cfg = Vec::new();
    let mut next = *convolutions.keys().next()?;
    for (index, dims) in &convolutions {
        cfg.extend(std::iter::repeat_n(Item::MaxPool, index.checked_sub(next)?));
        cfg.push(Item::Conv(dims[0]));
        next = index + step;
    }
    let preset = VggConfig::preset("vgg-small")?;
    let with_end = |end: Option<Item>| VggConfig {
        architecture: "vgg".into(),
        cfg: cfg.iter().copied().chain(end).collect(),
        num_classes: classes,
        input: [
            preset.input[0],
            preset.input[1],
            convolutions.values().next().map_or(3, |d| d[1]),
        ],
        batch_norm,
        hidden: inner.iter().map(|dims| dims[0]).collect(),
        ..preset.clone()
    };
    // Pooling after the last convolution leaves no gap, but decides the classifier's
    // features. Where maximum and average both fit, VGG's own is the maximum.
    let fits = |c: &VggConfig| {
        let linear = c.layers().into_iter().find(|l| l.kind == LayerKind::Linear);
        c.validate().is_ok() && linear.is_some_and(|l| l.c_in == features)
    };
    let ends = [Some(Item::MaxPool), None, Some(Item::AvgPool)];
    ends.into_iter().map(with_end).find(fits)
}

/// Shapes of the weights `<prefix>.N.weight` (N is 0 in `<prefix>.weight`) of this rank,
/// by N.
fn numbered(
    tensors: &HashMap<String, Tensor>,
    prefix: &str,
    rank: usize,
) -> BTreeMap<usize, Vec<usize>> {
    let index = |name: &str| match name.strip_prefix(prefix)?.strip_suffix(".weight")? {
        "" => Some(0),
        number => number.strip_prefix('.')?.parse().ok(),
    };
    tensors
        .iter()
        .filter(|(_, t)| t.rank() == rank)
        .filter_map(|(name, t)| Some((index(name)?, t.dims().to_vec())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Vgg;
    use super::*;
    use crate::nn::Rng;
    use candle_core::Device;

    #[test]
    fn a_saved_network_tells_its_configuration() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let preset = |name| VggConfig::preset(name).expect("known");
        let plain = VggConfig {
            batch_norm: false,
            hidden: vec![20, 12],
            ..preset("vgg-small")
        };
        for config in [preset("vgg-small"), preset("vgg11"), plain] {
            Vgg::new(config.clone(), &mut Rng::new(0), &Device::Cpu)?.save(folder.path(), true)?;
            let found = VggConfig::of_weights(&folder.path().join("model.safetensors"))?;
            assert_eq!(found.layers(), config.layers());
            assert_eq!(found.batch_norm, config.batch_norm);
        }
        assert_eq!(preset("vgg16").looks_like(), "vgg16 (13 convolutions)");
        Ok(())
    }

    #[test]
    fn other_files_are_refused() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("t.safetensors");
        let tensors = HashMap::from([("a".into(), Tensor::new(&[1.0f32], &Device::Cpu)?)]);
        crate::nn::write_tensors(&path, &tensors, HashMap::new())?;
        let refused = VggConfig::of_weights(&path);
        assert!(matches!(refused, Err(VggError::Config { .. })));
        Ok(())
    }
}
