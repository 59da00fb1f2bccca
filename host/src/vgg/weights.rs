//! PyTorch's safetensors: reading a VGG under torchvision's or timm's names.

use super::names::{Names, Outline, Tensors, feature_indices};
use super::{Vgg, VggConfig, VggError};
use crate::nn::read_weights;
use candle_core::{DType, Device, Tensor, Var};
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// The weights' file in a model's folder.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The index of the weights' files, where there are several.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// The configuration's file in a model's folder.
pub(super) const CONFIG: &str = "config.json";

/// The weights (a safetensors file, or the index of several) and the configuration of the
/// model at `path`: its folder, or its weights.
#[must_use]
pub fn model_files(path: &Path) -> (PathBuf, PathBuf) {
    let folder = match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(Path::new("")),
    };
    let weights = match path.is_dir() {
        true if !path.join(WEIGHTS).is_file() && path.join(INDEX).is_file() => path.join(INDEX),
        true => path.join(WEIGHTS),
        false => path.to_owned(),
    };
    (weights, folder.join(CONFIG))
}

impl VggConfig {
    /// Reads a configuration: ours, or that of one of timm's VGGs.
    ///
    /// # Errors
    /// [`VggError::Io`], [`VggError::Parse`], [`VggError::Config`].
    pub fn read(path: &Path) -> Result<Self, VggError> {
        let text = fs::read_to_string(path).map_err(|source| VggError::Io {
            path: path.into(),
            source,
        })?;
        let parse = |reason: String| VggError::Parse {
            path: path.into(),
            reason,
        };
        let map: Map<String, Value> =
            serde_json::from_str(&text).map_err(|e| parse(e.to_string()))?;
        let config = match Self::of_timm(&map) {
            Some(config) => config,
            None => Self::try_from(map).map_err(parse)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The preset that a configuration of timm's names, with its classes and normalization.
    fn of_timm(map: &Map<String, Value>) -> Option<Self> {
        let described = map.get("pretrained_cfg")?;
        if map.contains_key("cfg") {
            return None;
        }
        let name = map.get("architecture")?.as_str()?.replace("_bn", "-bn");
        let mut config = Self::preset(&format!("{name}-imagenet"))?;
        let numbers = |key: &str| -> Option<Vec<f32>> {
            let values = described.get(key)?.as_array()?.iter();
            values.map(|v| v.as_f64().map(|v| v as f32)).collect()
        };
        if let (Some(mean), Some(std)) = (numbers("mean"), numbers("std")) {
            config.normalization = crate::data::Normalization { mean, std };
        }
        if let Some(classes) = map.get("num_classes").and_then(Value::as_u64) {
            config.num_classes = classes as usize;
        }
        Some(config)
    }
}

impl Vgg {
    /// Loads a model: a folder with `model.safetensors` (or `model.safetensors.index.json`) and
    /// `config.json`, or such a file with `config.json` beside it.
    ///
    /// # Errors
    /// [`VggError`], naming the file and the tensor.
    pub fn load(path: &Path, device: &Device) -> Result<Self, VggError> {
        let (weights, config) = model_files(path);
        if !weights.is_file() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(VggError::Io {
                path: weights,
                source,
            });
        }
        Self::import(VggConfig::read(&config)?, &weights, device)
    }

    /// Imports the weights of `config` from a safetensors file, or an index of several, under
    /// torchvision's or timm's names (`features.N.weight`, `.bias`, `.running_mean`,
    /// `.running_var`; `classifier.weight`, `classifier.N.weight`, or `pre_logits.fcN.weight`
    /// and `head.fc.weight`); `F32`, `F16` or `BF16`.
    ///
    /// # Errors
    /// [`VggError`], naming the file, the tensor and both shapes; both lists of layers where
    /// they differ.
    pub fn import(config: VggConfig, path: &Path, device: &Device) -> Result<Self, VggError> {
        let stored = read_weights(path)?.tensors;
        let net = Self::empty(config, device)?;
        let source = Source {
            path: path.to_owned(),
            names: Names::find(&stored, net.linears.len()),
            tensors: &stored,
        };
        match source.fill(&net) {
            Ok(()) => Ok(net),
            Err(error) => Err(source.with_lists(error, &net.config)),
        }
    }
}

struct Source<'a> {
    path: PathBuf,
    names: Names,
    tensors: &'a Tensors,
}

