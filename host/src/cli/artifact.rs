//! What a path on the command line is: a run, a blob or a model.

use super::hint::Complaint;
use crate::run::{RunConfig, RunFolder, files};
use crate::sign;
use crate::vgg::Vgg;
use anyhow::Result;
use shared::blob::{Blob, BlobError, MAGIC, Malformed};
use shared::message::Hello;
use shared::spec::Ability;
use std::path::{Path, PathBuf};

/// Something that can be looked at.
pub(super) enum Artifact {
    /// A run folder, finished or not.
    Run {
        /// Its configuration.
        config: Box<RunConfig>,
        /// Its folder.
        dir: PathBuf,
    },
    /// A checked blob.
    Blob(BlobFile),
    /// A float network.
    Model(Box<Vgg>),
}

/// A blob that has been checked, and where it lies.
pub(super) struct BlobFile {
    /// The file.
    pub path: PathBuf,
    bytes: Vec<u8>,
}

impl BlobFile {
    /// Reads and checks a blob.
    ///
    /// # Errors
    /// A [`Complaint`] that names the file and what is wrong with it at which byte.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| cannot_read(path, &e))?;
        if let Err(error) = Blob::new_checked(&bytes) {
            return Err(Complaint::input(format!("blob: {}", describe(&error)))
                .at(path.display())
                .try_(
                    "copy the file again, or take the `model.blob` of a run that `compress` has made",
                )
                .into());
        }
        Ok(Self {
            path: path.into(),
            bytes,
        })
    }

    /// The blob.
    pub fn blob(&self) -> Blob<'_> {
        Blob::new_checked(&self.bytes).expect("the bytes were checked when they were read")
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Finds out what `path` is and loads it.
///
/// # Errors
/// Where it is none of the three, or is damaged.
pub(super) fn open(path: &Path) -> Result<Artifact> {
    if path.is_dir() {
        if !is_run(path) {
            return Ok(Artifact::Model(Box::new(load_model(path)?)));
        }
        return Ok(Artifact::Run {
            config: Box::new(RunFolder::read_config(path)?),
            dir: path.into(),
        });
    }
    if is_blob(path)? {
        return Ok(Artifact::Blob(BlobFile::read(path)?));
    }
    Ok(Artifact::Model(Box::new(load_model(path)?)))
}

/// The blob at `path`: the file itself, or that of a run.
///
/// # Errors
/// Where there is none yet, or it is damaged.
pub(super) fn open_blob(path: &Path) -> Result<BlobFile> {
    if !path.is_dir() {
        return BlobFile::read(path);
    }
    let blob = path.join(files::BLOB);
    if is_run(path) && !blob.is_file() {
        return Err(
            Complaint::input("the run has no blob yet: it is not finished")
                .at(path.display())
                .try_(format!(
                    "cargo run -p host -- compress --resume {}",
                    path.display()
                ))
                .into(),
        );
    }
    BlobFile::read(&blob)
}

/// Whether the board says that `file` is what lies in its flash and fits its SRAM.
///
/// # Errors
/// A [`Complaint`]: what needs more SRAM than there is, or did not arrive whole.
pub(super) fn check_flashed(hello: &Hello, file: &BlobFile) -> Result<(), Complaint> {
    let (header, board) = (*file.blob().header(), hello.board.as_str());
    if hello.blob != Ok(header.crc32) {
        let what = match &hello.blob {
            Ok(crc) => format!(
                "{board} has another blob in flash than was written: one with checksum {crc:08x}"
            ),
            Err(BlobError {
                what: Malformed::Signature(error),
                ..
            }) => format!("{board} refuses the blob: {}", sign::describe(error)),
            Err(error) => format!(
                "{board} has another blob in flash than was written: {}",
                describe(error)
            ),
        };
        return Err(Complaint::check(what)
            .at(file.path.display())
            .try_(match &hello.blob {
                Err(BlobError {
                    what: Malformed::Signature(error),
                    ..
                }) => sign::hint(error),
                _ => "flash it again; check the supply and the debug cable",
            }));
    }
    for (i, layer) in file.blob().layers().enumerate() {
        let kernel = Ability::of(layer.spec());
        if !hello.features.kernels.contains(kernel) {
            let name = kernel.name();
            return Err(Complaint::input(format!(
                "layer {i} needs the kernel {name}, which {board}'s firmware was built without"
            ))
            .at(file.path.display())
            .try_(format!("build the firmware with the feature `{name}`")));
        }
    }
    if header.arena_bytes > hello.arena_limit {
        return Err(Complaint::input(format!(
            "the network needs an arena of {} bytes, {board} has {}",
            header.arena_bytes, hello.arena_limit
        ))
        .at(file.path.display())
        .try_("`compress` for this board, with `--max-sram` at its limit"));
    }
    Ok(())
}

fn load_model(path: &Path) -> Result<Vgg> {
    Ok(Vgg::load(path, &candle_core::Device::Cpu)?)
}

/// A run has a log from its first moment on; a model has none.
fn is_run(dir: &Path) -> bool {
    dir.join(files::LOG).is_file()
}

fn is_blob(path: &Path) -> Result<bool> {
    let bytes = std::fs::read(path).map_err(|e| cannot_read(path, &e))?;
    let named = path.extension().is_some_and(|e| e == "blob");
    Ok(named || bytes.starts_with(&MAGIC))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Complaint {
    Complaint::input(format!("cannot read the file: {error}"))
        .at(path.display())
        .try_("check the path: a run folder, a `model.blob`, or a folder with model.safetensors")
}

/// A blob's error in words.
pub(super) fn describe(error: &shared::blob::BlobError) -> String {
    use shared::blob::Malformed as M;
    let what = match error.what {
        M::Truncated => "the file ends too early".into(),
        M::Magic => "this is no blob (it does not begin with PRSB)".into(),
        M::Version { found } => format!(
            "format version {found} is not known, this program reads version {}",
            shared::blob::VERSION
        ),
        M::Crc { stated, computed } => {
            format!("damaged: the checksum is {computed:#010x}, the file states {stated:#010x}")
        }
        M::Signature(error) => sign::describe(&error),
        M::Layer(spec) => format!("a layer makes no sense ({spec:?})"),
        other => format!("{other:?}"),
    };
    format!("{what}, at byte {}", error.at)
}
