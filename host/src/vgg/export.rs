//! Writing a VGG for others: under torchvision's or timm's names, in any precision, in one file
//! or several.

use super::names::{Naming, Tensors, feature_indices};
use super::weights::{CONFIG, INDEX, WEIGHTS};
use super::{LayerKind, Vgg, VggConfig, VggError};
use crate::nn::{write_atomically, write_tensors};
use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Precision {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// How a network is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// Whose names the tensors get.
    pub naming: Naming,
    /// Of the weights of convolutions and fully connected layers; biases and normalization
    /// stay in single precision.
    pub precision: Precision,
    /// Whether convolutions before batch normalization get the bias, of zeros, that
    /// torchvision's and timm's have and ours have not.
    pub zero_biases: bool,
    /// Most bytes of tensors in a file; a larger tensor gets a file of its own. `None` writes
    /// one file.
    pub shard_bytes: Option<u64>,
}

impl Vgg {
    /// Writes `model.safetensors` under torchvision's names and `config.json` into a folder,
    /// which is made if need be. With `half`, weights of convolutions and fully connected
    /// layers are stored in half precision, everything else in single.
    ///
    /// # Errors
    /// [`VggError::Io`], [`VggError::Store`].
    pub fn save(&self, folder: &Path, half: bool) -> Result<(), VggError> {
        let precision = match half {
            true => Precision::F16,
            false => Precision::F32,
        };
        let export = Export {
            precision,
            ..Export::default()
        };
        self.export(folder, &export).map(|_| ())
    }

