//! Reading a blob back into the integer network that it was written from.

use super::integer::{IntLayer, IntNet, one_sided_sum};
use firmware::engine::{EngineError, verify_streams};
use shared::act::Act;
use shared::blob::{Blob, Layer};
use shared::coding::Corrupt;
use shared::coding::tans::STATES;
use shared::spec::{Kind, LayerSpec};

/// The integer network in `blob`, for the host's simulation.
///
/// Layers are named as [`super::specs()`] names them. Encoding and strips are the blob's own.
///
/// # Errors
/// [`EngineError::Corrupt`] where a weight stream is damaged.
pub fn from_blob(blob: &Blob) -> Result<IntNet, EngineError> {
    verify_streams(blob)?;
    let header = blob.header();
    let mut names = Names::default();
    let layers = (0u16..)
        .zip(blob.layers())
        .map(|(i, layer)| read_layer(i, &layer, names.next(layer.spec())))
        .collect::<Result<_, _>>()?;
    Ok(IntNet {
        input: [header.in_h, header.in_w, header.in_c].map(usize::from),
        r_c: header.r_c[..usize::from(header.in_c)].to_vec(),
        layers,
        logit_scale: f32::from_bits(header.logit_scale),
    })
}

/// Numbers layers as the lowering does: convolutions by their place, classifiers from 0.
#[derive(Default)]
struct Names {
    convs: usize,
    linears: usize,
}

impl Names {
    fn next(&mut self, spec: &LayerSpec) -> String {
        let (prefix, counter) = match spec.kind {
            Kind::GlobalAvgPool => return "gap".into(),
            Kind::Conv => ("conv", &mut self.convs),
            Kind::FullyConnected => ("linear", &mut self.linears),
        };
        *counter += 1;
        format!("{prefix}{}", *counter - 1)
    }
}

fn read_layer(index: u16, layer: &Layer, name: String) -> Result<IntLayer, EngineError> {
    let spec = *layer.spec();
    let weights = weights(index, layer)?;
    let channels = if spec.has_weights() { spec.c_out } else { 0 };
    Ok(IntLayer {
        name,
        requants: (0..channels).map(|c| layer.requant(c)).collect(),
        bound: bound(&spec, &weights),
        one_sided: one_sided_sum(&spec, &weights),
        forced: None,
        weights,
        spec,
    })
}

/// `[c_out, k_h, k_w, c_in]`, the padding of the stored sequences left out.
fn weights(index: u16, layer: &Layer) -> Result<Vec<i8>, EngineError> {
    let s = layer.spec();
    let mut out = Vec::with_capacity(s.weight_count() as usize);
    if !s.has_weights() {
        return Ok(out);
    }
    let (len, per_block) = (
        s.sequence_len() as usize,
        usize::from(s.kernel.block_channels()),
    );
    let mut sequences = vec![0i8; per_block * len];
    let mut table = [0; STATES];
    let corrupt = |block| EngineError::Corrupt {
        layer: index,
        block,
    };
    layer
        .decoder_table(&mut table)
        .map_err(|Corrupt| corrupt(0))?;
    for block in 0..s.blocks() {
        let channels = usize::from(layer.block_channels(block));
        sequences.fill(0);
        let put = |channel, e, w| sequences[channel * len + e] = w as i8;
        layer
            .decode_block(block, &table, put)
            .map_err(|Corrupt| corrupt(block))?;
        let taps = sequences[..channels * len].chunks_exact(s.c_in4() as usize);
        out.extend(taps.flat_map(|tap| &tap[..usize::from(s.c_in)]));
    }
    Ok(out)
}

/// Largest `Σ|w|·x_max` over the output channels.
fn bound(spec: &LayerSpec, weights: &[i8]) -> i64 {
    if weights.is_empty() {
        return 0;
    }
    // The sums of a global pool are the only signed inputs, and none exceeds the type.
    let x_max = match spec.input {
        Act::S16 => i64::from(i16::MAX),
        act => i64::from(act.max()),
    };
    let fan_in = weights.len() / usize::from(spec.c_out);
    let sum = |w: &[i8]| w.iter().map(|&w| i64::from(w).abs()).sum::<i64>();
    weights.chunks_exact(fan_in).map(sum).max().unwrap_or(0) * x_max
}

#[cfg(test)]
mod tests {
    use super::super::{Storage, choose_encoding, emit, plan, simulate, specs};
    use super::*;
    use crate::lower::Bits;
    use crate::vgg::VggConfig;
    use shared::semantics::{Requant, weight_max};
    use shared::spec::Encoding;

