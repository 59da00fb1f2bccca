//! A board behind a debug probe: flashing, resets and RTT through probe-rs.
//!
//! The probe may be a real one or the virtual board's; nothing here depends on which.

use super::link::Link;
use super::log::Log;
use super::spec::{BlobSpec, SLOT_HEADER};
use super::virt::probe::Handle;
use super::{BoardError, BoardSpec, Firmware};
use cycle_model::Interval;
use probe_rs::flashing::DownloadOptions;
use probe_rs::rtt::{Rtt, ScanRegion};
use probe_rs::{Core, MemoryInterface, Permissions, Session, probe::Probe};
use std::time::{Duration, Instant};

/// Up channel of the log, of replies; down channel of requests.
const LOG: usize = 0;
const REPLIES: usize = 1;
const REQUESTS: usize = 0;

/// How long firmware may take from reset to its RTT control block.
const START_UP: Duration = Duration::from_secs(10);
/// How long a full request buffer may stay full.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at a real board that has nothing to say.
const POLL: Duration = Duration::from_micros(300);

/// Opens the probe, again where it was unplugged.
pub(super) type Reopen = Box<dyn Fn() -> Result<Probe, BoardError> + Send>;

/// A connection through a debug probe.
pub(super) struct ProbeLink {
    /// `None` after an error, until the next load attaches anew.
    session: Option<Session>,
    reopen: Reopen,
    chip: String,
    rtt: Option<Rtt>,
    control_block: u64,
    firmware: Firmware,
    firmware_loaded: bool,
    blob: BlobSpec,
    /// Whether the firmware looks for headers of slots, which a blob by the probe has not.
    two_slots: bool,
    log: Log,
    /// The microcontroller itself, where it is ours.
    machine: Option<Handle>,
}

impl ProbeLink {
    /// Attaches to the chip. `machine` is the one behind the probe, if that is virtual.
    pub(super) fn attach(
        reopen: Reopen,
        spec: &BoardSpec,
        firmware: Firmware,
        machine: Option<Handle>,
        verbose: bool,
    ) -> Result<Self, BoardError> {
        let session = attach(reopen()?, &spec.chip)?;
        let control_block = u64::from(firmware.rtt_control_block()?);
        let log = Log::new(&firmware.elf, verbose)?;
        Ok(Self {
            session: Some(session),
            reopen,
            chip: spec.chip.clone(),
            rtt: None,
            control_block,
            firmware,
            firmware_loaded: false,
            blob: spec.blob,
            two_slots: false,
            log,
            machine,
        })
    }

    /// Says whether the firmware has two slots.
    pub(super) fn has_two_slots(&mut self, two_slots: bool) {
        self.two_slots = two_slots;
    }

    fn program(&mut self, blob: Option<&[u8]>) -> Result<(), BoardError> {
        let error = |e| BoardError::probe("programming flash", e);
        self.firmware_loaded = self.firmware_loaded || self.holds_firmware()?;
        let session = self.session.as_mut().ok_or_else(detached)?;
        let mut loader = session.target().flash_loader();
        if !self.firmware_loaded {
            for (address, bytes) in &self.firmware.sections {
                loader.add_data(u64::from(*address), bytes).map_err(error)?;
            }
        }
        if let Some(blob) = blob {
            loader
                .add_data(u64::from(self.blob.base), blob)
                .map_err(error)?;
            // A header that was left would speak of a network that is gone, or win.
            for header in self.blob.headers().into_iter().filter(|_| self.two_slots) {
                loader
                    .add_data(u64::from(header), &[0xff; SLOT_HEADER as usize])
                    .map_err(error)?;
            }
        }
        let mut options = DownloadOptions::default();
        options.verify = true;
        loader.commit(session, options).map_err(error)?;
        self.firmware_loaded = true;
        Ok(())
    }

