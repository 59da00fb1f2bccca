//! Whole networks: logits, memory, and what is refused.

mod common;

use common::network::Chain;
use firmware::app::paint;
use firmware::engine::{EngineError, LayerHook, Network};
use shared::blob::Blob;

#[derive(Default)]
struct Seen(Vec<(u16, bool)>);

impl LayerHook for Seen {
    fn begin(&mut self, layer: u16) {
        self.0.push((layer, true));
    }

    fn end(&mut self, layer: u16) {
        self.0.push((layer, false));
    }
}

#[test]
fn logits_equal_the_reference_and_only_the_stated_arena_is_touched() {
    for seed in 0..20 {
        let mut chain = Chain::new(seed);
        let image = chain.image(seed);
        let expected = chain.expected(&image);
        let blob = Blob::new_checked(&chain.blob).unwrap();
        let mut arena = vec![0u64; 4096];
        let arena = common::bytes_of(&mut arena);
        paint::fill(arena);
        let mut seen = Seen::default();
        {
            let mut network = Network::new(blob, arena).unwrap();
            network.verify_streams().unwrap();
            let logits = network.infer(&image, &mut seen).unwrap();
            assert_eq!(logits.iter().collect::<Vec<_>>(), expected);
            let best = expected.iter().max().unwrap();
            assert_eq!(expected[logits.argmax()], *best);
        }
        assert_eq!(paint::extent(arena), chain.arena_bytes as usize);
        let order: Vec<_> = (0..4).flat_map(|i| [(i, true), (i, false)]).collect();
        assert_eq!(seen.0, order);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let chain = Chain::new(1);
    let blob = Blob::new_checked(&chain.blob).unwrap();
    let (need, mut memory) = (chain.arena_bytes, vec![0u64; 4096]);
    let memory = common::bytes_of(&mut memory);
    let limit = need - 1;
    let small = Network::new(blob, &mut memory[..limit as usize]).err();
    assert_eq!(small, Some(EngineError::ArenaTooSmall { need, limit }));
    let odd = Network::new(blob, &mut memory[1..]).err();
    assert_eq!(odd, Some(EngineError::Unaligned));
    let mut network = Network::new(blob, memory).unwrap();
    let wrong = network.infer(&[0; 7], &mut ()).err();
    assert_eq!(wrong, Some(EngineError::ImageSize { got: 7, need: 300 }));
}

#[test]
fn a_lying_stream_is_found_before_and_while_running() {
    let mut chain = Chain::new(2);
    // Layer 1 is sparse: fill the first bitmap of its block 2, then make the CRC right.
    let blob = Blob::new_checked(&chain.blob).unwrap();
    let layer = blob.layer(1).unwrap();
    let at = layer.record.weights_off as usize
        + (layer.block(2).as_ptr() as usize - layer.weights().as_ptr() as usize);
    chain.blob[at..at + 4].fill(0xff);
    let (head, tail) = (&chain.blob[..12], &chain.blob[16..]);
    let crc = shared::CRC32.checksum(&[head, tail].concat());
    chain.blob[12..16].copy_from_slice(&crc.to_le_bytes());

    let blob = Blob::new_checked(&chain.blob).unwrap();
    let image = chain.image(1);
    let mut memory = vec![0u64; 4096];
    let mut network = Network::new(blob, common::bytes_of(&mut memory)).unwrap();
    let corrupt = EngineError::Corrupt { layer: 1, block: 2 };
    assert_eq!(network.verify_streams(), Err(corrupt));
    assert_eq!(network.infer(&image, &mut ()).err(), Some(corrupt));
}
