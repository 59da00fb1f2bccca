//! Executes one instruction on the fast core.

use super::arithmetic::{self as alu, FlagsIn};
use super::core::{C, Core, Flow, IT, V};
use rsemu::cpu::arm::v7m::isa::{Cond, DpOp, HintOp, Insn, MemOffset, Operand, Size};

impl Core {
    /// Executes `insn`, which lies at the PC and is 16 bits long if `narrow`. On
    /// [`Flow::Fallback`] nothing has changed. The PC itself is left to the caller.
    #[inline]
    pub fn execute(&mut self, insn: &Insn, narrow: bool) -> Flow {
        if self.xpsr & IT == 0 {
            return match insn {
                Insn::Branch {
                    cond: Some(cond), ..
                } if !cond.passes(self.xpsr) => Flow::Next,
                _ => self.perform(insn, true),
            };
        }
        self.execute_in_it_block(insn, narrow)
    }

    fn execute_in_it_block(&mut self, insn: &Insn, narrow: bool) -> Flow {
        // The fallback knows what becomes of an IT in an IT block, and of a branch with a
        // condition of its own.
        if matches!(insn, Insn::It { .. } | Insn::Branch { cond: Some(_), .. }) {
            return Flow::Fallback;
        }
        let state = self.it_state();
        if !Cond((state >> 4) as u8).passes(self.xpsr) {
            self.advance_it(state);
            return Flow::Next;
        }
        let flow = self.perform(insn, !narrow);
        if flow != Flow::Fallback {
            self.advance_it(state);
        }
        flow
    }

    fn it_state(&self) -> u32 {
        (((self.xpsr >> 10) & 0x3F) << 2) | ((self.xpsr >> 25) & 3)
    }

    fn set_it_state(&mut self, state: u32) {
        self.xpsr = (self.xpsr & !IT) | ((state >> 2) << 10) | ((state & 3) << 25);
    }

    fn advance_it(&mut self, state: u32) {
        let next = if state & 7 == 0 {
            0
        } else {
            (state & 0xE0) | ((state << 1) & 0x1F)
        };
        self.set_it_state(next);
    }

    /// Executes an instruction whose condition passes. `sets_flags` is false for 16-bit
    /// encodings in an IT block, which leave the flags alone there.
    #[inline]
    fn perform(&mut self, insn: &Insn, sets_flags: bool) -> Flow {
        match *insn {
            Insn::DataProc {
                op,
                s,
                rd,
                rn,
                operand,
            } => {
                return self.data_processing(
                    op,
                    s && (sets_flags || op.is_test()),
                    rd,
                    rn,
                    operand,
                );
            }
            Insn::LoadStore {
                load,
                size,
                signed,
                rt,
                rn,
                offset,
                index,
                add,
                wback,
                unpriv,
            } => {
                if unpriv {
                    return Flow::Fallback;
                }
                let delta = match offset {
                    MemOffset::Imm(value) => value,
                    MemOffset::Reg { rm, lsl } => self.reg(rm) << lsl,
                };
                let base = self.reg(rn);
                let moved = if add {
                    base.wrapping_add(delta)
                } else {
                    base.wrapping_sub(delta)
                };
                let address = if index { moved } else { base };
                let updated = wback.then_some((rn, moved));
                return match load {
                    true => self.load_single(address, size, signed, rt, updated),
                    false => self.store_single(address, size, rt, updated),
                };
            }
            Insn::LoadLiteral {
                size,
                signed,
                rt,
                imm,
                add,
            } => {
                let base = self.reg(15) & !3;
                let address = if add {
                    base.wrapping_add(imm)
                } else {
                    base.wrapping_sub(imm)
                };
                return self.load_single(address, size, signed, rt, None);
            }
            Insn::LoadStoreMultiple {
                load,
                rn,
                list,
                wback,
                before,
            } => {
                return self.transfer_multiple(load, rn, list, wback, before);
            }
            Insn::LoadStoreDual {
                load,
                rt,
                rt2,
                rn,
                imm,
                index,
                add,
                wback,
            } => {
                let base = if rn == 15 {
                    self.reg(15) & !3
                } else {
                    self.reg(rn)
                };
                let moved = if add {
                    base.wrapping_add(imm)
                } else {
                    base.wrapping_sub(imm)
                };
                let address = if index { moved } else { base };
                return self.transfer_dual(
                    load,
                    [rt, rt2],
                    address,
                    (wback && rn != 15).then_some((rn, moved)),
                );
            }
            Insn::Branch { offset, .. } => {
                return Flow::Jump(self.reg(15).wrapping_add(offset as u32));
            }
            Insn::BranchLink { offset } => {
                let target = self.reg(15).wrapping_add(offset as u32);
                self.r[14] = self.r[15].wrapping_add(4) | 1;
                return Flow::Jump(target);
            }
            Insn::Bx { rm } => return interworking(self.reg(rm)),
            Insn::Blx { rm } => {
                let flow = interworking(self.reg(rm));
                if flow != Flow::Fallback {
                    self.r[14] = self.r[15].wrapping_add(2) | 1;
                }
                return flow;
            }
            Insn::Cbz {
                nonzero,
                rn,
                offset,
            } => {
                if (self.reg(rn) != 0) == nonzero {
                    return Flow::Jump(self.reg(15).wrapping_add(offset));
                }
            }
            Insn::TableBranch { rn, rm, half } => return self.table_branch(rn, rm, half),
            Insn::It { cond, mask } => {
                self.set_it_state((u32::from(cond.0) << 4) | u32::from(mask))
            }
            Insn::Fp(ref fp) => return self.floating_point(fp),
            Insn::Hint {
                op: HintOp::Nop | HintOp::Yield | HintOp::Preload,
            }
            | Insn::Barrier { .. } => {}
            _ => return self.compute(insn, sets_flags),
        }
        Flow::Next
    }

