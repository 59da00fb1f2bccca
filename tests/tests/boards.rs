//! Boards are data; what several files say of one board must agree.

use host::board::spec;
use std::path::Path;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn embed_toml_names_the_same_chip_and_verifies_what_it_flashes() {
    for board in spec::all().expect("boards can be read") {
        let text = read(&board.folder.join("Embed.toml"));
        let embed: toml::Table = text.parse().expect("Embed.toml parses");
        let default = &embed["default"];
        assert_eq!(
            default["general"]["chip"].as_str(),
            Some(board.chip.as_str())
        );
        assert_eq!(default["flashing"]["verify"].as_bool(), Some(true));
        assert_eq!(default["rtt"]["enabled"].as_bool(), Some(true));
    }
}

#[test]
fn memory_x_has_the_sizes_of_board_toml() {
    for board in spec::all().expect("boards can be read") {
        let memory = read(&board.folder.join("memory.x"));
        let region = |name: &str| {
            let line = memory
                .lines()
                .find(|l| l.trim_start().starts_with(name))
                .unwrap_or_else(|| panic!("no region {name}"));
            let value = |key: &str| {
                let after = line.split(key).nth(1).expect(key);
                let text = after.trim_start_matches([' ', '=']);
                let text = text.split([',', ' ']).next().expect("a value").trim();
                number(text)
            };
            (value("ORIGIN"), value("LENGTH"))
        };
        assert_eq!(region("BLOB"), (board.blob.base, board.blob.bytes));
        assert_eq!(
            region("STACK"),
            (board.sram.base, board.sram.stack_bytes),
            "the stack lies at the bottom of SRAM"
        );
        let (ram, len) = region("RAM");
        assert_eq!(ram, board.sram.base + board.sram.stack_bytes);
        assert_eq!(ram + len, board.sram.base + board.sram.bytes);
        let (flash, len) = region("FLASH");
        assert_eq!(flash, board.flash.base);
        assert!(flash + len <= board.blob.base);
    }
}

fn number(text: &str) -> u32 {
    if let Some(hex) = text.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).expect("a number");
    }
    match text.strip_suffix('K') {
        Some(kib) => kib.parse::<u32>().expect("a number") * 1024,
        None => text.parse().expect("a number"),
    }
}

#[test]
fn the_firmwares_worst_case_stack_is_bounded_within_three_quarters() {
    for board in spec::all().expect("boards can be read") {
        // Building fails above the limit; this holds the figure against the limit itself.
        let firmware = host::board::Firmware::build(&board).expect("builds");
        let bound = &firmware.stack;
        let frames: u32 = bound.path.iter().map(|(_, frame)| frame).sum();
        assert_eq!(
            bound.bytes,
            frames + host::board::stack::EXCEPTION_FRAME,
            "the path accounts for every byte"
        );
        assert!(bound.bytes * 4 <= board.sram.stack_bytes * 3, "{bound:?}");
    }
}
