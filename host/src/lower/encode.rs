//! How a layer's weights are stored, and what each encoding takes.

use super::integer::{IntLayer, IntNet};
use super::kernel::{choose_kernel, predicted_cycles};
use shared::blob::{HEADER_BYTES, LAYER_BYTES};
use shared::coding::BlockShape;
use shared::coding::section::{self, Writer};
use shared::coding::tans::{self, ESCAPE, Model, STATES, SYMBOLS};
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Encoding, Kernel, LayerSpec};
use shared::weights::pack_channel;
use shared::winograd;

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
            pack_channel(s, sequence, bytes)?;
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

/// One symbol in so many may be escaped, each of which takes about 20 cycles more, ...
const MOST_ESCAPED: u32 = 16;
/// ... unless more of them leave at most this share of the bits.
const WORTH_ESCAPING: f64 = 0.97;

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
    let models = thresholds.into_iter().filter_map(|from| {
        let model = Model::from_counts(&mut counts.clone(), from)?;
        Some((model_cost(&model, &counts), model))
    });
    let models: Vec<(f64, Model)> = models.collect();
    let symbols: u32 = counts.iter().sum();
    let few = |(_, model): &&(f64, Model)| escaped(model, &counts) <= symbols / MOST_ESCAPED;
    let by_cost = |a: &&(f64, Model), b: &&(f64, Model)| a.0.total_cmp(&b.0);
    let shortest = models.iter().min_by(by_cost)?;
    let fast = models.iter().filter(few).min_by(by_cost);
    let found = fast.filter(|fast| shortest.0 > WORTH_ESCAPING * fast.0);
    Some(found.unwrap_or(shortest).1.clone())
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

/// What whole layers take for each cycle of their loops: measured 1.07 on the bundled network
/// on the STM32F405 with its flash's wait states, dense, sparse and coded alike.
const UNCOUNTED: f64 = 1.07;

/// Predicted cycles of a placed layer of this density.
fn layer_cycles(s: &LayerSpec, density: f64) -> f64 {
    if !s.has_weights() {
        return 0.0;
    }
    let loops = predicted_cycles(s);
    let decoding = f64::from(decodes(s)) * decode_cycles(s, density) + table_cycles(s);
    UNCOUNTED * (loops + decoding)
}

/// How often all weights of a placed layer are decoded: for each strip, and by the Winograd
/// kernels for each part of the input channels.
#[must_use]
pub fn decodes(s: &LayerSpec) -> u32 {
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
