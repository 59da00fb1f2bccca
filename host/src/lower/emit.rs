//! Writing a planned network as a blob.

use super::LowerError;
use super::integer::{IntLayer, IntNet};
use super::plan::MemoryPlan;
use shared::blob::write::{LayerData, blob_bytes, write};
use shared::blob::{Blob, HEADER_BYTES, Header, LAYER_BYTES, LayerRecord};
use shared::semantics::REQUANT_BYTES;
use shared::spec::{Encoding, LayerSpec};
use shared::weights::{pack_channel, sparse};

/// Bytes of one layer's weight section in each encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerBytes {
    /// Bit planes.
    pub dense: usize,
    /// Bitmap and values, block table included.
    pub sparse: usize,
}

/// A blob and what was decided for each of its layers.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The bytes, checked by [`Blob::new_checked`].
    pub blob: Vec<u8>,
    /// The specs as written: encoding and strips chosen.
    pub specs: Vec<LayerSpec>,
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

/// Which layers are to be sparse so that `fixed` bytes and all weights fit `budget`.
///
/// Dense is the default, because sparse streams cost cycles to decode on every strip. Where
/// the budget is exceeded, layers turn sparse, the one that saves the largest share of its
/// bytes first, until it is met or no layer saves anything.
#[must_use]
pub fn sparse_layers(layers: &[LayerBytes], fixed: usize, budget: u64) -> Vec<bool> {
    let mut sparse = vec![false; layers.len()];
    let mut total = (fixed + layers.iter().map(|l| l.dense).sum::<usize>()) as u64;
    let share = |l: &LayerBytes| l.sparse as f64 / l.dense.max(1) as f64;
    let mut order: Vec<usize> = (0..layers.len())
        .filter(|&i| layers[i].sparse < layers[i].dense)
        .collect();
    order.sort_by(|&a, &b| {
        share(&layers[a])
            .total_cmp(&share(&layers[b]))
            .then(a.cmp(&b))
    });
    for i in order {
        if total <= budget {
            break;
        }
        sparse[i] = true;
        total -= (layers[i].dense - layers[i].sparse) as u64;
    }
    sparse
}

/// Chooses the encoding of each layer for a blob of at most `budget` bytes, as
/// [`sparse_layers`] says. Must come before [`super::plan()`], because the encoding is part
/// of what a layer costs.
pub fn choose_encoding(net: &mut IntNet, budget: u64) {
    let bytes: Vec<LayerBytes> = net.layers.iter().map(encoded_bytes).collect();
    let requants: usize = net
        .layers
        .iter()
        .map(|l| l.requants.len() * REQUANT_BYTES)
        .sum();
    let fixed = HEADER_BYTES + LAYER_BYTES * net.layers.len() + requants;
    for (layer, sparse) in net
        .layers
        .iter_mut()
        .zip(sparse_layers(&bytes, fixed, budget))
    {
        layer.spec.encoding = if sparse {
            Encoding::Sparse
        } else {
            Encoding::Dense
        };
    }
}

/// Bytes of `layer`'s weight section in each encoding.
#[must_use]
pub fn encoded_bytes(layer: &IntLayer) -> LayerBytes {
    let s = &layer.spec;
    if !s.has_weights() {
        return LayerBytes {
            dense: 0,
            sparse: 0,
        };
    }
    let fan_in = layer.weights.len() / usize::from(s.c_out);
    let channel = |w: &[i8]| {
        let nonzero = w.iter().filter(|&&w| w != 0).count() as u32;
        sparse::channel_bytes(s.sequence_len(), nonzero, s.w_bits) as usize
    };
    LayerBytes {
        dense: s.dense_channel_bytes() as usize * usize::from(s.c_out),
        sparse: 4 * (usize::from(s.blocks()) + 1)
            + layer
                .weights
                .chunks_exact(fan_in)
                .map(channel)
                .sum::<usize>(),
    }
}

/// Writes the blob.
///
/// # Errors
/// [`LowerError::Blob`] where the result does not pass the reader's own check.
///
/// # Panics
/// Where `plan` was made for another network.
pub fn emit(net: &IntNet, plan: &MemoryPlan) -> Result<Emitted, LowerError> {
    assert_eq!(
        net.layers.len(),
        plan.layers.len(),
        "the plan belongs to another network"
    );
    let places = net.layers.iter().zip(&plan.layers);
    let sections: Vec<Vec<u8>> = places
        .map(|(layer, place)| weight_section(layer, &place.spec))
        .collect();
    let layers: Vec<LayerData> = net
        .layers
        .iter()
        .zip(&plan.layers)
        .zip(&sections)
        .map(|((layer, place), weights)| LayerData {
            record: LayerRecord {
                spec: place.spec,
                in_off: place.in_off,
                out_off: place.out_off,
                scratch_off: place.scratch_off,
                weights_off: 0,
                weights_len: 0,
                requant_off: 0,
            },
            weights,
            requants: &layer.requants,
        })
        .collect();
    let mut blob = vec![0; blob_bytes(&layers)];
    write(header(net, plan), &layers, &mut blob);
    Blob::new_checked(&blob)?;
    Ok(Emitted {
        blob,
        specs: plan.layers.iter().map(|l| l.spec).collect(),
    })
}

fn header(net: &IntNet, plan: &MemoryPlan) -> Header {
    let mut r_c = [0; 4];
    r_c[..net.r_c.len()].copy_from_slice(&net.r_c);
    Header {
        total_len: 0,
        crc32: 0,
        in_h: net.input[0] as u16,
        in_w: net.input[1] as u16,
        in_c: net.input[2] as u16,
        layers: net.layers.len() as u16,
        r_c,
        arena_bytes: plan.arena_bytes,
        logit_scale: net.logit_scale.to_bits(),
    }
}

/// The weights of a layer in the order that the planned kernel takes.
fn weight_section(layer: &IntLayer, s: &LayerSpec) -> Vec<u8> {
    if !s.has_weights() {
        return Vec::new();
    }
    match s.encoding {
        Encoding::Dense => {
            let channel = s.dense_channel_bytes() as usize;
            let mut out = vec![0; channel * usize::from(s.c_out)];
            for (o, bytes) in out.chunks_exact_mut(channel).enumerate() {
                pack_channel(s, &sequence_of(layer, o), bytes);
            }
            out
        }
        Encoding::Sparse => sparse_section(layer),
    }
}

fn sparse_section(layer: &IntLayer) -> Vec<u8> {
    let s = &layer.spec;
    let per_block = usize::from(s.kernel.block_channels());
    let mut table = vec![4 * (u32::from(s.blocks()) + 1)];
    let mut blocks = Vec::new();
    let base = table[0];
    for o in 0..usize::from(s.c_out) {
        sparse::pack(&sequence_of(layer, o), s.w_bits, |w| {
            blocks.extend(w.to_le_bytes())
        });
        if (o + 1) % per_block == 0 || o + 1 == usize::from(s.c_out) {
            table.push(base + blocks.len() as u32);
        }
    }
    let mut out: Vec<u8> = table.into_iter().flat_map(u32::to_le_bytes).collect();
    out.extend(blocks);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_turn_sparse_only_as_the_budget_asks() {
        let layer = |dense, sparse| LayerBytes { dense, sparse };
        let layers = [
            layer(100, 90),
            layer(400, 100),
            layer(0, 0),
            layer(300, 350),
        ];
        assert_eq!(sparse_layers(&layers, 50, 850), [false; 4]);
        assert_eq!(sparse_layers(&layers, 50, 849), [false, true, false, false]);
        assert_eq!(sparse_layers(&layers, 50, 10), [true, true, false, false]);
    }
}
