//! Zero-wait cycles: what each instruction costs after the one before it.

use crate::Instr;

/// Extra cycles of a branch that is taken: the pipeline is filled again.
const REFILL: u64 = 2;

/// Counts instructions and zero-wait cycles, instruction by instruction
/// ([`step`](Self::step)) or a translated block at a time
/// ([`run_block`](Self::run_block)); both give the same counts on the same stream.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// Instructions executed.
    pub instructions: u64,
    /// Cycles at zero wait states.
    pub cycles: u64,
    before: Instr,
    /// Where execution goes on if the last instruction does not branch.
    next: u32,
}

impl Pipeline {
    /// Charges the refill of a branch that led to `pc`, if one did. Called before a
    /// marker takes its reading, so that the branch to the marker lies outside.
    #[inline]
    pub fn arrive(&mut self, pc: u32) {
        if self.before.may_branch() && pc != self.next {
            self.cycles += REFILL;
        }
        self.next = pc;
    }

    /// Counts one instruction executed at `pc`.
    #[inline]
    pub fn step(&mut self, pc: u32, instr: Instr) {
        self.arrive(pc);
        self.cycles += u64::from(instr.cycles_after(self.before));
        self.instructions += 1;
        self.before = instr;
        self.next = pc.wrapping_add(instr.size());
    }

    /// Counts a whole block executed from its first instruction to its last.
    #[inline]
    pub fn run_block(&mut self, block: &Block) {
        self.arrive(block.start);
        self.cycles += u64::from(block.first.cycles_after(self.before) + block.rest);
        self.instructions += u64::from(block.instructions);
        self.before = block.last;
        self.next = block.end;
    }
}

/// A straight run of instructions, summed up but for what its first one owes to the
/// instruction executed before it.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// Address of the first instruction.
    pub start: u32,
    /// Address behind the last instruction.
    pub end: u32,
    /// Number of instructions, at least one.
    pub instructions: u32,
    first: Instr,
    last: Instr,
    rest: u32,
}

impl Block {
    /// A block of the one instruction at `start`.
    #[must_use]
    pub fn new(start: u32, first: Instr) -> Self {
        let end = start.wrapping_add(first.size());
        Self {
            start,
            end,
            instructions: 1,
            first,
            last: first,
            rest: 0,
        }
    }

    /// Appends the instruction that lies behind the block.
    pub fn push(&mut self, instr: Instr) {
        self.rest += instr.cycles_after(self.last);
        self.last = instr;
        self.instructions += 1;
        self.end = self.end.wrapping_add(instr.size());
    }
}

#[cfg(test)]
mod tests;
