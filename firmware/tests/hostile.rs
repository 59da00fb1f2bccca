//! Blobs made to do harm. Each has a right checksum, so that what is deeper must find it, and is
//! refused by name, at the byte that is wrong.

mod common;

use common::edit::{Edit, byte, chain, edited, half, record, refused, seal, word, word_of};
use shared::blob::{Blob, Malformed};
use shared::spec::SpecError;

#[test]
fn headers_that_lie_are_refused() {
    let good = chain();
    let len = good.len() as u32;
    let future = Malformed::Version { found: 3 };
    let cases: &[(&str, Edit, Malformed, usize)] = &[
        ("erased flash", word(0, u32::MAX), Malformed::Magic, 0),
        ("a version from the future", half(4, 3), future, 4),
        (
            "the version before",
            half(4, 1),
            Malformed::Version { found: 1 },
            4,
        ),
        (
            "a version of all ones",
            half(4, u16::MAX),
            Malformed::Version { found: u16::MAX },
            4,
        ),
        ("a longer header", half(6, 52), Malformed::Length, 6),
        ("length 0", word(8, 0), Malformed::Length, 8),
        (
            "a length that is no multiple of 4",
            word(8, len - 2),
            Malformed::Length,
            8,
        ),
        (
            "a length at the edge of u32",
            word(8, u32::MAX),
            Malformed::Truncated,
            good.len(),
        ),
        ("no input channels", half(20, 0), Malformed::Chain, 20),
        ("five input channels", half(20, 5), Malformed::Chain, 20),
        ("no layers", half(22, 0), Malformed::LayerCount, 22),
        ("257 layers", half(22, 257), Malformed::LayerCount, 22),
        (
            "more layers than there are bytes",
            half(22, 256),
            Malformed::LayerCount,
            22,
        ),
        (
            "a layer more",
            half(22, 5),
            Malformed::Layer(SpecError::ZeroDimension),
            0,
        ),
        (
            "an unused channel is centred",
            byte(27, 1),
            Malformed::Reserved,
            27,
        ),
        ("a reserved byte", byte(47, 1), Malformed::Reserved, 47),
    ];
    for (name, edit, what, at) in cases {
        let mut blob = good.clone();
        blob[edit.0..edit.0 + edit.1.len()].copy_from_slice(&edit.1);
        // Where the length is what lies, the checksum is not looked at.
        if edit.0 != 8 {
            seal(&mut blob);
        }
        // A layer more than there is reads weights as a record: refused, whatever they are.
        if *name == "a layer more" {
            assert!(Blob::new_checked(&blob).is_err());
            continue;
        }
        refused(name, &blob, *what, *at);
    }
    let mut longer = good.clone();
    longer.extend([0; 4]);
    longer[8..12].copy_from_slice(&(len + 4).to_le_bytes());
    seal(&mut longer);
    refused("four bytes more", &longer, Malformed::Length, 8);
}

#[test]
fn layers_that_make_no_sense_are_refused() {
    let good = chain();
    let layer = Malformed::Layer;
    let cases: Vec<(&str, Vec<Edit>, SpecError)> = vec![
        (
            "height 0",
            vec![half(record(0, 12), 0)],
            SpecError::ZeroDimension,
        ),
        (
            "width 0",
            vec![half(record(0, 14), 0)],
            SpecError::ZeroDimension,
        ),
        (
            "no inputs",
            vec![half(record(0, 16), 0)],
            SpecError::ZeroDimension,
        ),
        (
            "no outputs",
            vec![half(record(0, 18), 0)],
            SpecError::ZeroDimension,
        ),
        (
            "a kernel of 0",
            vec![byte(record(0, 6), 0)],
            SpecError::ZeroDimension,
        ),
        (
            "stride 0",
            vec![byte(record(0, 8), 0)],
            SpecError::ZeroDimension,
        ),
        (
            "weights of 0 bits",
            vec![byte(record(0, 3), 0)],
            SpecError::WeightBits,
        ),
        (
            "weights of 1 bit",
            vec![byte(record(0, 3), 1)],
            SpecError::WeightBits,
        ),
        (
            "weights of 9 bits",
            vec![byte(record(0, 3), 9)],
            SpecError::WeightBits,
        ),
        (
            "weights of 255 bits",
            vec![byte(record(0, 3), 255)],
            SpecError::WeightBits,
        ),
        (
            "logits as inputs",
            vec![byte(record(0, 4), 32)],
            SpecError::InputFormat,
        ),
        (
            "16-bit outputs",
            vec![byte(record(0, 5), 16)],
            SpecError::OutputFormat,
        ),
        (
            "padding of 255",
            vec![byte(record(0, 9), 255)],
            SpecError::Geometry,
        ),
        (
            "a kernel of 255",
            vec![byte(record(0, 7), 255)],
            SpecError::Geometry,
        ),
        ("a pool of 0", vec![byte(record(0, 10), 0)], SpecError::Pool),
        (
            "a pool of 255",
            vec![byte(record(0, 10), 255)],
            SpecError::Pool,
        ),
        (
            "strips of 0 rows",
            vec![half(record(0, 44), 0)],
            SpecError::Strip,
        ),
        (
            "strips of 65,535 rows",
            vec![half(record(0, 44), 65_535)],
            SpecError::Strip,
        ),
        (
            "cut like a Winograd kernel",
            vec![half(record(0, 46), 1)],
            SpecError::Tiling,
        ),
        (
            "the largest map and the largest channels",
            vec![
                half(record(0, 12), 65_535),
                half(record(0, 14), 65_535),
                half(record(0, 16), 65_535),
            ],
            SpecError::TooLarge,
        ),
        (
            "the largest channels alone",
            vec![half(record(0, 16), 65_535), half(record(0, 18), 65_535)],
            SpecError::TooLarge,
        ),
    ];
    for (name, edits, error) in cases {
        refused(name, &edited(&good, &edits), layer(error), record(0, 0));
    }
    for (name, field, value) in [
        ("kind", 0, 3),
        ("kernel", 1, 4),
        ("encoding", 2, 4),
        ("format", 4, 3),
    ] {
        let blob = edited(&good, &[byte(record(1, field), value)]);
        refused(name, &blob, Malformed::UnknownCode, record(1, field));
    }
    for field in [11, 52, 63] {
        let blob = edited(&good, &[byte(record(2, field), 1)]);
        refused(
            "a reserved byte",
            &blob,
            Malformed::Reserved,
            record(2, field),
        );
    }
}

