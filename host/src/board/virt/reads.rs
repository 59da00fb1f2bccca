//! Effective addresses of the loads that the fallback executes.

use super::core::{Core, IT};
use rsemu::cpu::arm::v7m::fpisa::FpInsn;
use rsemu::cpu::arm::v7m::isa::{Cond, Insn, MemOffset};

/// Address and bytes of the memory that `insn` will read, if it is one of the loads that
/// the fast core leaves to the fallback (floating point, exclusive) and its condition
/// passes.
pub fn data_read(insn: &Insn, core: &Core) -> Option<(u32, u32)> {
    if !condition_passes(core) {
        return None;
    }
    match *insn {
        Insn::Fp(FpInsn::Mem {
            load: true,
            rn,
            imm,
            add,
            double,
            ..
        }) => {
            let base = if rn == 15 {
                core.reg(15) & !3
            } else {
                core.reg(rn)
            };
            let address = if add {
                base.wrapping_add(imm)
            } else {
                base.wrapping_sub(imm)
            };
            Some((address, if double { 8 } else { 4 }))
        }
        Insn::Fp(FpInsn::Multi {
            load: true,
            rn,
            count,
            add,
            ..
        }) => {
            let bytes = 4 * u32::from(count);
            let base = core.reg(rn);
            Some((if add { base } else { base.wrapping_sub(bytes) }, bytes))
        }
        Insn::LoadStoreExclusive {
            load: true,
            size,
            rn,
            imm,
            ..
        } => Some((core.reg(rn).wrapping_add(imm), size.bytes())),
        _ => None,
    }
}

/// The address that a single load or store accesses.
pub fn address_of(insn: &Insn, core: &Core) -> Option<u32> {
    let Insn::LoadStore {
        rn,
        offset,
        index,
        add,
        ..
    } = *insn
    else {
        return None;
    };
    let delta = match offset {
        MemOffset::Imm(value) => value,
        MemOffset::Reg { rm, lsl } => core.reg(rm) << lsl,
    };
    let base = core.reg(rn);
    Some(match (index, add) {
        (false, _) => base,
        (true, true) => base.wrapping_add(delta),
        (true, false) => base.wrapping_sub(delta),
    })
}

fn condition_passes(core: &Core) -> bool {
    let state = (((core.xpsr >> 10) & 0x3F) << 2) | ((core.xpsr >> 25) & 3);
    core.xpsr & IT == 0 || Cond((state >> 4) as u8).passes(core.xpsr)
}
