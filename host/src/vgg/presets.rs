//! Known networks by name.

use super::{Item, VggConfig};
use crate::data::Normalization;
use serde_json::Map;

impl VggConfig {
    /// Names that [`VggConfig::preset`] knows.
    pub const PRESETS: [&'static str; 13] = [
        "vgg-small",
        "vgg11",
        "vgg13",
        "vgg16",
        "vgg19",
        "vgg11-imagenet",
        "vgg13-imagenet",
        "vgg16-imagenet",
        "vgg19-imagenet",
        "vgg11-bn-imagenet",
        "vgg13-bn-imagenet",
        "vgg16-bn-imagenet",
        "vgg19-bn-imagenet",
    ];

    /// A network by name: `vgg-small`, `vgg11`, `vgg13`, `vgg16`, `vgg19` for CIFAR-10, with
    /// batch normalization and one fully connected layer; with `-imagenet` or `-bn-imagenet`
    /// behind the last four, torchvision's network for 1,000 classes of 224x224 pictures,
    /// two hidden layers of 4,096 and dropout in the classifier.
    pub fn preset(name: &str) -> Option<Self> {
        use Item::{AvgPool as A, Conv as C, MaxPool as M};
        let (depth, imagenet) = match name.strip_suffix("-imagenet") {
            Some(depth) => (depth, true),
            None => (name, false),
        };
        let (depth, batch_norm) = match (depth.strip_suffix("-bn"), imagenet) {
            (Some(depth), true) => (depth, true),
            _ => (depth, !imagenet),
        };
        let cfg = match depth {
            "vgg-small" if !imagenet => vec![C(32), C(32), M, C(64), C(64), M, C(128), C(128), A],
            "vgg11" => blocks([1, 1, 2, 2, 2]),
            "vgg13" => blocks([2, 2, 2, 2, 2]),
            "vgg16" => blocks([2, 2, 3, 3, 3]),
            "vgg19" => blocks([2, 2, 4, 4, 4]),
            _ => return None,
        };
        let network = Self {
            architecture: name.to_owned(),
            cfg,
            batch_norm,
            ..cifar()
        };
        Some(if imagenet {
            network.for_imagenet()
        } else {
            network
        })
    }

    /// The same convolutions with torchvision's classifier and normalization.
    fn for_imagenet(self) -> Self {
        Self {
            num_classes: 1000,
            input: [224, 224, 3],
            normalization: Normalization {
                mean: vec![0.485, 0.456, 0.406],
                std: vec![0.229, 0.224, 0.225],
            },
            hidden: vec![4096, 4096],
            dropout: 0.5,
            ..self
        }
    }
}

/// Ten classes of 32x32 pictures, without layers.
fn cifar() -> VggConfig {
    // Means in whole pixel values, so that the integer network centres its input exactly;
    // CIFAR-10's own are 0.4914, 0.4822, 0.4465.
    let mean = [125.0, 123.0, 114.0].map(|r: f32| r / 255.0).to_vec();
    VggConfig {
        architecture: String::new(),
        cfg: Vec::new(),
        num_classes: 10,
        input: [32, 32, 3],
        normalization: Normalization {
            mean,
            std: vec![0.2470, 0.2435, 0.2616],
        },
        batch_norm: true,
        hidden: Vec::new(),
        dropout: 0.0,
        extra: Map::new(),
    }
}

/// The classical VGG (Simonyan and Zisserman 2015, A, B, D and E): blocks of 64, 128, 256,
/// 512 and 512 channels.
fn blocks(convolutions: [usize; 5]) -> Vec<Item> {
    let widths = [64, 128, 256, 512, 512];
    let block = |(n, width)| std::iter::repeat_n(Item::Conv(width), n).chain([Item::MaxPool]);
    convolutions
        .into_iter()
        .zip(widths)
        .flat_map(block)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(name: &str) -> VggConfig {
        VggConfig::preset(name).expect("known")
    }

    #[test]
    fn presets_have_their_known_sizes() {
        let small = preset("vgg-small");
        assert_eq!(small.parameters(), 288_746);
        assert_eq!(preset("vgg19").parameters(), 20_035_018);
        assert_eq!(preset("vgg16").parameters(), 14_724_042);
        assert_eq!(small.macs(), 38_634_752);
        assert_eq!(preset("vgg16").macs(), 313_201_664);
        for name in VggConfig::PRESETS {
            let network = preset(name);
            network.validate().expect("valid");
            assert_eq!(network.architecture, name);
        }
        for unknown in [
            "vgg-small-imagenet",
            "vgg16-bn",
            "vgg12",
            "vgg16-imagenet-bn",
        ] {
            assert_eq!(VggConfig::preset(unknown), None, "{unknown}");
        }
    }

    /// Published pruning results start from 14.98 M parameters and 313.7 M operations: a hidden
    /// layer of 512 more than ours, and an operation an output of a convolution besides its
    /// multiply-accumulates.
    #[test]
    fn vgg16_has_the_size_that_published_results_start_from() {
        let network = VggConfig {
            hidden: vec![512],
            ..preset("vgg16")
        };
        assert_eq!(network.macs(), 313_463_808);
        let convs = network.layers().into_iter().take(13);
        let outputs: u64 = convs.map(|l| (l.h * l.w * l.c_out) as u64).sum();
        assert_eq!(network.macs() + outputs, 313_740_288);
        assert_eq!(network.parameters(), 14_986_698);
    }

    /// The counts that torchvision states. With batch normalization its convolutions keep
    /// their biases, which normalization takes away again; ours have none.
    #[test]
    fn imagenet_networks_have_torchvisions_sizes() {
        let biases = |network: &VggConfig| -> usize {
            let convs = network.cfg.iter().filter_map(|item| match item {
                Item::Conv(width) => Some(*width),
                _ => None,
            });
            convs.sum()
        };
        for (depth, plain, normalized, macs) in [
            (11, 132_863_336, 132_868_840, 7_609_090_048),
            (13, 133_047_848, 133_053_736, 11_308_466_176),
            (16, 138_357_544, 138_365_992, 15_470_264_320),
            (19, 143_667_240, 143_678_248, 19_632_062_464u64),
        ] {
            let network = preset(&format!("vgg{depth}-imagenet"));
            assert_eq!(network.parameters(), plain);
            assert_eq!(network.macs(), macs);
            let network = preset(&format!("vgg{depth}-bn-imagenet"));
            assert_eq!(network.parameters() + biases(&network), normalized);
            assert_eq!(network.layers().last().map(|l| l.c_in), Some(4096));
        }
    }
}