#[test]
fn sections_out_of_place_are_refused() {
    let good = chain();
    let at = |layer, field| word_of(&good, record(layer, field));
    let (w0, len0, r0) = (at(0, 32), at(0, 36), at(0, 40));
    let (w1, len1, r1) = (at(1, 32), at(1, 36), at(1, 40));
    let edge = u32::MAX - 3;
    let section = Malformed::Section;
    let cases: Vec<(&str, Vec<Edit>, Malformed, usize)> = vec![
        (
            "weights in the header",
            vec![word(record(0, 32), 0)],
            section,
            record(0, 32),
        ),
        (
            "weights in the tables",
            vec![word(record(0, 32), 48)],
            section,
            record(0, 32),
        ),
        (
            "weights over another layer's",
            vec![word(record(1, 32), w0)],
            section,
            record(1, 32),
        ),
        (
            "weights over multipliers",
            vec![word(record(1, 32), r0)],
            section,
            record(1, 32),
        ),
        (
            "a gap before weights",
            vec![word(record(1, 32), w1 + 4)],
            section,
            record(1, 32),
        ),
        (
            "weights at the edge of u32",
            vec![word(record(1, 32), edge)],
            section,
            record(1, 32),
        ),
        (
            "as many weights as u32 holds",
            vec![word(record(0, 36), edge)],
            section,
            record(0, 40),
        ),
        (
            "weights up to where u32 ends",
            vec![word(record(0, 36), u32::MAX - w0)],
            section,
            record(0, 40),
        ),
        (
            "multipliers over weights",
            vec![word(record(0, 40), w0)],
            section,
            record(0, 40),
        ),
        (
            "multipliers at the edge of u32",
            vec![word(record(0, 40), edge)],
            section,
            record(0, 40),
        ),
        (
            "weights and multipliers past the end",
            vec![word(record(0, 36), edge - w0), word(record(0, 40), edge)],
            section,
            record(0, 40),
        ),
        (
            "multipliers past the end",
            vec![
                word(record(0, 36), len0 + 65_536),
                word(record(0, 40), r0 + 65_536),
            ],
            section,
            record(0, 40),
        ),
        (
            "two bytes of weights more",
            vec![word(record(0, 36), len0 + 2), word(record(0, 40), r0 + 2)],
            Malformed::Unaligned,
            record(0, 36),
        ),
        (
            "a word of dense weights more",
            vec![word(record(0, 36), len0 + 4), word(record(0, 40), r0 + 4)],
            Malformed::SectionLength,
            record(0, 36),
        ),
        (
            "a sparse layer without room for its table",
            vec![word(record(1, 36), 8), word(record(1, 40), w1 + 8)],
            Malformed::SectionLength,
            record(1, 36),
        ),
        (
            "a sparse layer shorter than its table says",
            vec![word(record(1, 36), len1 - 4), word(record(1, 40), r1 - 4)],
            Malformed::BlockTable,
            w1 as usize + 4 * 5,
        ),
        (
            "weights of a pool",
            vec![word(record(2, 32), w1)],
            section,
            record(2, 32),
        ),
        (
            "a multiplier of 0",
            vec![word(r0 as usize + 4, 0)],
            Malformed::Multiplier,
            r0 as usize + 4,
        ),
        (
            "a negative multiplier",
            vec![word(r0 as usize + 12, 1 << 31)],
            Malformed::Multiplier,
            r0 as usize + 12,
        ),
    ];
    for (name, edits, what, at) in cases {
        refused(name, &edited(&good, &edits), what, at);
    }
}
