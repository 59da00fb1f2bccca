//! What tensors are called: by torchvision, and by timm, whose VGGs Hugging Face hosts.
//!
//! Both call convolutions and normalization `features.N`, counting ReLU and pooling too.
//! torchvision's classifier is `classifier.0`, `.3`, `.6` (`classifier` alone where it is one
//! layer); timm's hidden layers are `pre_logits.fc1` and `.fc2`, stored as convolutions
//! `[c_out, c, h, w]`, its last layer is `head.fc`. Files of wrapped models have a prefix
//! before all of that, such as `module.`.

use super::{Item, VggConfig};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Tensors of a file, by name.
pub(super) type Tensors = HashMap<String, Tensor>;

/// Whose names a file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Naming {
    /// `classifier.N`.
    #[default]
    Torchvision,
    /// timm's `pre_logits.fcN` and `head.fc`.
    HuggingFace,
}

impl Naming {
    /// Names of `n` fully connected layers.
    pub(super) fn linears(self, n: usize) -> Vec<String> {
        let hidden = n.saturating_sub(1);
        match self {
            Self::Torchvision if hidden == 0 => vec!["classifier".to_owned()],
            Self::Torchvision => (0..n).map(|i| format!("classifier.{}", 3 * i)).collect(),
            Self::HuggingFace => (1..=hidden)
                .map(|i| format!("pre_logits.fc{i}"))
                .chain(["head.fc".to_owned()])
                .collect(),
        }
    }
}

/// The names that a file was found to have.
pub(super) struct Names {
    /// Before each name.
    pub prefix: String,
    /// Of the fully connected layers.
    pub linears: Vec<String>,
}

impl Names {
    /// The names in `tensors` of a network with `n` fully connected layers.
    pub fn find(tensors: &Tensors, n: usize) -> Self {
        let prefix = prefix_of(tensors);
        let stored = linears_of(tensors, &prefix);
        let linears = match stored.len() == n {
            true => stored.into_iter().map(|(name, _)| name).collect(),
            // What is missing is named as whoever wrote the file would have named it.
            false if tensors.contains_key(&format!("{prefix}head.fc.weight")) => {
                prefixed(&prefix, Naming::HuggingFace.linears(n))
            }
            false => prefixed(&prefix, Naming::Torchvision.linears(n)),
        };
        Self { prefix, linears }
    }
}

fn prefixed(prefix: &str, names: Vec<String>) -> Vec<String> {
    names.iter().map(|name| format!("{prefix}{name}")).collect()
}

/// What stands before `features.N.weight` in a file; the shortest, where there are several.
fn prefix_of(tensors: &Tensors) -> String {
    let prefix = |name: &str| {
        let (prefix, rest) = name.split_once("features.")?;
        let number = rest.strip_suffix(".weight")?;
        number.parse::<usize>().ok().map(|_| prefix.to_owned())
    };
    let found = tensors.keys().filter_map(|name| prefix(name));
    found.min_by_key(String::len).unwrap_or_default()
}

/// Names (without `.weight`) and shapes of the fully connected layers, in order.
fn linears_of(tensors: &Tensors, prefix: &str) -> Vec<(String, Vec<usize>)> {
    let shape = |name: &str| {
        let dims = tensors.get(&format!("{name}.weight"))?.dims();
        Some((name.to_owned(), dims.to_vec()))
    };
    let last = format!("{prefix}head.fc");
    if let Some(last) = shape(&last) {
        let hidden = (1..).map_while(|i| shape(&format!("{prefix}pre_logits.fc{i}")));
        return hidden.chain([last]).collect();
    }
    if let Some(only) = shape(&format!("{prefix}classifier")) {
        return vec![only];
    }
    let numbers = numbered(tensors, &format!("{prefix}classifier"), &[2, 4]);
    let names = numbers.into_iter();
    names
        .map(|(i, dims)| (format!("{prefix}classifier.{i}"), dims))
        .collect()
}

/// Shapes of the weights `<prefix>.N.weight` of these ranks, by N.
fn numbered(tensors: &Tensors, prefix: &str, ranks: &[usize]) -> BTreeMap<usize, Vec<usize>> {
    let index = |name: &str| {
        let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
        rest.strip_suffix(".weight")?.parse().ok()
    };
    tensors
        .iter()
        .filter(|(_, t)| ranks.contains(&t.rank()))
        .filter_map(|(name, t)| Some((index(name)?, t.dims().to_vec())))
        .collect()
}

/// What the names and shapes of a file's tensors say of the network.
pub(super) struct Outline {
    /// Convolutions and the pooling between them; what follows the last one leaves no trace.
    pub cfg: Vec<Item>,
    /// Input channels of the first convolution.
    pub channels: usize,
    /// Input and output features of the fully connected layers.
    pub linears: Vec<[usize; 2]>,
    /// Whether there is batch normalization.
    pub batch_norm: bool,
}

impl Outline {
    /// `None` where the tensors are no VGG's.
    pub fn of(tensors: &Tensors) -> Option<Self> {
        let prefix = prefix_of(tensors);
        let convolutions = numbered(tensors, &format!("{prefix}features"), &[4]);
        let batch_norm = tensors.keys().any(|k| k.ends_with(".running_mean"));
        // The convolution, its normalization, ReLU; what is missing in between is pooling.
        let step = if batch_norm { 3 } else { 2 };
        let mut cfg = Vec::new();
        let (&first, dims) = convolutions.first_key_value()?;
        let (mut next, channels) = (first, dims[1]);
        for (index, dims) in &convolutions {
            // A pool follows a convolution, so a gap is one at most; a name may say any number.
            match index.checked_sub(next)? {
                0 => {}
                1 => cfg.push(Item::MaxPool),
                _ => return None,
            }
            cfg.push(Item::Conv(dims[0]));
            next = index.checked_add(step)?;
        }
        let features = |dims: &[usize]| [dims[1..].iter().product(), dims[0]];
        let linears = linears_of(tensors, &prefix).into_iter();
        let linears: Vec<_> = linears.map(|(_, dims)| features(&dims)).collect();
        (!linears.is_empty()).then_some(Self {
            cfg,
            channels,
            linears,
            batch_norm,
        })
    }

    /// Whether the tensors could be those of `config`, as far as lists of layers go.
    pub fn fits(&self, config: &VggConfig) -> bool {
        let end = config.cfg.iter().rposition(|i| matches!(i, Item::Conv(_)));
        let cfg = &config.cfg[..end.map_or(0, |i| i + 1)];
        let linears = config.hidden.iter().chain([&config.num_classes]);
        cfg == self.cfg && linears.eq(self.linears.iter().map(|[_, c_out]| c_out))
    }

    /// As [`VggConfig::list`] writes it.
    pub fn list(&self) -> String {
        let cfg = serde_json::to_string(&self.cfg).unwrap_or_default();
        let linears: Vec<usize> = self.linears.iter().map(|[_, c_out]| *c_out).collect();
        format!("{} + {linears:?}", cfg.replace(',', ", "))
    }
}

/// The index of each convolution in PyTorch's `features`.
pub(super) fn feature_indices(config: &VggConfig) -> Vec<usize> {
    let mut next = 0;
    let mut indices = Vec::new();
    for item in &config.cfg {
        if let Item::Conv(_) = item {
            indices.push(next);
            // The convolution, its normalization, ReLU.
            next += if config.batch_norm { 3 } else { 2 };
        } else {
            next += 1;
        }
    }
    indices
}
