//! Stores, multiple transfers and floating-point transfers of the fast core.

use super::core::{Core, Flow};
use super::execute::interworking;
use rsemu::cpu::arm::v7m::fpisa::FpInsn;
use rsemu::cpu::arm::v7m::isa::Size;

impl Core {
    #[inline]
    pub(super) fn store_single(
        &mut self,
        address: u32,
        size: Size,
        rt: u8,
        updated: Option<(u8, u32)>,
    ) -> Flow {
        if self.traps_unaligned && !address.is_multiple_of(size.bytes()) {
            return Flow::Fallback;
        }
        if self
            .store(address, size.bytes().trailing_zeros(), self.reg(rt))
            .is_none()
        {
            return Flow::Fallback;
        }
        if let Some((rn, base)) = updated {
            self.set(rn, base);
        }
        Flow::Next
    }

    pub(super) fn transfer_dual(
        &mut self,
        load: bool,
        rt: [u8; 2],
        address: u32,
        updated: Option<(u8, u32)>,
    ) -> Flow {
        if !self.reaches(address, 2, !load) {
            return Flow::Fallback;
        }
        let values = [self.reg(rt[0]), self.reg(rt[1])];
        for (i, at) in [address, address.wrapping_add(4)].into_iter().enumerate() {
            if load {
                let value = self.load(at, 2).unwrap_or(0);
                self.set(rt[i], value);
            } else {
                self.store(at, 2, values[i]);
            }
        }
        if let Some((rn, base)) = updated {
            self.set(rn, base);
        }
        Flow::Next
    }

    pub(super) fn transfer_multiple(
        &mut self,
        load: bool,
        rn: u8,
        list: u16,
        wback: bool,
        before: bool,
    ) -> Flow {
        let words = list.count_ones();
        let base = self.reg(rn);
        let moved = if before {
            base.wrapping_sub(4 * words)
        } else {
            base.wrapping_add(4 * words)
        };
        let start = if before { moved } else { base };
        if words == 0 || !self.reaches(start, words, !load) {
            return Flow::Fallback;
        }
        if load {
            self.load_multiple(start, rn, list, wback.then_some(moved))
        } else {
            self.store_multiple(start, rn, list, wback.then_some(moved))
        }
    }

    fn load_multiple(&mut self, start: u32, rn: u8, list: u16, updated: Option<u32>) -> Flow {
        let mut flow = Flow::Next;
        if list & 0x8000 != 0 {
            let target = self.peek(start.wrapping_add(4 * (list.count_ones() - 1)));
            flow = interworking(target);
            if flow == Flow::Fallback {
                return flow;
            }
        }
        if let Some(base) = updated {
            self.set(rn, base);
        }
        let mut at = start;
        let mut rest = list;
        while rest != 0 {
            let n = rest.trailing_zeros() as u8;
            rest &= rest - 1;
            let value = self.load(at, 2).unwrap_or(0);
            self.set(n, value);
            at = at.wrapping_add(4);
        }
        flow
    }

    fn store_multiple(&mut self, start: u32, rn: u8, list: u16, updated: Option<u32>) -> Flow {
        let mut at = start;
        let mut rest = list;
        while rest != 0 {
            let n = rest.trailing_zeros() as u8;
            rest &= rest - 1;
            self.store(at, 2, self.reg(n));
            at = at.wrapping_add(4);
        }
        if let Some(base) = updated {
            self.set(rn, base);
        }
        Flow::Next
    }

    /// A word of memory that is known to be reachable, not counted as a read.
    fn peek(&self, address: u32) -> u32 {
        let sram = self.sram.bytes.word(address.wrapping_sub(self.sram.base));
        sram.or_else(|| self.flash.bytes.word(address.wrapping_sub(self.flash.base)))
            .unwrap_or(0)
    }

    pub(super) fn table_branch(&mut self, rn: u8, rm: u8, half: bool) -> Flow {
        let (base, index) = (self.reg(rn), self.reg(rm));
        let address = base.wrapping_add(index << u32::from(half));
        if half && !address.is_multiple_of(2) {
            return Flow::Fallback;
        }
        match self.load(address, u32::from(half)) {
            Some(offset) => Flow::Jump(self.reg(15).wrapping_add(2 * offset)),
            None => Flow::Fallback,
        }
    }

    /// Floating-point transfers, which integer code uses to save registers. Arithmetic is
    /// the fallback's.
    pub(super) fn floating_point(&mut self, insn: &FpInsn) -> Flow {
        if !self.fp_ready || !self.s_valid {
            return Flow::Fallback;
        }
        match *insn {
            FpInsn::MovCore { to_fp: true, rt, n } => {
                self.s[usize::from(n)] = self.reg(rt);
                self.s_changed = true;
            }
            FpInsn::MovCore {
                to_fp: false,
                rt,
                n,
            } => self.set(rt, self.s[usize::from(n)]),
            FpInsn::MovCore2 {
                to_fp, rt, rt2, m, ..
            } if m < 31 => {
                let m = usize::from(m);
                if to_fp {
                    (self.s[m], self.s[m + 1]) = (self.reg(rt), self.reg(rt2));
                    self.s_changed = true;
                } else {
                    self.set(rt, self.s[m]);
                    self.set(rt2, self.s[m + 1]);
                }
            }
            FpInsn::Mem {
                load,
                d,
                rn,
                imm,
                add,
                double,
            } => {
                let base = if rn == 15 {
                    self.reg(15) & !3
                } else {
                    self.reg(rn)
                };
                let address = if add {
                    base.wrapping_add(imm)
                } else {
                    base.wrapping_sub(imm)
                };
                return self.transfer_singles(load, d, address, 1 + u32::from(double), None);
            }
            FpInsn::Multi {
                load,
                d,
                rn,
                count,
                add,
                writeback,
                ..
            } => {
                let base = self.reg(rn);
                let bytes = 4 * u32::from(count);
                let moved = if add {
                    base.wrapping_add(bytes)
                } else {
                    base.wrapping_sub(bytes)
                };
                let start = if add { base } else { moved };
                return self.transfer_singles(
                    load,
                    d,
                    start,
                    u32::from(count),
                    writeback.then_some((rn, moved)),
                );
            }
            _ => return Flow::Fallback,
        }
        Flow::Next
    }

    fn transfer_singles(
        &mut self,
        load: bool,
        d: u8,
        start: u32,
        words: u32,
        updated: Option<(u8, u32)>,
    ) -> Flow {
        if u32::from(d) + words > 32 || !self.reaches(start, words, !load) {
            return Flow::Fallback;
        }
        for i in 0..words {
            let (at, s) = (start.wrapping_add(4 * i), usize::from(d) + i as usize);
            if load {
                self.s[s] = self.load(at, 2).unwrap_or(0);
                self.s_changed = true;
            } else {
                self.store(at, 2, self.s[s]);
            }
        }
        if let Some((rn, base)) = updated {
            self.set(rn, base);
        }
        Flow::Next
    }
}
