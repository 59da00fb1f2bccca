//! `export`: a model under others' names, for PyTorch.

use super::hint::Complaint;
use super::input::load_network;
use super::output::Output;
use super::units::{bytes, grouped};
use crate::vgg::{Export, Naming, Precision};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `export`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model: a folder with model.safetensors and config.json, such as `pruned` in a run's
    /// folder, or a safetensors file or the index of several.
    model: PathBuf,
    /// What a file without config.json holds, see `compress --arch`.
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Folder for the weights and config.json.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Names of the tensors: torchvision's, or those of timm on Hugging Face.
    #[arg(long, value_enum, default_value_t)]
    names: Naming,
    /// Precision of the weights; biases and normalization stay in single precision.
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    /// Most bytes of a file, such as 500MB: several files and their index.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    shard: Option<u64>,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let device = candle_core::Device::Cpu;
    let (network, weights) = load_network(&args.model, args.arch.as_deref(), &device)?;
    let beside = weights.parent().map(|p| p.canonicalize());
    if args.out.is_dir() && beside.is_some_and(|p| p.ok() == args.out.canonicalize().ok()) {
        return Err(Complaint::input("the export would overwrite the model")
            .at(args.out.display())
            .try_("another folder for `--out`")
            .into());
    }
    let export = Export {
        naming: args.names,
        precision: args.precision,
        zero_biases: true,
        shard_bytes: args.shard,
    };
    let files = network.export(&args.out, &export)?;
    let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |m| m.len());
    let total: u64 = files.iter().map(size).sum();
    output.result(&format!(
        "{}: {}, {} parameters in {} file{}, {} bytes",
        args.out.display(),
        network.config.architecture,
        grouped(network.config.parameters() as u64),
        files.len(),
        if files.len() == 1 { "" } else { "s" },
        grouped(total)
    ));
    output.json(&json!({
        "out": args.out,
        "files": files,
        "bytes": total,
        "architecture": network.config.architecture,
        "parameters": network.config.parameters(),
    }));
    Ok(ExitCode::SUCCESS)
}
