//! The written format and the code agree, and whatever is malformed is refused.

use shared::act::Act;
use shared::blob::write::{LayerData, blob_bytes, write};
use shared::blob::{Blob, HEADER_BYTES, Header, LAYER_BYTES, LayerRecord, Malformed};
use shared::coding::BlockShape;
use shared::coding::section::{self, Writer};
use shared::coding::tans::{self, Model};
use shared::semantics::Requant;
use shared::spec::{Encoding, LayerSpec, SpecError};
use shared::weights::{dense_channel_bytes, pack_dense};

const DOC: &str = include_str!("../../docs/blob-format.md");

fn record(spec: LayerSpec, in_off: u32, out_off: u32, scratch_off: u32) -> LayerRecord {
    LayerRecord {
        spec,
        in_off,
        out_off,
        scratch_off,
        weights_off: 0,
        weights_len: 0,
        requant_off: 0,
    }
}

fn build(header: Header, layers: &[LayerData]) -> Vec<u8> {
    let mut out = vec![0; blob_bytes(layers)];
    write(header, layers, &mut out);
    out
}

fn header(in_h: u16, in_w: u16, in_c: u16, r_c: [u8; 4], arena_bytes: u32) -> Header {
    let logit_scale = 1f32.to_bits();
    Header {
        total_len: 0,
        crc32: 0,
        in_h,
        in_w,
        in_c,
        layers: 0,
        r_c,
        arena_bytes,
        logit_scale,
    }
}

fn example() -> Vec<u8> {
    let fc = LayerSpec::fully_connected(1, 1, 4, 2);
    let spec = LayerSpec {
        w_bits: 4,
        input: Act::Image,
        output: Act::I32,
        ..fc
    };
    let mut weights = [0; 8];
    pack_dense(&[1, 2, 3, 4], 4, &mut weights[..4]).unwrap();
    pack_dense(&[-1, -2, -3, -4], 4, &mut weights[4..]).unwrap();
    let requants = [
        Requant {
            bias: 5,
            multiplier: 0,
        },
        Requant {
            bias: -6,
            multiplier: 0,
        },
    ];
    let layer = LayerData {
        record: record(spec, 0, 0, 8),
        weights: &weights,
        requants: &requants,
    };
    build(header(1, 1, 4, [10; 4], 56), &[layer])
}

/// Two convolutions (the second sparse), a global pool, a classifier.
fn small_network() -> Vec<u8> {
    let first = LayerSpec {
        input: Act::Image,
        output: Act::U4,
        pool: 2,
        w_bits: 3,
        ..LayerSpec::conv3x3(4, 4, 3, 5)
    };
    let second = LayerSpec {
        input: Act::U4,
        encoding: Encoding::Sparse,
        ..LayerSpec::conv3x3(2, 2, 5, 3)
    };
    let gap = LayerSpec::global_avg_pool(2, 2, 3, Act::U8);
    let fc = LayerSpec {
        input: Act::S16,
        output: Act::I32,
        ..LayerSpec::fully_connected(1, 1, 3, 2)
    };
    for s in [first, second, gap, fc] {
        s.check().unwrap();
    }
    let sequence = |s: &LayerSpec, seed: usize| -> Vec<i8> {
        let max = shared::semantics::weight_max(s.w_bits);
        (0..s.sequence_len() as usize)
            .map(|i| ((i * 7 + seed) as i32 % (2 * max + 1) - max) as i8)
            .collect()
    };
    let dense = |s: &LayerSpec| -> Vec<u8> {
        (0..usize::from(s.c_out))
            .flat_map(|o| {
                let mut b = vec![0; dense_channel_bytes(s.sequence_len(), s.w_bits) as usize];
                pack_dense(&sequence(s, o), s.w_bits, &mut b).unwrap();
                b
            })
            .collect()
    };
    let mut sparse_section = vec![0; section::bound(Encoding::Sparse, 8, 144, 2, 2)];
    let mut writer = Writer::new(Encoding::Sparse, 8, 2, None, &mut sparse_section).unwrap();
    for channels in [0..2, 2..3] {
        let sequences: Vec<_> = channels.map(|o| sequence(&second, o)).collect();
        let sequences: Vec<&[i8]> = sequences.iter().map(|s| &s[..]).collect();
        let shape = BlockShape {
            channels: sequences.len(),
            sequence_len: 72,
        };
        let weights: Vec<i8> = shape.in_order(&sequences).collect();
        writer.block(&weights).unwrap();
    }
    let bytes = writer.finish().unwrap();
    sparse_section.truncate(bytes);

    let requants = |n: usize| vec![Requant::new(3, 1 << 22, 0).unwrap(); n];
    let arena = 2048;
    let (w0, w3) = (dense(&first), dense(&fc));
    let (r0, r1, r3) = (
        requants(5),
        requants(3),
        vec![
            Requant {
                bias: 1,
                multiplier: 0
            };
            2
        ],
    );
    let layers = [
        LayerData {
            record: record(first, 0, 2000, 0),
            weights: &w0,
            requants: &r0,
        },
        LayerData {
            record: record(second, 2000, 0, 16),
            weights: &sparse_section,
            requants: &r1,
        },
        LayerData {
            record: record(gap, 0, 2000, 12),
            weights: &[],
            requants: &[],
        },
        LayerData {
            record: record(fc, 2000, 0, 8),
            weights: &w3,
            requants: &r3,
        },
    ];
    build(header(4, 4, 3, [120, 121, 122, 0], arena), &layers)
}

