//! Small whole networks of every kernel, encoding and width.

use super::network::Chain;
use shared::act::Act;
use shared::spec::{Encoding, Kernel, LayerSpec, Tiling};
use std::collections::BTreeSet;

/// Two convolutions and a classifier: kernels, encoding and width of the second vary.
fn network(first: Kernel, kernel: Kernel, encoding: Encoding, w_bits: u8) -> [LayerSpec; 3] {
    let one = LayerSpec {
        kernel: first,
        input: Act::Image,
        ..LayerSpec::conv3x3(4, 4, 3, 4)
    };
    let two = LayerSpec {
        kernel,
        encoding,
        w_bits,
        output: Act::U4,
        pool: 2,
        ..LayerSpec::conv3x3(4, 4, 4, 3)
    };
    let last = LayerSpec {
        input: Act::U4,
        output: Act::I32,
        encoding,
        w_bits,
        ..LayerSpec::fully_connected(2, 2, 3, 2)
    };
    [one, two, last]
}

/// All of them by name: 20 with a seed each.
pub fn descriptions() -> Vec<(String, [LayerSpec; 3], u32)> {
    let mut all = Vec::new();
    for encoding in Encoding::ALL {
        for (kernel, w_bits) in [
            (Kernel::Direct, 3),
            (Kernel::Winograd4, 4),
            (Kernel::Winograd2, 5),
            (Kernel::Direct, 8),
            (Kernel::Winograd2, 2),
        ] {
            let first = match w_bits % 2 {
                0 => Kernel::Narrow,
                _ => Kernel::Direct,
            };
            let name = format!("{}-{kernel:?}-{w_bits}", encoding.name()).to_lowercase();
            let specs = network(first, kernel, encoding, w_bits);
            all.push((name, specs, u32::from(w_bits)));
        }
    }
    all
}

/// A layer of `[4, 4]` or `[2, 2]` maps between an image and a classifier of two bits.
fn around(layer: LayerSpec) -> [LayerSpec; 3] {
    let first = LayerSpec {
        kernel: Kernel::Narrow,
        w_bits: 2,
        input: Act::Image,
        output: layer.input,
        pool: if layer.in_h == 2 { 2 } else { 1 },
        ..LayerSpec::conv3x3(4, 4, 3, layer.c_in)
    };
    let (h, w) = layer.out_hw();
    let last = LayerSpec {
        w_bits: 2,
        input: layer.output,
        output: Act::I32,
        ..LayerSpec::fully_connected(h as u8, w as u8, layer.c_out, 2)
    };
    [first, layer, last]
}

/// What needs more channels or other sizes than [`descriptions`] have: weights that a kernel reads
/// as they are stored, input channels in turns, activations of two bits, other windows.
fn edges() -> Vec<(String, [LayerSpec; 3], u32)> {
    let conv = LayerSpec::conv3x3;
    let mut all = Vec::new();
    for w_bits in 2..=8 {
        let kernel = match w_bits % 2 {
            0 => Kernel::Winograd4,
            _ => Kernel::Winograd2,
        };
        let layer = LayerSpec {
            kernel,
            w_bits,
            pool: 2,
            ..conv(4, 4, 32, 2)
        };
        all.push((format!("stored-{w_bits}"), layer));
        let layer = LayerSpec {
            w_bits,
            ..conv(2, 2, 32, 2)
        };
        all.push((format!("straight-{w_bits}"), layer));
    }
    for (kernel, encoding) in [
        (Kernel::Direct, Encoding::Sparse),
        (Kernel::Winograd2, Encoding::Dense),
    ] {
        let layer = LayerSpec {
            kernel,
            encoding,
            input: Act::U2,
            output: Act::U2,
            w_bits: 3,
            pool: 2,
            ..conv(4, 4, 5, 5)
        };
        all.push((format!("two-bits-{kernel:?}").to_lowercase(), layer));
    }
    let turns = LayerSpec {
        kernel: Kernel::Winograd2,
        tiling: Tiling {
            quads: 1,
            channels: 16,
            blocks: 1,
        },
        ..conv(4, 4, 32, 4)
    };
    let five = LayerSpec {
        k_h: 5,
        k_w: 5,
        pad: 2,
        stride: 2,
        strip_rows: 2,
        ..conv(4, 4, 6, 3)
    };
    let point = LayerSpec {
        k_h: 1,
        k_w: 1,
        pad: 0,
        encoding: Encoding::Delta,
        ..conv(4, 4, 9, 3)
    };
    all.push(("turns".into(), turns));
    all.push(("five".into(), five));
    all.push(("point".into(), point));
    all.into_iter()
        .zip(1..)
        .map(|((name, layer), seed)| (name, around(layer), seed))
        .collect()
}

/// All of them, those at the edges, and one with a global pool.
pub fn networks() -> Vec<(String, Chain)> {
    let all = descriptions().into_iter().chain(edges());
    let built = all.map(|(name, specs, seed)| (name, Chain::of(specs, seed)));
    std::iter::once(("chain".to_owned(), Chain::new(1)))
        .chain(built)
        .collect()
}

/// The layers of all of them, each once.
pub fn specs() -> Vec<LayerSpec> {
    let all = descriptions().into_iter().chain(edges());
    let layers: BTreeSet<LayerSpec> = all.flat_map(|(_, layers, _)| layers).collect();
    layers.into_iter().collect()
}
