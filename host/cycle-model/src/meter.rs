//! The whole model as an engine drives it: pipeline, caches, marker intervals.

use crate::{Block, FlashCaches, FlashGeometry, Instr, Misses, Pipeline};

/// What ran between a begin and an end marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    /// Instructions executed.
    pub instructions: u64,
    /// Cycles at zero wait states.
    pub cycles: u64,
    /// Waits for flash, where the flash model was on.
    pub misses: Option<Misses>,
}

impl Interval {
    /// Cycles on a board whose flash takes `wait_states` more cycles than SRAM; `None`
    /// where the flash model was off and the board has wait states.
    #[must_use]
    pub fn flash_cycles(&self, wait_states: u32) -> Option<u64> {
        match self.misses {
            Some(m) => Some(self.cycles + u64::from(wait_states) * (m.instruction + m.data)),
            None => (wait_states == 0).then_some(self.cycles),
        }
    }
}

/// Counts an executed instruction stream and closes an [`Interval`] per marker pair.
#[derive(Debug, Clone)]
pub struct Meter {
    pipeline: Pipeline,
    caches: Option<FlashCaches>,
    begun: Interval,
}

impl Meter {
    /// A meter; without a `geometry` the flash model is off.
    #[must_use]
    pub fn new(geometry: Option<FlashGeometry>) -> Self {
        Self {
            pipeline: Pipeline::default(),
            caches: geometry.map(FlashCaches::new),
            begun: Interval::default(),
        }
    }

    /// Everything counted so far.
    #[must_use]
    pub fn total(&self) -> Interval {
        Interval {
            instructions: self.pipeline.instructions,
            cycles: self.pipeline.cycles,
            misses: self.caches.as_ref().map(FlashCaches::misses),
        }
    }

    /// Counts one instruction at `pc`.
    #[inline]
    pub fn step(&mut self, pc: u32, instr: Instr) {
        self.pipeline.step(pc, instr);
        if let Some(caches) = &mut self.caches {
            caches.fetch(pc, pc.wrapping_add(instr.size()));
        }
    }

    /// Counts a block that executes from its first instruction to its last.
    #[inline]
    pub fn run_block(&mut self, block: &Block) {
        self.pipeline.run_block(block);
        if let Some(caches) = &mut self.caches {
            caches.fetch(block.start, block.end);
        }
    }

    /// Counts a data read of `len` bytes.
    #[inline]
    pub fn read(&mut self, address: u32, len: u32) {
        if let Some(caches) = &mut self.caches {
            caches.read(address, len);
        }
    }

    /// Execution reached the begin marker at `pc`, whose first instruction has not been
    /// counted yet. Empties the caches.
    pub fn begin(&mut self, pc: u32) {
        self.pipeline.arrive(pc);
        if let Some(caches) = &mut self.caches {
            caches.clear();
        }
        self.begun = self.total();
    }

    /// Execution reached the end marker at `pc`: what ran since the begin marker.
    pub fn end(&mut self, pc: u32) -> Interval {
        self.pipeline.arrive(pc);
        let (now, begun) = (self.total(), self.begun);
        Interval {
            instructions: now.instructions - begun.instructions,
            cycles: now.cycles - begun.cycles,
            misses: now.misses.zip(begun.misses).map(|(now, begun)| Misses {
                instruction: now.instruction - begun.instruction,
                data: now.data - begun.data,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: FlashGeometry = FlashGeometry {
        base: 0x0800_0000,
        size: 1 << 20,
        icache_lines: 64,
        dcache_lines: 8,
    };

    #[test]
    fn an_interval_holds_what_lies_between_the_markers() {
        let nop = Instr::decode(0xBF00, 0);
        let bx = Instr::decode(0x4770, 0);
        let mut meter = Meter::new(Some(GEOMETRY));
        meter.step(0x0800_0000, bx);
        meter.begin(0x0800_0100);
        meter.step(0x0800_0100, nop);
        meter.step(0x0800_0102, bx);
        meter.read(0x0800_4000, 4);
        let interval = meter.end(0x0800_0200);
        // nop 1, bx 1 and its refill 2; the refill into the begin marker lies outside.
        assert_eq!((interval.instructions, interval.cycles), (2, 4));
        assert_eq!(
            interval.misses,
            Some(Misses {
                instruction: 1,
                data: 1
            })
        );
        assert_eq!(interval.flash_cycles(5), Some(14));
        assert_eq!(interval.flash_cycles(0), Some(4));
    }

    #[test]
    fn without_the_flash_model_only_zero_wait_states_are_known() {
        let mut meter = Meter::new(None);
        meter.begin(0);
        meter.step(0, Instr::decode(0xBF00, 0));
        let interval = meter.end(2);
        assert_eq!(interval.flash_cycles(0), Some(1));
        assert_eq!(interval.flash_cycles(5), None);
    }
}