    /// Whether flash holds the firmware already: a board in the field keeps what it has.
    fn holds_firmware(&mut self) -> Result<bool, BoardError> {
        let mut core = core(&mut self.session)?;
        core.halt(Duration::from_secs(1))
            .map_err(|e| BoardError::probe("halting the core", e))?;
        for (address, bytes) in &self.firmware.sections {
            let mut found = vec![0; bytes.len()];
            core.read(u64::from(*address), &mut found)
                .map_err(|e| BoardError::probe("reading flash", e))?;
            if found != *bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn load_now(&mut self, blob: Option<&[u8]>) -> Result<(), BoardError> {
        if self.session.is_none() {
            self.session = Some(attach((self.reopen)()?, &self.chip)?);
        }
        self.program(blob)?;
        self.restart()
    }

    /// An error for want of power is that, whatever the probe calls it.
    fn explain(&self, error: BoardError) -> BoardError {
        let is_dark = |handle: &Handle| handle.with(|machine| !machine.is_powered());
        match &self.machine {
            Some(handle) if is_dark(handle) => BoardError::Unpowered,
            _ => error,
        }
    }

    fn send_now(&mut self, bytes: &[u8]) -> Result<(), BoardError> {
        let mut core = core(&mut self.session)?;
        let channel = self.rtt.as_mut().and_then(|rtt| rtt.down_channel(REQUESTS));
        let channel = channel.ok_or_else(|| no_channel("sending a request"))?;
        let (mut rest, mut progress) = (bytes, Instant::now());
        while !rest.is_empty() {
            let sent = channel
                .write(&mut core, rest)
                .map_err(|e| BoardError::probe("sending over RTT", e))?;
            rest = &rest[sent..];
            if sent > 0 {
                progress = Instant::now();
            } else if progress.elapsed() > SEND_TIMEOUT {
                return Err(no_channel("sending a request: the firmware takes nothing"));
            }
            // On a virtual board, looking at the status is what makes time pass.
            core.status()
                .map_err(|e| BoardError::probe("reading the core's status", e))?;
            check_fault(self.machine.as_ref(), &self.firmware)?;
        }
        Ok(())
    }

    fn receive_now(&mut self, bytes: &mut Vec<u8>) -> Result<(), BoardError> {
        let mut core = core(&mut self.session)?;
        let rtt = self
            .rtt
            .as_mut()
            .ok_or_else(|| no_channel("waiting for a reply"))?;
        core.status()
            .map_err(|e| BoardError::probe("reading the core's status", e))?;
        let mut buffer = [0; 1024];
        let mut read = |number: usize, buffer: &mut [u8]| match rtt.up_channel(number) {
            Some(channel) => channel
                .read(&mut core, buffer)
                .map_err(|e| BoardError::probe("reading RTT", e)),
            None => Ok(0),
        };
        let logged = read(LOG, &mut buffer)?;
        self.log.take(&buffer[..logged]);
        let replied = read(REPLIES, &mut buffer)?;
        bytes.extend_from_slice(&buffer[..replied]);
        check_fault(self.machine.as_ref(), &self.firmware)?;
        if replied == 0 && self.machine.is_none() {
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Resets the core and waits until the firmware has set RTT up anew.
    fn restart(&mut self) -> Result<(), BoardError> {
        let block = ScanRegion::Exact(self.control_block);
        let mut core = core(&mut self.session)?;
        core.halt(Duration::from_secs(1))
            .map_err(|e| BoardError::probe("halting the core", e))?;
        // Memory outlives a reset: forget the block that the last run left.
        Rtt::clear_control_block(&mut core, &block)
            .map_err(|e| BoardError::probe("clearing RTT", e))?;
        core.reset()
            .map_err(|e| BoardError::probe("resetting the core", e))?;
        let started = Instant::now();
        loop {
            core.status()
                .map_err(|e| BoardError::probe("reading the core's status", e))?;
            match Rtt::attach_at(&mut core, self.control_block) {
                Ok(rtt) => {
                    self.rtt = Some(rtt);
                    return Ok(());
                }
                Err(_) if started.elapsed() < START_UP => {
                    check_fault(self.machine.as_ref(), &self.firmware)?
                }
                Err(e) => return Err(BoardError::probe("waiting for the firmware to start", e)),
            }
        }
    }
}

fn attach(probe: Probe, chip: &str) -> Result<Session, BoardError> {
    probe
        .attach(chip, Permissions::default())
        .map_err(|e| BoardError::probe("attaching to the chip", e))
}

fn detached() -> BoardError {
    BoardError::Probe {
        doing: "reaching the core",
        reason: "the connection is down".into(),
    }
}

fn core(session: &mut Option<Session>) -> Result<Core<'_>, BoardError> {
    session
        .as_mut()
        .ok_or_else(detached)?
        .core(0)
        .map_err(|e| BoardError::probe("reaching the core", e))
}

/// An error if the virtual board's core has stopped at a fault.
fn check_fault(machine: Option<&Handle>, firmware: &Firmware) -> Result<(), BoardError> {
    match machine.and_then(|handle| handle.with(|machine| machine.fault())) {
        Some(fault) => Err(BoardError::Faulted {
            fault,
            function: firmware.function_at(fault.pc),
        }),
        None => Ok(()),
    }
}

impl Link for ProbeLink {
    fn load(&mut self, blob: Option<&[u8]>) -> Result<(), BoardError> {
        self.rtt = None;
        let loaded = self.load_now(blob);
        if loaded.is_err() {
            // Whatever the session has cached of the chip may be wrong: it goes first, so
            // that the probe is free to be opened again.
            self.session = None;
        }
        loaded.map_err(|e| self.explain(e))
    }

    fn forget(&mut self) {
        self.firmware_loaded = false;
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BoardError> {
        self.send_now(bytes).map_err(|e| self.explain(e))
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<(), BoardError> {
        self.receive_now(bytes).map_err(|e| self.explain(e))
    }

    fn drain(&mut self) -> Result<(), BoardError> {
        self.receive(&mut Vec::new())
    }

    fn intervals(&mut self) -> Result<Vec<Interval>, BoardError> {
        Ok(self.machine.as_ref().map_or_else(Vec::new, |handle| {
            handle.with(|machine| machine.take_intervals())
        }))
    }

    fn log(&self) -> Vec<String> {
        self.log.lines()
    }
}

fn no_channel(doing: &'static str) -> BoardError {
    BoardError::Probe {
        doing,
        reason: "the firmware has no such RTT channel, or it is full".into(),
    }
}

#[cfg(test)]
mod tests;
