//! How much flash each kernel takes: the functions of a built firmware, by their names.
//!
//! A Rust function belongs to the module below `firmware::kernels` that its symbol names, a
//! piece of assembly to the stage behind `pressboard_` in its name. What the compiler has
//! inlined counts for the function that it went into.

use super::Firmware;
use shared::spec::{Encoding, Kernel, Kind, LayerSpec};

/// A part of the engine that some layers need and others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The direct kernel's loops.
    Direct,
    /// Layers whose weights are multiplied as they are packed.
    Straight,
    /// First layers of few channels.
    Narrow,
    /// Activations to 16-bit lanes.
    Expand,
    /// Weights to 16-bit lanes.
    Unpack,
    /// Weights out of sparse and coded streams.
    Decode,
    /// Pooling, requantization and storing of the direct kernels.
    Output,
    /// What both Winograd kernels share.
    Winograd,
    /// F(4x4,3x3).
    Winograd4,
    /// F(2x2,3x3).
    Winograd2,
    /// The global average pool.
    GlobalAvgPool,
    /// The blob's reader, the loop over layers, the arithmetic of memory plans.
    Engine,
    /// Messages, start-up, logging, libraries.
    Application,
}

impl Part {
    /// All parts, kernels first.
    pub const ALL: [Self; 13] = [
        Self::Direct,
        Self::Straight,
        Self::Narrow,
        Self::Expand,
        Self::Unpack,
        Self::Decode,
        Self::Output,
        Self::Winograd,
        Self::Winograd4,
        Self::Winograd2,
        Self::GlobalAvgPool,
        Self::Engine,
        Self::Application,
    ];

    /// The name that tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Straight => "straight",
            Self::Narrow => "narrow",
            Self::Expand => "expanding activations",
            Self::Unpack => "unpacking weights",
            Self::Decode => "decoding weights",
            Self::Output => "output of direct kernels",
            Self::Winograd => "winograd, common",
            Self::Winograd4 => "winograd4",
            Self::Winograd2 => "winograd2",
            Self::GlobalAvgPool => "global average pool",
            Self::Engine => "engine",
            Self::Application => "application",
        }
    }

    /// Whether this is a kernel or a stage of one.
    #[must_use]
    pub const fn is_kernel(self) -> bool {
        !matches!(self, Self::Engine | Self::Application)
    }

    /// Whether the kernel of `spec` runs this part.
    #[must_use]
    pub fn serves(self, spec: &LayerSpec) -> bool {
        let direct = spec.has_weights() && spec.kernel == Kernel::Direct;
        let straight = spec.has_weights() && spec.is_straight();
        match self {
            Self::Direct => direct && !straight,
            Self::Output => (direct && !straight) || spec.kernel == Kernel::Narrow,
            Self::Narrow => spec.kernel == Kernel::Narrow,
            Self::Straight => straight,
            Self::Expand => direct,
            Self::Unpack => spec.has_weights() && !straight,
            Self::Decode => spec.has_weights() && spec.encoding != Encoding::Dense,
            Self::Winograd => matches!(spec.kernel, Kernel::Winograd4 | Kernel::Winograd2),
            Self::Winograd4 => spec.kernel == Kernel::Winograd4,
            Self::Winograd2 => spec.kernel == Kernel::Winograd2,
            Self::GlobalAvgPool => spec.kind == Kind::GlobalAvgPool,
            Self::Engine | Self::Application => false,
        }
    }

    /// The part that a symbol belongs to.
    fn of(symbol: &str) -> Self {
        if let Some(stage) = symbol.strip_prefix("pressboard_") {
            return Self::of_stage(stage);
        }
        if let Some(module) = identifier_after(symbol, "7kernels") {
            return Self::of_stage(module);
        }
        if symbol.contains("6shared6coding") {
            return Self::Decode;
        }
        let engine = [
            "8firmware6engine",
            "6shared4blob",
            "6shared4spec",
            "6shared8winograd",
        ];
        match engine.iter().any(|path| symbol.contains(path)) {
            true => Self::Engine,
            false => Self::Application,
        }
    }

    /// By a module's name, or by what comes after `pressboard_`.
    fn of_stage(stage: &str) -> Self {
        let starts = |names: &[&str]| names.iter().any(|name| stage.starts_with(name));
        if let Some(rest) = stage.strip_prefix("winograd") {
            return match rest {
                "" => Self::Winograd,
                _ if rest.contains('2') => Self::Winograd2,
                _ => Self::Winograd4,
            };
        }
        if starts(&["conv", "dot"]) {
            Self::Direct
        } else if starts(&["expand", "lanes"]) {
            Self::Expand
        } else if starts(&["decode", "coded", "zero", "bitmap", "gaps"]) {
            Self::Decode
        } else if starts(&["straight"]) {
            Self::Straight
        } else if starts(&["narrow"]) {
            Self::Narrow
        } else if starts(&["unpack"]) {
            Self::Unpack
        } else if starts(&["output"]) {
            Self::Output
        } else if starts(&["global_avg_pool"]) {
            Self::GlobalAvgPool
        } else if starts(&["run_layer"]) {
            Self::Engine
        } else {
            Self::Application
        }
    }
}

