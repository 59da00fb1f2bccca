//! What network a weights file holds, read from the names and shapes of its tensors.

use super::names::Outline;
use super::{Item, LayerKind, VggConfig, VggError};
use crate::nn::read_weights;
use std::path::Path;

impl VggConfig {
    /// The configuration that fits a safetensors file under torchvision's or timm's names, for
    /// a model that came without one. Pooling is read from the gaps in the numbering of
    /// `features.N`; what the file cannot say, the input's size and normalization, is taken
    /// from the presets for CIFAR-10 or, where those do not fit the classifier, ImageNet.
    ///
    /// # Errors
    /// [`VggError::Store`] where the file cannot be read, [`VggError::Config`] where it
    /// holds no VGG.
    pub fn of_weights(path: &Path) -> Result<Self, VggError> {
        let outline = Outline::of(&read_weights(path)?.tensors);
        let config = outline.and_then(|outline| infer(&outline));
        config.ok_or_else(|| VggError::Config {
            reason: format!(
                "{} holds no VGG under torchvision's or timm's names",
                path.display()
            ),
        })
    }

    /// The preset with as many convolutions and fully connected layers, and batch normalization
    /// alike where there are two.
    pub fn nearest_preset(&self) -> Option<Self> {
        let counts = |c: &Self| {
            let convs = c.cfg.iter().filter(|i| matches!(i, Item::Conv(_))).count();
            (convs, c.hidden.len())
        };
        let alike: Vec<Self> = Self::PRESETS
            .iter()
            .filter_map(|name| Self::preset(name))
            .filter(|p| counts(p) == counts(self))
            .collect();
        let same = alike.iter().find(|p| p.batch_norm == self.batch_norm);
        same.or(alike.first()).cloned()
    }

    /// One line on what this network looks like, such as `vgg11 (8 convolutions)`.
    pub fn looks_like(&self) -> String {
        let n = self
            .cfg
            .iter()
            .filter(|i| matches!(i, Item::Conv(_)))
            .count();
        match self.nearest_preset() {
            Some(preset) => format!("{} ({n} convolutions)", preset.architecture),
            None => format!("a network of {n} convolutions"),
        }
    }
}

fn infer(outline: &Outline) -> Option<VggConfig> {
    let (last, hidden) = outline.linears.split_last()?;
    let features = outline.linears[0][0];
    let with = |preset: &VggConfig, end: Option<Item>| VggConfig {
        architecture: "vgg".into(),
        cfg: outline.cfg.iter().copied().chain(end).collect(),
        num_classes: last[1],
        input: [preset.input[0], preset.input[1], outline.channels],
        batch_norm: outline.batch_norm,
        hidden: hidden.iter().map(|[_, c_out]| *c_out).collect(),
        dropout: if hidden.is_empty() {
            0.0
        } else {
            preset.dropout
        },
        ..preset.clone()
    };
    // Pooling after the last convolution leaves no gap, but decides the classifier's
    // features. Where maximum and average both fit, VGG's own is the maximum.
    let fits = |c: &VggConfig| {
        let linear = || c.layers().into_iter().find(|l| l.kind == LayerKind::Linear);
        c.validate().is_ok() && linear().is_some_and(|l| l.c_in == features)
    };
    let ends = [Some(Item::MaxPool), None, Some(Item::AvgPool)];
    let presets = ["vgg-small", "vgg16-imagenet"].map(VggConfig::preset);
    let presets = presets.iter().flatten();
    presets
        .flat_map(|preset| ends.iter().map(move |end| with(preset, *end)))
        .find(fits)
}

#[cfg(test)]
mod tests {
    use super::super::Vgg;
    use super::*;
    use crate::nn::Rng;
    use candle_core::{Device, Tensor};
    use std::collections::HashMap;

    #[test]
    fn a_saved_network_tells_its_configuration() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let preset = |name: &str| VggConfig::preset(name).expect("known");
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
        let looks = |name: &str| preset(name).looks_like();
        assert_eq!(looks("vgg16"), "vgg16 (13 convolutions)");
        assert_eq!(looks("vgg16-imagenet"), "vgg16-imagenet (13 convolutions)");
        assert_eq!(
            looks("vgg19-bn-imagenet"),
            "vgg19-bn-imagenet (16 convolutions)"
        );
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
