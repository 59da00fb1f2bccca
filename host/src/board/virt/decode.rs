//! Decoded instructions, kept by address.

use super::bytes::Bytes;
use cycle_model::Instr;
use rsemu::cpu::arm::v7m::isa::{self, Insn};
use std::sync::Arc;

/// What a program counter means besides its instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marker {
    /// Nothing.
    #[default]
    None,
    /// The measured stretch begins here.
    Begin,
    /// The measured stretch ends here.
    End,
}

/// One instruction, decoded for execution and for counting.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// The word that was decoded; where memory holds another one, the slot is stale.
    pub word: u32,
    /// For counting.
    pub instr: Instr,
    /// For execution.
    pub insn: Insn,
    /// Whether the address is a marker.
    pub marker: Marker,
}

/// Slots in a page: enough to make lookups two loads, few enough to stay lazy.
const PAGE_SLOTS: usize = 1024;
type Page = Box<[Option<Slot>; PAGE_SLOTS]>;

/// The decoded instructions of one memory. Code that changes is noticed, because each
/// lookup compares the word that was decoded.
#[derive(Debug)]
pub struct DecodeCache {
    base: u32,
    bytes: Arc<Bytes>,
    pages: Vec<Option<Page>>,
    markers: [u32; 2],
}

impl DecodeCache {
    /// An empty cache over `bytes` at address `base`.
    pub fn new(base: u32, bytes: Arc<Bytes>) -> Self {
        let pages = (bytes.len() as usize).div_ceil(2 * PAGE_SLOTS);
        Self {
            base,
            bytes,
            pages: (0..pages).map(|_| None).collect(),
            markers: [u32::MAX; 2],
        }
    }

    /// Sets the addresses of the begin and the end marker and forgets every slot.
    pub fn set_markers(&mut self, begin: u32, end: u32) {
        self.markers = [begin, end];
        self.pages.fill_with(|| None);
    }

    /// The instruction at `pc`; `None` outside this memory and at its last halfword.
    #[inline]
    pub fn slot(&mut self, pc: u32) -> Option<&Slot> {
        let offset = pc.wrapping_sub(self.base);
        let word = self.bytes.word(offset)?;
        let index = offset as usize / 2;
        let page = self.pages[index / PAGE_SLOTS]
            .get_or_insert_with(|| Box::new([const { None }; PAGE_SLOTS]));
        let entry = &mut page[index % PAGE_SLOTS];
        match entry {
            Some(slot) if slot.word == word => {}
            _ => *entry = Some(decode(word, marker_at(self.markers, pc))),
        }
        entry.as_ref()
    }
}

#[cold]
fn marker_at(markers: [u32; 2], pc: u32) -> Marker {
    match pc {
        _ if pc == markers[0] => Marker::Begin,
        _ if pc == markers[1] => Marker::End,
        _ => Marker::None,
    }
}

#[cold]
fn decode(word: u32, marker: Marker) -> Slot {
    let (first, second) = (word as u16, (word >> 16) as u16);
    let second_used = if Instr::is_wide(first) { second } else { 0 };
    Slot {
        word,
        instr: Instr::decode(first, second_used),
        insn: isa::decode(first, second_used),
        marker,
    }
}
