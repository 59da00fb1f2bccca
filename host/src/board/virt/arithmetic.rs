//! Results and flags of data processing, as pure functions (ARMv7-M Architecture
//! Reference Manual, DDI 0403, chapters A2.2 and A7.4).

use rsemu::cpu::arm::v7m::isa::{DpOp, ExtendOp, MiscOp, Shift, ShiftType, SimdMode, SimdShape};

/// `x + y + carry` with the carry and overflow that come out.
#[inline]
pub fn add_with_carry(x: u32, y: u32, carry: bool) -> (u32, bool, bool) {
    let wide = u64::from(x) + u64::from(y) + u64::from(carry);
    let sum = wide as u32;
    (
        sum,
        wide >> 32 != 0,
        (x ^ sum) & (y ^ sum) & 0x8000_0000 != 0,
    )
}

/// A constant shift: the result and the carry that comes out.
#[inline]
pub fn shift_by_constant(shift: Shift, value: u32, carry: bool) -> (u32, bool) {
    match shift.ty {
        ShiftType::Rrx => ((u32::from(carry) << 31) | (value >> 1), value & 1 != 0),
        ty => shift_by(ty, value, u32::from(shift.amount), carry),
    }
}

/// A shift by 0 to 255: the result and the carry that comes out.
#[inline]
pub fn shift_by(ty: ShiftType, value: u32, amount: u32, carry: bool) -> (u32, bool) {
    if amount == 0 {
        return (value, carry);
    }
    // The last bit shifted out, for amounts of 1 to 32.
    let out_right = |v: u32| (v >> (amount - 1).min(31)) & 1 != 0;
    match ty {
        ShiftType::Lsl if amount > 32 => (0, false),
        ShiftType::Lsl => (
            value.checked_shl(amount).unwrap_or(0),
            (value >> (32 - amount)) & 1 != 0,
        ),
        ShiftType::Lsr if amount > 32 => (0, false),
        ShiftType::Lsr => (value.checked_shr(amount).unwrap_or(0), out_right(value)),
        ShiftType::Asr => ((value as i32 >> amount.min(31)) as u32, out_right(value)),
        ShiftType::Ror => {
            let result = value.rotate_right(amount & 31);
            (result, result >> 31 != 0)
        }
        ShiftType::Rrx => (value, carry),
    }
}

/// Carry and overflow as they are before an operation, and the shifter's carry.
#[derive(Debug, Clone, Copy)]
pub struct FlagsIn {
    /// APSR.C.
    pub c: bool,
    /// APSR.V.
    pub v: bool,
    /// What the second operand's shift put out.
    pub shifter: bool,
}

/// A data-processing operation: result, carry, overflow.
#[inline]
pub fn data_processing(op: DpOp, a: u32, b: u32, flags: FlagsIn) -> (u32, bool, bool) {
    let logical = |result: u32| (result, flags.shifter, flags.v);
    match op {
        DpOp::And | DpOp::Tst => logical(a & b),
        DpOp::Bic => logical(a & !b),
        DpOp::Orr => logical(a | b),
        DpOp::Orn => logical(a | !b),
        DpOp::Eor | DpOp::Teq => logical(a ^ b),
        DpOp::Mov => logical(b),
        DpOp::Mvn => logical(!b),
        DpOp::Add | DpOp::Cmn => add_with_carry(a, b, false),
        DpOp::Adc => add_with_carry(a, b, flags.c),
        DpOp::Sub | DpOp::Cmp => add_with_carry(a, !b, true),
        DpOp::Sbc => add_with_carry(a, !b, flags.c),
        DpOp::Rsb => add_with_carry(!a, b, true),
    }
}

/// CLZ, RBIT and the byte reversals.
#[inline]
pub fn miscellaneous(op: MiscOp, v: u32) -> u32 {
    match op {
        MiscOp::Clz => v.leading_zeros(),
        MiscOp::Rbit => v.reverse_bits(),
        MiscOp::Rev => v.swap_bytes(),
        MiscOp::Rev16 => v.swap_bytes().rotate_left(16),
        MiscOp::Revsh => (v as u16).swap_bytes() as i16 as u32,
    }
}

/// SXTB and its family, without an accumulator.
#[inline]
pub fn extend(op: ExtendOp, v: u32) -> u32 {
    match op {
        ExtendOp::Sxtb => v as i8 as u32,
        ExtendOp::Sxth => v as i16 as u32,
        ExtendOp::Uxtb => v & 0xFF,
        ExtendOp::Uxth => v & 0xFFFF,
        ExtendOp::Uxtb16 => v & 0x00FF_00FF,
        ExtendOp::Sxtb16 => pack(i32::from(v as i8), i32::from((v >> 16) as i8)),
    }
}

