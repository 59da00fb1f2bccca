//! Layers that the user names, from a TOML file.

use super::cases::{Case, Group, KIB};
use crate::cli::hint::Complaint;
use crate::cli::units;
use anyhow::Result;
use serde::Deserialize;
use shared::act::Act;
use shared::spec::{Encoding, Kernel, LayerSpec};
use std::path::Path;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    layer: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    shape: String,
    #[serde(default = "three")]
    k: u8,
    #[serde(default = "one")]
    stride: u8,
    #[serde(default)]
    pool: bool,
    #[serde(default = "eight")]
    w_bits: u8,
    #[serde(default = "eight")]
    a_bits: u8,
    #[serde(default)]
    encoding: Option<String>,
    #[serde(default = "hundred")]
    density_percent: u8,
    #[serde(default)]
    scratch_limit: Option<String>,
    #[serde(default)]
    kernel: Option<String>,
}

fn one() -> u8 {
    1
}

fn three() -> u8 {
    3
}

fn eight() -> u8 {
    8
}

fn hundred() -> u8 {
    100
}

/// Reads layers from a TOML file.
///
/// # Errors
/// A [`Complaint`] that names the file and the layer.
pub(super) fn from_file(path: &Path) -> Result<Vec<Case>, Complaint> {
    let complaint = |what: String| {
        Complaint::input(what)
            .at(path.display())
            .try_("[[layer]] with shape = \"16x16x64->64\" or \"512->512\"; see `bench --help`")
    };
    let text = std::fs::read_to_string(path)
        .map_err(|e| complaint(format!("cannot read the layers: {e}")))?;
    let file: File = toml::from_str(&text).map_err(|e| complaint(format!("layers: {e}")))?;
    if file.layer.is_empty() {
        return Err(complaint("there is no layer".into()));
    }
    let entries = file.layer.iter().enumerate();
    entries
        .map(|(i, entry)| {
            entry
                .to_case()
                .map_err(|what| complaint(format!("layer {i} (`{}`): {what}", entry.shape)))
        })
        .collect()
}

impl Entry {
    fn to_case(&self) -> Result<Case, String> {
        let act = match self.a_bits {
            2 => Act::U2,
            4 => Act::U4,
            8 => Act::U8,
            other => return Err(format!("activations have 2, 4 or 8 bits, not {other}")),
        };
        let encoding = self.encoding()?;
        let shape = self.spec()?;
        let spec = LayerSpec {
            input: if shape.input == Act::Image {
                Act::Image
            } else {
                act
            },
            output: act,
            w_bits: self.w_bits,
            pool: if self.pool { 2 } else { 1 },
            encoding,
            ..shape
        };
        spec.check()
            .map_err(|e| format!("the firmware cannot run it: {e:?}"))?;
        let limit = self
            .scratch_limit
            .as_deref()
            .map(units::bytes)
            .transpose()?;
        Ok(Case {
            group: Group::File,
            spec,
            density_percent: self.density_percent.min(100),
            scratch_limit: limit.map_or(64 * KIB, |l| l.min(u32::MAX.into()) as u32),
            kernel: self.kernel()?,
            times: 1,
        })
    }

    fn encoding(&self) -> Result<Encoding, String> {
        let Some(name) = self.encoding.as_deref() else {
            return Ok(Encoding::Dense);
        };
        let found = Encoding::ALL.into_iter().find(|e| e.name() == name);
        found.ok_or_else(|| {
            let names = Encoding::ALL.map(Encoding::name).join(", ");
            format!("no encoding `{name}`: there is {names}")
        })
    }

    fn kernel(&self) -> Result<Option<Kernel>, String> {
        let Some(name) = self.kernel.as_deref() else {
            return Ok(None);
        };
        let all: Vec<Kernel> = (0..=u8::MAX).filter_map(Kernel::from_code).collect();
        match all.iter().find(|k| k.name() == name) {
            Some(kernel) => Ok(Some(*kernel)),
            None => {
                let names: Vec<&str> = all.iter().map(|k| k.name()).collect();
                Err(format!("no kernel `{name}`: there is {}", names.join(", ")))
            }
        }
    }

    fn spec(&self) -> Result<LayerSpec, String> {
        let bad = || "a shape is HxWxC->C (convolution) or C->C (fully connected)".to_string();
        let (from, to) = self.shape.split_once("->").ok_or_else(bad)?;
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| bad());
        let dims = from.split('x').map(number).collect::<Result<Vec<_>, _>>()?;
        let c_out = number(to)?;
        let conv = |h, w, c_in| {
            let spec = LayerSpec {
                k_h: self.k,
                k_w: self.k,
                pad: self.k / 2,
                stride: self.stride,
                ..LayerSpec::conv3x3(h, w, c_in, c_out)
            };
            let strip_rows = spec.conv_out().0;
            LayerSpec { strip_rows, ..spec }
        };
        match dims[..] {
            [c_in] => Ok(LayerSpec::fully_connected(1, 1, c_in, c_out)),
            // Nothing but an image has so few channels.
            [h, w, c_in] if c_in <= 3 => Ok(LayerSpec {
                input: Act::Image,
                ..conv(h, w, c_in)
            }),
            [h, w, c_in] => Ok(conv(h, w, c_in)),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::spec::Kind;

    #[test]
    fn a_file_says_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("layers.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("write");
            from_file(&path).map_err(|e| e.to_string())
        };
        let cases = read("[[layer]]\nshape = \"8x8x16->24\"\nw_bits = 4\nscratch_limit = \"16KiB\"\n[[layer]]\nshape = \"64->10\"").expect("valid");
        assert_eq!(cases[0].name(), "8x8x16->24");
        assert_eq!(
            (cases[0].spec.w_bits, cases[0].scratch_limit),
            (4, 16 * KIB)
        );
        assert_eq!(cases[1].spec.kind, Kind::FullyConnected);
        for (text, reason) in [
            ("", "no layer"),
            ("[[layer]]\nshape = \"8x8\"", "a shape is"),
            ("[[layer]]\nshape = \"8x8x4->4\"\nw_bits = 9", "WeightBits"),
            (
                "[[layer]]\nshape = \"8x8x4->4\"\nkernel = \"x\"",
                "there is direct",
            ),
            ("[[layer]]\nshape = \"8x8x4->4\"\nbits = 4", "unknown field"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }
}
