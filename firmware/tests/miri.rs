//! Every portable kernel, encoding and width once, small enough for an interpreter:
//! `cargo +nightly miri test -p firmware --test miri`.

mod common;

use common::network::Chain;
use common::small::descriptions;
use firmware::engine::Network;
use shared::blob::Blob;

#[test]
fn small_networks_of_every_kernel_equal_the_reference() {
    // An interpreter is a few hundred times slower: every kernel and encoding, not all pairs.
    let step = if cfg!(miri) { 4 } else { 1 };
    for (name, specs, seed) in descriptions().into_iter().step_by(step) {
        println!("{name}");
        let mut chain = Chain::of(specs, seed);
        let image = chain.image(5);
        let expected = chain.expected(&image);
        let blob = Blob::new_checked(&chain.blob).unwrap();
        let mut memory = vec![0u64; 2048];
        let mut network = Network::new(blob, common::bytes_of(&mut memory)).unwrap();
        network.verify_streams().unwrap();
        let logits = network.infer(&image, &mut ()).unwrap();
        assert_eq!(logits.iter().collect::<Vec<_>>(), expected, "{name}");
    }
}