#[test]
fn the_example_of_the_document_is_what_the_writer_writes() {
    let start = DOC.find("```hex\n").expect("an example") + 6;
    let text = &DOC[start..start + DOC[start..].find("```").expect("its end")];
    let blob = example();
    let crc = blob[12..16]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<Vec<_>>()
        .join(" ");
    let bytes: Vec<u8> = text
        .replace("CRC", &crc)
        .split_whitespace()
        .map(|b| u8::from_str_radix(b, 16).expect("two hex digits"))
        .collect();
    assert_eq!(bytes, blob);
    let parsed = Blob::new_checked(&blob).unwrap();
    assert_eq!((parsed.classes(), parsed.image_bytes()), (2, 4));
    assert_eq!(parsed.layer(0).unwrap().requant(1).bias, -6);
    assert!(parsed.layer(1).is_none());
}

#[test]
fn a_whole_network_reads_back() {
    let bytes = small_network();
    let blob = Blob::new_checked(&bytes).unwrap();
    assert_eq!(blob.layers().count(), 4);
    let sparse_layer = blob.layer(1).unwrap();
    assert_eq!(
        (
            sparse_layer.block_channels(0),
            sparse_layer.block_channels(1)
        ),
        (2, 1)
    );
    let table = [0; shared::coding::tans::STATES];
    for block in 0..2 {
        let put = |_, _, _| ();
        sparse_layer.decode_block(block, &table, put).unwrap();
    }
    assert!(sparse_layer.block(2).is_empty());
    let longer = [&bytes[..], &[0xff; 100]].concat();
    assert_eq!(
        Blob::new_checked(&longer).unwrap().bytes(),
        &bytes[..],
        "flash after a blob is not its part"
    );
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let mut bytes = small_network();
    for i in 0..bytes.len() {
        assert!(Blob::new_checked(&bytes[..i]).is_err(), "truncated to {i}");
        for bit in 0..8 {
            bytes[i] ^= 1 << bit;
            assert!(Blob::new_checked(&bytes).is_err(), "byte {i} bit {bit}");
            bytes[i] ^= 1 << bit;
        }
    }
}

/// Changes bytes and makes the checksum right again, as a hostile author would.
fn forged(changes: &[(usize, &[u8])]) -> Result<(), Malformed> {
    let mut bytes = small_network();
    for (at, new) in changes {
        bytes[*at..*at + new.len()].copy_from_slice(new);
    }
    let mut rest = bytes.clone();
    rest.drain(12..16);
    bytes[12..16].copy_from_slice(&shared::CRC32.checksum(&rest).to_le_bytes());
    Blob::new_checked(&bytes).map(|_| ()).map_err(|e| e.what)
}

