//! A Cortex-M4 cycle model over an executed instruction stream.
//!
//! One table, used by both emulation engines (the in-process virtual board and the
//! plugin that runs inside QEMU), which must agree exactly. Nothing here knows either
//! engine: they hand over program counters, [`Instr`]s and data reads.
//!
//! # Zero-wait cycles
//!
//! | instruction | cycles |
//! |---|---|
//! | everything not named below | 1 |
//! | LDR, LDRB, LDRH, LDRSB, LDRSH | 2 |
//! | the same right after another of them | 1, unless the first loads the second's address |
//! | STR, STRB, STRH | 1 |
//! | LDRD, STRD | 3 |
//! | LDREX, STREX and their byte and halfword forms | 2 |
//! | LDM, STM, PUSH, POP of N registers | 1 + N |
//! | LDR to the PC | 5 |
//! | TBB, TBH | 6 |
//! | SDIV, UDIV | 6 (the core takes 2 to 12) |
//! | any branch that is taken (B, BL, BX, CBZ, POP and LDM with the PC, ADD and MOV to the PC) | + 2 |
//! | a load or store whose address comes from the data-processing instruction just before | + 1 |
//! | IT | 0 (folded) |
//! | VMLA, VMLS, VNMLA, VNMLS, VFMA, VFMS, VFNMA, VFNMS | 3 |
//! | VDIV, VSQRT | 14 |
//! | VLDR, VSTR | 2, of a double 3 |
//! | VLDM, VSTM, VPUSH, VPOP of N words | 1 + N |
//! | VMOV of two words | 2 |
//!
//! Sources: *Cortex-M4 Technical Reference Manual* (ARM 100166), tables "Cortex-M4
//! instruction set summary", "Load/store timings" and "FPU instruction set", with a
//! pipeline refill of 2 cycles, which is what its P is on straight-line targets; the
//! address rule is the same chapter's "no forwarding path for this scenario". An
//! instruction whose IT condition fails is charged as if it had run: a plugin sees
//! blocks, not conditions, and the difference is a cycle here and there.
//!
//! # Flash
//!
//! As in the STM32F4's ART accelerator (RM0090, "Adaptive real-time memory
//! accelerator"): instructions come through a cache of 64 lines of 16 bytes, data reads
//! through one of 8, both fully associative and LRU, and the line after the one being
//! executed is prefetched. A miss costs the board's wait states. Code and data in SRAM
//! cost none. See [`FlashCaches`].
//!
//! # Intervals
//!
//! A [`Meter`] is fed by an engine and closes an [`Interval`] between two marker
//! functions of the firmware. Both caches are emptied at the begin marker, so a count
//! does not depend on what ran before.

mod flash;
mod instr;
mod meter;
mod pipeline;

pub use flash::{FlashCaches, FlashGeometry, LINE_BYTES, Misses};
pub use instr::Instr;
pub use meter::{Interval, Meter};
pub use pipeline::{Block, Pipeline};
