//! What one Thumb-2 instruction does to the stack and to the flow of control.

/// An effect that a stack bound depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that counts: it also stands for what frees stack.
    None,
    /// Takes this many bytes of stack.
    Take(u32),
    /// Takes an amount that only running it tells.
    TakeUnknown,
    /// Calls the function at this address.
    Call(u32),
    /// Continues at this address, perhaps in another function.
    Jump(u32),
    /// Calls what a register holds.
    CallRegister,
    /// Continues where a register says (BX). A switch's table (MOV or LDR to the PC, TBB)
    /// stays in its function and is no effect.
    JumpRegister,
    /// Writes the low half of a register: `(register, value)`.
    MoveLow(u8, u16),
    /// Writes the high half of a register.
    MoveHigh(u8, u16),
}

const SP: u32 = 13;
const LR: u32 = 14;

/// Whether an instruction that starts with this halfword has 32 bits.
pub(super) const fn is_wide(first: u16) -> bool {
    first >= 0xE800
}

/// The effect of the instruction at `address`; `second` is ignored where `first` is narrow.
pub(super) fn effect(address: u32, first: u16, second: u16) -> Effect {
    if is_wide(first) {
        wide(address, first.into(), second.into())
    } else {
        narrow(address, first.into())
    }
}

fn narrow(address: u32, h: u32) -> Effect {
    let register = h >> 3 & 15;
    let here = address.wrapping_add(4);
    match h {
        // PUSH {..}
        _ if h & 0xFE00 == 0xB400 => Effect::Take(4 * (h & 0x1FF).count_ones()),
        // SUB SP, #imm7
        _ if h & 0xFF80 == 0xB080 => Effect::Take(4 * (h & 0x7F)),
        // BX, BLX
        _ if h & 0xFF87 == 0x4700 && register == LR => Effect::None,
        _ if h & 0xFF87 == 0x4700 => Effect::JumpRegister,
        _ if h & 0xFF87 == 0x4780 => Effect::CallRegister,
        // MOV SP, Rm and ADD SP, Rm
        _ if matches!(h & 0xFF87, 0x4685 | 0x4485) => Effect::TakeUnknown,
        // B<cond>; conditions 14 and 15 are UDF and SVC.
        _ if h & 0xF000 == 0xD000 && h >> 8 & 15 < 14 => {
            Effect::Jump(here.wrapping_add(sign_extend(h & 0xFF, 8) << 1))
        }
        // B
        _ if h & 0xF800 == 0xE000 => {
            Effect::Jump(here.wrapping_add(sign_extend(h & 0x7FF, 11) << 1))
        }
        _ => Effect::None,
    }
}

fn wide(address: u32, first: u32, second: u32) -> Effect {
    let target = second >> 8 & 15;
    match first {
        // STMDB SP!, {..}
        0xE92D => Effect::Take(4 * second.count_ones()),
        // STR Rt, [SP, #-imm8]!
        0xF84D if second & 0x0F00 == 0x0D00 => Effect::Take(second & 0xFF),
        // STRD Rt, Rt2, [SP, #-imm8]!
        0xE96D => Effect::Take(4 * (second & 0xFF)),
        // VPUSH {..}
        _ if first & 0xFFBF == 0xED2D && second & 0x0E00 == 0x0A00 => {
            Effect::Take(4 * (second & 0xFF))
        }
        // SUB.W SP, SP, #const and SUBW SP, SP, #imm12
        _ if first & 0xFBEF == 0xF1AD && second >> 15 == 0 && target == SP => {
            Effect::Take(expand_immediate(immediate12(first, second)))
        }
        _ if first & 0xFBFF == 0xF2AD && second >> 15 == 0 && target == SP => {
            Effect::Take(immediate12(first, second))
        }
        // SUB.W SP, SP, Rm
        _ if first & 0xFFEF == 0xEBAD && target == SP => Effect::TakeUnknown,
        // BL, B.W and B<cond>.W
        _ if first & 0xF800 == 0xF000 && second & 0xD000 == 0xD000 => {
            Effect::Call(far(address, first, second))
        }
        _ if first & 0xF800 == 0xF000 && second & 0xD000 == 0x9000 => {
            Effect::Jump(far(address, first, second))
        }
        _ if first & 0xF800 == 0xF000 && second & 0xD000 == 0x8000 && first >> 6 & 15 < 14 => {
            Effect::Jump(conditional(address, first, second))
        }
        // MOVW, MOVT
        _ if first & 0xFBF0 == 0xF240 && second >> 15 == 0 => {
            Effect::MoveLow(target as u8, immediate16(first, second))
        }
        _ if first & 0xFBF0 == 0xF2C0 && second >> 15 == 0 => {
            Effect::MoveHigh(target as u8, immediate16(first, second))
        }
        _ => Effect::None,
    }
}

