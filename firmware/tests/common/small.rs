//! Small whole networks of every kernel, encoding and width.

use super::network::Chain;
use shared::act::Act;
use shared::spec::{Encoding, Kernel, LayerSpec};

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

/// All of them, and one with a global pool.
pub fn networks() -> Vec<(String, Chain)> {
    let all = descriptions().into_iter();
    let built = all.map(|(name, specs, seed)| (name, Chain::of(specs, seed)));
    std::iter::once(("chain".to_owned(), Chain::new(1)))
        .chain(built)
        .collect()
}
