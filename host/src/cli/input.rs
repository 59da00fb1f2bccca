//! The network and the pictures that a command works on.

use super::device::DeviceArgs;
use super::hint::Complaint;
use crate::compress::{Input, Ui};
use crate::data::{self, Crop, Dataset, Source, Splits, Stream, StreamSplits};
use crate::nn::weight_files;
use crate::vgg::{Vgg, VggConfig, model_files};
use anyhow::{Context, Result};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Options that choose a network and pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
pub(super) struct InputArgs {
    /// The trained network: a folder with model.safetensors and config.json, or a safetensors
    /// file, or the index of several, under torchvision's or timm's names [default: the
    /// bundled one].
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// What the file holds, where no config.json says it: vgg-small, vgg11, vgg13, vgg16,
    /// vgg19, the last four with -imagenet or -bn-imagenet behind them, or a config.json.
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
}

/// Options that choose pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
pub(super) struct DataArgs {
    /// Pictures: parquet files, CIFAR-10 binary batches, or a folder per class [default: the
    /// bundled sample].
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Pictures of any size, cut to squares of this many pixels and left on the disk but for a
    /// part of each kind: trainings read them as they need them (random crops), statistics and
    /// accuracies are of centre crops of up to 2,048 training, 5,000 validation and 5,000 test
    /// pictures.
    #[arg(long, value_name = "SIDE", value_parser = clap::value_parser!(u16).range(8..=1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<u16>,
}

/// Pictures of a stream that are held in memory: of the training part, and of each of the others.
const HELD: [usize; 2] = [2048, 5000];

/// Pictures, loaded.
pub(super) struct Loaded {
    /// In memory.
    pub splits: Splits,
    /// All training pictures, where they are streamed.
    pub stream: Option<Stream>,
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models")
        .join(name)
}

impl DataArgs {
    /// Where the pictures lie.
    pub fn path(&self) -> PathBuf {
        self.data
            .clone()
            .unwrap_or_else(|| bundled("cifar10-sample"))
    }

    /// Loads the pictures, or opens them and loads a part of each kind.
    ///
    /// # Errors
    /// [`data::DataError`].
    pub fn load(&self) -> Result<Loaded, data::DataError> {
        let Some(streams) = self.open()? else {
            let splits = data::load(&self.path())?;
            return Ok(Loaded {
                splits,
                stream: None,
            });
        };
        let [train, others] = HELD;
        let test = streams.test.as_ref().map(|test| first(test, others));
        Ok(Loaded {
            splits: Splits {
                train: first(&streams.train, train)?,
                validation: first(&streams.validation, others)?,
                test: test.transpose()?,
            },
            stream: Some(streams.train),
        })
    }

    /// Opens the pictures, where they are to be cropped.
    ///
    /// # Errors
    /// [`data::DataError`].
    pub fn open(&self) -> Result<Option<StreamSplits>, data::DataError> {
        let crop = self.crop.map(|side| Crop::new(side.into()));
        crop.map(|crop| data::open(&self.path(), crop)).transpose()
    }

    /// Up to `most` test pictures; where there are none, validation pictures stand in.
    ///
    /// # Errors
    /// [`data::DataError`].
    pub fn test_images(&self, most: Option<usize>) -> Result<Dataset, data::DataError> {
        match self.open()? {
            None => {
                let splits = data::load(&self.path())?;
                Ok(splits.test.unwrap_or(splits.validation))
            }
            Some(streams) => {
                let test = streams.test.unwrap_or(streams.validation);
                first(&test, most.unwrap_or(HELD[1]))
            }
        }
    }

    /// What the pictures are called, their size with it where they were cut to it.
    fn name(&self) -> String {
        let name = name_of(&self.path());
        match self.crop {
            None => name,
            Some(side) => format!("{name}, cropped to {side}"),
        }
    }
}

/// The first `n` pictures of a stream, or all that there are.
fn first(stream: &Stream, n: usize) -> Result<Dataset, data::DataError> {
    let all: Vec<usize> = (0..stream.len().min(n)).collect();
    stream.part(&all)
}

