//! What a virtual microcontroller is made of, and its address space.

use super::bytes::Bytes;
use super::flash::{FLASH_REGISTERS, Flash};
use super::peripherals::{DBGMCU, PERIPHERALS, PERIPHERALS_BYTES, Peripherals};
use cycle_model::FlashGeometry;
use rsemu::core::error::Error as MapError;
use rsemu::core::space::{AddressSpace, Region};
use std::sync::Arc;

/// What the virtual microcontroller is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// Address and bytes of flash, and the lines of its caches.
    pub flash: FlashGeometry,
    /// Address of SRAM.
    pub sram_base: u32,
    /// Bytes of SRAM.
    pub sram_size: u32,
    /// Cycles that a read of flash takes more than one of SRAM.
    pub wait_states: u32,
    /// Cycles in a second.
    pub clock_hz: u32,
}

/// Maps memories and peripherals as the bus of the complete emulator sees them.
pub(super) fn address_space(
    parts: &Parts,
    flash: &Flash,
    sram: &Arc<Bytes>,
) -> Result<AddressSpace, MapError> {
    let space = AddressSpace::new("cpu", 32);
    {
        let mut map = space.topology();
        let (flash_size, sram_size) = (u64::from(parts.flash.size), u64::from(parts.sram_size));
        map.map(
            Region::io("flash", flash_size, Arc::new(flash.clone())),
            u64::from(parts.flash.base),
        )?;
        map.map(
            Region::io("sram", sram_size, sram.clone()),
            u64::from(parts.sram_base),
        )?;
        map.map(
            Region::io("flash controller", 0x20, Arc::new(flash.registers())),
            u64::from(FLASH_REGISTERS),
        )?;
        let peripherals = Arc::new(Peripherals::default());
        map.map(
            Region::io("peripherals", PERIPHERALS_BYTES, peripherals),
            u64::from(PERIPHERALS),
        )?;
        let dbgmcu = Arc::new(Peripherals::default());
        map.map(Region::io("DBGMCU", 0x400, dbgmcu), u64::from(DBGMCU))?;
    }
    Ok(space)
}
