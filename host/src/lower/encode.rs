//! How a layer's weights are stored: what each encoding takes, and which one to take.

use super::integer::{IntLayer, IntNet};
use super::kernel::{choose_kernel, predicted_cycles};
use serde::{Deserialize, Serialize};
use shared::blob::{HEADER_BYTES, LAYER_BYTES};
use shared::coding::BlockShape;
use shared::coding::section::{self, Writer};
use shared::coding::tans::{self, ESCAPE, Model, STATES, SYMBOLS};
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Encoding, Kernel, LayerSpec};
use shared::weights::pack_channel;
use shared::winograd;

/// What matters more where budgets leave a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Prefer {
    /// Dense weights, as long as they fit the flash budget.
    #[default]
    Speed,
    /// The fewest bytes.
    Size,
}

/// What decides how weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Most bytes of the blob.
    pub flash: u64,
    /// Bytes of arena, which decide into how many strips a layer is cut, and so how often its
    /// weights are decoded.
    pub arena: u32,
    /// What to do where both would do.
    pub prefer: Prefer,
}

impl Storage {
    /// Dense weights, however many bytes they take.
    #[must_use]
    pub fn dense(arena: u32) -> Self {
        Self {
            flash: u64::MAX,
            arena,
            prefer: Prefer::Speed,
        }
    }

    /// As few bytes as there can be.
    #[must_use]
    pub fn smallest(arena: u32) -> Self {
        Self {
            flash: 0,
            arena,
            prefer: Prefer::Size,
        }
    }
}

/// A layer in one encoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The encoding.
    pub encoding: Encoding,
    /// Bytes of the weight section.
    pub bytes: usize,
    /// Predicted cycles of the layer, decoding in every strip counted. Only to compare by.
    pub cycles: f64,
}

/// Output channel `o`'s weights as stored: `[k_h][k_w][c_in4]`, padding channels zero.
#[must_use]
pub fn sequence_of(layer: &IntLayer, o: usize) -> Vec<i8> {
    let s = &layer.spec;
    let (c_in, c_in4) = (usize::from(s.c_in), s.c_in4() as usize);
    let fan_in = usize::from(s.k_h) * usize::from(s.k_w) * c_in;
    let mut sequence = vec![0; s.sequence_len() as usize];
    let taps = layer.weights[o * fan_in..(o + 1) * fan_in].chunks_exact(c_in);
    for (to, from) in sequence.chunks_exact_mut(c_in4).zip(taps) {
        to[..c_in].copy_from_slice(from);
    }
    sequence
}

/// The weight section of `layer` as `s` stores it, in its encoding and in the order that its
/// kernel takes; empty for a layer without weights, `None` where the encoding cannot hold it.
#[must_use]
pub fn weight_section(layer: &IntLayer, s: &LayerSpec) -> Option<Vec<u8>> {
    let encoding = s.encoding;
    if !s.has_weights() {
        return Some(Vec::new());
    }
    let sequences: Vec<Vec<i8>> = (0..usize::from(s.c_out))
        .map(|o| sequence_of(layer, o))
        .collect();
    if encoding == Encoding::Dense {
        let channel = s.dense_channel_bytes() as usize;
        let mut out = vec![0; channel * usize::from(s.c_out)];
        for (sequence, bytes) in sequences.iter().zip(out.chunks_exact_mut(channel)) {
            pack_channel(s, sequence, bytes);
        }
        return Some(out);
    }
    let blocks: Vec<Vec<i8>> = sequences
        .chunks(s.kernel.block_channels().into())
        .map(|block| {
            let shape = BlockShape {
                channels: block.len(),
                sequence_len: s.sequence_len() as usize,
            };
            let block: Vec<&[i8]> = block.iter().map(|s| &s[..]).collect();
            shape.in_order(&block).collect()
        })
        .collect();
    let model = match encoding {
        Encoding::Coded => Some(best_model(&blocks, s.w_bits)?),
        _ => None,
    };
    let longest = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = vec![0; section::bound(encoding, s.w_bits, longest, blocks.len(), blocks.len())];
    let mut work = [0; STATES];
    let model = model.as_ref().map(|model| (model, &mut work));
    let mut writer = Writer::new(encoding, s.w_bits, blocks.len(), model, &mut out)?;
    for block in &blocks {
        writer.block(block)?;
    }
    let bytes = writer.finish()?;
    out.truncate(bytes);
    Some(out)
}

/// One symbol in so many may be escaped: each takes about 20 cycles more.
const MOST_ESCAPED: u32 = 16;

/// Symbols that are escaped.
fn escaped(model: &Model, counts: &[u32; SYMBOLS]) -> u32 {
    let all = (0..=u8::MAX).zip(counts);
    all.filter(|(symbol, _)| !model.keeps(*symbol))
        .map(|(_, count)| count)
        .sum()
}

