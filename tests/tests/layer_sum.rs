//! The search adds up layers; the whole network must take what their sum says.

use host::board::{EngineChoice, Extent, Options, open, time_layer};
use host::lower::{Bits, Storage, choose_encoding, emit, plan};
use host::search::price_net;
use host::vgg::{Item, VggConfig};
use tests::{board, network};

#[test]
fn the_sum_of_layers_is_within_3_percent_of_the_network() {
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
    for (bits, density) in [(Bits { w: 8, a: 8 }, 100), (Bits { w: 4, a: 4 }, 15)] {
        let mut net = network::random(&config, bits, density, 5);
        choose_encoding(&mut net, &Storage::smallest(arena));
        let keys = price_net(&net, arena).keys;
        let sum: u64 = keys
            .iter()
            .map(|key| {
                let extent = Extent::of(board.engine());
                time_layer(&mut *board, key, arena, extent)
                    .expect("fits")
                    .cycles
            })
            .sum();
        let plan = plan(&net, arena).expect("fits");
        let blob = emit(&net, &plan).expect("valid").blob;
        board.flash(&blob).expect("is flashed");
        let image = vec![77; 16 * 16 * 3];
        let whole = board
            .infer(&image, false)
            .expect("runs")
            .cycles()
            .expect("counts");
        let error = sum as f64 / whole as f64 - 1.0;
        println!(
            "{bits:?}: sum {sum}, whole {whole}, {:+.2} %",
            100.0 * error
        );
        assert!(error.abs() < 0.03, "{:+.2} % at {bits:?}", 100.0 * error);
    }
}
