//! Reading a blob back into the integer network that it was written from.

use super::integer::{IntLayer, IntNet, one_sided_sum};
use firmware::engine::{EngineError, verify_streams};
use shared::act::Act;
use shared::blob::{Blob, Layer};
use shared::coding::Corrupt;
use shared::coding::tans::STATES;
use shared::spec::{Kind, LayerSpec};

/// Most weights of a network that is read back, padding counted. A stream of a few bytes can
/// stand for any number of zeros, and each becomes a byte here; VGG-19 has 20 million.
const MAX_WEIGHTS: u64 = 1 << 28;

/// Why a blob is not read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A weight stream is damaged.
    #[error(transparent)]
    Stream(#[from] EngineError),
    /// It stands for more weights than any network has.
    #[error("it states {weights} weights, and at most {MAX_WEIGHTS} are read")]
    TooManyWeights {
        /// All layers' weights, padding counted.
        weights: u64,
    },
}

/// The integer network in `blob`, for the host's simulation.
///
/// Layers are named as [`super::specs()`] names them. Encoding and strips are the blob's own.
///
/// # Errors
/// [`ReadError::Stream`] where a weight stream is damaged, [`ReadError::TooManyWeights`].
pub fn from_blob(blob: &Blob) -> Result<IntNet, ReadError> {
    let stored = |s: &LayerSpec| u64::from(s.sequence_len()) * u64::from(s.c_out);
    let weights = blob.layers().map(|l| stored(l.spec())).sum();
    if weights > MAX_WEIGHTS {
        return Err(ReadError::TooManyWeights { weights });
    }
    verify_streams(blob)?;
    let header = blob.header();
    let mut names = Names::default();
    let layers = (0u16..)
        .zip(blob.layers())
        .map(|(i, layer)| read_layer(i, &layer, names.next(layer.spec())))
        .collect::<Result<_, EngineError>>()?;
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
    use shared::blob::write::{LayerData, blob_bytes, write};
    use shared::blob::{Header, LayerRecord};
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
            Err(EngineError::Corrupt { layer: 1, block: 0 }.into())
        );
    }

    #[test]
    fn a_small_blob_of_too_many_zeros_is_refused_before_any_is_stored() {
        let channels = 1_100;
        let spec = LayerSpec {
            encoding: Encoding::Delta,
            input: Act::Image,
            output: Act::I32,
            ..LayerSpec::fully_connected(255, 255, 4, channels)
        };
        // Blocks without an entry, whose gaps are of one bit.
        let blocks = u32::from(spec.blocks());
        let table = (0..=blocks).map(|i| 4 * (blocks + 1 + i));
        let words = table.chain((0..blocks).map(|_| 1 << 24));
        let weights: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let record = LayerRecord {
            scratch_off: 4 * u32::from(channels),
            ..LayerRecord::of(spec)
        };
        let layer = LayerData {
            record,
            weights: &weights,
            requants: &vec![Requant::default(); channels.into()],
        };
        let header = Header {
            total_len: 0,
            crc32: 0,
            in_h: 255,
            in_w: 255,
            in_c: 4,
            layers: 1,
            r_c: [0; 4],
            arena_bytes: record.scratch_off + spec.scratch_bytes(),
            logit_scale: 0,
        };
        let mut bytes = vec![0; blob_bytes(&[layer])];
        write(header, &[layer], &mut bytes);
        assert!(bytes.len() < 16 * 1024);
        let blob = Blob::new_checked(&bytes).expect("nothing is wrong with it");
        let weights = 255 * 255 * 4 * u64::from(channels);
        let refused = from_blob(&blob);
        assert_eq!(refused, Err(ReadError::TooManyWeights { weights }));
    }
}
