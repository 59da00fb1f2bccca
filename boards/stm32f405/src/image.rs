//! What the linker put where, and the identity of what it put into flash.

use crate::between;
use core::ops::Range;
use shared::CRC32;

unsafe extern "C" {
    static _stack_end: u8;
    static _stack_start: u8;
    static _arena_start: u8;
    static _arena_end: u8;
    static _blob_start: u8;
    static _blob_end: u8;
    static __vector_table: u8;
    static __eexceptions: u8;
    static __stext: u8;
    static __etext: u8;
    static __srodata: u8;
    static __erodata: u8;
    static __sdata: u8;
    static __edata: u8;
    static __sidata: u8;
}

/// Interrupts of the vector table behind the exceptions, as cortex-m-rt places them.
const INTERRUPTS: usize = 240;

/// The bundled blob: what `cargo embed` alone flashes. Empty where the board has none.
#[unsafe(link_section = ".blob")]
#[used]
static DEFAULT_BLOB: [u8; include_bytes!(concat!(env!("OUT_DIR"), "/default.blob")).len()] =
    *include_bytes!(concat!(env!("OUT_DIR"), "/default.blob"));

/// Addresses of the stack.
pub fn stack() -> Range<usize> {
    between(&raw const _stack_end, &raw const _stack_start)
}

/// All SRAM behind the statics.
///
/// # Safety
/// To be called once.
pub unsafe fn arena() -> &'static mut [u8] {
    let range = between(&raw const _arena_start, &raw const _arena_end);
    // SAFETY: memory that the linker leaves to the arena; any bytes are valid.
    unsafe { core::slice::from_raw_parts_mut(range.start as *mut u8, range.len()) }
}

/// Addresses of the flash behind the ELF.
#[cfg(any(feature = "signed", feature = "update"))]
pub fn blob_range() -> Range<usize> {
    between(&raw const _blob_start, &raw const _blob_end)
}

/// The flash behind the ELF, whatever it holds.
#[cfg(not(any(feature = "signed", feature = "update")))]
pub fn blob() -> &'static [u8] {
    bytes(between(&raw const _blob_start, &raw const _blob_end))
}

/// CRC-32 over the flash bytes that the ELF loads, in the order of their addresses.
///
/// What lies between sections is not loaded and left out, and so is `.blob`.
pub fn build_id() -> u32 {
    let vectors = between(&raw const __vector_table, &raw const __eexceptions);
    let data = between(&raw const __sdata, &raw const __edata).len();
    let load = &raw const __sidata as usize;
    let sections = [
        vectors.start..vectors.end + 4 * INTERRUPTS,
        between(&raw const __stext, &raw const __etext),
        between(&raw const __srodata, &raw const __erodata),
        load..load + data,
    ];
    let mut digest = CRC32.digest();
    for section in sections {
        digest.update(bytes(section));
    }
    digest.finalize()
}

fn bytes(range: Range<usize>) -> &'static [u8] {
    // SAFETY: flash, which is readable throughout and does not change while this runs.
    unsafe { core::slice::from_raw_parts(range.start as *const u8, range.len()) }
}
