//! Damage behind a right checksum: buffers, tables and streams that lie, and every single bit.

mod common;

use common::edit::{Edit, byte, chain, edited, half, record, refused, seal, stored, word, word_of};
use common::network::Chain;
use firmware::engine::{EngineError, Network, verify_streams};
use shared::blob::{Blob, Malformed};
use shared::spec::Encoding;

#[test]
fn block_tables_that_lie_are_refused() {
    for encoding in [Encoding::Sparse, Encoding::Delta, Encoding::Coded] {
        let good = Chain::of(stored(encoding), 3).blob;
        let table = word_of(&good, record(1, 32)) as usize;
        let entry = |i: usize| word_of(&good, table + 4 * i);
        let end = word_of(&good, record(1, 36));
        let last = 5;
        let cases = [
            ("the first block in the table", 0, 4),
            ("the first block nowhere", 0, u32::MAX),
            ("blocks that go back", 2, entry(1) - 4),
            ("a block at the edge of u32", 3, u32::MAX - 3),
            ("a block past the section", 4, end + 4),
            ("an end before the section's", last, entry(last) - 4),
        ];
        for (name, i, value) in cases {
            let blob = edited(&good, &[word(table + 4 * i, value)]);
            match Blob::new_checked(&blob) {
                Ok(_) => panic!("{name}: taken, {encoding:?}"),
                Err(e) => {
                    assert_eq!(e.what, Malformed::BlockTable, "{name}, {encoding:?}");
                    // A table that is wrong in one entry may be found at the next one.
                    let found = (e.at as usize - table) / 4;
                    assert!(
                        found == i || found == i + 1,
                        "{name}: entry {found}, {encoding:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn buffers_out_of_the_arena_or_over_each_other_are_refused() {
    let good = chain();
    let stated = word_of(&good, 28);
    let (in1, out1) = (word_of(&good, record(1, 20)), word_of(&good, record(1, 24)));
    let arena = Malformed::Arena;
    let edge = u32::MAX - 3;
    let cases: Vec<(&str, Vec<Edit>, Malformed, usize)> = vec![
        ("no arena", vec![word(28, 0)], arena, record(0, 24)),
        (
            "output over input",
            vec![word(record(1, 24), in1)],
            arena,
            record(1, 24),
        ),
        (
            "scratch over input",
            vec![word(record(1, 28), in1)],
            arena,
            record(1, 28),
        ),
        (
            "scratch over output",
            vec![word(record(1, 28), out1)],
            arena,
            record(1, 28),
        ),
        (
            "output at the edge of u32",
            vec![word(record(1, 24), edge)],
            arena,
            record(1, 24),
        ),
        (
            "scratch at the edge of u32",
            vec![word(record(1, 28), edge)],
            arena,
            record(1, 28),
        ),
        (
            "scratch at the arena's end",
            vec![word(record(1, 28), stated)],
            arena,
            record(1, 28),
        ),
        (
            "an odd output",
            vec![word(record(1, 24), out1 + 2)],
            Malformed::Unaligned,
            record(1, 24),
        ),
        (
            "an odd scratch",
            vec![word(record(0, 28), 1)],
            Malformed::Unaligned,
            record(0, 28),
        ),
        (
            "another input",
            vec![word(record(1, 20), in1 + 4)],
            Malformed::Chain,
            record(1, 0),
        ),
        (
            "the image in the arena",
            vec![word(record(0, 20), 4)],
            Malformed::Chain,
            record(0, 0),
        ),
        (
            "another image",
            vec![half(16, 11)],
            Malformed::Chain,
            record(0, 0),
        ),
        (
            "logits in the middle",
            vec![byte(record(1, 5), 32)],
            Malformed::Chain,
            record(1, 0),
        ),
        (
            "no logits",
            vec![byte(record(3, 5), 8)],
            Malformed::Chain,
            record(3, 0),
        ),
    ];
    for (name, edits, what, at) in cases {
        refused(name, &edited(&good, &edits), what, at);
    }
    let understated = edited(&good, &[word(28, stated - 4)]);
    let error = Blob::new_checked(&understated).expect_err("understated");
    assert_eq!(error.what, arena);
    // Overstated, a blob is as good as one that needs so much: it does not fit.
    let overstated = edited(&good, &[word(28, u32::MAX)]);
    let blob = Blob::new_checked(&overstated).expect("nothing contradicts it");
    let mut memory = vec![0u64; 4096];
    let memory = common::bytes_of(&mut memory);
    let limit = memory.len() as u32;
    let need = u32::MAX;
    let refused = Network::new(blob, memory).err();
    assert_eq!(refused, Some(EngineError::ArenaTooSmall { need, limit }));
}

/// Runs a blob whose layer 1 has a stream that lies in block `block`.
fn corrupt(name: &str, blob: &[u8], block: u16) {
    let blob = Blob::new_checked(blob).unwrap_or_else(|e| panic!("{name}: {e}"));
    let expected = EngineError::Corrupt { layer: 1, block };
    assert_eq!(verify_streams(&blob), Err(expected), "{name}");
    let image = vec![7; blob.image_bytes()];
    let mut memory = vec![0u64; 4096];
    let mut network = Network::new(blob, common::bytes_of(&mut memory)).expect("fits");
    assert_eq!(
        network.infer(&image, &mut ()).err(),
        Some(expected),
        "{name}"
    );
}

#[test]
fn streams_that_lie_are_found() {
    // Of block 2: where it begins and ends.
    let block = |good: &[u8]| {
        let table = word_of(good, record(1, 32)) as usize;
        let entry = |i: usize| table + (word_of(good, table + 4 * i) & 0x3f_ffff) as usize;
        (entry(2), entry(3))
    };
    let sparse = Chain::of(stored(Encoding::Sparse), 3).blob;
    let (start, end) = block(&sparse);
    let weights = 2 * 9 * 8;
    let map = weights / 32;
    let cases = [
        ("more marks than values", start, vec![0xff; 4 * map]),
        ("no marks for the values", start, vec![0; 4 * map]),
        (
            "a mark past the last weight",
            start + 4 * map,
            vec![0, 0, 0xff, 0xff],
        ),
        ("values that end early", end - 4, vec![0; 4]),
    ];
    for (name, at, bytes) in cases {
        corrupt(name, &edited(&sparse, &[(at, bytes)]), 2);
    }

    let delta = Chain::of(stored(Encoding::Delta), 3).blob;
    let (start, end) = block(&delta);
    let head = word_of(&delta, start);
    let cases = [
        ("gaps of 0 bits", start, head & 0xff_ffff),
        ("gaps of 9 bits", start, head & 0xff_ffff | 9 << 24),
        ("gaps of 255 bits", start, head | 0xff << 24),
        ("more entries than bytes", start, head + 1_000),
        ("16 million entries", start, head | 0xff_ffff),
        ("no entries", start, head & 0xff00_0000),
        ("gaps that lead past the last weight", start + 4, u32::MAX),
    ];
    for (name, at, value) in cases {
        let mut edits = vec![word(at, value)];
        if name.starts_with("gaps that") {
            // All of them the longest there are.
            edits = (at..end).step_by(4).map(|at| word(at, value)).collect();
        }
        corrupt(name, &edited(&delta, &edits), 2);
    }

    let coded = Chain::of(stored(Encoding::Coded), 3).blob;
    let table = word_of(&coded, record(1, 32)) as usize;
    let model = table + 4 * 6;
    let (start, end) = block(&coded);
    let (first, _) = (word_of(&coded, table) & 0x3f_ffff, 0);
    let model_end = table + first as usize;
    let cases = [
        ("a block without its mark", vec![byte(end - 1, 0)], 2),
        ("a block of other bits", vec![byte(end - 1, 0xff)], 2),
        (
            "a block of zeros",
            (start..end - 1).map(|at| byte(at, 0)).collect(),
            2,
        ),
        (
            "a block of ones",
            (start..end).map(|at| byte(at, 0xff)).collect(),
            2,
        ),
        ("a model of too many states", vec![byte(model, 0xff)], 0),
        (
            "a model of zeros",
            (model..model_end).map(|at| byte(at, 0)).collect(),
            0,
        ),
        (
            "a model of ones",
            (model..model_end).map(|at| byte(at, 0xff)).collect(),
            0,
        ),
        (
            "a model that ends too early",
            vec![byte(model_end - 1, 0x80)],
            0,
        ),
    ];
    for (name, edits, block) in cases {
        corrupt(name, &edited(&coded, &edits), block);
    }
    let other_state = word_of(&coded, table + 8) ^ 1 << 22;
    corrupt(
        "another first state",
        &edited(&coded, &[word(table + 8, other_state)]),
        2,
    );
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let good = chain();
    assert!(Blob::new_checked(&good).is_ok());
    for len in 0..good.len() {
        let found = Blob::new_checked(&good[..len]).expect_err("too short").what;
        assert_eq!(found, Malformed::Truncated, "{len} bytes");
    }
    let mut bad = good.clone();
    for bit in 0..8 * good.len() {
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Blob::new_checked(&bad).is_err(), "bit {bit}");
        bad[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(bad, good);
}

/// The checksum finds every flipped bit; this is what there is behind it.
#[test]
fn no_flipped_bit_with_a_right_checksum_does_harm() {
    let (mut refused, mut corrupt, mut ran) = (0u32, 0u32, 0u32);
    for encoding in Encoding::ALL {
        let chain = Chain::of(stored(encoding), 3);
        let (good, image) = (&chain.blob, chain.image(1));
        let mut memory = vec![0u64; 2048];
        for bit in 128..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            seal(&mut bad);
            let Ok(blob) = Blob::new_checked(&bad) else {
                refused += 1;
                continue;
            };
            let verified = verify_streams(&blob);
            let Ok(mut network) = Network::new(blob, common::bytes_of(&mut memory)) else {
                refused += 1;
                continue;
            };
            match network.infer(&image, &mut ()) {
                Ok(_) => {
                    assert_eq!(verified, Ok(()), "bit {bit}");
                    ran += 1;
                }
                Err(e) => {
                    assert_eq!(verified, Err(e), "bit {bit}");
                    corrupt += 1;
                }
            }
        }
    }
    // Other weights, biases and scales are another network, and as good.
    assert!(
        refused > 3_000 && corrupt > 1_000 && ran > 10_000,
        "{refused} {corrupt} {ran}"
    );
}
