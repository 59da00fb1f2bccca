//! Puts linker scripts where the linker looks, and the bundled blob where the source looks.

use std::{env, fs, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("memory.x", out.join("memory.x")).expect("memory.x is part of the board");
    println!("cargo:rustc-link-search={}", out.display());
    // Without a bundled blob the section is empty, and Hello says that there is none.
    let blob = fs::read("default.blob").unwrap_or_default();
    fs::write(out.join("default.blob"), blob).expect("OUT_DIR can be written");
    if env::var_os("CARGO_FEATURE_SIGNED").is_some() {
        fs::write(out.join("trust.key"), trusted_key()).expect("OUT_DIR can be written");
    }
    println!("cargo:rerun-if-env-changed=PRESSBOARD_TRUST");
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=default.blob");
    println!("cargo:rerun-if-changed=build.rs");
}

/// The public key that a firmware with the feature `signed` trusts, out of the file that
/// PRESSBOARD_TRUST names: `ed25519-public:` and 64 hexadecimal digits.
fn trusted_key() -> Vec<u8> {
    let path = env::var("PRESSBOARD_TRUST").expect(
        "the feature `signed` needs PRESSBOARD_TRUST, the file of the public key that \
         `cargo run -p host -- key` writes",
    );
    println!("cargo:rerun-if-changed={path}");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let digits = text.trim().strip_prefix("ed25519-public:");
    let digits = digits.unwrap_or_else(|| panic!("{path} is no public key"));
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let key: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    key.filter(|key| key.len() == 32)
        .unwrap_or_else(|| panic!("{path} does not hold 32 bytes in hexadecimal"))
}