#[test]
fn hostile_blobs_with_a_right_checksum_are_named() {
    let layer = |i: usize| HEADER_BYTES + i * LAYER_BYTES;
    let max = u32::MAX.to_le_bytes();
    let edge = 0xffff_fffcu32.to_le_bytes();
    assert_eq!(forged(&[]), Ok(()));
    assert_eq!(
        forged(&[(4, &[9, 0])]),
        Err(Malformed::Version { found: 9 })
    );
    assert_eq!(forged(&[(6, &[64, 0])]), Err(Malformed::Length));
    assert_eq!(forged(&[(8, &[7, 1, 0, 0])]), Err(Malformed::Length));
    assert!(matches!(forged(&[(8, &max)]), Err(Malformed::Truncated)));
    assert_eq!(forged(&[(22, &[0, 0])]), Err(Malformed::LayerCount));
    assert_eq!(forged(&[(22, &[200, 0])]), Err(Malformed::LayerCount));
    assert_eq!(forged(&[(20, &[0, 0])]), Err(Malformed::Chain));
    assert_eq!(forged(&[(27, &[1])]), Err(Malformed::Reserved));
    assert_eq!(forged(&[(40, &[1])]), Err(Malformed::Reserved));
    assert_eq!(
        forged(&[(28, &[0, 0, 0, 0])]),
        Err(Malformed::Arena),
        "arena understated"
    );
    for (field, code) in [(0, 3), (1, 200), (2, 9), (4, 3), (5, 255)] {
        assert_eq!(
            forged(&[(layer(1) + field, &[code])]),
            Err(Malformed::UnknownCode),
            "field {field}"
        );
    }
    for width in [0, 1, 9, 255] {
        assert_eq!(
            forged(&[(layer(0) + 3, &[width])]),
            Err(Malformed::Layer(SpecError::WeightBits))
        );
    }
    // A pool has none; its decoder would look for scratch that it has not.
    for encoding in 1..4 {
        assert_eq!(
            forged(&[(layer(2) + 2, &[encoding])]),
            Err(Malformed::Layer(SpecError::WeightBits)),
            "a pool's weights stored as {encoding}"
        );
    }
    assert_eq!(
        forged(&[(layer(0) + 12, &[0, 0])]),
        Err(Malformed::Layer(SpecError::ZeroDimension))
    );
    assert_eq!(
        forged(&[(layer(0) + 18, &[0, 0])]),
        Err(Malformed::Layer(SpecError::ZeroDimension))
    );
    assert_eq!(
        forged(&[(layer(0) + 8, &[0])]),
        Err(Malformed::Layer(SpecError::ZeroDimension))
    );
    assert_eq!(
        forged(&[(layer(0) + 9, &[200])]),
        Err(Malformed::Layer(SpecError::Geometry))
    );
    assert_eq!(
        forged(&[(layer(0) + 44, &[0, 0])]),
        Err(Malformed::Layer(SpecError::Strip))
    );
    assert_eq!(
        forged(&[(layer(1) + 16, &[6, 0])]),
        Err(Malformed::Chain),
        "more channels than there are"
    );
    assert_eq!(
        forged(&[(layer(1) + 20, &[4, 0, 0, 0])]),
        Err(Malformed::Chain),
        "input elsewhere"
    );
    assert_eq!(
        forged(&[(layer(3) + 5, &[8])]),
        Err(Malformed::Chain),
        "no logits"
    );
    assert_eq!(
        forged(&[(layer(0) + 28, &edge)]),
        Err(Malformed::Arena),
        "scratch at the edge of u32"
    );
    assert_eq!(
        forged(&[(layer(0) + 28, &[2, 0, 0, 0])]),
        Err(Malformed::Unaligned)
    );
    assert_eq!(
        forged(&[(layer(1) + 28, &[0, 0, 0, 0])]),
        Err(Malformed::Arena),
        "scratch over the output"
    );
    assert_eq!(forged(&[(layer(0) + 32, &edge)]), Err(Malformed::Section));
    assert_eq!(forged(&[(layer(0) + 36, &edge)]), Err(Malformed::Section));
    assert_eq!(
        forged(&[(layer(1) + 32, &[48, 0, 0, 0])]),
        Err(Malformed::Section),
        "sections overlap"
    );
    assert_eq!(
        forged(&[(layer(2) + 36, &[4, 0, 0, 0])]),
        Err(Malformed::Section),
        "a pool has no weights"
    );
    assert_eq!(
        forged(&[(layer(0) + 3, &[8])]),
        Err(Malformed::SectionLength),
        "width and section disagree"
    );
    assert_eq!(forged(&[(layer(0) + 52, &[1])]), Err(Malformed::Reserved));
    assert_eq!(
        forged(&[(layer(0) + 46, &[1])]),
        Err(Malformed::Layer(SpecError::Tiling)),
        "the direct kernel has no tiles"
    );
}

