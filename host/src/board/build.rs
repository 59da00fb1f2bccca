//! Builds firmware and plugin by calling cargo where their manifests lie.

use super::{BoardError, BoardSpec};
use shared::spec::Abilities;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What cargo must not inherit: a flag here would make another firmware of it.
const SCRUBBED: &[&str] = &[
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTUP_TOOLCHAIN",
    "CARGO",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "RUSTC",
    "RUSTDOC",
];
/// Names the file of the public key that firmware with the feature `signed` trusts.
const TRUST: &str = "PRESSBOARD_TRUST";
/// Lines of cargo's output that an error shows.
const SHOWN_LINES: usize = 30;

/// Which firmware to build; the default has all kernels, one place for a network, and runs
/// anybody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// Only these kernels.
    pub kernels: Option<Abilities>,
    /// Run only networks signed with the public key in this file.
    pub trust: Option<PathBuf>,
    /// Have two slots, so that the network can be replaced.
    pub two_slots: bool,
}

impl Build {
    /// Whether the firmware writes its own flash, which QEMU's machines do not let it.
    #[must_use]
    pub fn writes_flash(&self) -> bool {
        self.trust.is_some() || self.two_slots
    }

    /// Most bytes that a network may have, signature included.
    #[must_use]
    pub fn network_limit(&self, board: &BoardSpec) -> u32 {
        let blob = &board.blob;
        match (self.two_slots, &self.trust) {
            (true, _) => blob.slot_bytes - super::spec::SLOT_HEADER,
            (false, Some(_)) => blob.ledger() - blob.base,
            (false, None) => blob.bytes,
        }
    }

    /// What tells firmware that writes its flash apart.
    fn kind(&self) -> &'static str {
        match (&self.trust, self.two_slots) {
            (Some(_), true) => "signed-update",
            (Some(_), false) => "signed",
            (None, _) => "update",
        }
    }

    /// The board's Cargo features, where they are not the default ones.
    fn features(&self) -> Option<String> {
        let kernels = self.kernels.iter().flat_map(|all| all.iter());
        let mut features: Vec<&str> = kernels.map(|k| k.name()).collect();
        features.extend(self.kernels.is_some().then_some("bench"));
        features.extend(self.trust.is_some().then_some("signed"));
        features.extend(self.two_slots.then_some("update"));
        (*self != Self::default()).then(|| features.join(","))
    }
}

/// Builds the firmware of a board, adding Rust's target if it is missing. The path of the
/// ELF.
///
/// # Errors
/// [`BoardError::Build`] with what cargo said.
pub fn firmware(board: &BoardSpec, build: &Build) -> Result<PathBuf, BoardError> {
    add_target(board)?;
    let mut what = format!("the firmware of {}", board.name);
    let mut options = Vec::new();
    if let Some(features) = build.features() {
        what += &format!(" with {}", features.replace(',', ", "));
        if build.kernels.is_some() {
            options.push("--no-default-features".to_string());
        }
        options.extend(["--features".to_string(), features]);
    }
    // What is built otherwise goes to a folder of its own, where it overwrites no other.
    let folder = match (&build.kernels, build.writes_flash()) {
        (None, false) => "boards",
        (Some(_), false) => "boards-some",
        (_, true) => "boards-update",
    };
    let target_dir = target_folder().join(folder);
    let elf = target_dir
        .join(&board.target)
        .join("release")
        .join(&board.name);
    let trust = build.trust.as_deref();
    let make = || cargo_build(&board.folder, &target_dir, &options, trust, &what, &elf);
    if build.writes_flash() {
        return set_aside(&target_dir, &elf, build.kind(), make);
    }
    make()?;
    Ok(elf)
}

/// Makes one of several ELFs that share a folder with all they are made of, one at a time,
/// and keeps it under a name of its own.
fn set_aside(
    target_dir: &Path,
    elf: &Path,
    kind: &str,
    make: impl FnOnce() -> Result<(), BoardError>,
) -> Result<PathBuf, BoardError> {
    let error = |e: std::io::Error| BoardError::file(target_dir, e);
    std::fs::create_dir_all(target_dir).map_err(error)?;
    let turn = File::create(target_dir.join("turn")).map_err(error)?;
    turn.lock().map_err(error)?;
    make()?;
    let kept = elf.with_extension(kind);
    let copy = tempfile::NamedTempFile::new_in(target_dir).map_err(error)?;
    std::fs::copy(elf, copy.path()).map_err(error)?;
    copy.persist(&kept).map_err(|e| error(e.error))?;
    Ok(kept)
}

/// Builds the plugin for QEMU. The path of the library.
///
/// # Errors
/// [`BoardError::Build`] with what cargo said.
pub fn qemu_plugin() -> Result<PathBuf, BoardError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu-plugin");
    let target_dir = target_folder().join("qemu-plugin");
    let library = target_dir.join("release/libpressboard_qemu_plugin.so");
    cargo_build(&folder, &target_dir, &[], None, "the QEMU plugin", &library)?;
    Ok(library)
}

/// Where builds for others than the host go: beside the host's own.
fn target_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pressboard")
}

/// Runs cargo in `folder`; where `product` is not there yet, says that this takes a while.
fn cargo_build(
    folder: &Path,
    target_dir: &Path,
    options: &[String],
    trust: Option<&Path>,
    what: &str,
    product: &Path,
) -> Result<(), BoardError> {
    if !product.exists() {
        eprintln!("building {what} (once, about half a minute)");
    }
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--quiet"])
        .args(options)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target_dir);
    for name in SCRUBBED.iter().filter(|&&name| name != "CARGO_TARGET_DIR") {
        cargo.env_remove(name);
    }
    cargo.env_remove(TRUST);
    if let Some(key) = trust {
        let key = key.canonicalize().map_err(|e| BoardError::file(key, e))?;
        cargo.env(TRUST, key);
    }
    let output = cargo.output().map_err(|e| BoardError::Build {
        what: what.into(),
        output: e.to_string(),
    })?;
    if output.status.success() {
        Ok(())
    } else {
        Err(BoardError::Build {
            what: what.into(),
            output: end_of(&output),
        })
    }
}

/// Adds the target that the board's firmware is compiled for, and says so.
fn add_target(board: &BoardSpec) -> Result<(), BoardError> {
    let Ok(listed) = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .current_dir(&board.folder)
        .output()
    else {
        // Without rustup the target is somebody else's care; cargo says if it is missing.
        return Ok(());
    };
    if String::from_utf8_lossy(&listed.stdout)
        .lines()
        .any(|line| line == board.target)
    {
        return Ok(());
    }
    eprintln!(
        "adding the Rust target {} (rustup target add)",
        board.target
    );
    let added = Command::new("rustup")
        .args(["target", "add", &board.target])
        .current_dir(&board.folder)
        .output();
    match added {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(BoardError::Build {
            what: format!("target {}", board.target),
            output: end_of(&output),
        }),
        Err(e) => Err(BoardError::Build {
            what: format!("target {}", board.target),
            output: e.to_string(),
        }),
    }
}

fn end_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
