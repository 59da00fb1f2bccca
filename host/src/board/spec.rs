//! Boards as data: a folder with a `board.toml` each.

use super::BoardError;
use cycle_model::FlashGeometry;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What marks a board as emulated: `virtual-<folder>`.
pub const VIRTUAL_PREFIX: &str = "virtual-";

/// A board, as its `board.toml` describes it.
#[derive(Debug, Clone, Deserialize)]
pub struct BoardSpec {
    /// The folder's name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The chip as probe-rs calls it.
    pub chip: String,
    /// Rust's target triple.
    pub target: String,
    /// Kernels that the firmware is built with.
    pub features: Vec<String>,
    /// Core clock in Hz.
    pub clock_hz: u32,
    /// Crystal in Hz.
    pub hse_hz: u32,
    /// Flash memory.
    pub flash: FlashSpec,
    /// Where the blob lies.
    pub blob: BlobSpec,
    /// Main SRAM.
    pub sram: SramSpec,
    /// What emulates the board.
    #[serde(rename = "virtual")]
    pub emulated: Option<EmulatedSpec>,
    /// The folder, filled in by [`find`].
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Flash and the accelerator in front of it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct FlashSpec {
    /// Address of the first byte.
    pub base: u32,
    /// Bytes.
    pub bytes: u32,
    /// Cycles that a read takes more than one of SRAM, at `clock_hz`.
    pub wait_states: u32,
    /// Lines of the instruction cache.
    pub icache_lines: u8,
    /// Lines of the data cache.
    pub dcache_lines: u8,
}

/// The flash for blobs: one of all of it, or two slots and a ledger of versions behind them.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct BlobSpec {
    /// Address of the first byte.
    pub base: u32,
    /// Bytes.
    pub bytes: u32,
    /// Addresses of the slots; the first is `base`.
    pub slots: [u32; 2],
    /// Bytes of each.
    pub slot_bytes: u32,
}

/// Bytes of a slot's header, at its end (`firmware::update::slot`).
pub const SLOT_HEADER: u32 = firmware::update::slot::HEADER_BYTES;

impl BlobSpec {
    /// Address of the ledger, behind the second slot.
    #[must_use]
    pub fn ledger(&self) -> u32 {
        self.slots[1] + self.slot_bytes
    }

    /// Addresses of the slots' headers.
    #[must_use]
    pub fn headers(&self) -> [u32; 2] {
        self.slots.map(|slot| slot + self.slot_bytes - SLOT_HEADER)
    }
}

/// Main SRAM.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct SramSpec {
    /// Address of the first byte.
    pub base: u32,
    /// Bytes.
    pub bytes: u32,
    /// Bytes at the bottom that are the stack.
    pub stack_bytes: u32,
}

/// What emulates the board.
#[derive(Debug, Clone, Deserialize)]
pub struct EmulatedSpec {
    /// QEMU's name for a machine with this memory map, if it has one.
    pub qemu: Option<String>,
}

impl BoardSpec {
    /// Flash as the cycle model sees it.
    #[must_use]
    pub fn flash_geometry(&self) -> FlashGeometry {
        FlashGeometry {
            base: self.flash.base,
            size: self.flash.bytes,
            icache_lines: self.flash.icache_lines,
            dcache_lines: self.flash.dcache_lines,
        }
    }

    /// Milliseconds that `cycles` take at the board's clock.
    #[must_use]
    pub fn milliseconds(&self, cycles: u64) -> f64 {
        cycles as f64 * 1e3 / f64::from(self.clock_hz)
    }

    /// The file with the description.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("board.toml")
    }

    fn load(folder: &Path) -> Result<Self, BoardError> {
        let path = folder.join("board.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| BoardError::file(&path, e))?;
        let mut spec: Self = toml::from_str(&text).map_err(|e| BoardError::file(&path, e))?;
        spec.folder = folder.to_path_buf();
        spec.check()
            .map_err(|reason| BoardError::file(&path, reason))?;
        Ok(spec)
    }

    /// Whether the numbers make sense together; what is wrong if not.
    fn check(&self) -> Result<(), String> {
        let end = |base: u32, bytes: u32| u64::from(base) + u64::from(bytes);
        let blob_end = end(self.blob.base, self.blob.bytes);
        if self
            .folder
            .file_name()
            .is_none_or(|name| name != self.name.as_str())
        {
            return Err(format!("name `{}` is not the folder's", self.name));
        }
        if self.blob.base < self.flash.base || blob_end > end(self.flash.base, self.flash.bytes) {
            return Err("[blob] lies outside of [flash]".into());
        }
        let [first, second] = self.blob.slots.map(u64::from);
        let slot = u64::from(self.blob.slot_bytes);
        let apart = first == u64::from(self.blob.base) && second >= first + slot;
        if !apart || second + slot >= blob_end || slot <= u64::from(SLOT_HEADER) {
            return Err("the slots of [blob] overlap, or leave no room for the ledger".into());
        }
        if self.sram.stack_bytes >= self.sram.bytes {
            return Err("the stack takes all of [sram]".into());
        }
        if self.clock_hz == 0 || self.flash.icache_lines == 0 || self.flash.dcache_lines == 0 {
            return Err("clock and cache lines must not be zero".into());
        }
        Ok(())
    }
}

