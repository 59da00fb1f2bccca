//! The virtual microcontroller as a debug probe of probe-rs.
//!
//! Only what an ARM core behind one access port needs: no wires, no SWO, no raw debug
//! port. probe-rs does everything else, flash programming included.

use super::debug::DebugUnit;
use super::machine::Machine;
use crate::board::BoardError;
use probe_rs::architecture::arm::ap::CSW;
use probe_rs::architecture::arm::dp::{DpAddress, DpRegisterAddress};
use probe_rs::architecture::arm::memory::ArmMemoryInterface;
use probe_rs::architecture::arm::sequences::ArmDebugSequence;
use probe_rs::architecture::arm::{
    ArmDebugInterface, ArmError, DapAccess, DapProbe, FullyQualifiedApAddress, SwdSequence,
    SwoAccess, SwoConfig,
};
use probe_rs::probe::{DebugProbe, DebugProbeError, Probe, WireProtocol};
use probe_rs::{Error, MemoryInterface};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A virtual microcontroller that a probe and its owner share.
#[derive(Debug, Clone)]
pub struct Handle {
    unit: Arc<Mutex<DebugUnit>>,
    unplugged: Arc<AtomicBool>,
}

impl Handle {
    /// Takes a machine into shared ownership.
    pub fn new(machine: Machine) -> Self {
        Self {
            unit: Arc::new(Mutex::new(DebugUnit::new(machine))),
            unplugged: Arc::default(),
        }
    }

    /// Pulls the probe's plug, or puts it in again.
    pub fn unplug(&self, unplugged: bool) {
        self.unplugged.store(unplugged, Ordering::Relaxed);
    }

    /// A probe, if it is plugged in.
    ///
    /// # Errors
    /// [`BoardError::NoProbe`].
    pub fn plugged(&self) -> Result<Probe, BoardError> {
        if self.unplugged.load(Ordering::Relaxed) {
            return Err(BoardError::NoProbe {
                board: "the virtual board".into(),
                found: "none is connected".into(),
            });
        }
        Ok(self.probe())
    }

    /// A probe that is connected to the machine.
    pub fn probe(&self) -> Probe {
        Probe::from_specific_probe(Box::new(VirtualProbe(self.clone())))
    }

    /// Does something with the machine while no probe looks.
    pub fn with<T>(&self, f: impl FnOnce(&mut Machine) -> T) -> T {
        f(&mut self.lock().machine)
    }

    fn lock(&self) -> MutexGuard<'_, DebugUnit> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The debug unit, if the probe is plugged in and the chip has power.
    fn reach(&self) -> Result<MutexGuard<'_, DebugUnit>, ArmError> {
        let unit = self.lock();
        if self.unplugged.load(Ordering::Relaxed) || !unit.machine.is_powered() {
            return Err(ArmError::Probe(DebugProbeError::Timeout));
        }
        Ok(unit)
    }
}

#[derive(Debug)]
struct VirtualProbe(Handle);

impl DebugProbe for VirtualProbe {
    fn get_name(&self) -> &str {
        "virtual board"
    }

    fn speed_khz(&self) -> u32 {
        4000
    }

    fn set_speed(&mut self, speed_khz: u32) -> Result<u32, DebugProbeError> {
        Ok(speed_khz)
    }

    fn attach(&mut self) -> Result<(), DebugProbeError> {
        Ok(())
    }

    fn detach(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn target_reset(&mut self) -> Result<(), DebugProbeError> {
        Ok(())
    }

    fn target_reset_assert(&mut self) -> Result<(), DebugProbeError> {
        Ok(())
    }

    fn target_reset_deassert(&mut self) -> Result<(), DebugProbeError> {
        Ok(())
    }

    fn select_protocol(&mut self, _: WireProtocol) -> Result<(), DebugProbeError> {
        Ok(())
    }

    fn active_protocol(&self) -> Option<WireProtocol> {
        Some(WireProtocol::Swd)
    }

    fn has_arm_interface(&self) -> bool {
        true
    }

    fn into_probe(self: Box<Self>) -> Box<dyn DebugProbe> {
        self
    }

    fn try_get_arm_debug_interface<'probe>(
        self: Box<Self>,
        _: Arc<dyn ArmDebugSequence>,
    ) -> Result<Box<dyn ArmDebugInterface + 'probe>, (Box<dyn DebugProbe>, ArmError)> {
        Ok(Box::new(DebugPort(self.0)))
    }
}

#[derive(Debug)]
struct DebugPort(Handle);

impl ArmDebugInterface for DebugPort {
    fn reinitialize(&mut self) -> Result<(), ArmError> {
        Ok(())
    }

    fn access_ports(
        &mut self,
        dp: DpAddress,
    ) -> Result<BTreeSet<FullyQualifiedApAddress>, ArmError> {
        Ok(BTreeSet::from([FullyQualifiedApAddress::v1_with_dp(dp, 0)]))
    }

    fn close(self: Box<Self>) -> Probe {
        self.0.probe()
    }

    fn select_debug_port(&mut self, _: DpAddress) -> Result<(), ArmError> {
        Ok(())
    }

    fn current_debug_port(&self) -> Option<DpAddress> {
        Some(DpAddress::Default)
    }

