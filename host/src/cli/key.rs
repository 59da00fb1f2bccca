//! `key` and `sign`: whose networks a device runs.

use super::artifact;
use super::output::Output;
use crate::sign::{PrivateKey, public_path};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `key`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file of the private key; the public one goes beside it, with .pub appended.
    #[arg(default_value = "pressboard.key")]
    path: PathBuf,
}

/// Runs `key`.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let key = PrivateKey::generate(&args.path)?;
    let public = public_path(&args.path);
    output.result(&format!(
        "{}: the private key, readable by you alone; keep it off the machines that need it not\n\
         {}: its public half, {}",
        args.path.display(),
        public.display(),
        key.public()
    ));
    output.result(&format!(
        "flash   cargo run -p host -- flash RUN --sign {} --net-version 1 --trust {}",
        args.path.display(),
        public.display()
    ));
    output.json(&json!({
        "private": args.path,
        "public": public,
        "public_key": key.public().to_string(),
    }));
    Ok(ExitCode::SUCCESS)
}

/// How a network is signed on its way to a board.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct SignArgs {
    /// Sign the network with this private key on its way.
    #[arg(long, value_name = "KEY", requires = "net_version")]
    sign: Option<PathBuf>,
    /// Its version; a device takes none below the highest it has run.
    #[arg(long, value_name = "N", requires = "sign")]
    net_version: Option<u32>,
}

impl SignArgs {
    /// What goes to the board: the file as it is, or its blob with a new signature.
    ///
    /// # Errors
    /// [`crate::sign::SignError`] of the key.
    pub fn apply(&self, file: &artifact::BlobFile) -> Result<Vec<u8>> {
        match (&self.sign, self.net_version) {
            (Some(key), Some(version)) => Ok(PrivateKey::read(key)?.sign(&file.blob(), version)),
            _ => Ok(file.bytes().to_vec()),
        }
    }
}

/// Options of `sign`.
#[derive(Debug, clap::Args)]
pub(super) struct SignFileArgs {
    /// Folder of a run, or a blob; a signature that it has is replaced.
    path: PathBuf,
    /// The private key.
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// Version of the network; a device takes none below the highest it has run.
    #[arg(long, value_name = "N")]
    net_version: u32,
    /// Where the signed blob goes [default: beside the blob, as NAME.signed.blob].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs `sign`.
pub(super) fn sign(args: &SignFileArgs, output: &Output) -> Result<ExitCode> {
    let file = artifact::open_blob(&args.path)?;
    let key = PrivateKey::read(&args.key)?;
    let out = args.out.clone().unwrap_or_else(|| beside(&file.path));
    let signed = key.sign(&file.blob(), args.net_version);
    std::fs::write(&out, &signed).with_context(|| format!("cannot write {}", out.display()))?;
    output.result(&format!(
        "{}: {} as version {}, signed with {}",
        out.display(),
        file.path.display(),
        args.net_version,
        key.public()
    ));
    output.json(&json!({
        "blob": file.path,
        "signed": out,
        "net_version": args.net_version,
        "public_key": key.public().to_string(),
    }));
    Ok(ExitCode::SUCCESS)
}

fn beside(blob: &Path) -> PathBuf {
    let stem = blob.file_stem().unwrap_or_default().to_string_lossy();
    blob.with_file_name(format!("{}.signed.blob", stem.trim_end_matches(".signed")))
}