/// The folder of all boards: `PRESSBOARD_BOARDS`, or the one this was built beside.
#[must_use]
pub fn boards_folder() -> PathBuf {
    match std::env::var_os("PRESSBOARD_BOARDS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards"),
    }
}

/// All boards, by name.
///
/// # Errors
/// Where the folder cannot be read or a description is wrong.
pub fn all() -> Result<Vec<BoardSpec>, BoardError> {
    let folder = boards_folder();
    let entries = std::fs::read_dir(&folder).map_err(|e| BoardError::file(&folder, e))?;
    let mut boards = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| BoardError::file(&folder, e))?.path();
        if path.join("board.toml").is_file() {
            boards.push(BoardSpec::load(&path)?);
        }
    }
    boards.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(boards)
}

/// The board that `name` means, and whether it is to be emulated.
///
/// # Errors
/// [`BoardError::Unknown`] with the names there are.
pub fn find(name: &str) -> Result<(BoardSpec, bool), BoardError> {
    let boards = all()?;
    let (folder, emulated) = match name.strip_prefix(VIRTUAL_PREFIX) {
        Some(folder) => (folder, true),
        None => (name, false),
    };
    let found = boards
        .iter()
        .find(|board| board.name == folder && (!emulated || board.emulated.is_some()));
    match found {
        Some(board) => Ok((board.clone(), emulated)),
        None => Err(BoardError::Unknown {
            name: name.into(),
            known: boards.iter().flat_map(names).collect(),
        }),
    }
}

/// The names by which a board can be asked for.
pub fn names(board: &BoardSpec) -> Vec<String> {
    let emulated = board
        .emulated
        .is_some()
        .then(|| format!("{VIRTUAL_PREFIX}{}", board.name));
    emulated.into_iter().chain([board.name.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_board_is_found_under_both_names() {
        let (board, emulated) = find("virtual-stm32f405").unwrap();
        assert!(emulated);
        assert_eq!(
            (board.chip.as_str(), board.clock_hz),
            ("STM32F405RGTx", 168_000_000)
        );
        assert_eq!(board.milliseconds(168_000), 1.0);
        assert!(!find("stm32f405").unwrap().1);
    }

    #[test]
    fn an_unknown_board_is_refused_with_the_known_ones() {
        let error = find("stm32f999").unwrap_err().to_string();
        assert_eq!(
            error,
            "no board `stm32f999`; known: virtual-stm32f405, stm32f405"
        );
    }

    #[test]
    fn a_board_whose_numbers_contradict_each_other_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("small");
        std::fs::create_dir(&folder).unwrap();
        let text = std::fs::read_to_string(boards_folder().join("stm32f405/board.toml")).unwrap();
        let text = text.replace("name = \"stm32f405\"", "name = \"small\"");
        for (from, to, reason) in [
            ("bytes = 0xe_0000", "bytes = 0xf_0000", "outside of [flash]"),
            (
                "slot_bytes = 0x6_0000",
                "slot_bytes = 0x7_0000",
                "the slots",
            ),
            ("slot_bytes = 0x6_0000", "slot_bytes = 0x100", "the slots"),
            (
                "stack_bytes = 0x2000",
                "stack_bytes = 0x2_0000",
                "all of [sram]",
            ),
            ("name = \"small\"", "name = \"large\"", "not the folder's"),
            ("chip = ", "chips = ", "missing field `chip`"),
        ] {
            std::fs::write(folder.join("board.toml"), text.replacen(from, to, 1)).unwrap();
            let error = BoardSpec::load(&folder).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
