//! Executes one instruction on the fast core.

use super::arithmetic::{self as alu, FlagsIn};
use super::core::{C, Core, Flow, GE, IT, Q, V};
use rsemu::cpu::arm::v7m::isa::{
    BitfieldOp, Cond, DpOp, DualMulOp, HalfMulOp, HintOp, Insn, MemOffset, Operand, SatQOp, Size,
};

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

    /// What only computes: multiplication, DSP, bit fields.
    fn compute(&mut self, insn: &Insn, sets_flags: bool) -> Flow {
        match *insn {
            Insn::DualMul {
                op,
                rd,
                rn,
                rm,
                ra,
                x,
            } => self.dual_multiply(op, [rd, rn, rm, ra], x),
            Insn::HalfMul {
                op,
                rd,
                rn,
                rm,
                ra,
                x,
                y,
            } => self.half_multiply(op, [rd, rn, rm, ra], x, y),
            Insn::Simd {
                mode,
                shape,
                rd,
                rn,
                rm,
            } => {
                let (result, ge) = alu::parallel(mode, shape, self.reg(rn), self.reg(rm));
                self.set(rd, result);
                if let Some(ge) = ge {
                    self.xpsr = (self.xpsr & !GE) | (ge << 16);
                }
            }
            Insn::Extend {
                op,
                rd,
                rn,
                rm,
                rotate,
            } => {
                let value = alu::extend(op, self.reg(rm).rotate_right(u32::from(rotate)));
                let value = if rn == 15 {
                    value
                } else {
                    alu::extend_and_add(op, self.reg(rn), value)
                };
                self.set(rd, value);
            }
            Insn::Pkh {
                tb,
                rd,
                rn,
                rm,
                shift,
            } => {
                let a = self.reg(rn);
                let b = alu::shift_by_constant(shift, self.reg(rm), self.flag(C)).0;
                let (bottom, top) = if tb { (b, a) } else { (a, b) };
                self.set(rd, (bottom & 0xFFFF) | (top & 0xFFFF_0000));
            }
            Insn::Mul {
                rd,
                rn,
                rm,
                ra,
                sub,
                s,
            } => {
                let product = self.reg(rn).wrapping_mul(self.reg(rm));
                let result = match ra {
                    None => product,
                    Some(ra) if sub => self.reg(ra).wrapping_sub(product),
                    Some(ra) => self.reg(ra).wrapping_add(product),
                };
                self.set(rd, result);
                if s && sets_flags {
                    self.set_nz(result);
                }
            }
            Insn::MulLong {
                signed,
                accumulate,
                rdlo,
                rdhi,
                rn,
                rm,
                umaal,
            } => {
                let (a, b) = (self.reg(rn), self.reg(rm));
                let (low, high) = (self.reg(rdlo), self.reg(rdhi));
                let product = match signed {
                    true => (i64::from(a as i32) * i64::from(b as i32)) as u64,
                    false => u64::from(a) * u64::from(b),
                };
                let result = match (umaal, accumulate) {
                    (true, _) => product
                        .wrapping_add(u64::from(low))
                        .wrapping_add(u64::from(high)),
                    (_, true) => product.wrapping_add(u64::from(low) | (u64::from(high) << 32)),
                    _ => product,
                };
                self.set(rdlo, result as u32);
                self.set(rdhi, (result >> 32) as u32);
            }
            Insn::ShiftReg { ty, s, rd, rn, rm } => {
                let (result, carry) =
                    alu::shift_by(ty, self.reg(rn), self.reg(rm) & 0xFF, self.flag(C));
                self.set(rd, result);
                if s && sets_flags {
                    self.set_nz(result);
                    self.set_flag(C, carry);
                }
            }
            Insn::MovImm16 { top, rd, imm } => {
                let imm = u32::from(imm);
                self.set(
                    rd,
                    if top {
                        (self.reg(rd) & 0xFFFF) | (imm << 16)
                    } else {
                        imm
                    },
                );
            }
            Insn::Adr { rd, imm, add } => {
                let base = self.reg(15) & !3;
                self.set(
                    rd,
                    if add {
                        base.wrapping_add(imm)
                    } else {
                        base.wrapping_sub(imm)
                    },
                );
            }
            Insn::Bitfield {
                op,
                rd,
                rn,
                lsb,
                width,
            } => self.bit_field(op, rd, rn, lsb, width),
            Insn::Sat {
                unsigned,
                halves,
                rd,
                rn,
                imm,
                shift,
            } => {
                let value = self.reg(rn);
                let (result, saturated) = if halves {
                    let (low, s0) =
                        alu::saturate(alu::half(value, false), u32::from(imm), unsigned);
                    let (high, s1) =
                        alu::saturate(alu::half(value, true), u32::from(imm), unsigned);
                    (alu::pack(low, high), s0 | s1)
                } else {
                    let shifted = alu::shift_by_constant(shift, value, self.flag(C)).0;
                    let (result, saturated) =
                        alu::saturate(shifted as i32, u32::from(imm), unsigned);
                    (result as u32, saturated)
                };
                self.set(rd, result);
                self.xpsr |= if saturated { Q } else { 0 };
            }
            Insn::SatQ { op, rd, rn, rm } => self.saturating_add(op, rd, rn, rm),
            Insn::Misc { op, rd, rm } => self.set(rd, alu::miscellaneous(op, self.reg(rm))),
            Insn::Div { signed, rd, rn, rm } => {
                let (a, b) = (self.reg(rn), self.reg(rm));
                if b == 0 {
                    return Flow::Fallback;
                }
                self.set(
                    rd,
                    if signed {
                        (a as i32).wrapping_div(b as i32) as u32
                    } else {
                        a / b
                    },
                );
            }
            Insn::Sel { rd, rn, rm } => {
                let mut mask = 0;
                for lane in 0..4 {
                    mask |= if self.xpsr & (1 << (16 + lane)) != 0 {
                        0xFF << (8 * lane)
                    } else {
                        0
                    };
                }
                self.set(rd, (self.reg(rn) & mask) | (self.reg(rm) & !mask));
            }
            Insn::Usad { rd, rn, rm, ra } => {
                let (a, b) = (self.reg(rn).to_le_bytes(), self.reg(rm).to_le_bytes());
                let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b))).sum();
                self.set(
                    rd,
                    sum.wrapping_add(if ra == 15 { 0 } else { self.reg(ra) }),
                );
            }
            _ => return Flow::Fallback,
        }
        Flow::Next
    }

    fn bit_field(&mut self, op: BitfieldOp, rd: u8, rn: u8, lsb: u8, width: u8) {
        let (lsb, width) = (u32::from(lsb) & 31, u32::from(width).clamp(1, 32));
        let mask = u32::MAX >> (32 - width);
        let field = self.reg(rn) >> lsb & mask;
        let hole = self.reg(rd) & !(mask << lsb);
        let result = match op {
            BitfieldOp::Ubfx => field,
            BitfieldOp::Sbfx => ((field << (32 - width)) as i32 >> (32 - width)) as u32,
            BitfieldOp::Bfi => hole | ((self.reg(rn) & mask) << lsb),
            BitfieldOp::Bfc => hole,
        };
        self.set(rd, result);
    }

    fn saturating_add(&mut self, op: SatQOp, rd: u8, rn: u8, rm: u8) {
        let (n, m) = (self.reg(rn) as i32, self.reg(rm) as i32);
        let doubled = match op {
            SatQOp::Qadd | SatQOp::Qsub => (n, false),
            SatQOp::Qdadd | SatQOp::Qdsub => (n.saturating_add(n), n.overflowing_add(n).1),
        };
        let result = match op {
            SatQOp::Qadd | SatQOp::Qdadd => {
                (m.saturating_add(doubled.0), m.overflowing_add(doubled.0).1)
            }
            SatQOp::Qsub | SatQOp::Qdsub => {
                (m.saturating_sub(doubled.0), m.overflowing_sub(doubled.0).1)
            }
        };
        self.set(rd, result.0 as u32);
        self.xpsr |= if doubled.1 || result.1 { Q } else { 0 };
    }

    #[inline]
    fn dual_multiply(&mut self, op: DualMulOp, [rd, rn, rm, ra]: [u8; 4], x: bool) {
        let n = self.reg(rn);
        let m = self.reg(rm);
        if op.bit_is_round() {
            return self.multiply_high(op, [rd, ra], n, m, x);
        }
        let m = if x { m.rotate_right(16) } else { m };
        let low = i64::from(alu::half(n, false)) * i64::from(alu::half(m, false));
        let high = i64::from(alu::half(n, true)) * i64::from(alu::half(m, true));
        let accumulator = match op {
            DualMulOp::Smlad | DualMulOp::Smlsd => i64::from(self.reg(ra) as i32),
            DualMulOp::Smlald | DualMulOp::Smlsld => {
                (u64::from(self.reg(ra)) | (u64::from(self.reg(rd)) << 32)) as i64
            }
            _ => 0,
        };
        let products = match op {
            DualMulOp::Smuad | DualMulOp::Smlad | DualMulOp::Smlald => low + high,
            _ => low - high,
        };
        let sum = accumulator.wrapping_add(products);
        if matches!(op, DualMulOp::Smlald | DualMulOp::Smlsld) {
            self.set(ra, sum as u32);
            self.set(rd, (sum >> 32) as u32);
            return;
        }
        self.set(rd, sum as u32);
        self.xpsr |= if sum != i64::from(sum as i32) { Q } else { 0 };
    }

    /// SMMUL, SMMLA, SMMLS: the top word, rounded if the R bit says so.
    fn multiply_high(&mut self, op: DualMulOp, [rd, ra]: [u8; 2], n: u32, m: u32, round: bool) {
        let product = i64::from(n as i32) * i64::from(m as i32);
        let accumulator = i64::from(self.reg(ra) as i32) << 32;
        let total = match op {
            DualMulOp::Smmla => accumulator.wrapping_add(product),
            DualMulOp::Smmls => accumulator.wrapping_sub(product),
            _ => product,
        };
        let total = total.wrapping_add(if round { 0x8000_0000 } else { 0 });
        self.set(rd, (total >> 32) as u32);
    }

    fn half_multiply(&mut self, op: HalfMulOp, [rd, rn, rm, ra]: [u8; 4], x: bool, y: bool) {
        let n = self.reg(rn);
        let m = alu::half(self.reg(rm), y);
        let product = alu::half(n, x).wrapping_mul(m);
        let wide = ((i64::from(n as i32) * i64::from(m)) >> 16) as i32;
        let (sum, overflow) = match op {
            HalfMulOp::Smul => (product, false),
            HalfMulOp::Smulw => (wide, false),
            HalfMulOp::Smla => product.overflowing_add(self.reg(ra) as i32),
            HalfMulOp::Smlaw => wide.overflowing_add(self.reg(ra) as i32),
            HalfMulOp::Smlal => {
                let accumulator = u64::from(self.reg(ra)) | (u64::from(self.reg(rd)) << 32);
                let sum = accumulator.wrapping_add(i64::from(product) as u64);
                self.set(ra, sum as u32);
                self.set(rd, (sum >> 32) as u32);
                return;
            }
        };
        self.set(rd, sum as u32);
        self.xpsr |= if overflow { Q } else { 0 };
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
