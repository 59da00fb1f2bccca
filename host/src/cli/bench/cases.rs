//! The layers that `bench` times: shapes and limits, each with every kernel that fits.

use crate::lower::tiled;
use crate::search::LayerKey;
use shared::act::Act;
use shared::message::BenchLayer;
use shared::pattern::Pattern;
use shared::spec::{Kernel, LayerSpec};

pub(super) const KIB: u32 = 1024;

/// All widths of weights.
const WIDTHS: [u8; 7] = [8, 7, 6, 5, 4, 3, 2];

/// What a layer is in the table for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// VGG's shapes, the published targets.
    Vgg,
    /// Widths and maps that pruning leaves, odd ones.
    Pruned,
    /// Activations of 4 and 2 bits.
    Narrow,
    /// Other kernels, strides and first layers.
    Other,
    /// MLPerf Tiny's ResNet-8.
    ResNet8,
    /// Weights that are not stored dense.
    Storage,
    /// The user's own.
    File,
}

impl Group {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Vgg,
        Self::Pruned,
        Self::Narrow,
        Self::Other,
        Self::ResNet8,
        Self::Storage,
        Self::File,
    ];

    /// The heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Vgg => "VGG's layers",
            Self::Pruned => "pruned widths, odd maps",
            Self::Narrow => "narrow activations",
            Self::Other => "other kernels and strides, first layers",
            Self::ResNet8 => "MLPerf Tiny's ResNet-8, 8 bits unless said",
            Self::Storage => "weights stored sparse, by gaps and coded",
            Self::File => "layers of the file",
        }
    }

    /// Wait states of interest beside none and the board's own: what published figures of
    /// ResNet-8 were taken at.
    pub const fn wait_states(self) -> &'static [u32] {
        match self {
            Self::ResNet8 => &[4],
            _ => &[],
        }
    }
}

/// A layer to time with every kernel that computes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    pub group: Group,
    /// Shape and formats; kernel and strips are chosen by [`Case::placed`].
    pub spec: LayerSpec,
    pub density_percent: u8,
    /// Most bytes of scratch.
    pub scratch_limit: u32,
    /// Only this kernel.
    pub kernel: Option<Kernel>,
    /// How often the layer occurs in its network.
    pub times: u64,
}