impl InputArgs {
    /// What is not given here is taken from `other`.
    pub fn or(self, other: Self) -> Self {
        let same_model = self.model.is_none();
        Self {
            arch: self.arch.or(if same_model { other.arch } else { None }),
            model: self.model.or(other.model),
            data: DataArgs {
                crop: self.data.crop.or(other.data.crop),
                data: self.data.data.or(other.data.data),
            },
        }
    }

    /// The same with paths that hold in any working directory.
    pub fn absolute(self) -> Self {
        let full = |path: PathBuf| path.canonicalize().unwrap_or(path);
        Self {
            model: self.model.map(full),
            arch: self.arch.map(|arch| match Path::new(&arch).is_file() {
                true => full(arch.clone().into()).display().to_string(),
                false => arch,
            }),
            data: DataArgs {
                data: self.data.data.map(full),
                ..self.data
            },
        }
    }

    /// Where the network lies.
    pub fn model_path(&self) -> PathBuf {
        let bundled = || bundled("vgg-small-cifar10");
        self.model.clone().unwrap_or_else(bundled)
    }

    /// Loads network and pictures for `device`, and checks that they fit each other.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn load(&self, device: &DeviceArgs, ui: &Ui) -> Result<Input> {
        let device = device.open(ui)?;
        let (network, weights) = load_network(&self.model_path(), self.arch.as_deref(), &device)?;
        let Loaded { splits, stream } = self.data.load()?;
        let (input, classes) = (network.config.input, network.config.num_classes);
        let parts = [
            Some(&splits.train),
            Some(&splits.validation),
            splits.test.as_ref(),
        ];
        for part in parts.into_iter().flatten() {
            part.check_fits(input, classes)?;
        }
        check_not_empty(&splits.train, "training", &self.data)?;
        check_not_empty(&splits.validation, "validation", &self.data)?;
        Ok(Input {
            model: network.config.architecture.clone(),
            model_bytes: bytes_of(&weights)?,
            network,
            splits,
            stream,
            dataset: self.data.name(),
            device,
        })
    }
}

fn check_not_empty(part: &Dataset, which: &str, data: &DataArgs) -> Result<()> {
    if part.is_empty() {
        return Err(
            Complaint::input(format!("the data has no {which} pictures"))
                .at(data.path().display())
                .try_("more pictures: every tenth is kept for validation")
                .into(),
        );
    }
    Ok(())
}

/// The network, and the file that its weights came from.
pub(super) fn load_network(
    path: &Path,
    arch: Option<&str>,
    device: &Device,
) -> Result<(Vgg, PathBuf)> {
    let (weights, beside) = model_files(path);
    let network = match arch {
        Some(arch) => Vgg::import(architecture(arch)?, existing(&weights)?, device)?,
        None if beside.is_file() => Vgg::load(path, device)?,
        None => Vgg::import(
            VggConfig::of_weights(existing(&weights)?)?,
            &weights,
            device,
        )?,
    };
    Ok((network, weights))
}

/// All bytes of the weights, file after file.
fn bytes_of(weights: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for file in weight_files(weights)? {
        let read = std::fs::read(&file);
        bytes.extend(read.with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(bytes)
}

fn existing(weights: &Path) -> Result<&Path, Complaint> {
    if weights.is_file() {
        return Ok(weights);
    }
    Err(Complaint::input("weights: there is no such file")
        .at(weights.display())
        .try_("check the path: `--model` takes a folder with model.safetensors, or a .safetensors file"))
}

pub(super) fn architecture(arch: &str) -> Result<VggConfig> {
    if let Some(preset) = VggConfig::preset(arch) {
        return Ok(preset);
    }
    if Path::new(arch).is_file() {
        return Ok(VggConfig::read(Path::new(arch))?);
    }
    Err(Complaint::input(format!("no architecture `{arch}`"))
        .at("--arch")
        .try_(format!(
            "{}, or the path of a config.json",
            VggConfig::PRESETS.join(", ")
        ))
        .into())
}

fn name_of(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.into());
    full.file_stem()
        .map_or("data".into(), |n| n.to_string_lossy().into_owned())
}
