//! The most stack that a firmware can take, from the instructions of its own ELF.
//!
//! Every function's frame is the sum of what its instructions take off the stack pointer;
//! the bound is the heaviest path of calls from the reset handler, plus one exception
//! frame. A call through a register may reach those of the functions listed for its caller
//! whose address stands somewhere in the image. What cannot be bounded
//! (recursion, a stack pointer set from a register, an unlisted call through a register,
//! code outside of functions) is an error that names the function. A panic ends the program, so its handler and what only
//! it calls are left out.

mod graph;
mod thumb;

use graph::{Function, Program};
use object::read::elf::ElfFile32;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::collections::BTreeMap;

/// What an exception pushes with the FPU in use, and the word that may align it
/// (ARMv7-M manual, B1.5.7).
pub const EXCEPTION_FRAME: u32 = 26 * 4 + 4;
/// Most that the bound, and what was measured, may take of a board's stack, in percent.
pub const LIMIT_PERCENT: u32 = 75;

/// The bound and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StackBound {
    /// Bytes, with [`EXCEPTION_FRAME`].
    pub bytes: u32,
    /// The heaviest path: each function's name and the bytes of its frame.
    pub path: Vec<(String, u32)>,
}

/// Why there is no bound.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackError {
    /// The ELF cannot be read.
    #[error("its ELF cannot be read: {0}")]
    Elf(String),
    /// There is no such function.
    #[error("it has no function `{0}`")]
    Missing(&'static str),
    /// The stack pointer is set from a register.
    #[error("`{function}` takes an amount of stack that only running it tells")]
    Unknown {
        /// Where.
        function: String,
    },
    /// A call through a register that nothing is known of.
    #[error("`{function}` calls through a register, and nothing says what")]
    Indirect {
        /// Where.
        function: String,
    },
    /// A function may call itself.
    #[error("functions call each other in a circle: {}", path.join(" -> "))]
    Recursion {
        /// The circle.
        path: Vec<String>,
    },
    /// A call or jump leads nowhere known.
    #[error("`{function}` continues at {target:#010x}, which is in no function")]
    Outside {
        /// Where from.
        function: String,
        /// Where to.
        target: u32,
    },
}

/// The bound of the firmware in `elf`.
///
/// # Errors
/// [`StackError`].
pub fn bound(elf: &[u8]) -> Result<StackBound, StackError> {
    let file = ElfFile32::<LittleEndian>::parse(elf).map_err(|e| StackError::Elf(e.to_string()))?;
    let (bytes, path) = program(&file)?.heaviest("Reset")?;
    Ok(StackBound {
        bytes: bytes + EXCEPTION_FRAME,
        path,
    })
}

fn program(file: &ElfFile32<'_, LittleEndian>) -> Result<Program, StackError> {
    let mut functions = BTreeMap::new();
    let mut taken = Vec::new();
    for section in file.sections() {
        let data = section.data().map_err(|e| StackError::Elf(e.to_string()))?;
        let base = section.address() as u32;
        match section.kind() {
            SectionKind::Text => {
                for (start, name, end) in function_ranges(file, base, data.len() as u32) {
                    let code = Code::new(file, base, data);
                    let function = Function::read(name, start, end, &code, &mut taken);
                    functions.insert(start, function);
                }
            }
            // The vector table is the core's to call, not ours.
            SectionKind::ReadOnlyData | SectionKind::Data
                if section.name() != Ok(".vector_table") =>
            {
                taken.extend(words(data));
            }
            _ => {}
        }
    }
    Ok(Program::new(functions, &taken))
}

fn words(data: &[u8]) -> impl Iterator<Item = u32> {
    let words = data.chunks_exact(4);
    words.map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
}

/// Start, name and end of the functions in a section. One without a size (assembly) ends
/// where the next begins.
fn function_ranges(
    file: &ElfFile32<'_, LittleEndian>,
    base: u32,
    len: u32,
) -> Vec<(u32, String, u32)> {
    let symbols = file.symbols().filter(|s| s.kind() == SymbolKind::Text);
    let mut starts: BTreeMap<u32, (String, u32)> = BTreeMap::new();
    for symbol in symbols {
        let start = symbol.address() as u32 & !1;
        let (Ok(name), true) = (symbol.name(), (base..base + len).contains(&start)) else {
            continue;
        };
        let entry = starts.entry(start).or_insert_with(|| (name.into(), 0));
        entry.1 = entry.1.max(symbol.size() as u32);
    }
    let ends: Vec<u32> = starts.keys().skip(1).copied().chain([base + len]).collect();
    let ranges = starts.into_iter().zip(ends);
    ranges
        .map(|((start, (name, size)), next)| match size {
            0 => (start, name, next),
            size => (start, name, start + size),
        })
        .collect()
}

/// A section of code, with what in it is data.
struct Code<'a> {
    base: u32,
    bytes: &'a [u8],
    /// Where data begins (`true`) or code (`false`), as `$d` and `$t` mark it.
    marks: BTreeMap<u32, bool>,
}

impl<'a> Code<'a> {
    fn new(file: &ElfFile32<'_, LittleEndian>, base: u32, bytes: &'a [u8]) -> Self {
        let marks = file.symbols().filter_map(|symbol| {
            let name = symbol.name().ok()?;
            let data = match name.get(..2)? {
                "$d" => true,
                "$t" => false,
                _ => return None,
            };
            Some((symbol.address() as u32, data))
        });
        Self {
            base,
            bytes,
            marks: marks.collect(),
        }
    }

    fn halfword(&self, address: u32) -> Option<u16> {
        let at = address.checked_sub(self.base)? as usize;
        let bytes = self.bytes.get(at..at + 2)?;
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn is_data(&self, address: u32) -> bool {
        let mark = self.marks.range(..=address).next_back();
        mark.is_some_and(|(_, data)| *data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_elf_is_said_to_be_none() {
        assert!(matches!(bound(b"no ELF"), Err(StackError::Elf(_))));
    }
}