/// The identifier that follows `module` in a mangled name, which states its length.
fn identifier_after<'a>(symbol: &'a str, module: &str) -> Option<&'a str> {
    let rest = &symbol[symbol.find(module)? + module.len()..];
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    let len = rest[..digits].parse::<usize>().ok()?;
    rest.get(digits..digits + len)
}

/// The flash that the parts of one firmware take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeSizes {
    bytes: Vec<(Part, usize)>,
    total: usize,
}

impl CodeSizes {
    /// Adds up the functions of `firmware`; constants count for the application.
    #[must_use]
    pub fn of(firmware: &Firmware) -> Self {
        let total = firmware.sections.iter().map(|(_, b)| b.len()).sum();
        let sized = |part: Part| {
            let own = firmware.functions().filter(|f| Part::of(f.name) == part);
            own.map(|f| f.bytes as usize).sum::<usize>()
        };
        let mut bytes: Vec<(Part, usize)> = Part::ALL
            .into_iter()
            .map(|part| (part, sized(part)))
            .collect();
        let named: usize = bytes.iter().map(|(_, n)| n).sum();
        for (part, n) in &mut bytes {
            if *part == Part::Application {
                *n += total - named.min(total);
            }
        }
        Self { bytes, total }
    }

    /// Bytes of one part.
    #[must_use]
    pub fn part(&self, part: Part) -> usize {
        let found = self.bytes.iter().find(|(p, _)| *p == part);
        found.map_or(0, |(_, bytes)| *bytes)
    }

    /// Bytes of the kernels, with all their stages, that these layers run.
    #[must_use]
    pub fn kernels_of<'a>(&self, layers: impl Iterator<Item = &'a LayerSpec> + Clone) -> usize {
        let used = self.bytes.iter();
        used.filter(|(part, _)| layers.clone().any(|spec| part.serves(spec)))
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// Bytes of a firmware that has no other kernels than these layers run.
    #[must_use]
    pub fn with_only(&self, layers: impl Iterator<Item = LayerSpec>) -> usize {
        let layers: Vec<LayerSpec> = layers.collect();
        self.total - self.kernels() + self.kernels_of(layers.iter())
    }

    /// Bytes of all kernels.
    #[must_use]
    pub fn kernels(&self) -> usize {
        let kernels = self.bytes.iter().filter(|(part, _)| part.is_kernel());
        kernels.map(|(_, bytes)| bytes).sum()
    }

    /// Bytes that the firmware loads into flash, the bundled blob left out.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::spec;

    #[test]
    fn symbols_name_their_part() {
        for (symbol, part) in [
            ("pressboard_dot", Part::Direct),
            ("pressboard_unpack7", Part::Unpack),
            ("_ZN6shared6coding5delta6decode17hE", Part::Decode),
            ("_ZN8firmware7kernels6expand4rows17hE", Part::Expand),
            ("pressboard_straight8", Part::Straight),
            ("pressboard_winograd_multiply", Part::Winograd4),
            ("pressboard_winograd_output2_pooled", Part::Winograd2),
            ("pressboard_mark_begin", Part::Application),
            (
                "_ZN8firmware7kernels4conv3run17hd3b9d982317929ceE",
                Part::Direct,
            ),
            (
                "_ZN8firmware7kernels8winograd3run17h837bcac29a030b96E",
                Part::Winograd,
            ),
            ("_RNvNtNtCs1_8firmware7kernels6output5words", Part::Output),
            (
                "_ZN8firmware7kernels9run_layer17h4fa8a69cf848bfdeE",
                Part::Engine,
            ),
            ("_ZN6shared4blob5parse4Blob5layer17hE", Part::Engine),
            ("main", Part::Application),
        ] {
            assert_eq!(Part::of(symbol), part, "{symbol}");
        }
    }

    #[test]
    fn the_parts_of_the_shipped_firmware_add_up() {
        let (board, _) = spec::find("stm32f405").expect("a board of this project");
        let firmware = Firmware::build(&board).expect("builds");
        let sizes = CodeSizes::of(&firmware);
        let sum: usize = Part::ALL.into_iter().map(|part| sizes.part(part)).sum();
        assert_eq!(sum, sizes.total());
        for part in Part::ALL {
            assert!(sizes.part(part) > 0, "nothing of {}", part.name());
        }
        let conv = LayerSpec::conv3x3(8, 8, 8, 8);
        let small = sizes.kernels_of([conv].iter());
        assert!(small > 4096 && small < sizes.kernels(), "{small}");
    }
}
