//! What a VGG looks like: layers, classes, input.

use super::VggError;
use crate::data::Normalization;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An element of a network's list of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// 3x3 convolution with this many output channels, then normalization (if any), ReLU.
    Conv(usize),
    /// 2x2 max-pooling: `"M"`.
    MaxPool,
    /// Global average pooling: `"A"`.
    AvgPool,
}

/// A VGG: 3x3 convolutions, pooling, fully connected layers.
///
/// As JSON: the keys are the fields' names, with `mean` and `std` in place of
/// `normalization`, and `batch_norm` (default true), `hidden` (default empty) and `dropout`
/// (default 0) optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct VggConfig {
    /// A name, such as `vgg16_bn`.
    pub architecture: String,
    /// Convolutions and pooling, in order.
    pub cfg: Vec<Item>,
    /// Classes.
    pub num_classes: usize,
    /// `[h, w, c]`.
    pub input: [usize; 3],
    /// How pixels become numbers (the keys `mean` and `std`).
    pub normalization: Normalization,
    /// Whether each convolution is followed by batch normalization (and has no bias).
    pub batch_norm: bool,
    /// Widths of fully connected layers before the last one.
    pub hidden: Vec<usize>,
    /// Share of each hidden fully connected layer's outputs that training drops, 0 to 1.
    pub dropout: f32,
    /// Whatever else the file says: accuracies, epochs, provenance.
    pub extra: Map<String, Value>,
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    /// 3x3 convolution, stride 1, padding 1.
    Conv,
    /// Fully connected.
    Linear,
}

/// What pools a convolution's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// 2x2 maximum, stride 2.
    Max,
    /// Mean over the whole map.
    Average,
}

/// A layer with weights, and its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerShape {
    /// What it computes.
    pub kind: LayerKind,
    /// Input channels, or features.
    pub c_in: usize,
    /// Output channels, or features.
    pub c_out: usize,
    /// Height of its map (input and output are alike; 1 where fully connected).
    pub h: usize,
    /// Width of its map.
    pub w: usize,
    /// Pooling of its output.
    pub pool: Option<Pool>,
}

impl LayerShape {
    /// Weights of one output channel.
    pub fn fan_in(&self) -> usize {
        match self.kind {
            LayerKind::Conv => 9 * self.c_in,
            LayerKind::Linear => self.c_in,
        }
    }

    /// Weights, without biases.
    pub fn weights(&self) -> usize {
        self.c_out * self.fan_in()
    }

    /// Multiply-accumulates, padding included.
    pub fn macs(&self) -> u64 {
        self.weights() as u64 * (self.h * self.w) as u64
    }

    /// `[h, w, c]` after pooling.
    pub fn output(&self) -> [usize; 3] {
        match self.pool {
            None => [self.h, self.w, self.c_out],
            Some(Pool::Max) => [self.h / 2, self.w / 2, self.c_out],
            Some(Pool::Average) => [1, 1, self.c_out],
        }
    }
}

/// Most rows and columns of the input, and outputs of a layer.
const MAX_SIZE: usize = u16::MAX as usize;

/// Most weights of a network.
const MAX_WEIGHTS: usize = 1 << 28;