    /// Writes the weights and `config.json` into a folder, which is made if need be, and gives
    /// the files of weights.
    ///
    /// # Errors
    /// [`VggError::Io`], [`VggError::Store`].
    pub fn export(&self, folder: &Path, export: &Export) -> Result<Vec<PathBuf>, VggError> {
        fs::create_dir_all(folder).map_err(|source| VggError::Io {
            path: folder.into(),
            source,
        })?;
        let tensors = self.named(export)?;
        let files = match export.shard_bytes {
            None => {
                let path = folder.join(WEIGHTS);
                write_tensors(&path, &tensors, metadata())?;
                vec![path]
            }
            Some(most) => write_shards(folder, tensors, most)?,
        };
        let path = folder.join(CONFIG);
        let config = match export.naming {
            Naming::Torchvision => self.config.clone().into(),
            Naming::HuggingFace => timm_config(&self.config),
        };
        let mut text = serde_json::to_string_pretty(&config).map_err(|e| VggError::Parse {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        text.push('\n');
        write_atomically(&path, text.as_bytes())?;
        Ok(files)
    }

    /// All tensors by the names that they are to have.
    fn named(&self, export: &Export) -> Result<Tensors, VggError> {
        let mut tensors = HashMap::new();
        let mut put = |name: String, var: &Var, dims: &[usize]| -> Result<(), VggError> {
            let tensor = var.as_detached_tensor().reshape(dims)?;
            let tensor = tensor.to_device(&Device::Cpu)?;
            let tensor = match dims.len() > 1 {
                true => tensor.to_dtype(export.precision.dtype())?,
                false => tensor,
            };
            tensors.insert(name, tensor);
            Ok(())
        };
        let layers = self.config.layers();
        for (i, feature) in feature_indices(&self.config).into_iter().enumerate() {
            let (conv, shape) = (&self.convs[i], &layers[i]);
            let (name, channels) = (format!("features.{feature}"), [shape.c_out]);
            let dims = [shape.c_out, shape.c_in, 3, 3];
            put(format!("{name}.weight"), &conv.weight, &dims)?;
            if let Some(bias) = &conv.bias {
                put(format!("{name}.bias"), bias, &channels)?;
            } else if export.zero_biases {
                let zeros = Var::zeros(shape.c_out, DType::F32, &Device::Cpu)?;
                put(format!("{name}.bias"), &zeros, &channels)?;
            }
            if let Some(norm) = &conv.norm {
                let name = format!("features.{}", feature + 1);
                put(format!("{name}.weight"), &norm.gamma, &channels)?;
                put(format!("{name}.bias"), &norm.beta, &channels)?;
                put(
                    format!("{name}.running_mean"),
                    &norm.running_mean,
                    &channels,
                )?;
                put(format!("{name}.running_var"), &norm.running_var, &channels)?;
            }
        }
        let names = export.naming.linears(self.linears.len());
        for (i, (linear, name)) in self.linears.iter().zip(names).enumerate() {
            let dims = self.linear_dims(i, export.naming);
            put(format!("{name}.weight"), &linear.weight, &dims)?;
            put(format!("{name}.bias"), &linear.bias, linear.bias.dims())?;
        }
        Ok(tensors)
    }

    /// The shape of a fully connected layer's weight: timm stores hidden ones as convolutions.
    fn linear_dims(&self, i: usize, naming: Naming) -> Vec<usize> {
        let [c_out, c_in] = [0, 1].map(|d| self.linears[i].weight.dims()[d]);
        let hidden = i + 1 < self.linears.len();
        if naming == Naming::Torchvision || !hidden {
            return vec![c_out, c_in];
        }
        let layers = self.config.layers();
        let before = layers.iter().rfind(|l| l.kind == LayerKind::Conv);
        let [h, w, c] = match (i, before) {
            (0, Some(conv)) => conv.output(),
            (0, None) => self.config.input,
            _ => [1, 1, c_in],
        };
        vec![c_out, c, h, w]
    }
}

/// Says that shapes are PyTorch's.
fn metadata() -> HashMap<String, String> {
    HashMap::from([("format".to_owned(), "pt".to_owned())])
}

/// Our configuration with the keys that timm reads.
fn timm_config(config: &VggConfig) -> Map<String, Value> {
    let mut map = Map::from(config.clone());
    let [h, w, c] = config.input;
    let normalization = [map["mean"].clone(), map["std"].clone()];
    let name = config.nearest_preset().map_or_else(
        || config.architecture.clone(),
        |p| {
            let depth = p.architecture.split('-').next().unwrap_or_default();
            format!("{depth}{}", if config.batch_norm { "_bn" } else { "" })
        },
    );
    let last = config.hidden.last().copied();
    let [mean, std] = normalization;
    map.insert("architecture".into(), name.into());
    map.insert("num_features".into(), last.map_or(Value::Null, Into::into));
    map.insert(
        "pretrained_cfg".into(),
        json!({ "input_size": [c, h, w], "mean": mean, "std": std, "num_classes": config.num_classes }),
    );
    map
}

/// Writes the tensors in the order of their names, a new file where one would exceed `most`
/// bytes, and the index.
fn write_shards(folder: &Path, tensors: Tensors, most: u64) -> Result<Vec<PathBuf>, VggError> {
    let bytes = |t: &Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
    let total: u64 = tensors.values().map(bytes).sum();
    let mut sorted: Vec<(String, Tensor)> = tensors.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut shards, mut size) = (vec![HashMap::new()], 0);
    for (name, tensor) in sorted {
        if size > 0 && size + bytes(&tensor) > most {
            shards.push(HashMap::new());
            size = 0;
        }
        size += bytes(&tensor);
        if let Some(shard) = shards.last_mut() {
            shard.insert(name, tensor);
        }
    }
    let (n, mut map, mut files) = (shards.len(), Map::new(), Vec::new());
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{n:05}.safetensors", i + 1);
        write_tensors(&folder.join(&file), shard, metadata())?;
        let mut names: Vec<&String> = shard.keys().collect();
        names.sort();
        map.extend(
            names
                .into_iter()
                .map(|name| (name.clone(), Value::from(file.clone()))),
        );
        files.push(folder.join(file));
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    write_atomically(&folder.join(INDEX), index.to_string().as_bytes())?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::{Item, model_files};
    use super::*;
    use crate::nn::{Rng, read_weights};

    fn network(batch_norm: bool, hidden: Vec<usize>) -> Vgg {
        let config = VggConfig {
            cfg: vec![Item::Conv(8), Item::MaxPool, Item::Conv(12), Item::MaxPool],
            input: [32, 32, 3],
            batch_norm,
            hidden,
            ..VggConfig::preset("vgg-small").expect("known")
        };
        Vgg::new(config, &mut Rng::new(3), &Device::Cpu).expect("valid")
    }

    /// Every naming, precision and cut comes back as it was rounded when written.
    #[test]
    fn what_is_exported_is_imported() -> Result<(), VggError> {
        for naming in [Naming::Torchvision, Naming::HuggingFace] {
            for (precision, error) in [
                (Precision::F32, 0.0),
                (Precision::F16, 1.0 / 1024.0),
                (Precision::Bf16, 1.0 / 128.0),
            ] {
                for (batch_norm, hidden) in [(true, vec![]), (true, vec![9, 7]), (false, vec![9])] {
                    let net = network(batch_norm, hidden);
                    for shard_bytes in [None, Some(10_000)] {
                        let export = Export {
                            naming,
                            precision,
                            zero_biases: true,
                            shard_bytes,
                        };
                        let again = round_trip(&net, &export)?;
                        for (a, b) in again.tensors().iter().zip(net.tensors()) {
                            let values = |v: &Var| v.flatten_all()?.to_vec1::<f32>();
                            let pairs = values(&a.1)?.into_iter().zip(values(&b.1)?);
                            for (a, b) in pairs {
                                // Below the least normal half precision has steps of 6e-8.
                                let least = if error > 0.0 { 6e-8 } else { 0.0 };
                                assert!((a - b).abs() <= error * b.abs() + least);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn round_trip(net: &Vgg, export: &Export) -> Result<Vgg, VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let files = net.export(folder.path(), export)?;
        assert_eq!(files.len() > 1, export.shard_bytes.is_some());
        let again = Vgg::load(folder.path(), &Device::Cpu)?;
        assert_eq!(again.config.layers(), net.config.layers());
        assert_eq!(again.config.normalization, net.config.normalization);
        // Without its configuration the file still says what it holds.
        let weights = model_files(folder.path()).0;
        let found = VggConfig::of_weights(&weights)?;
        assert_eq!(found.cfg, net.config.cfg);
        assert_eq!(
            (found.hidden, found.batch_norm),
            (net.config.hidden.clone(), net.config.batch_norm)
        );
        Ok(again)
    }

    #[test]
    fn timms_names_and_shapes_are_timms() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let export = Export {
            naming: Naming::HuggingFace,
            zero_biases: true,
            ..Export::default()
        };
        network(true, vec![9, 7]).export(folder.path(), &export)?;
        let stored = read_weights(&folder.path().join(WEIGHTS))?.tensors;
        for (name, dims) in [
            ("features.0.weight", &[8, 3, 3, 3][..]),
            ("features.0.bias", &[8]),
            ("features.5.running_var", &[12]),
            ("pre_logits.fc1.weight", &[9, 12, 8, 8]),
            ("pre_logits.fc2.weight", &[7, 9, 1, 1]),
            ("head.fc.weight", &[10, 7]),
        ] {
            assert_eq!(stored.get(name).map(Tensor::dims), Some(dims), "{name}");
        }
        Ok(())
    }

    /// What wraps a model puts a prefix before its names.
    #[test]
    fn prefixes_are_seen_through() -> Result<(), VggError> {
        let folder = tempfile::tempdir().expect("folder");
        let net = network(true, vec![9]);
        net.save(folder.path(), false)?;
        let path = folder.path().join(WEIGHTS);
        let stored = read_weights(&path)?.tensors.into_iter();
        let mut wrapped: Tensors = stored.map(|(n, t)| (format!("module.{n}"), t)).collect();
        // PyTorch counts batches as a 64-bit integer.
        let name = "module.features.1.num_batches_tracked";
        wrapped.insert(name.into(), Tensor::new(7u32, &Device::Cpu)?);
        write_tensors(&path, &wrapped, HashMap::new())?;
        assert_eq!(Vgg::load(folder.path(), &Device::Cpu)?.fold()?, net.fold()?);
        assert_eq!(VggConfig::of_weights(&path)?.cfg, net.config.cfg);
        Ok(())
    }
}
