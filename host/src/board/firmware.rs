//! A built firmware: what the host must know of its ELF.

use super::stack::{self, LIMIT_PERCENT, StackBound};
use super::{BoardError, BoardSpec, Build, build};
use object::elf::{PT_LOAD, SHT_PROGBITS};
use object::read::elf::{ElfFile32, FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SymbolKind};
use probe_rs::rtt::find_rtt_control_block_in_raw_file;
use shared::CRC32;
use shared::spec::Abilities;
use std::path::{Path, PathBuf};

const BEGIN: &str = "pressboard_mark_begin";
const END: &str = "pressboard_mark_end";
/// The section with the bundled blob, which is no part of the firmware's identity.
const BLOB_SECTION: &str = ".blob";

/// The firmware of a board.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// Where the ELF lies.
    pub path: PathBuf,
    /// The ELF.
    pub elf: Vec<u8>,
    /// What it loads into flash, by address, without the bundled blob.
    pub sections: Vec<(u32, Vec<u8>)>,
    /// CRC-32 over the bytes of `sections`; the device computes the same of its flash.
    pub build_id: u32,
    /// Most stack that it can take.
    pub stack: StackBound,
    /// Address of the function that begins a measured stretch.
    pub begin: u32,
    /// Address of the function that ends it.
    pub end: u32,
    /// Functions by address: name and bytes.
    functions: Vec<(u32, String, u32)>,
}

/// A function of a built firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its symbol, as the linker knows it.
    pub name: &'a str,
    /// Bytes in flash.
    pub bytes: u32,
}

impl Firmware {
    /// Builds and reads the firmware of a board.
    ///
    /// # Errors
    /// Where cargo fails, the ELF lacks what it must have, or could take more than
    /// [`LIMIT_PERCENT`] of the board's stack.
    pub fn build(board: &BoardSpec) -> Result<Self, BoardError> {
        Self::built(board, &Build::default())
    }

    /// As [`build`](Self::build), with some kernels only.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with(board: &BoardSpec, kernels: Option<Abilities>) -> Result<Self, BoardError> {
        Self::built(
            board,
            &Build {
                kernels,
                ..Build::default()
            },
        )
    }

    /// As [`build`](Self::build), of another kind.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn built(board: &BoardSpec, kind: &Build) -> Result<Self, BoardError> {
        let firmware = Self::read(&build::firmware(board, kind)?)?;
        let limit = board.sram.stack_bytes / 100 * LIMIT_PERCENT;
        if firmware.stack.bytes <= limit {
            return Ok(firmware);
        }
        let heaviest = firmware.stack.path.iter().max_by_key(|(_, frame)| *frame);
        let (function, frame) = heaviest.cloned().unwrap_or_default();
        Err(BoardError::Firmware {
            reason: format!(
                "it may take {} bytes of stack, allowed are {limit}: {LIMIT_PERCENT} % of \
                 stack_bytes in board.toml ({frame} of them in `{function}`)",
                firmware.stack.bytes
            ),
            path: firmware.path,
        })
    }

    /// Reads a built firmware.
    ///
    /// # Errors
    /// Where it is no ELF for the core or lacks the markers.
    pub fn read(path: &Path) -> Result<Self, BoardError> {
        let elf = std::fs::read(path).map_err(|e| BoardError::file(path, e))?;
        Self::parse(path, elf).map_err(|reason| BoardError::Firmware {
            path: path.into(),
            reason,
        })
    }

    fn parse(path: &Path, elf: Vec<u8>) -> Result<Self, String> {
        let file = ElfFile32::<LittleEndian>::parse(&*elf).map_err(|e| e.to_string())?;
        let functions = functions(&file);
        let marker = |name: &str| {
            let symbol = file
                .symbol_by_name(name)
                .ok_or_else(|| format!("it has no symbol `{name}`"));
            symbol.map(|symbol| symbol.address() as u32 & !1)
        };
        let (begin, end) = (marker(BEGIN)?, marker(END)?);
        if begin == end {
            return Err("its two markers were merged into one function".into());
        }
        let sections = loaded_sections(&file)?;
        let mut crc = CRC32.digest();
        for (_, bytes) in &sections {
            crc.update(bytes);
        }
        let build_id = crc.finalize();
        let stack = stack::bound(&elf).map_err(|e| format!("its stack has no bound: {e}"))?;
        Ok(Self {
            stack,
            path: path.into(),
            build_id,
            begin,
            end,
            functions,
            sections,
            elf,
        })
    }

    /// Address of the RTT control block.
    ///
    /// # Errors
    /// Where the ELF has none.
    pub fn rtt_control_block(&self) -> Result<u32, BoardError> {
        let found = find_rtt_control_block_in_raw_file(&self.elf).ok().flatten();
        let address = found.and_then(|address| u32::try_from(address).ok());
        address.ok_or_else(|| BoardError::Firmware {
            path: self.path.clone(),
            reason: "it has no RTT control block".into(),
        })
    }

    /// The function that `address` lies in, demangled as far as its path.
    #[must_use]
    pub fn function_at(&self, address: u32) -> Option<String> {
        let after = self
            .functions
            .partition_point(|(start, ..)| *start <= address);
        self.functions[..after]
            .last()
            .map(|(_, name, _)| name.clone())
    }

    /// All functions, by address.
    pub fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        self.functions
            .iter()
            .map(|&(_, ref name, bytes)| Function { name, bytes })
    }
}