/// SXTAB and its family: what is added to the accumulator, lane by lane where there are two.
#[inline]
pub fn extend_and_add(op: ExtendOp, accumulator: u32, v: u32) -> u32 {
    match op {
        ExtendOp::Sxtb16 | ExtendOp::Uxtb16 => {
            let low = (accumulator as u16).wrapping_add(v as u16);
            let high = ((accumulator >> 16) as u16).wrapping_add((v >> 16) as u16);
            u32::from(low) | (u32::from(high) << 16)
        }
        _ => accumulator.wrapping_add(v),
    }
}

/// Two halfwords as one word.
#[inline]
pub fn pack(low: i32, high: i32) -> u32 {
    (low as u32 & 0xFFFF) | ((high as u32) << 16)
}

/// The signed halfword at the top or the bottom.
#[inline]
pub fn half(v: u32, top: bool) -> i32 {
    if top {
        v as i32 >> 16
    } else {
        i32::from(v as i16)
    }
}

/// A parallel add or subtract: the result and, where the form sets them, the GE flags.
#[inline]
pub fn parallel(mode: SimdMode, shape: SimdShape, a: u32, b: u32) -> (u32, Option<u32>) {
    let (result, ge) = match shape {
        SimdShape::Add8 | SimdShape::Sub8 => parallel_bytes(mode, shape == SimdShape::Sub8, a, b),
        _ => parallel_halves(mode, shape, a, b),
    };
    (result, mode.sets_ge().then_some(ge))
}

fn parallel_bytes(mode: SimdMode, subtract: bool, a: u32, b: u32) -> (u32, u32) {
    let lane = |v: u32, k: u32| {
        let byte = (v >> (8 * k)) as u8;
        if mode.is_unsigned() {
            i32::from(byte)
        } else {
            i32::from(byte as i8)
        }
    };
    let (mut result, mut ge) = (0, 0);
    for k in 0..4 {
        let (value, lane_ge) = lane_result(mode, subtract, lane(a, k), lane(b, k), 8);
        result |= (value as u32 & 0xFF) << (8 * k);
        ge |= u32::from(lane_ge) << k;
    }
    (result, ge)
}

#[inline]
fn parallel_halves(mode: SimdMode, shape: SimdShape, a: u32, b: u32) -> (u32, u32) {
    let lane = |v: u32, top: bool| match mode.is_unsigned() {
        true => (if top { v >> 16 } else { v & 0xFFFF }) as i32,
        false => half(v, top),
    };
    let crossed = matches!(shape, SimdShape::Asx | SimdShape::Sax);
    let subtract_low = matches!(shape, SimdShape::Sub16 | SimdShape::Asx);
    let subtract_high = matches!(shape, SimdShape::Sub16 | SimdShape::Sax);
    let (low, ge_low) = lane_result(mode, subtract_low, lane(a, false), lane(b, crossed), 16);
    let (high, ge_high) = lane_result(mode, subtract_high, lane(a, true), lane(b, !crossed), 16);
    (
        pack(low, high),
        u32::from(ge_low) * 0b0011 + u32::from(ge_high) * 0b1100,
    )
}

/// One lane of `bits` bits. GE says that the true result is not negative or, of an
/// unsigned sum, that it carried.
#[inline]
fn lane_result(mode: SimdMode, subtract: bool, a: i32, b: i32, bits: u32) -> (i32, bool) {
    let exact = if subtract { a - b } else { a + b };
    let ge = if mode.is_unsigned() && !subtract {
        exact >= 1 << bits
    } else {
        exact >= 0
    };
    let value = match mode {
        SimdMode::Signed | SimdMode::Unsigned => exact,
        SimdMode::SignedSat => exact.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        SimdMode::UnsignedSat => exact.clamp(0, (1 << bits) - 1),
        SimdMode::SignedHalve | SimdMode::UnsignedHalve => exact >> 1,
    };
    (value, ge)
}

/// Saturates to `bits` bits, signed or unsigned; whether it had to.
#[inline]
pub fn saturate(value: i32, bits: u32, unsigned: bool) -> (i32, bool) {
    let (low, high) = match (unsigned, bits) {
        (false, 32..) => (i64::from(i32::MIN), i64::from(i32::MAX)),
        (false, _) => (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1),
        (true, _) => (0, (1i64 << bits.min(31)) - 1),
    };
    let clamped = i64::from(value).clamp(low, high) as i32;
    (clamped, clamped != value)
}
