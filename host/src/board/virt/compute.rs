//! Instructions that only compute: multiplication, DSP, bit fields.

use super::arithmetic as alu;
use super::core::{C, Core, Flow, GE, Q};
use rsemu::cpu::arm::v7m::isa::{BitfieldOp, DualMulOp, HalfMulOp, Insn, SatQOp};

impl Core {
    /// Executes an instruction that only computes; see [`Core::execute`].
    pub(super) fn compute(&mut self, insn: &Insn, sets_flags: bool) -> Flow {
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
}