    fn memory_interface(
        &mut self,
        access_port: &FullyQualifiedApAddress,
    ) -> Result<Box<dyn ArmMemoryInterface + '_>, ArmError> {
        Ok(Box::new(MemoryPort {
            access_port: access_port.clone(),
            port: self,
        }))
    }
}

impl SwdSequence for DebugPort {
    fn swj_sequence(&mut self, _: u8, _: u64) -> Result<(), DebugProbeError> {
        Ok(())
    }

    fn swj_pins(&mut self, _: u32, _: u32, _: u32) -> Result<u32, DebugProbeError> {
        Ok(0)
    }
}

impl SwoAccess for DebugPort {
    fn enable_swo(&mut self, _: &SwoConfig) -> Result<(), ArmError> {
        Ok(())
    }

    fn disable_swo(&mut self) -> Result<(), ArmError> {
        Ok(())
    }

    fn read_swo_timeout(&mut self, _: Duration) -> Result<Vec<u8>, ArmError> {
        Ok(Vec::new())
    }
}

impl DapAccess for DebugPort {
    fn read_raw_dp_register(
        &mut self,
        _: DpAddress,
        _: DpRegisterAddress,
    ) -> Result<u32, ArmError> {
        Ok(0)
    }

    fn write_raw_dp_register(
        &mut self,
        _: DpAddress,
        _: DpRegisterAddress,
        _: u32,
    ) -> Result<(), ArmError> {
        Ok(())
    }

    fn read_raw_ap_register(
        &mut self,
        _: &FullyQualifiedApAddress,
        _: u64,
    ) -> Result<u32, ArmError> {
        Ok(0)
    }

    fn write_raw_ap_register(
        &mut self,
        _: &FullyQualifiedApAddress,
        _: u64,
        _: u32,
    ) -> Result<(), ArmError> {
        Ok(())
    }

    fn try_dap_probe(&self) -> Option<&dyn DapProbe> {
        None
    }

    fn try_dap_probe_mut(&mut self) -> Option<&mut dyn DapProbe> {
        None
    }
}

struct MemoryPort<'a> {
    port: &'a mut DebugPort,
    access_port: FullyQualifiedApAddress,
}

impl MemoryPort<'_> {
    fn unit(&self) -> Result<MutexGuard<'_, DebugUnit>, ArmError> {
        self.port.0.reach()
    }
}

impl MemoryInterface<ArmError> for MemoryPort<'_> {
    fn supports_native_64bit_access(&mut self) -> bool {
        false
    }

    fn supports_8bit_transfers(&self) -> Result<bool, ArmError> {
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), ArmError> {
        Ok(())
    }

    fn read_64(&mut self, _: u64, _: &mut [u64]) -> Result<(), ArmError> {
        Err(ArmError::NotImplemented("64-bit access"))
    }

    fn write_64(&mut self, _: u64, _: &[u64]) -> Result<(), ArmError> {
        Err(ArmError::NotImplemented("64-bit access"))
    }

    fn read_32(&mut self, address: u64, data: &mut [u32]) -> Result<(), ArmError> {
        let mut unit = self.unit()?;
        for (i, word) in data.iter_mut().enumerate() {
            *word = unit.read_word(address as u32 + 4 * i as u32);
        }
        Ok(())
    }

    fn write_32(&mut self, address: u64, data: &[u32]) -> Result<(), ArmError> {
        let mut unit = self.unit()?;
        for (i, &word) in data.iter().enumerate() {
            unit.write_word(address as u32 + 4 * i as u32, word);
        }
        Ok(())
    }

    fn read_16(&mut self, address: u64, data: &mut [u16]) -> Result<(), ArmError> {
        let mut unit = self.unit()?;
        for (i, half) in data.iter_mut().enumerate() {
            let mut bytes = [0; 2];
            unit.read_bytes(address as u32 + 2 * i as u32, &mut bytes);
            *half = u16::from_le_bytes(bytes);
        }
        Ok(())
    }

    fn write_16(&mut self, address: u64, data: &[u16]) -> Result<(), ArmError> {
        let mut unit = self.unit()?;
        for (i, half) in data.iter().enumerate() {
            unit.write_bytes(address as u32 + 2 * i as u32, &half.to_le_bytes());
        }
        Ok(())
    }

    fn read_8(&mut self, address: u64, data: &mut [u8]) -> Result<(), ArmError> {
        self.unit()?.read_bytes(address as u32, data);
        Ok(())
    }

    fn write_8(&mut self, address: u64, data: &[u8]) -> Result<(), ArmError> {
        self.unit()?.write_bytes(address as u32, data);
        Ok(())
    }
}

impl ArmMemoryInterface for MemoryPort<'_> {
    fn fully_qualified_address(&self) -> FullyQualifiedApAddress {
        self.access_port.clone()
    }

    fn base_address(&mut self) -> Result<u64, ArmError> {
        Ok(0xE00F_F000)
    }

    fn get_arm_debug_interface(&mut self) -> Result<&mut dyn ArmDebugInterface, DebugProbeError> {
        Ok(self.port)
    }

    fn generic_status(&mut self) -> Result<CSW, ArmError> {
        Err(ArmError::NotImplemented("access port status"))
    }
}