impl Case {
    /// A dense layer within `limit_kib` of scratch.
    pub fn new(group: Group, spec: LayerSpec, limit_kib: u32) -> Self {
        Self {
            group,
            spec,
            density_percent: 100,
            scratch_limit: limit_kib * KIB,
            kernel: None,
            times: 1,
        }
    }

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
        let stride = match s.stride {
            1 => String::new(),
            n => format!(" s{n}"),
        };
        format!("{}x{}x{}->{}{k}{stride}", s.in_h, s.in_w, s.c_in, s.c_out)
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
        if kernel.is_winograd() {
            return self.with_winograd(kernel, arena);
        }
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
                pattern: Pattern::Typical,
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

impl Case {
    /// A Winograd kernel in the cut that is fastest within both limits.
    fn with_winograd(&self, kernel: Kernel, arena: u32) -> Option<LayerKey> {
        let spec = LayerSpec {
            kernel,
            ..self.spec
        };
        let request = BenchLayer {
            spec,
            blocks: 1,
            density_percent: self.density_percent,
            pattern: Pattern::Typical,
            seed: 0,
        };
        let need = firmware::bench::arena_bytes(&request).ok()?;
        let rest = need - spec.scratch_bytes();
        let limit = self.scratch_limit.min(arena.checked_sub(rest)?);
        Some(LayerKey {
            spec: tiled(&spec, limit.into()).ok()?,
            density_percent: self.density_percent,
        })
    }
}

/// What the figures are quoted for.
pub(super) fn built_in() -> Vec<Case> {
    let mut cases = vgg();
    cases.extend(pruned());
    cases.extend(narrow());
    cases.extend(other());
    cases.extend(resnet8());
    cases.extend(super::storage::cases());
    cases
}

/// VGG's shapes at three limits and all widths.
fn vgg() -> Vec<Case> {
    let base = LayerSpec::conv3x3;
    let shapes = [
        image(32, 32, 3, 32),
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
    let limits = [64, 32, 16];
    let each = shapes
        .iter()
        .flat_map(|s| limits.iter().map(move |limit| (s, limit)));
    each.flat_map(|(shape, limit)| widths(Group::Vgg, shape, *limit, &WIDTHS))
        .collect()
}

fn pruned() -> Vec<Case> {
    let base = LayerSpec::conv3x3;
    let mut cases = Vec::new();
    for shape in [
        base(16, 16, 37, 37),
        base(8, 8, 37, 64),
        base(8, 8, 64, 37),
        LayerSpec {
            pool: 2,
            ..base(16, 16, 37, 53)
        },
        base(15, 15, 32, 32),
        base(24, 10, 16, 48),
        base(7, 9, 37, 37),
    ] {
        cases.extend(widths(Group::Pruned, &shape, 64, &WIDTHS));
    }
    for shape in [base(16, 16, 37, 37), base(15, 15, 32, 32)] {
        cases.extend(widths(Group::Pruned, &shape, 32, &[8, 4]));
    }
    cases
}

fn narrow() -> Vec<Case> {
    let formats = [(Act::U4, &[8, 4, 2][..]), (Act::U2, &[8, 2])];
    let shapes = [
        LayerSpec::conv3x3(16, 16, 64, 64),
        LayerSpec::conv3x3(16, 16, 37, 37),
    ];
    let mut cases = Vec::new();
    for (act, w_bits) in formats {
        for shape in shapes {
            let shape = LayerSpec {
                input: act,
                output: act,
                ..shape
            };
            cases.extend(widths(Group::Narrow, &shape, 64, w_bits));
        }
    }
    cases
}

fn other() -> Vec<Case> {
    let shapes = [
        square(16, 64, 64, 1, 1),
        square(8, 128, 256, 1, 1),
        square(16, 16, 32, 5, 1),
        square(16, 32, 37, 5, 1),
        square(16, 16, 32, 5, 2),
        square(32, 16, 32, 3, 2),
        image(32, 32, 3, 64),
        image(28, 28, 1, 16),
        image(31, 17, 3, 37),
        LayerSpec::fully_connected(1, 1, 37, 10),
        LayerSpec::fully_connected(4, 4, 64, 37),
    ];
    let cases = shapes.iter();
    cases
        .flat_map(|shape| widths(Group::Other, shape, 64, &[8, 4, 2]))
        .collect()
}

/// The convolutions and the classifier of MLPerf Tiny's image classification network. Its
/// strided layers pad one side only, which changes neither shapes nor counts.
fn resnet8() -> Vec<Case> {
    let layers = [
        (1, image(32, 32, 3, 16)),
        (2, square(32, 16, 16, 3, 1)),
        (1, square(32, 16, 32, 3, 2)),
        (1, square(16, 32, 32, 3, 1)),
        (1, square(32, 16, 32, 1, 2)),
        (1, square(16, 32, 64, 3, 2)),
        (1, square(8, 64, 64, 3, 1)),
        (1, square(16, 32, 64, 1, 2)),
        (1, LayerSpec::fully_connected(1, 1, 64, 10)),
    ];
    let mut cases = Vec::new();
    for (w_bits, limit) in [(8, 64), (8, 32), (8, 16), (4, 64), (2, 64)] {
        for (times, spec) in layers {
            let case = Case::new(Group::ResNet8, LayerSpec { w_bits, ..spec }, limit);
            cases.push(Case { times, ..case });
        }
    }
    cases
}

fn widths(group: Group, shape: &LayerSpec, limit_kib: u32, w_bits: &[u8]) -> Vec<Case> {
    let shape = *shape;
    let cases = w_bits.iter().map(|&w_bits| LayerSpec { w_bits, ..shape });
    cases
        .map(|spec| Case::new(group, spec, limit_kib))
        .collect()
}

fn image(h: u16, w: u16, c_in: u16, c_out: u16) -> LayerSpec {
    LayerSpec {
        input: Act::Image,
        ..LayerSpec::conv3x3(h, w, c_in, c_out)
    }
}

/// A convolution of a square map, padded so that stride 1 keeps its size.
fn square(side: u16, c_in: u16, c_out: u16, k: u8, stride: u8) -> LayerSpec {
    let spec = LayerSpec {
        k_h: k,
        k_w: k,
        pad: k / 2,
        stride,
        ..LayerSpec::conv3x3(side, side, c_in, c_out)
    };
    LayerSpec {
        strip_rows: spec.conv_out().0,
        ..spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_names_the_rows_of_the_published_figures() {
        let cases = built_in();
        let names: Vec<String> = cases.iter().map(Case::name).collect();
        for name in ["32x32x3->32", "32x32x32->32", "2x2x256->256", "512->512"] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
        assert!(names.iter().any(|n| n.contains("37->")));
        for case in &cases {
            assert_eq!(case.spec.check(), Ok(()), "{}", case.name());
        }
        assert!(cases.len() >= 60, "{}", cases.len());
    }

    #[test]
    fn resnet8_has_its_published_macs() {
        let cases = resnet8();
        let first = cases.iter().take(9);
        let macs: u64 = first.map(|c| c.times * c.spec.macs()).sum();
        assert_eq!(macs, 12_501_632);
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
}