    /// A network of random integers, every third layer nearly empty, so that it is stored
    /// sparse.
    fn random_net(bits: Bits) -> IntNet {
        let config = VggConfig::preset("vgg-small").expect("known");
        let config = VggConfig {
            input: [8, 8, 3],
            ..config
        };
        let mut rng = shared::bench::Rng::new(u32::from(bits.w));
        let layers = specs(&config, &[bits; 7]).expect("runs");
        let layers = layers.into_iter().enumerate().map(|(i, named)| {
            let max = weight_max(bits.w);
            let count = named.spec.weight_count() as usize;
            let weights: Vec<i8> = (0..if named.spec.has_weights() { count } else { 0 })
                .map(|_| {
                    let w = rng.below(2 * max as u32 + 1) as i32 - max;
                    if i % 3 == 1 && rng.below(10) > 0 {
                        0
                    } else {
                        w as i8
                    }
                })
                .collect();
            let channels = if named.spec.has_weights() {
                named.spec.c_out
            } else {
                0
            };
            let last = named.spec.output == Act::I32;
            let requants = (0..channels).map(|c| match last {
                true => Requant {
                    bias: i32::from(c) - 3,
                    multiplier: 0,
                },
                false => shared::bench::requant(&named.spec, 7, c),
            });
            IntLayer {
                requants: requants.collect(),
                bound: bound(&named.spec, &weights),
                name: named.name,
                one_sided: one_sided_sum(&named.spec, &weights),
                forced: None,
                spec: named.spec,
                weights,
            }
        });
        IntNet {
            input: config.input,
            r_c: vec![125, 123, 114],
            layers: layers.collect(),
            logit_scale: 0.25,
        }
    }

    /// Stores every layer in `encoding`.
    fn stored(net: &mut IntNet, encoding: Encoding) -> Vec<u8> {
        for layer in net.layers.iter_mut().filter(|l| l.spec.has_weights()) {
            layer.spec.encoding = encoding;
        }
        let plan = plan(net, 120_000).expect("fits");
        let emitted = emit(net, &plan).expect("is valid");
        for (layer, spec) in net.layers.iter_mut().zip(&emitted.specs) {
            layer.spec = *spec;
        }
        emitted.blob
    }

    #[test]
    fn what_was_written_is_read_back_from_every_encoding() {
        for encoding in Encoding::ALL {
            for (w, a) in [(8, 8), (5, 4), (3, 8), (2, 2)] {
                let mut net = random_net(Bits { w, a });
                let bytes = stored(&mut net, encoding);
                let blob = Blob::new_checked(&bytes).expect("is valid");
                let read = from_blob(&blob).expect("no damaged stream");
                assert!(read == net, "{encoding:?} of {w} bits");
                let image: Vec<u8> = (0..8 * 8 * 3).map(|i| (i * 37) as u8).collect();
                assert_eq!(
                    simulate(&read, &image).expect("fits"),
                    simulate(&net, &image).expect("fits")
                );
            }
        }
    }

    #[test]
    fn the_smallest_blob_is_smaller_than_the_dense_one() {
        let bytes = |storage: &Storage| {
            let mut net = random_net(Bits { w: 4, a: 8 });
            choose_encoding(&mut net, storage);
            let plan = plan(&net, 120_000).expect("fits");
            emit(&net, &plan).expect("is valid").blob.len()
        };
        let (dense, small) = (Storage::dense(120_000), Storage::smallest(120_000));
        assert!(bytes(&small) < bytes(&dense) * 8 / 10);
    }

    #[test]
    fn a_damaged_stream_is_named() {
        let mut net = random_net(Bits { w: 4, a: 4 });
        let blob = stored(&mut net, Encoding::Sparse);
        let sparse = Blob::new_checked(&blob)
            .expect("is valid")
            .layer(1)
            .expect("there");
        // One more mark in the bitmap than there are values, under a checksum that agrees.
        let at = sparse.record.weights_off as usize
            + 4 * (usize::from(sparse.spec().blocks()) + 1)
            + sparse.spec().sequence_len() as usize / 8
            - 1;
        let mut damaged = blob.clone();
        for byte in &mut damaged[at - 8..=at] {
            *byte = 0xff;
        }
        let crc = {
            let mut digest = shared::CRC32.digest();
            digest.update(&damaged[..12]);
            digest.update(&damaged[16..]);
            digest.finalize()
        };
        damaged[12..16].copy_from_slice(&crc.to_le_bytes());
        let blob = Blob::new_checked(&damaged).expect("the structure is whole");
        assert_eq!(
            from_blob(&blob),
            Err(EngineError::Corrupt { layer: 1, block: 0 })
        );
    }
}
