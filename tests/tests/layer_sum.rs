//! The search adds up layers; the whole network must take what their sum says.

use host::board::{Board, EngineChoice, Extent, Options, open, time_layer};
use host::lower::{Bits, choose_encoding, emit, plan};
use host::search::{LayerKey, price_net};
use host::vgg::{Item, VggConfig};
use shared::spec::Encoding;
use tests::{board, network};

#[test]
fn the_sum_of_layers_tells_what_the_network_takes() {
    use Item::{AvgPool, Conv, MaxPool};
    let config = VggConfig {
        cfg: vec![Conv(16), Conv(24), MaxPool, Conv(37), Conv(40), AvgPool],
        input: [16, 16, 3],
        ..VggConfig::preset("vgg-small").expect("known")
    };
    let options = Options {
        engine: EngineChoice::InProcess,
        verbose: false,
    };
    let mut board = open(&board(), options).expect("opens");
    let arena = board.hello().expect("answers").arena_limit;
    // The second network's weights are stored sparse, as far as that saves bytes. There the
    // benchmark repeats one block whose zeros are drawn by chance, so its density is only
    // near the layer's: in layers as small as these, a few percent.
    for (bits, density, tolerance) in [
        (Bits { w: 8, a: 8 }, 100, 0.03),
        (Bits { w: 4, a: 4 }, 15, 0.05),
    ] {
        let mut net = network::random(&config, bits, density, 5);
        choose_encoding(&mut net, 0);
        let priced = price_net(&net, arena).keys;
        let exact = (0..).zip(&priced).map(|(i, key)| LayerKey {
            density_percent: match key.spec.encoding {
                Encoding::Sparse => (100.0 * net.density(i)).round() as u8,
                Encoding::Dense => key.density_percent,
            },
            ..*key
        });
        let exact = sum(&mut *board, exact, arena);
        let priced = sum(&mut *board, priced.iter().copied(), arena);
        let plan = plan(&net, arena).expect("fits");
        let blob = emit(&net, &plan).expect("valid").blob;
        board.flash(&blob).expect("is flashed");
        let image = vec![77; 16 * 16 * 3];
        let ran = board.infer(&image, false).expect("runs");
        let whole = ran.cycles().expect("counts");
        let error = exact as f64 / whole as f64 - 1.0;
        println!(
            "{bits:?}: sum {exact} (priced {priced}), whole {whole}, {:+.2} %",
            100.0 * error
        );
        assert!(
            error.abs() < tolerance,
            "{:+.2} % at {bits:?}",
            100.0 * error
        );
        // The search rounds densities up to 5 %, to reuse timings: never in its own favour.
        assert!(priced >= exact && priced as f64 <= 1.05 * exact as f64);
    }
}

fn sum(board: &mut dyn Board, keys: impl Iterator<Item = LayerKey>, arena: u32) -> u64 {
    let extent = Extent::of(board.engine());
    keys.map(|key| time_layer(board, &key, arena, extent).expect("fits").cycles)
        .sum()
}