#[test]
fn block_tables_and_multipliers_are_checked() {
    let bytes = small_network();
    let blob = Blob::new_checked(&bytes).unwrap();
    let weights = blob.layer(1).unwrap().record.weights_off as usize;
    let requants = blob.layer(0).unwrap().record.requant_off as usize;
    assert_eq!(
        forged(&[(weights, &[8, 0, 0, 0])]),
        Err(Malformed::BlockTable)
    );
    assert_eq!(
        forged(&[(weights + 4, &[0, 0, 0, 0])]),
        Err(Malformed::BlockTable),
        "falling"
    );
    assert_eq!(
        forged(&[(weights + 4, &u32::MAX.to_le_bytes())]),
        Err(Malformed::BlockTable)
    );
    assert_eq!(
        forged(&[(weights + 8, &[16, 0, 0, 0])]),
        Err(Malformed::BlockTable),
        "not the section's end"
    );
    assert_eq!(
        forged(&[(requants + 4, &[5, 0, 0, 0])]),
        Err(Malformed::Multiplier),
        "M is 0"
    );
    assert_eq!(
        forged(&[(requants + 4, &[0, 0, 0, 0x80])]),
        Err(Malformed::Multiplier),
        "M is negative"
    );
}

/// The section of the document's block in this encoding.
fn example_section(encoding: Encoding) -> Vec<u8> {
    // Channel 0 has weights 1, 0, 3, 0, channel 1 has 0, 0, −2, 0.
    let weights = [1, 3, 0, -2, 0, 0, 0, 0];
    let shape = BlockShape {
        channels: 2,
        sequence_len: 4,
    };
    let in_order: Vec<i8> = shape.in_order(&[&[1, 0, 3, 0], &[0, 0, -2, 0]]).collect();
    assert_eq!(in_order, weights);
    let mut counts = [0; tans::SYMBOLS];
    tans::count(&weights, 4, &mut counts);
    let model = Model::from_counts(&mut counts, 2).unwrap();
    let (mut work, mut out) = (
        [0; tans::STATES],
        vec![0; section::bound(encoding, 4, 8, 1, 1)],
    );
    let mut writer = Writer::new(encoding, 4, 1, Some((&model, &mut work)), &mut out).unwrap();
    writer.block(&weights).unwrap();
    let bytes = writer.finish().unwrap();
    out.truncate(bytes);
    out
}

#[test]
fn the_streams_of_the_document_are_what_the_writer_writes() {
    for (encoding, mark) in [
        (Encoding::Sparse, "```hex sparse"),
        (Encoding::Delta, "```hex delta"),
        (Encoding::Coded, "```hex coded"),
    ] {
        let bytes = example_section(encoding);
        let written: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let start = DOC
            .find(mark)
            .unwrap_or_else(|| panic!("{mark}: {written:?}"))
            + mark.len();
        let text = &DOC[start..start + DOC[start..].find("```").expect("its end")];
        let documented: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(documented, written, "{}", encoding.name());
    }
}
