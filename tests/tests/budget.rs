//! Neither the firmware's size nor the bundled network's cycles grow unnoticed.

use host::board::{CodeSizes, EngineChoice, Firmware, Options, open};
use shared::blob::Blob;
use std::path::Path;

/// Percent that a figure may differ from its budget.
const MARGIN: f64 = 2.0;

fn check(what: &str, budget: &toml::Value, found: u64) {
    let budget = budget[what].as_integer().expect("a number") as f64;
    let percent = 100.0 * (found as f64 / budget - 1.0);
    println!("{what}: {found}, {percent:+.2} % of the budget");
    assert!(
        percent.abs() <= MARGIN,
        "{what} is {found}, {percent:+.2} % off tests/budget.toml: if that is meant, write it there"
    );
}

#[test]
fn the_firmware_and_the_bundled_network_keep_to_their_budget() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let budget = std::fs::read_to_string(root.join("tests/budget.toml")).expect("a budget");
    let budget: toml::Value = toml::from_str(&budget).expect("is TOML");
    let options = Options {
        engine: EngineChoice::InProcess,
        verbose: false,
    };
    let mut board = open("virtual-stm32f405", options).expect("opens");
    let firmware = Firmware::build(board.spec()).expect("builds");
    let blob = std::fs::read(root.join("boards/stm32f405/default.blob")).expect("a blob");
    let image = vec![7; Blob::new_checked(&blob).expect("valid").image_bytes()];
    board.flash(&blob).expect("is flashed");
    let cycles = board.infer(&image, false).expect("runs").cycles();
    check(
        "firmware_bytes",
        &budget,
        CodeSizes::of(&firmware).total() as u64,
    );
    check("default_network_cycles", &budget, cycles.expect("counts"));
}
