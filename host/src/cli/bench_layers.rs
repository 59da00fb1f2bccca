//! The layers that `bench` times: a built-in table, or a file.

use super::hint::Complaint;
use super::units;
use crate::search::LayerKey;
use anyhow::Result;
use serde::Deserialize;
use shared::act::Act;
use shared::message::BenchLayer;
use shared::spec::{Encoding, Kernel, LayerSpec};
use std::path::Path;

const KIB: u32 = 1024;

/// A layer to time with every kernel that computes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    /// Shape and formats; kernel and strips are chosen by [`Case::placed`].
    spec: LayerSpec,
    density_percent: u8,
    /// Most bytes of scratch.
    pub scratch_limit: u32,
    /// Only this kernel.
    kernel: Option<Kernel>,
}

impl Case {
    /// Such as `16x16x64->64`, or `512->512` for a fully connected layer.
    pub fn name(&self) -> String {
        let s = &self.spec;
        if s.in_h == 1 && s.in_w == 1 {
            return format!("{}->{}", s.c_in, s.c_out);
        }
        let k = match (s.k_h, s.k_w) {
            (3, 3) => String::new(),
            (h, w) => format!(" {h}x{w}"),
        };
        format!("{}x{}x{}->{}{k}", s.in_h, s.in_w, s.c_in, s.c_out)
    }

    /// The layer with each kernel, in the largest strips within scratch limit and `arena`.
    pub fn placed(&self, arena: u32) -> Vec<LayerKey> {
        let kernels = (0..=u8::MAX).filter_map(Kernel::from_code);
        kernels
            .filter(|kernel| self.kernel.is_none_or(|only| only == *kernel))
            .filter_map(|kernel| self.with_kernel(kernel, arena))
            .collect()
    }

    fn with_kernel(&self, kernel: Kernel, arena: u32) -> Option<LayerKey> {
        let rows = self.spec.conv_out().0;
        (1..=rows).rev().find_map(|strip_rows| {
            let spec = LayerSpec {
                kernel,
                strip_rows,
                ..self.spec
            };
            let request = BenchLayer {
                spec,
                blocks: 1,
                density_percent: self.density_percent,
                seed: 0,
            };
            // Strips that cut a tile or a pool are refused here.
            let need = firmware::bench::arena_bytes(&request).ok()?;
            let fits = need <= arena && spec.scratch_bytes() <= self.scratch_limit;
            fits.then_some(LayerKey {
                spec,
                density_percent: self.density_percent,
            })
        })
    }
}

/// What the figures are quoted for: VGG's shapes at three scratch limits and all widths,
/// pruned widths, narrow activations, sparse weights.
pub(super) fn built_in() -> Vec<Case> {
    let base = LayerSpec::conv3x3;
    let shapes = [
        LayerSpec {
            input: Act::Image,
            ..base(32, 32, 3, 32)
        },
        LayerSpec {
            pool: 2,
            ..base(32, 32, 32, 32)
        },
        base(16, 16, 64, 64),
        base(8, 8, 128, 128),
        base(4, 4, 256, 256),
        base(2, 2, 256, 256),
        LayerSpec::fully_connected(1, 1, 512, 512),
    ];
    let mut cases = Vec::new();
    for shape in shapes {
        for limit in [64, 32, 16] {
            let widths: &[u8] = if limit == 64 {
                &[8, 7, 6, 5, 4, 3, 2]
            } else {
                &[8, 4, 2]
            };
            cases.extend(
                widths
                    .iter()
                    .map(|&w_bits| case(LayerSpec { w_bits, ..shape }, limit)),
            );
        }
    }
    cases.extend(pruned_and_narrow());
    cases.extend(sparse());
    cases
}

fn pruned_and_narrow() -> Vec<Case> {
    let base = LayerSpec::conv3x3;
    let narrow = |act, w_bits| LayerSpec {
        input: act,
        output: act,
        w_bits,
        ..base(16, 16, 64, 64)
    };
    let mut cases = vec![
        case(narrow(Act::U4, 4), 64),
        case(narrow(Act::U4, 2), 64),
        case(narrow(Act::U2, 2), 64),
        case(
            LayerSpec {
                k_h: 1,
                k_w: 1,
                pad: 0,
                ..base(16, 16, 64, 64)
            },
            64,
        ),
    ];
    for w_bits in [8, 4] {
        for spec in [base(16, 16, 37, 37), base(8, 8, 37, 64), base(8, 8, 64, 37)] {
            cases.push(case(LayerSpec { w_bits, ..spec }, 64));
        }
    }
    cases
}

fn sparse() -> Vec<Case> {
    let mut cases = Vec::new();
    for (w_bits, density_percent) in [(8, 10), (8, 30), (8, 50), (4, 10), (4, 30)] {
        let spec = LayerSpec {
            w_bits,
            encoding: Encoding::Sparse,
            ..LayerSpec::conv3x3(16, 16, 64, 64)
        };
        cases.push(Case {
            density_percent,
            ..case(spec, 64)
        });
    }
    cases
}

fn case(spec: LayerSpec, limit_kib: u32) -> Case {
    Case {
        spec,
        density_percent: 100,
        scratch_limit: limit_kib * KIB,
        kernel: None,
    }
}

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
        let encoding = match self.encoding.as_deref() {
            None | Some("dense") => Encoding::Dense,
            Some("sparse") => Encoding::Sparse,
            Some(other) => return Err(format!("the encoding is dense or sparse, not `{other}`")),
        };
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
            spec,
            density_percent: self.density_percent.min(100),
            scratch_limit: limit.map_or(64 * KIB, |l| l.min(u32::MAX.into()) as u32),
            kernel: self.kernel()?,
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
        let conv = |h, w, c_in| LayerSpec {
            k_h: self.k,
            k_w: self.k,
            pad: self.k / 2,
            ..LayerSpec::conv3x3(h, w, c_in, c_out)
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
    fn the_built_in_table_names_the_rows_of_the_published_figures() {
        let cases = built_in();
        let names: Vec<String> = cases.iter().map(Case::name).collect();
        for name in ["32x32x3->32", "32x32x32->32", "2x2x256->256", "512->512"] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
        assert!(names.iter().any(|n| n.contains("37->")));
        assert!(cases.iter().all(|c| c.spec.check().is_ok()));
        assert!(cases.len() >= 60, "{}", cases.len());
    }

    #[test]
    fn strips_keep_to_both_limits() {
        for case in built_in() {
            for key in case.placed(113 * KIB) {
                assert!(key.spec.scratch_bytes() <= case.scratch_limit);
                assert_eq!(key.spec.check(), Ok(()));
            }
        }
    }

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