    #[inline]
    fn data_processing(&mut self, op: DpOp, s: bool, rd: u8, rn: u8, operand: Operand) -> Flow {
        let c = self.flag(C);
        let (b, shifter) = match operand {
            Operand::Imm { value, carry } => (value, carry.unwrap_or(c)),
            Operand::Reg { rm, shift } => alu::shift_by_constant(shift, self.reg(rm), c),
        };
        let a = if op.is_unary() { 0 } else { self.reg(rn) };
        let (result, carry, overflow) = alu::data_processing(
            op,
            a,
            b,
            FlagsIn {
                c,
                v: self.flag(V),
                shifter,
            },
        );
        if s {
            self.set_nz(result);
            self.set_flag(C, carry);
            self.set_flag(V, overflow);
        }
        if op.is_test() {
            return Flow::Next;
        }
        if rd == 15 {
            return Flow::Jump(result & !1);
        }
        self.set(rd, result);
        Flow::Next
    }

    #[inline]
    fn load_single(
        &mut self,
        address: u32,
        size: Size,
        signed: bool,
        rt: u8,
        updated: Option<(u8, u32)>,
    ) -> Flow {
        let log2 = size.bytes().trailing_zeros();
        if self.traps_unaligned && !address.is_multiple_of(size.bytes()) {
            return Flow::Fallback;
        }
        let Some(raw) = self.load(address, log2) else {
            return Flow::Fallback;
        };
        let value = match (size, signed) {
            (Size::Byte, true) => raw as i8 as u32,
            (Size::Half, true) => raw as i16 as u32,
            _ => raw,
        };
        if rt == 15 {
            let flow = interworking(value);
            if let (Some((rn, base)), true) = (updated, flow != Flow::Fallback) {
                self.set(rn, base);
            }
            return flow;
        }
        if let Some((rn, base)) = updated {
            self.set(rn, base);
        }
        self.set(rt, value);
        Flow::Next
    }
}

/// The branch that BX and loads of the PC make. Exception returns and targets without
/// the Thumb bit are the fallback's.
#[inline]
pub fn interworking(target: u32) -> Flow {
    if target & 1 == 0 || target >= 0xF000_0000 {
        Flow::Fallback
    } else {
        Flow::Jump(target & !1)
    }
}