/// The model that makes a layer's section shortest: what is rarer than some count is
/// escaped, which is dearer in the stream and cheaper in the model.
fn best_model(blocks: &[Vec<i8>], w_bits: u8) -> Option<Model> {
    let mut counts = [0; SYMBOLS];
    blocks
        .iter()
        .for_each(|block| tans::count(block, w_bits, &mut counts));
    let most = counts.iter().max().copied().unwrap_or(0);
    let thresholds = (0..64).map(|i| (1.25f64.powi(i)).ceil() as u32);
    let mut thresholds: Vec<u32> = thresholds.take_while(|&t| t <= most).collect();
    thresholds.dedup();
    let models = thresholds
        .into_iter()
        .filter_map(|from| Model::from_counts(&mut counts.clone(), from));
    let symbols: u32 = counts.iter().sum();
    let few = |model: &Model| escaped(model, &counts) <= symbols / MOST_ESCAPED;
    models
        .filter(few)
        .map(|model| (model_cost(&model, &counts), model))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, model)| model)
}

/// Bits of model and streams.
fn model_cost(model: &Model, counts: &[u32; SYMBOLS]) -> f64 {
    let bits = |share: u16| (STATES as f64 / f64::from(share.max(1))).log2();
    let escape = bits(model.shares()[usize::from(ESCAPE)]) + 8.0;
    let symbols = (0..=u8::MAX).zip(counts).map(|(symbol, &count)| {
        let each = if model.keeps(symbol) {
            bits(model.shares()[usize::from(symbol)])
        } else {
            escape
        };
        each * f64::from(count)
    });
    symbols.sum::<f64>() + 8.0 * model.bytes() as f64
}

/// Every encoding that can hold `layer` and fits the arena, dense first.
#[must_use]
pub fn encodings(layer: &IntLayer, arena: u32) -> Vec<Candidate> {
    let bytes = Encoding::ALL.map(|encoding| {
        let spec = LayerSpec {
            encoding,
            ..layer.spec
        };
        weight_section(layer, &spec).map(|s| s.len())
    });
    let all = layer.weights.len().max(1) as f64;
    let density = layer.weights.iter().filter(|&&w| w != 0).count() as f64 / all;
    let kernels = (layer.one_sided, layer.forced);
    encodings_of(&layer.spec, bytes, density, arena, kernels)
}

/// The candidates of a layer of this density, whose sections would have `bytes`, in the
/// order of [`Encoding::ALL`]. Kernels are chosen as by [`choose_kernel`].
#[must_use]
pub fn encodings_of(
    spec: &LayerSpec,
    bytes: [Option<usize>; 4],
    density: f64,
    arena: u32,
    (one_sided, forced): (u64, Option<Kernel>),
) -> Vec<Candidate> {
    let candidate = |(encoding, bytes): (Encoding, Option<usize>)| {
        let spec = LayerSpec { encoding, ..*spec };
        let cycles = match choose_kernel(&spec, arena, one_sided, forced) {
            Ok((placed, _)) => Some(layer_cycles(&placed, density)),
            // What fits in no encoding is told by the planner; here dense stands for it.
            Err(_) => (encoding == Encoding::Dense).then_some(0.0),
        };
        Some(Candidate {
            encoding,
            bytes: bytes?,
            cycles: cycles?,
        })
    };
    Encoding::ALL
        .into_iter()
        .zip(bytes)
        .filter_map(candidate)
        .collect()
}

/// Predicted cycles of a placed layer of this density.
fn layer_cycles(s: &LayerSpec, density: f64) -> f64 {
    if !s.has_weights() {
        return 0.0;
    }
    predicted_cycles(s) + f64::from(decodes(s)) * decode_cycles(s, density) + table_cycles(s)
}

/// How often all weights of a placed layer are decoded: for each strip, and by the Winograd
/// kernels for each part of the input channels.
fn decodes(s: &LayerSpec) -> u32 {
    match s.kernel {
        Kernel::Direct => u32::from(s.conv_out().0.div_ceil(s.strip_rows.max(1))),
        Kernel::Narrow => 1,
        Kernel::Winograd4 | Kernel::Winograd2 => {
            let strips = winograd::quads(s).div_ceil(winograd::strip_quads(s).max(1));
            strips * s.c_in4().div_ceil(winograd::chunk(s).max(4))
        }
    }
}

/// Cycles of building a coded layer's table, once an inference.
const TABLE: f64 = 28_000.0;

fn table_cycles(s: &LayerSpec) -> f64 {
    match s.encoding {
        Encoding::Coded => TABLE,
        Encoding::Dense | Encoding::Sparse | Encoding::Delta => 0.0,
    }
}

/// Cycles that decoding all weights once takes beyond unpacking dense ones, as measured by
/// `bench` on the STM32F405's core, rounded (docs/results.md).
#[must_use]
pub fn decode_cycles(s: &LayerSpec, density: f64) -> f64 {
    let weights = f64::from(s.sequence_len()) * f64::from(s.c_out);
    let each = match s.encoding {
        Encoding::Dense => 0.0,
        Encoding::Sparse => 10.0 * density - 1.0,
        Encoding::Delta => 18.0 * density - 1.0,
        Encoding::Coded => match tans::weights_per_symbol(s.w_bits) {
            1 => 10.5,
            2 => 5.5,
            _ => 3.0,
        },
    };
    weights * each
}

