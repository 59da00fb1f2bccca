//! PyTorch's safetensors: reading and writing a VGG under torchvision's names.

use super::{Item, Vgg, VggConfig, VggError};
use crate::nn::{Rng, read_tensors, write_atomically, write_tensors};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The weights' file in a model's folder.
const WEIGHTS: &str = "model.safetensors";
/// The configuration's file in a model's folder.
const CONFIG: &str = "config.json";

impl VggConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`VggError::Io`], [`VggError::Parse`], [`VggError::Config`].
    pub fn read(path: &Path) -> Result<Self, VggError> {
        let text = fs::read_to_string(path).map_err(|source| VggError::Io {
            path: path.into(),
            source,
        })?;
        let config: Self = serde_json::from_str(&text).map_err(|e| VggError::Parse {
            path: path.into(),
            reason: e.to_string(),
        })?;
        config.validate()?;
        Ok(config)
    }
}

impl Vgg {
    /// Loads a model: a folder with `model.safetensors` and `config.json`, or a
    /// safetensors file with `config.json` beside it.
    ///
    /// # Errors
    /// [`VggError`], naming the file and the tensor.
    pub fn load(path: &Path, device: &Device) -> Result<Self, VggError> {
        let (weights, folder) = match path.is_dir() {
            true => (path.join(WEIGHTS), path.to_owned()),
            false => (
                path.to_owned(),
                path.parent().unwrap_or(Path::new("")).to_owned(),
            ),
        };
        if !weights.is_file() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(VggError::Io {
                path: weights,
                source,
            });
        }
        let config = VggConfig::read(&folder.join(CONFIG))?;
        Self::import(config, &weights, device)
    }

    /// Imports the weights of `config` from a safetensors file under PyTorch's names:
    /// `features.N.weight`, `.bias`, `.running_mean`, `.running_var`, and
    /// `classifier.weight` or `classifier.N.weight`; `F32`, `F16` or `BF16`.
    ///
    /// # Errors
    /// [`VggError`], naming the file, the tensor and both shapes.
    pub fn import(config: VggConfig, path: &Path, device: &Device) -> Result<Self, VggError> {
        let stored = read_tensors(path)?.tensors;
        // The random weights are all replaced; only the shapes matter.
        let net = Self::new(config, &mut Rng::new(0), device)?;
        let source = Source {
            path: path.to_owned(),
            tensors: &stored,
        };
        let layers = net.config.layers();
        for (i, feature) in feature_indices(&net.config).into_iter().enumerate() {
            let (conv, shape) = (&net.convs[i], &layers[i]);
            let name = format!("features.{feature}");
            let dims = [shape.c_out, shape.c_in, 3, 3];
            source.copy(&format!("{name}.weight"), &dims, &conv.weight)?;
            let bias = format!("{name}.bias");
            if let Some(var) = &conv.bias {
                source.copy(&bias, &[shape.c_out], var)?;
            }
            if let Some(norm) = &conv.norm {
                let name = format!("features.{}", feature + 1);
                let channels = [shape.c_out];
                source.copy(&format!("{name}.weight"), &channels, &norm.gamma)?;
                source.copy(&format!("{name}.bias"), &channels, &norm.beta)?;
                source.copy(
                    &format!("{name}.running_mean"),
                    &channels,
                    &norm.running_mean,
                )?;
                source.copy(&format!("{name}.running_var"), &channels, &norm.running_var)?;
                if stored.contains_key(&bias) {
                    // Normalization takes a bias before it away again: it only moves the
                    // mean.
                    let bias = source.checked(&bias, &channels)?.to_device(device)?;
                    let mean = norm.running_mean.as_detached_tensor();
                    norm.running_mean.set(&(mean - bias)?)?;
                }
            }
        }
        let names = classifier_names(&stored, net.linears.len());
        for ((linear, name), shape) in net
            .linears
            .iter()
            .zip(names)
            .zip(&layers[net.convs.len()..])
        {
            let dims = [shape.c_out, shape.c_in];
            source.copy(&format!("{name}.weight"), &dims, &linear.weight)?;
            source.copy(&format!("{name}.bias"), &[shape.c_out], &linear.bias)?;
        }
        Ok(net)
    }

    /// Writes `model.safetensors` under PyTorch's names and `config.json` into a folder,
    /// which is made if need be. With `half`, weights of convolutions and fully connected
    /// layers are stored in half precision, everything else in single.
    ///
    /// # Errors
    /// [`VggError::Io`], [`VggError::Store`].
    pub fn save(&self, folder: &Path, half: bool) -> Result<(), VggError> {
        fs::create_dir_all(folder).map_err(|source| VggError::Io {
            path: folder.into(),
            source,
        })?;
        let mut tensors = HashMap::new();
        let mut put = |name: String, var: &Var, dims: &[usize]| -> Result<(), VggError> {
            let tensor = var
                .as_detached_tensor()
                .reshape(dims)?
                .to_device(&Device::Cpu)?;
            let tensor = match half && dims.len() > 1 {
                true => tensor.to_dtype(DType::F16)?,
                false => tensor,
            };
            tensors.insert(name, tensor);
            Ok(())
        };
        let layers = self.config.layers();
        for (i, feature) in feature_indices(&self.config).into_iter().enumerate() {
            let (conv, shape) = (&self.convs[i], &layers[i]);
            let name = format!("features.{feature}");
            let dims = [shape.c_out, shape.c_in, 3, 3];
            put(format!("{name}.weight"), &conv.weight, &dims)?;
            if let Some(bias) = &conv.bias {
                put(format!("{name}.bias"), bias, &[shape.c_out])?;
            }
            if let Some(norm) = &conv.norm {
                let name = format!("features.{}", feature + 1);
                put(format!("{name}.weight"), &norm.gamma, &[shape.c_out])?;
                put(format!("{name}.bias"), &norm.beta, &[shape.c_out])?;
                put(
                    format!("{name}.running_mean"),
                    &norm.running_mean,
                    &[shape.c_out],
                )?;
                put(
                    format!("{name}.running_var"),
                    &norm.running_var,
                    &[shape.c_out],
                )?;
            }
        }
        let last = self.linears.len() - 1;
        for (i, linear) in self.linears.iter().enumerate() {
            let name = match last {
                0 => "classifier".to_owned(),
                _ => format!("classifier.{}", 3 * i),
            };
            put(
                format!("{name}.weight"),
                &linear.weight,
                linear.weight.dims(),
            )?;
            put(format!("{name}.bias"), &linear.bias, linear.bias.dims())?;
        }
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        write_tensors(&folder.join(WEIGHTS), &tensors, metadata)?;
        let path = folder.join(CONFIG);
        let mut text = serde_json::to_string_pretty(&self.config).map_err(|e| VggError::Parse {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        text.push('\n');
        Ok(write_atomically(&path, text.as_bytes())?)
    }
}

/// The index of each convolution in PyTorch's `features`.
fn feature_indices(config: &VggConfig) -> Vec<usize> {
    let mut next = 0;
    let mut indices = Vec::new();
    for item in &config.cfg {
        if let Item::Conv(_) = item {
            indices.push(next);
            // The convolution, its normalization, ReLU.
            next += if config.batch_norm { 3 } else { 2 };
        } else {
            next += 1;
        }
    }
    indices
}

/// Names of the `n` fully connected layers: `classifier` alone, or `classifier.N` in the
/// order of N.
fn classifier_names(tensors: &HashMap<String, Tensor>, n: usize) -> Vec<String> {
    let mut numbers: Vec<usize> = tensors
        .keys()
        .filter_map(|k| {
            k.strip_prefix("classifier.")?
                .strip_suffix(".weight")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    match numbers.len() == n && !tensors.contains_key("classifier.weight") {
        true => numbers.iter().map(|i| format!("classifier.{i}")).collect(),
        false if n == 1 => vec!["classifier".to_owned()],
        false => (0..n).map(|i| format!("classifier.{}", 3 * i)).collect(),
    }
}

struct Source<'a> {
    path: PathBuf,
    tensors: &'a HashMap<String, Tensor>,
}

impl Source<'_> {
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
    use super::super::evaluate;
    use super::*;
    use crate::data::Dataset;

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

    /// Models that PyTorch trained, if this checkout has them above it.
    fn reference_models() -> Option<PathBuf> {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|a| a.join("shared/models"))
            .find(|p| p.join("vgg16-half-cifar10").is_dir())
    }

    /// The 64 pictures that the reference logits belong to.
    fn pictures(reference: &HashMap<String, Tensor>) -> Result<Dataset, VggError> {
        Ok(Dataset {
            images: reference["pixels"].flatten_all()?.to_vec1()?,
            labels: vec![0; 64],
            rows: (0..64).collect(),
            class_names: (0..10).map(|i| i.to_string()).collect(),
            h: 32,
            w: 32,
            c: 3,
        })
    }

    #[test]
    fn equals_pytorch_on_the_reference_models() -> Result<(), VggError> {
        let Some(folder) = reference_models() else {
            eprintln!("SKIPPED: no shared/models/vgg16-half-cifar10 above this checkout");
            return Ok(());
        };
        // One ends in max-pooling and is in single precision, one in average pooling and
        // half.
        for (name, parameters) in [
            ("vgg16-half-cifar10", 3_684_842),
            ("vgg19-cifar10", 20_035_018),
        ] {
            let net = Vgg::load(&folder.join(name), &Device::Cpu)?;
            assert_eq!(net.config.parameters(), parameters);
            let path = folder.join(name).join("reference.safetensors");
            let reference = read_tensors(&path)?.tensors;
            let (data, folded) = (pictures(&reference)?, net.fold()?);
            let all: Vec<usize> = (0..64).collect();
            let logits = folded.logits(&data, &all);
            let expected = reference["logits"].flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(logits.len(), expected.len());
            let differences = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let worst = differences.fold(0.0, f32::max);
            eprintln!("{name}: logits differ by up to {worst:.1e}");
            assert!(worst < 1e-3, "{name}: logits differ by up to {worst}");
            // The labels are all 0 here; what counts is that it is the share of zeros.
            let zeros = expected
                .chunks_exact(10)
                .filter(|row| row.iter().all(|v| *v <= row[0]))
                .count();
            assert_eq!(evaluate(&folded, &data, &all), zeros as f64 / 64.0);
        }
        Ok(())
    }
}
