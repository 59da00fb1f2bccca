//! What the model needs to know of one Thumb-2 instruction, decoded once.

/// Cycles of a store, and of everything that nothing else is said about.
const BASE: u32 = 1;
/// Cycles of a single load.
const LOAD: u32 = 2;
/// Cycles of LDRD and STRD.
const DUAL: u32 = 3;
/// Cycles of LDREX and STREX.
const EXCLUSIVE: u32 = 2;
/// Cycles of LDR to the PC, refill included.
const LOAD_PC: u32 = 5;
/// Cycles of TBB and TBH, refill included.
const TABLE_BRANCH: u32 = 6;
/// Cycles of a divide, whatever its operands.
const DIVIDE: u32 = 6;
/// Cycles of a floating-point multiply-accumulate.
const VFP_MAC: u32 = 3;
/// Cycles of VDIV and VSQRT.
const VFP_DIVIDE: u32 = 14;
/// Cycles of VLDR and VSTR of a single; a double takes one more.
const VFP_LOAD_STORE: u32 = 2;

const WIDE: u8 = 1;
const SINGLE_LOAD: u8 = 2;
const BRANCH: u8 = 4;

/// One instruction, as far as its cycles depend on it: eight bytes, copied freely.
///
/// Made from the two halfwords by [`Instr::decode`]. It holds the cycles that the
/// instruction takes alone, which registers it computes or loads, and which registers
/// form its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instr {
    /// Bit n: register n is written by data processing, or by a single load.
    result: u16,
    /// Bit n: register n forms the address of this load or store.
    address: u16,
    cycles: u16,
    flags: u8,
}

impl Instr {
    /// Decodes an instruction from its first and (where it is 32 bits long) second
    /// halfword; of a 16-bit instruction the second is ignored.
    ///
    /// Never panics: an undefined encoding is an instruction of one cycle.
    #[must_use]
    pub fn decode(first: u16, second: u16) -> Self {
        if Self::is_wide(first) {
            wide(u32::from(first), u32::from(second))
        } else {
            narrow(u32::from(first))
        }
    }

    /// Whether an instruction that starts with `first` is 32 bits long.
    #[must_use]
    #[inline]
    pub const fn is_wide(first: u16) -> bool {
        first >= 0xE800
    }

    /// Bytes: 2 or 4.
    #[must_use]
    #[inline]
    pub const fn size(self) -> u32 {
        if self.flags & WIDE != 0 { 4 } else { 2 }
    }

    /// Whether the instruction may continue elsewhere than behind itself, at
    /// two more cycles if it does.
    #[must_use]
    #[inline]
    pub const fn may_branch(self) -> bool {
        self.flags & BRANCH != 0
    }

    /// Whether this is a single load into a core register.
    #[must_use]
    #[inline]
    pub const fn is_single_load(self) -> bool {
        self.flags & SINGLE_LOAD != 0
    }

    /// Cycles at zero wait states when it executes right after `before`, without the
    /// refill of a taken branch.
    #[must_use]
    #[inline]
    pub const fn cycles_after(self, before: Self) -> u32 {
        let waits = before.result & self.address != 0;
        let cycles = self.cycles as u32;
        if before.is_single_load() {
            cycles - (self.is_single_load() && !waits) as u32
        } else {
            cycles + waits as u32
        }
    }

    const fn of(cycles: u32) -> Self {
        Self {
            result: 0,
            address: 0,
            cycles: cycles as u16,
            flags: 0,
        }
    }

    const fn result(mut self, register: u32) -> Self {
        self.result |= register_bit(register);
        self
    }

    const fn address(mut self, register: u32) -> Self {
        self.address |= register_bit(register);
        self
    }

    const fn flag(mut self, flag: u8) -> Self {
        self.flags |= flag;
        self
    }
}

/// The mask of one register. The PC is no result (writing it is a branch) and no
/// address to wait for.
const fn register_bit(register: u32) -> u16 {
    (1u16 << (register & 15)) & 0x7FFF
}