/// Address, name and bytes of each function. Assembly may state no size: then it ends where
/// the next one begins.
fn functions(file: &ElfFile32<'_, LittleEndian>) -> Vec<(u32, String, u32)> {
    let text = file.symbols().filter(|s| s.kind() == SymbolKind::Text);
    let mut functions: Vec<(u32, String, u32)> = text
        .filter_map(|s| {
            let name = s.name().ok()?.to_owned();
            Some((s.address() as u32 & !1, name, s.size() as u32))
        })
        .collect();
    functions.sort();
    let ends: Vec<u32> = functions.iter().skip(1).map(|f| f.0).collect();
    for (function, next) in functions.iter_mut().zip(ends) {
        if function.2 == 0 {
            function.2 = next - function.0;
        }
    }
    functions.retain(|f| f.2 > 0);
    // Two names for one function: it counts once.
    functions.dedup_by_key(|f| f.0);
    functions
}

/// The sections that are loaded into flash, with the addresses they are loaded to.
fn loaded_sections(file: &ElfFile32<'_, LittleEndian>) -> Result<Vec<(u32, Vec<u8>)>, String> {
    let endian = LittleEndian;
    let mut sections = Vec::new();
    for section in file.sections() {
        let header = section.elf_section_header();
        let allocated = header.sh_flags(endian) & object::elf::SHF_ALLOC != 0;
        if !allocated
            || header.sh_type(endian) != SHT_PROGBITS
            || section.name() == Ok(BLOB_SECTION)
        {
            continue;
        }
        let data = section.data().map_err(|e| e.to_string())?;
        if !data.is_empty() {
            sections.push((load_address(file, section.address() as u32)?, data.to_vec()));
        }
    }
    sections.sort_by_key(|(address, _)| *address);
    Ok(sections)
}

/// Where the contents of virtual address `address` are loaded to.
fn load_address(file: &ElfFile32<'_, LittleEndian>, address: u32) -> Result<u32, String> {
    let endian = LittleEndian;
    let segments = file
        .elf_header()
        .program_headers(endian, file.data())
        .map_err(|e| e.to_string())?;
    for segment in segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
    {
        let offset = address.wrapping_sub(segment.p_vaddr(endian));
        if offset < segment.p_filesz(endian) {
            return Ok(segment.p_paddr(endian).wrapping_add(offset));
        }
    }
    Err(format!("address {address:#010x} is in no loaded segment"))
}