/// Which of each layer's candidates to take for a blob of `fixed` bytes besides weights, by
/// index.
///
/// For size, the shortest of each layer. For speed, the first (dense), until the blob exceeds
/// the budget; then, one after the other, the change that costs the fewest cycles a byte
/// saved, until it is met or nothing is left to save.
#[must_use]
pub fn choose(layers: &[Vec<Candidate>], fixed: usize, storage: &Storage) -> Vec<usize> {
    if storage.prefer == Prefer::Size {
        let shortest = |c: &Vec<Candidate>| {
            let least = (0..c.len()).min_by_key(|&i| c[i].bytes);
            least.unwrap_or(0)
        };
        return layers.iter().map(shortest).collect();
    }
    let mut chosen = vec![0; layers.len()];
    let first = |c: &Vec<Candidate>| c.first().map_or(0, |c| c.bytes);
    let mut total = (fixed + layers.iter().map(first).sum::<usize>()) as u64;
    while total > storage.flash {
        let Some((layer, to, saved)) = cheapest_change(layers, &chosen) else {
            break;
        };
        chosen[layer] = to;
        total -= saved as u64;
    }
    chosen
}

/// The change that costs the fewest cycles a byte: layer, candidate, bytes saved.
fn cheapest_change(layers: &[Vec<Candidate>], chosen: &[usize]) -> Option<(usize, usize, usize)> {
    let changes = layers.iter().zip(chosen).enumerate();
    let changes = changes.flat_map(|(layer, (candidates, &now))| {
        candidates.iter().enumerate().filter_map(move |(to, c)| {
            let now = candidates[now];
            let saved = now.bytes.checked_sub(c.bytes).filter(|&s| s > 0)?;
            let price = (c.cycles - now.cycles) / saved as f64;
            Some((price, (layer, to, saved)))
        })
    });
    changes
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, change)| change)
}

/// Chooses the encoding of each layer as [`choose`] does, from exact bytes. Must come before
/// [`super::plan()`], because the encoding is part of what a layer costs.
pub fn choose_encoding(net: &mut IntNet, storage: &Storage) {
    let all: Vec<Vec<Candidate>> = net
        .layers
        .iter()
        .map(|layer| encodings(layer, storage.arena))
        .collect();
    let chosen = choose(&all, fixed_bytes(net), storage);
    for ((layer, candidates), i) in net.layers.iter_mut().zip(&all).zip(chosen) {
        layer.spec.encoding = candidates.get(i).map_or(Encoding::Dense, |c| c.encoding);
    }
}

/// Bytes of the blob but for its weights.
#[must_use]
pub fn fixed_bytes(net: &IntNet) -> usize {
    let requants: usize = net.layers.iter().map(|l| l.requants.len()).sum();
    HEADER_BYTES + LAYER_BYTES * net.layers.len() + requants * REQUANT_BYTES
}

/// Bits of a weight at the entropy of the layer's weights, each by itself.
#[must_use]
pub fn entropy(weights: &[i8]) -> f64 {
    let mut counts = [0u32; 256];
    weights
        .iter()
        .for_each(|&w| counts[usize::from(w as u8)] += 1);
    let all = weights.len().max(1) as f64;
    let parts = counts.iter().filter(|&&c| c > 0).map(|&c| {
        let p = f64::from(c) / all;
        -p * p.log2()
    });
    parts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(encoding: Encoding, bytes: usize, cycles: f64) -> Candidate {
        Candidate {
            encoding,
            bytes,
            cycles,
        }
    }

    #[test]
    fn layers_leave_dense_only_as_the_budget_asks() {
        use Encoding::{Coded, Dense, Sparse};
        let layers = [
            vec![candidate(Dense, 100, 0.0), candidate(Sparse, 90, 50.0)],
            vec![
                candidate(Dense, 400, 0.0),
                candidate(Sparse, 200, 100.0),
                candidate(Coded, 100, 400.0),
            ],
            vec![candidate(Dense, 300, 0.0), candidate(Sparse, 350, 10.0)],
        ];
        let by = |flash, prefer| {
            let storage = Storage {
                flash,
                arena: 0,
                prefer,
            };
            choose(&layers, 50, &storage)
        };
        assert_eq!(by(850, Prefer::Speed), [0, 0, 0]);
        assert_eq!(by(849, Prefer::Speed), [0, 1, 0], "half a cycle a byte");
        assert_eq!(by(600, Prefer::Speed), [0, 2, 0], "three more");
        assert_eq!(by(10, Prefer::Speed), [1, 2, 0]);
        assert_eq!(by(u64::MAX, Prefer::Size), [1, 2, 0]);
    }
}