/// Data processing into `rd`; into the PC it is a branch.
const fn compute(rd: u32) -> Instr {
    let instr = Instr::of(BASE).result(rd);
    if rd == 15 { instr.flag(BRANCH) } else { instr }
}

const fn branch() -> Instr {
    Instr::of(BASE).flag(BRANCH)
}

const fn single_load(rt: u32) -> Instr {
    Instr::of(LOAD).result(rt).flag(SINGLE_LOAD)
}

/// A single load (`load`) or store of `rt`.
const fn single(load: bool, rt: u32) -> Instr {
    if load {
        single_load(rt)
    } else {
        Instr::of(BASE)
    }
}

/// LDM, STM, PUSH, POP of the registers in `list`, bit 15 being the PC.
const fn multiple(load: bool, list: u32, base: u32) -> Instr {
    let instr = Instr::of(1 + list.count_ones()).address(base);
    if load && list & 0x8000 != 0 {
        instr.flag(BRANCH)
    } else {
        instr
    }
}

fn narrow(h: u32) -> Instr {
    let (r0, r3, r6, r8) = (h & 7, (h >> 3) & 7, (h >> 6) & 7, (h >> 8) & 7);
    let load = h & 0x0800 != 0;
    match h >> 11 {
        0b00000..=0b00011 => compute(r0),
        0b00101 => Instr::of(BASE),
        0b00100 | 0b00110 | 0b00111 => compute(r8),
        0b01000 => narrow_register(h),
        0b01001 => single_load(r8),
        0b01010 | 0b01011 => single((h >> 9) & 7 >= 3, r0).address(r3).address(r6),
        0b01100..=0b10001 => single(load, r0).address(r3),
        0b10010 | 0b10011 => single(load, r8).address(13),
        0b10100 | 0b10101 => compute(r8),
        0b10110 | 0b10111 => narrow_miscellaneous(h),
        0b11000 | 0b11001 => multiple(load, h & 0xFF, r8),
        // The two highest conditions are UDF and SVC.
        0b11010 | 0b11011 if (h >> 8) & 15 >= 14 => Instr::of(BASE),
        _ => branch(),
    }
}

/// 010000 and 010001: data processing on registers, and BX and BLX.
fn narrow_register(h: u32) -> Instr {
    let high_rd = (h & 7) | ((h >> 4) & 8);
    match (h >> 8) & 7 {
        0b100 | 0b110 => compute(high_rd),
        0b101 => Instr::of(BASE),
        0b111 => branch(),
        // TST, CMP and CMN have no result.
        _ if matches!((h >> 6) & 15, 8 | 10 | 11) => Instr::of(BASE),
        _ => compute(h & 7),
    }
}

/// 1011: stack, extensions, CBZ, hints.
fn narrow_miscellaneous(h: u32) -> Instr {
    match (h >> 8) & 15 {
        0b0000 => compute(13),
        0b0001 | 0b0011 | 0b1001 | 0b1011 => branch(),
        0b0010 | 0b1010 => compute(h & 7),
        0b0100 | 0b0101 => Instr::of(1 + (h & 0x1FF).count_ones()).address(13),
        0b1100 | 0b1101 => multiple(true, (h & 0xFF) | ((h & 0x100) << 7), 13),
        0b1111 if h & 15 != 0 => Instr::of(0),
        _ => Instr::of(BASE),
    }
}

fn wide(h: u32, l: u32) -> Instr {
    let instr = match h >> 9 {
        0b1110100 => wide_multiple_or_dual(h, l),
        0b1110101 => wide_compute(l),
        0b1110110 | 0b1110111 => coprocessor(h, l),
        0b1111000..=0b1111011 if l & 0x8000 == 0 => wide_compute(l),
        0b1111000..=0b1111011 => wide_branch(h, l),
        0b1111100 => wide_single(h, l),
        0b1111101 => multiply_or_register(h, l),
        _ => Instr::of(BASE),
    };
    instr.flag(WIDE)
}