fn sign_extend(value: u32, bits: u32) -> u32 {
    ((value << (32 - bits)) as i32 >> (32 - bits)) as u32
}

/// Target of BL and B.W: 25 bits, of which two are stored exclusive-ored with the sign.
fn far(address: u32, first: u32, second: u32) -> u32 {
    let sign = first >> 10 & 1;
    let i1 = !(second >> 13 ^ sign) & 1;
    let i2 = !(second >> 11 ^ sign) & 1;
    let offset = sign << 24 | i1 << 23 | i2 << 22 | (first & 0x3FF) << 12 | (second & 0x7FF) << 1;
    address
        .wrapping_add(4)
        .wrapping_add(sign_extend(offset, 25))
}

/// Target of B<cond>.W: 21 bits.
fn conditional(address: u32, first: u32, second: u32) -> u32 {
    let (sign, j1, j2) = (first >> 10 & 1, second >> 13 & 1, second >> 11 & 1);
    let offset = sign << 20 | j2 << 19 | j1 << 18 | (first & 0x3F) << 12 | (second & 0x7FF) << 1;
    address
        .wrapping_add(4)
        .wrapping_add(sign_extend(offset, 21))
}

fn immediate12(first: u32, second: u32) -> u32 {
    (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF
}

fn immediate16(first: u32, second: u32) -> u16 {
    ((first & 15) << 12 | immediate12(first, second)) as u16
}

/// `ThumbExpandImm` of the ARMv7-M manual (A5.3.2).
fn expand_immediate(imm12: u32) -> u32 {
    let byte = imm12 & 0xFF;
    match imm12 >> 8 {
        0 => byte,
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        3 => byte * 0x0101_0101,
        _ => (0x80 | byte & 0x7F).rotate_right(imm12 >> 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodings as an assembler makes them.
    #[test]
    fn every_way_to_take_stack_is_seen() {
        let cases = [
            ("push {r4, r5, lr}", 0xB530, 0, Effect::Take(12)),
            ("sub sp, #72", 0xB092, 0, Effect::Take(72)),
            ("push.w {r4-r11, lr}", 0xE92D, 0x4FF0, Effect::Take(36)),
            ("str r8, [sp, #-4]!", 0xF84D, 0x8D04, Effect::Take(4)),
            ("strd r7, r8, [sp, #-16]!", 0xE96D, 0x7804, Effect::Take(16)),
            ("vpush {d8-d15}", 0xED2D, 0x8B10, Effect::Take(64)),
            ("vpush {s16}", 0xED2D, 0x8A01, Effect::Take(4)),
            ("sub.w sp, sp, #1024", 0xF5AD, 0x6D80, Effect::Take(1024)),
            ("subw sp, sp, #1028", 0xF2AD, 0x4D04, Effect::Take(1028)),
            ("sub.w sp, sp, r4", 0xEBAD, 0x0D04, Effect::TakeUnknown),
            ("mov sp, r7", 0x46BD, 0, Effect::TakeUnknown),
            ("add sp, #72", 0xB012, 0, Effect::None),
            ("sub.w r1, sp, #16", 0xF1AD, 0x0110, Effect::None),
        ];
        for (text, first, second, expected) in cases {
            assert_eq!(effect(0x0800_0000, first, second), expected, "{text}");
        }
    }

    #[test]
    fn control_flow_goes_where_the_assembler_said() {
        let at = 0x0800_1000;
        let cases = [
            ("bl .+4", 0xF000, 0xF800, Effect::Call(at + 4)),
            ("bl .-0x800", 0xF7FF, 0xFBFE, Effect::Call(at - 0x800)),
            ("b.w .+0x1004", 0xF001, 0xB800, Effect::Jump(at + 0x1004)),
            ("bne.w .+0x404", 0xF040, 0x8200, Effect::Jump(at + 0x404)),
            ("b .-2", 0xE7FD, 0, Effect::Jump(at - 2)),
            ("beq .+8", 0xD002, 0, Effect::Jump(at + 8)),
            ("svc 0", 0xDF00, 0, Effect::None),
            ("bx lr", 0x4770, 0, Effect::None),
            ("bx r3", 0x4718, 0, Effect::JumpRegister),
            ("blx r2", 0x4790, 0, Effect::CallRegister),
            ("mov pc, r5", 0x46AF, 0, Effect::None),
            ("ldr pc, [sp], #4", 0xF85D, 0xFB04, Effect::None),
            ("ldr.w pc, [r1, r0, lsl #2]", 0xF851, 0xF020, Effect::None),
            (
                "movw r0, #0x1234",
                0xF241,
                0x2034,
                Effect::MoveLow(0, 0x1234),
            ),
            (
                "movt r9, #0x0800",
                0xF6C0,
                0x0900,
                Effect::MoveHigh(9, 0x0800),
            ),
        ];
        for (text, first, second, expected) in cases {
            assert_eq!(effect(at, first, second), expected, "{text}");
        }
    }
}
