//! Puts linker scripts where the linker looks, and the bundled blob where the source looks.

use std::{env, fs, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("memory.x", out.join("memory.x")).expect("memory.x is part of the board");
    println!("cargo:rustc-link-search={}", out.display());
    // Without a bundled blob the section is empty, and Hello says that there is none.
    let blob = fs::read("default.blob").unwrap_or_default();
    fs::write(out.join("default.blob"), blob).expect("OUT_DIR can be written");
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=default.blob");
    println!("cargo:rerun-if-changed=build.rs");
}