fn wide_multiple_or_dual(h: u32, l: u32) -> Instr {
    let load = h & 0x10 != 0;
    let rn = h & 15;
    if h & 0x40 == 0 {
        return multiple(load, l, rn);
    }
    if h & 0xFFF0 == 0xE8D0 && l & 0xFFE0 == 0xF000 {
        return Instr::of(TABLE_BRANCH).address(rn).address(l & 15);
    }
    let exclusive = h & 0x0120 == 0;
    Instr::of(if exclusive { EXCLUSIVE } else { DUAL }).address(rn)
}

/// Data processing with a shifted register or an immediate; TST, TEQ, CMN and CMP name
/// the PC, and so have no result.
fn wide_compute(l: u32) -> Instr {
    Instr::of(BASE).result((l >> 8) & 15)
}

fn wide_branch(h: u32, l: u32) -> Instr {
    let conditional_or_system = l & 0x5000 == 0;
    if !conditional_or_system || h & 0x0380 != 0x0380 {
        return branch();
    }
    // MRS is the only one of the system instructions that has a result.
    if h & 0xFFE0 == 0xF3E0 {
        Instr::of(BASE).result((l >> 8) & 15)
    } else {
        Instr::of(BASE)
    }
}

fn wide_single(h: u32, l: u32) -> Instr {
    let (load, rn, rt) = (h & 0x10 != 0, h & 15, l >> 12);
    let word = (h >> 5) & 3 == 2;
    let instr = match (load, rt) {
        (true, 15) if word && h & 0x100 == 0 => Instr::of(LOAD_PC),
        // PLD, PLI and hints, which touch no memory.
        (true, 15) => return Instr::of(BASE),
        (true, _) => single_load(rt),
        (false, _) => Instr::of(BASE),
    };
    let register_offset = rn != 15 && h & 0x80 == 0 && l & 0x0FC0 == 0;
    let instr = instr.address(rn);
    if register_offset {
        instr.address(l & 15)
    } else {
        instr
    }
}

fn multiply_or_register(h: u32, l: u32) -> Instr {
    let rd = (l >> 8) & 15;
    if h & 0xFF80 != 0xFB80 {
        return Instr::of(BASE).result(rd);
    }
    let divide = matches!(h & 0xFFF0, 0xFB90 | 0xFBB0) && l & 0xF0 == 0xF0;
    if divide {
        Instr::of(DIVIDE).result(rd)
    } else {
        Instr::of(BASE).result(rd).result(l >> 12)
    }
}

fn coprocessor(h: u32, l: u32) -> Instr {
    if !matches!((l >> 8) & 15, 10 | 11) {
        return Instr::of(BASE);
    }
    let to_core = h & 0x10 != 0;
    let rt = l >> 12;
    if h & 0xFF00 == 0xEE00 {
        return match (l & 0x10 != 0, to_core) {
            (true, true) => Instr::of(BASE).result(rt),
            (true, false) => Instr::of(BASE),
            (false, _) => Instr::of(vfp_compute(h, l)),
        };
    }
    if h & 0xFFE0 == 0xEC40 {
        let instr = Instr::of(2);
        return if to_core {
            instr.result(rt).result(h & 15)
        } else {
            instr
        };
    }
    let double = (l >> 8) & 1;
    let instr = if h & 0x0120 == 0x0100 {
        Instr::of(VFP_LOAD_STORE + double)
    } else {
        Instr::of(1 + (l & 0xFF))
    };
    instr.address(h & 15)
}

fn vfp_compute(h: u32, l: u32) -> u32 {
    match (h >> 4) & 0xB {
        0x0 | 0x1 | 0x9 | 0xA => VFP_MAC,
        0x8 => VFP_DIVIDE,
        0xB if h & 15 == 1 && l & 0xC0 == 0xC0 => VFP_DIVIDE,
        _ => BASE,
    }
}

#[cfg(test)]
mod tests;