impl VggConfig {
    /// Checks that the layers make a network, of a size that can be held.
    ///
    /// # Errors
    /// [`VggError::Config`].
    pub fn validate(&self) -> Result<(), VggError> {
        let fail = |reason: String| Err(VggError::Config { reason });
        if self.is_too_large() {
            return fail(format!(
                "a side of the input or the width of a layer is above {MAX_SIZE}, or there are \
                 more than {MAX_WEIGHTS} weights"
            ));
        }
        let [mut h, mut w, c] = self.input;
        if h * w * c == 0 || self.num_classes == 0 {
            return fail(format!(
                "input {:?} and {} classes must not be 0",
                self.input, self.num_classes
            ));
        }
        let n = &self.normalization;
        if n.mean.len() != c || n.std.len() != c || n.std.iter().any(|s| *s <= 0.0) {
            return fail(format!("mean and std must have {c} values, std positive"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail(format!(
                "dropout is {}, not from 0 to below 1",
                self.dropout
            ));
        }
        if let Some(i) = self.hidden.iter().position(|&width| width == 0) {
            return fail(format!("hidden layer {i} has width 0"));
        }
        for (i, item) in self.cfg.iter().enumerate() {
            let after_conv = i > 0 && matches!(self.cfg[i - 1], Item::Conv(_));
            match item {
                Item::Conv(0) => return fail(format!("layer {i} has width 0")),
                Item::Conv(_) => {}
                _ if !after_conv => {
                    return fail(format!("layer {i} pools, but no convolution is before it"));
                }
                Item::MaxPool if h < 2 || w < 2 => {
                    return fail(format!("layer {i} pools a map of {h}x{w}"));
                }
                Item::MaxPool => (h, w) = (h / 2, w / 2),
                Item::AvgPool => (h, w) = (1, 1),
            }
        }
        match self.cfg.iter().any(|i| matches!(i, Item::Conv(_))) {
            true => Ok(()),
            false => fail("there is no convolution".into()),
        }
    }

    /// Whether sizes cannot be multiplied, or weights not be held: a file may say anything.
    fn is_too_large(&self) -> bool {
        let conv = |item: &Item| match item {
            Item::Conv(width) => Some(*width),
            Item::MaxPool | Item::AvgPool => None,
        };
        let widths = self.cfg.iter().filter_map(conv);
        let mut sizes = widths.chain(self.input).chain(self.hidden.iter().copied());
        if sizes.any(|n| n > MAX_SIZE) || self.num_classes > MAX_SIZE {
            return true;
        }
        let weights = |layer: &LayerShape| match layer.kind {
            LayerKind::Conv => 9 * layer.c_in * layer.c_out,
            LayerKind::Linear => layer.c_in.saturating_mul(layer.c_out),
        };
        let all = self.layers();
        let sum = all.iter().fold(0usize, |n, l| n.saturating_add(weights(l)));
        sum > MAX_WEIGHTS
    }

    /// What layer `i` of [`layers`](Self::layers) is called in reports and errors: `conv0`, …, then
    /// `linear0`, ….
    #[must_use]
    pub fn layer_name(&self, i: usize) -> String {
        let is_conv = |item: &&Item| matches!(item, Item::Conv(_));
        let convs = self.cfg.iter().filter(is_conv).count();
        match i.checked_sub(convs) {
            None => format!("conv{i}"),
            Some(i) => format!("linear{i}"),
        }
    }

    /// The layers with weights, in order: convolutions, then fully connected ones.
    pub fn layers(&self) -> Vec<LayerShape> {
        let [mut h, mut w, mut c] = self.input;
        let mut layers: Vec<LayerShape> = Vec::new();
        for item in &self.cfg {
            let pool = match item {
                Item::Conv(width) => {
                    layers.push(LayerShape {
                        kind: LayerKind::Conv,
                        c_in: c,
                        c_out: *width,
                        h,
                        w,
                        pool: None,
                    });
                    c = *width;
                    continue;
                }
                Item::MaxPool => Pool::Max,
                Item::AvgPool => Pool::Average,
            };
            if let Some(last) = layers.last_mut() {
                last.pool = Some(pool);
                [h, w, _] = last.output();
            }
        }
        let mut features = h * w * c;
        for width in self.hidden.iter().chain([&self.num_classes]) {
            layers.push(LayerShape {
                kind: LayerKind::Linear,
                c_in: features,
                c_out: *width,
                h: 1,
                w: 1,
                pool: None,
            });
            features = *width;
        }
        layers
    }

    /// Output channels of each layer but the last: convolutions, then hidden layers.
    pub fn widths(&self) -> Vec<usize> {
        let convs = self.cfg.iter().filter_map(|item| match item {
            Item::Conv(width) => Some(*width),
            Item::MaxPool | Item::AvgPool => None,
        });
        convs.chain(self.hidden.iter().copied()).collect()
    }

    /// The same network with other [`VggConfig::widths`]; what `widths` lacks stays.
    #[must_use]
    pub fn with_widths(&self, widths: &[usize]) -> Self {
        let mut config = self.clone();
        let mut widths = widths.iter().copied();
        for item in &mut config.cfg {
            if let Item::Conv(width) = item {
                *width = widths.next().unwrap_or(*width);
            }
        }
        for width in &mut config.hidden {
            *width = widths.next().unwrap_or(*width);
        }
        config
    }

    /// The list of layers as configuration files write it, hidden layers and classes last:
    /// `[64, "M", 128, "A"] + [10]`.
    pub fn list(&self) -> String {
        let cfg = serde_json::to_string(&self.cfg).unwrap_or_default();
        let linears: Vec<usize> = self
            .hidden
            .iter()
            .copied()
            .chain([self.num_classes])
            .collect();
        format!("{} + {linears:?}", cfg.replace(',', ", "))
    }

    /// Trainable parameters: weights, normalization or biases, classifier.
    pub fn parameters(&self) -> usize {
        let biases = |l: &LayerShape| match (l.kind, self.batch_norm) {
            (LayerKind::Conv, true) => 2 * l.c_out,
            _ => l.c_out,
        };
        self.layers().iter().map(|l| l.weights() + biases(l)).sum()
    }

    /// Dense multiply-accumulates of one picture.
    pub fn macs(&self) -> u64 {
        self.layers().iter().map(LayerShape::macs).sum()
    }

    /// Whether pictures of `side` x `side` also give the classifier its features, so that
    /// training may begin with smaller pictures.
    pub fn takes_side(&self, side: usize) -> bool {
        let smaller = Self {
            input: [side, side, self.input[2]],
            ..self.clone()
        };
        let features = |c: &Self| {
            c.layers()
                .iter()
                .find(|l| l.kind == LayerKind::Linear)
                .copied()
        };
        smaller.validate().is_ok() && features(&smaller) == features(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_networks_are_refused() {
        let with = |cfg: Vec<Item>| {
            let small = VggConfig::preset("vgg-small").expect("known");
            VggConfig { cfg, ..small }.validate().is_err()
        };
        assert!(with(vec![]));
        assert!(with(vec![Item::Conv(0)]));
        assert!(with(vec![Item::MaxPool, Item::Conv(8)]));
        let deep = std::iter::repeat_n([Item::Conv(8), Item::MaxPool], 6);
        assert!(with(deep.flatten().collect()));
        let hidden = |hidden, dropout| {
            let small = VggConfig::preset("vgg-small").expect("known");
            VggConfig {
                hidden,
                dropout,
                ..small
            }
            .validate()
            .is_ok()
        };
        assert!(hidden(vec![8], 0.5) && !hidden(vec![8, 0], 0.5) && !hidden(vec![8], 1.0));
    }

    #[test]
    fn widths_are_of_all_layers_but_the_last() {
        let small = VggConfig {
            hidden: vec![20, 12],
            dropout: 0.5,
            ..VggConfig::preset("vgg-small").expect("known")
        };
        assert_eq!(small.widths(), [32, 32, 64, 64, 128, 128, 20, 12]);
        let narrow = small.with_widths(&[8, 16, 8, 16, 24, 32, 5]);
        assert_eq!(narrow.widths(), [8, 16, 8, 16, 24, 32, 5, 12]);
        assert_eq!(narrow.layers()[6].c_in, 32);
        assert_eq!(
            narrow.list(),
            r#"[8, 16, "M", 8, 16, "M", 24, 32, "A"] + [5, 12, 10]"#
        );
        let text = serde_json::to_string(&small).expect("writes");
        assert_eq!(
            serde_json::from_str::<VggConfig>(&text).expect("parses"),
            small
        );
    }

    #[test]
    fn only_averaging_networks_take_smaller_pictures() {
        let takes = |name, side| VggConfig::preset(name).expect("known").takes_side(side);
        assert!(takes("vgg-small", 20) && takes("vgg-small", 24));
        assert!(!takes("vgg16", 20));
    }

    #[test]
    fn sizes_that_cannot_be_held_are_refused_before_anything_is_made() {
        let small = VggConfig::preset("vgg-small").expect("known");
        let huge = usize::MAX / 2;
        let cases = [
            VggConfig {
                input: [huge, huge, 3],
                ..small.clone()
            },
            VggConfig {
                cfg: vec![Item::Conv(huge)],
                ..small.clone()
            },
            VggConfig {
                cfg: vec![Item::Conv(65_535), Item::Conv(65_535)],
                ..small.clone()
            },
            VggConfig {
                num_classes: huge,
                ..small.clone()
            },
            VggConfig {
                hidden: vec![huge],
                ..small
            },
        ];
        for config in cases {
            let refused = config.validate();
            assert!(
                matches!(refused, Err(VggError::Config { .. })),
                "{config:?}"
            );
        }
    }
}
