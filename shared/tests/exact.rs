//! Blobs that name a Winograd kernel for weights that it is not exact for are refused.

use shared::act::Act;
use shared::blob::write::{LayerData, blob_bytes, write};
use shared::blob::{Blob, BlobError, HEADER_BYTES, Header, LAYER_BYTES, LayerRecord, Malformed};
use shared::coding::section::{self, Writer};
use shared::coding::tans::{self, Model};
use shared::coding::{BlockShape, Corrupt};
use shared::semantics::Requant;
use shared::spec::{Encoding, Kernel, LayerSpec};
use shared::weights::pack_dense;

const SIDE: u16 = 4;

/// Layers that bring an image to `c_in` channels, compute `spec` and classify.
fn network(spec: LayerSpec, sequences: [&[i8]; 2]) -> Vec<u8> {
    let one_by_one = |c_in, c_out| LayerSpec {
        k_h: 1,
        k_w: 1,
        pad: 0,
        ..LayerSpec::conv3x3(SIDE, SIDE, c_in, c_out)
    };
    let first = LayerSpec {
        input: Act::Image,
        output: spec.input,
        ..one_by_one(1, spec.c_in)
    };
    let last = LayerSpec {
        input: spec.output,
        output: Act::I32,
        ..LayerSpec::fully_connected(SIDE as u8, SIDE as u8, 2, 2)
    };
    let specs = [first, spec, last];
    let weights = specs.map(|s| match s == spec {
        true => section(&s, sequences),
        false => vec![0; s.dense_channel_bytes() as usize * usize::from(s.c_out)],
    });
    let requants = specs.map(|s| {
        let multiplier = if s.output == Act::I32 { 0 } else { 1 << 20 };
        vec![
            Requant {
                bias: 0,
                multiplier
            };
            usize::from(s.c_out)
        ]
    });
    // Tensors lie apart from each other: the chain is what matters here, not the memory.
    let far = |i: u32| i * 0x1_0000;
    let layers: Vec<LayerData> = (0..3)
        .map(|i| LayerData {
            record: LayerRecord {
                spec: specs[i],
                in_off: if i == 0 { 0 } else { far(i as u32) },
                out_off: far(i as u32 + 1),
                scratch_off: 0x10_0000,
                weights_off: 0,
                weights_len: 0,
                requant_off: 0,
            },
            weights: &weights[i],
            requants: &requants[i],
        })
        .collect();
    let header = Header {
        total_len: 0,
        crc32: 0,
        in_h: SIDE,
        in_w: SIDE,
        in_c: 1,
        layers: 0,
        r_c: [0; 4],
        arena_bytes: 0x20_0000,
        logit_scale: 1f32.to_bits(),
    };
    let mut out = vec![0; blob_bytes(&layers)];
    write(header, &layers, &mut out);
    out
}

fn section(spec: &LayerSpec, sequences: [&[i8]; 2]) -> Vec<u8> {
    let mut out = Vec::new();
    if spec.encoding == Encoding::Dense {
        for sequence in sequences {
            let at = out.len();
            out.resize(at + spec.dense_channel_bytes() as usize, 0);
            pack_dense(sequence, spec.w_bits, &mut out[at..]).unwrap();
        }
        return out;
    }
    let shape = BlockShape {
        channels: 2,
        sequence_len: spec.sequence_len() as usize,
    };
    let weights: Vec<i8> = shape.in_order(&sequences).collect();
    let mut counts = [0; tans::SYMBOLS];
    tans::count(&weights, spec.w_bits, &mut counts);
    let model = Model::from_counts(&mut counts, 0).unwrap();
    let mut work = [0; tans::STATES];
    out.resize(
        section::bound(spec.encoding, spec.w_bits, weights.len(), 1, 1),
        0,
    );
    let model = Some((&model, &mut work));
    let mut writer = Writer::new(spec.encoding, spec.w_bits, 1, model, &mut out).unwrap();
    writer.block(&weights).unwrap();
    let bytes = writer.finish().unwrap();
    out.truncate(bytes);
    out
}

fn spec(kernel: Kernel, c_in: u16, w_bits: u8, encoding: Encoding) -> LayerSpec {
    let spec = LayerSpec {
        kernel,
        w_bits,
        encoding,
        ..LayerSpec::conv3x3(SIDE, SIDE, c_in, 2)
    };
    assert_eq!(spec.check(), Ok(()));
    spec
}

/// Weights that sum up to `sum` with as few as possible, of the largest size.
fn summing_up(spec: &LayerSpec, sum: i64) -> Vec<i8> {
    let max = i64::from(shared::semantics::weight_max(spec.w_bits));
    let mut left = sum;
    let sequence = (0..spec.sequence_len()).map(|_| {
        let w = left.clamp(-max, max);
        left -= w;
        w as i8
    });
    let sequence = sequence.collect();
    assert_eq!(left, 0, "so few weights cannot sum up to {sum}");
    sequence
}

#[test]
fn the_last_exact_sum_is_accepted_and_the_next_is_refused() {
    use Encoding::{Coded, Delta, Dense, Sparse};
    for (kernel, c_in, w_bits, encoding, limit) in [
        (Kernel::Winograd4, 120, 8, Dense, 1 << 25),
        (Kernel::Winograd4, 120, 8, Sparse, 1 << 25),
        (Kernel::Winograd4, 300, 7, Dense, 1 << 25),
        (Kernel::Winograd4, 500, 6, Delta, 1 << 25),
        (Kernel::Winograd4, 120, 8, Coded, 1 << 25),
        (Kernel::Winograd2, 1_848, 8, Dense, 1 << 29),
    ] {
        let spec = spec(kernel, c_in, w_bits, encoding);
        let last = (1i64.max(limit) - 1) / 255;
        let none = vec![0; spec.sequence_len() as usize];
        for (sum, exact) in [
            (last, true),
            (-last, true),
            (last + 1, false),
            (-last - 1, false),
        ] {
            let weights = summing_up(&spec, sum);
            let blob = network(spec, [&none, &weights]);
            let refused = BlobError {
                what: Malformed::Inexact { channel: 1 },
                at: (HEADER_BYTES + LAYER_BYTES + 1) as u32,
            };
            let checked = Blob::new_checked(&blob).map(|_| ());
            if encoding == Encoding::Coded {
                // Found where its streams are looked at.
                let (blob, mut table) = (Blob::new_checked(&blob).unwrap(), [0; tans::STATES]);
                let layer = blob.layer(1).unwrap();
                layer.decoder_table(&mut table).unwrap();
                let expected = if exact { Ok(()) } else { Err(Corrupt) };
                assert_eq!(layer.verify_block(0, &table), expected);
                continue;
            }
            let expected = if exact { Ok(()) } else { Err(refused) };
            assert_eq!(checked, expected, "{kernel:?} w{w_bits} {encoding:?} {sum}");
        }
    }
}

#[test]
fn the_direct_kernel_needs_no_such_proof() {
    let spec = spec(Kernel::Direct, 120, 8, Encoding::Dense);
    let weights = vec![127; spec.sequence_len() as usize];
    let blob = network(spec, [&weights, &weights]);
    assert!(Blob::new_checked(&blob).is_ok());
}
