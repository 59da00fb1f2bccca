//! Builds firmware and plugin by calling cargo where their manifests lie.

use super::{BoardError, BoardSpec};
use shared::spec::Abilities;
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
/// Lines of cargo's output that an error shows.
const SHOWN_LINES: usize = 30;

/// Builds the firmware of a board, adding Rust's target if it is missing: with all kernels,
/// or with some. The path of the ELF.
///
/// # Errors
/// [`BoardError::Build`] with what cargo said.
pub fn firmware(board: &BoardSpec, kernels: Option<Abilities>) -> Result<PathBuf, BoardError> {
    add_target(board)?;
    let mut what = format!("the firmware of {}", board.name);
    // Firmware with some kernels goes to a folder of its own, where it overwrites no other.
    let (folder, options) = match kernels {
        None => ("boards".to_string(), vec![]),
        Some(kernels) => {
            let names: Vec<&str> = kernels.iter().map(|k| k.name()).collect();
            what += &format!(" with {}", names.join(", "));
            let features = names.join(",");
            let options = ["--no-default-features", "--features", &features];
            (
                "boards-some".to_string(),
                options.map(String::from).to_vec(),
            )
        }
    };
    let target_dir = target_folder().join(folder);
    let elf = target_dir
        .join(&board.target)
        .join("release")
        .join(&board.name);
    cargo_build(&board.folder, &target_dir, &options, &what, &elf)?;
    Ok(elf)
}

/// Builds the plugin for QEMU. The path of the library.
///
/// # Errors
/// [`BoardError::Build`] with what cargo said.
pub fn qemu_plugin() -> Result<PathBuf, BoardError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu-plugin");
    let target_dir = target_folder().join("qemu-plugin");
    let library = target_dir.join("release/libpressboard_qemu_plugin.so");
    cargo_build(&folder, &target_dir, &[], "the QEMU plugin", &library)?;
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