impl Source<'_> {
    fn fill(&self, net: &Vgg) -> Result<(), VggError> {
        let layers = net.config.layers();
        for (i, feature) in feature_indices(&net.config).into_iter().enumerate() {
            let (conv, shape) = (&net.convs[i], &layers[i]);
            let name = format!("{}features.{feature}", self.names.prefix);
            let dims = [shape.c_out, shape.c_in, 3, 3];
            self.copy(&format!("{name}.weight"), &dims, &conv.weight)?;
            let bias = format!("{name}.bias");
            if let Some(var) = &conv.bias {
                self.copy(&bias, &[shape.c_out], var)?;
            }
            if let Some(norm) = &conv.norm {
                let name = format!("{}features.{}", self.names.prefix, feature + 1);
                let channels = [shape.c_out];
                self.copy(&format!("{name}.weight"), &channels, &norm.gamma)?;
                self.copy(&format!("{name}.bias"), &channels, &norm.beta)?;
                let (mean, var) = (&norm.running_mean, &norm.running_var);
                self.copy(&format!("{name}.running_mean"), &channels, mean)?;
                self.copy(&format!("{name}.running_var"), &channels, var)?;
                if self.tensors.contains_key(&bias) {
                    // Normalization takes a bias before it away again: it only moves the
                    // mean.
                    let bias = self.checked(&bias, &channels)?.to_dtype(DType::F32)?;
                    let moved = norm.running_mean.as_detached_tensor();
                    mean.set(&(moved - bias.to_device(net.device())?)?)?;
                }
            }
        }
        let shapes = &layers[net.convs.len()..];
        for (i, (linear, shape)) in net.linears.iter().zip(shapes).enumerate() {
            let name = &self.names.linears[i];
            let weight = format!("{name}.weight");
            self.copy(
                &weight,
                &self.linear_dims(&weight, [shape.c_out, shape.c_in]),
                &linear.weight,
            )?;
            self.copy(&format!("{name}.bias"), &[shape.c_out], &linear.bias)?;
        }
        Ok(())
    }

    /// The shape that a fully connected layer's weight should have: as a convolution over the
    /// whole map where it is stored as one.
    fn linear_dims(&self, name: &str, [c_out, c_in]: [usize; 2]) -> Vec<usize> {
        match self.tensors.get(name).map(Tensor::dims) {
            Some(&[_, c, h, w]) if c * h * w == c_in => vec![c_out, c, h, w],
            _ => vec![c_out, c_in],
        }
    }

    /// The error, with both lists of layers where they differ.
    fn with_lists(&self, error: VggError, config: &VggConfig) -> VggError {
        let layers = matches!(error, VggError::Missing { .. } | VggError::Shape { .. });
        match Outline::of(self.tensors).filter(|o| layers && !o.fits(config)) {
            Some(outline) => VggError::List {
                path: self.path.clone(),
                configured: config.list(),
                found: outline.list(),
                first: Box::new(error),
            },
            None => error,
        }
    }

    /// The tensor `name`, of this shape and finite throughout.
    fn checked(&self, name: &str, dims: &[usize]) -> Result<&Tensor, VggError> {
        let (path, tensor) = (self.path.clone(), name.to_owned());
        let Some(found) = self.tensors.get(name) else {
            let expected = dims.to_vec();
            return Err(VggError::Missing {
                path,
                tensor,
                expected,
            });
        };
        if found.dims() != dims {
            return Err(VggError::Shape {
                path,
                tensor,
                found: found.dims().to_vec(),
                expected: dims.to_vec(),
            });
        }
        let values = found
            .flatten_all()?
            .to_dtype(DType::F32)?
            .to_vec1::<f32>()?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(VggError::NotFinite {
                path,
                tensor,
                index,
            }),
            None => Ok(found),
        }
    }

    fn copy(&self, name: &str, dims: &[usize], to: &Var) -> Result<(), VggError> {
        let tensor = self.checked(name, dims)?.to_dtype(DType::F32)?;
        Ok(to.set(&tensor.reshape(to.shape())?.to_device(to.device())?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::*;
    use crate::nn::{Rng, read_tensors, write_tensors};
    use std::collections::HashMap;

    fn small(batch_norm: bool, hidden: Vec<usize>) -> Vgg {
        let config = VggConfig {
            cfg: vec![Item::Conv(8), Item::MaxPool, Item::Conv(12), Item::MaxPool],
            input: [8, 8, 3],
            batch_norm,
            hidden,
            ..VggConfig::preset("vgg-small").expect("known")
        };
        Vgg::new(config, &mut Rng::new(3), &Device::Cpu).expect("valid")
    }

    #[test]
    fn what_is_written_is_read() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        for (batch_norm, hidden) in [(true, vec![]), (false, vec![9, 7])] {
            let net = small(batch_norm, hidden);
            net.save(folder.path(), false)?;
            let again = Vgg::load(folder.path(), &Device::Cpu)?;
            assert_eq!(again.fold()?, net.fold()?);
            net.save(folder.path(), true)?;
            let half = Vgg::load(folder.path(), &Device::Cpu)?.fold()?;
            for (a, b) in half.layers.iter().zip(net.fold()?.layers) {
                for (a, b) in a.weight.iter().zip(&b.weight) {
                    assert!((a - b).abs() <= 1e-3 * b.abs() + 1e-6);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_bias_before_normalization_moves_the_mean() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(WEIGHTS);
        let net = small(true, vec![]);
        net.save(folder.path(), false)?;
        let mut tensors = read_tensors(&path)?.tensors;
        let bias = Tensor::full(0.5f32, 8, &Device::Cpu)?;
        tensors.insert("features.0.bias".into(), bias);
        write_tensors(&path, &tensors, HashMap::new())?;
        let norm = Vgg::load(folder.path(), &Device::Cpu)?.convs[0]
            .norm
            .clone();
        let mean = norm.expect("normalization").running_mean.to_vec1::<f32>()?;
        assert_eq!(mean, [-0.5; 8]);
        Ok(())
    }

    #[test]
    fn bad_weights_are_refused_by_name() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(WEIGHTS);
        small(true, vec![]).save(folder.path(), false)?;
        let good = read_tensors(&path)?.tensors;
        let error_with = |name: &str, tensor: Option<Tensor>| {
            let mut tensors = good.clone();
            match tensor {
                Some(tensor) => tensors.insert(name.to_owned(), tensor),
                None => tensors.remove(name),
            };
            write_tensors(&path, &tensors, HashMap::new()).expect("writes");
            Vgg::load(folder.path(), &Device::Cpu)
                .expect_err("refused")
                .to_string()
        };
        let wrong = Tensor::zeros((12, 7, 3, 3), DType::F32, &Device::Cpu)?;
        let message = error_with("features.4.weight", Some(wrong));
        assert!(
            message.contains("`features.4.weight` is [12, 7, 3, 3], the model needs [12, 8, 3, 3]"),
            "{message}"
        );
        let nan = Tensor::full(f32::NAN, 8, &Device::Cpu)?;
        let message = error_with("features.1.bias", Some(nan));
        assert!(
            message.contains("`features.1.bias`") && message.contains("not finite"),
            "{message}"
        );
        let message = error_with("classifier.bias", None);
        assert!(
            message.contains("`classifier.bias` [10] is missing"),
            "{message}"
        );
        Ok(())
    }

    #[test]
    fn another_list_of_layers_is_named_beside_the_configured_one() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let net = small(true, vec![9]);
        net.save(folder.path(), false)?;
        let path = folder.path().join(WEIGHTS);
        let with = |cfg: Vec<Item>, hidden: Vec<usize>| {
            let config = VggConfig {
                cfg,
                hidden,
                ..net.config.clone()
            };
            let refused = Vgg::import(config, &path, &Device::Cpu).expect_err("refused");
            refused.to_string()
        };
        use Item::{Conv as C, MaxPool as M};
        for (cfg, hidden, configured) in [
            (
                vec![C(8), M, C(16), M],
                vec![9],
                r#"[8, "M", 16, "M"] + [9, 10]"#,
            ),
            (
                vec![C(8), M, C(12), M, C(12)],
                vec![9],
                r#"[8, "M", 12, "M", 12] + [9, 10]"#,
            ),
            (
                vec![C(8), M, C(12), M],
                vec![],
                r#"[8, "M", 12, "M"] + [10]"#,
            ),
        ] {
            let message = with(cfg, hidden);
            assert!(message.contains(configured), "{message}");
            assert!(message.contains(r#"[8, "M", 12] + [9, 10]"#), "{message}");
        }
        Ok(())
    }

    #[test]
    fn timms_configurations_are_read() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(CONFIG);
        let text = r#"{"architecture": "vgg16_bn", "num_classes": 37, "num_features": 4096,
            "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}"#;
        fs::write(&path, text).expect("writes");
        let config = VggConfig::read(&path)?;
        assert_eq!(
            (config.num_classes, config.normalization.std[2]),
            (37, 0.25)
        );
        let preset = VggConfig::preset("vgg16-bn-imagenet").expect("known");
        assert_eq!(config.cfg, preset.cfg);
        fs::write(&path, text.replace("vgg16_bn", "resnet50")).expect("writes");
        assert!(matches!(
            VggConfig::read(&path),
            Err(VggError::Parse { .. })
        ));
        Ok(())
    }

    #[test]
    fn missing_and_truncated_files_are_refused() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let load = || {
            Vgg::load(folder.path(), &Device::Cpu)
                .expect_err("refused")
                .to_string()
        };
        assert!(load().contains("cannot read"));
        small(true, vec![]).save(folder.path(), false)?;
        let path = folder.path().join(WEIGHTS);
        let bytes = fs::read(&path).expect("read");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("write");
        assert!(load().contains("not a complete safetensors file"));
        Ok(())
    }
}
