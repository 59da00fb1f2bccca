//! From a board's name to a board.

use super::device::{Device, Identity};
use super::qemu::{self, QemuLink};
use super::rtt::{ProbeLink, Reopen};
use super::virt::probe::Handle;
use super::virt::{Machine, Parts};
use super::{Board, BoardError, BoardSpec, Build, Engine, Firmware, spec};
use probe_rs::probe::Probe;
use probe_rs::probe::list::Lister;
use shared::spec::Abilities;
use std::sync::{Mutex, PoisonError};

/// How a virtual board is emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// QEMU where it is installed, else in process.
    #[default]
    Auto,
    /// In process, through probe-rs; needs nothing installed.
    InProcess,
    /// QEMU; an error where it is missing.
    Qemu,
}

/// How to open a board.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How a virtual board is emulated.
    pub engine: EngineChoice,
    /// Copy the firmware's log to standard error.
    pub verbose: bool,
}

/// Builds the firmware of the board called `name` and connects to it. Flash is written with
/// the first request, or with a blob by [`Board::flash`].
///
/// # Errors
/// [`BoardError`]: no such board, a failed build, no probe, no QEMU where it was asked for.
pub fn open(name: &str, options: Options) -> Result<Box<dyn Board>, BoardError> {
    open_with(name, options, None)
}

/// As [`open`], with a firmware that has only some kernels.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    name: &str,
    options: Options,
    kernels: Option<Abilities>,
) -> Result<Box<dyn Board>, BoardError> {
    let build = Build {
        kernels,
        ..Build::default()
    };
    open_built(name, options, &build)
}

/// As [`open`], with a firmware of another kind.
///
/// # Errors
/// As [`open`]; [`BoardError::Qemu`] for firmware that writes its flash.
pub fn open_built(
    name: &str,
    options: Options,
    build: &Build,
) -> Result<Box<dyn Board>, BoardError> {
    let (spec, emulated) = spec::find(name)?;
    let probe = if emulated {
        None
    } else {
        Some(real_probe(&spec)?)
    };
    let firmware = Firmware::built(&spec, build)?;
    open_firmware(name, spec, firmware, build, (probe, None), options)
}

/// A virtual board in process together with its microcontroller, for whoever wants to cut
/// its power.
///
/// # Errors
/// As [`open`]; [`BoardError::Unknown`] where `name` is no virtual board's.
pub fn open_in_process(name: &str, build: &Build) -> Result<(Box<dyn Board>, Handle), BoardError> {
    let (spec, emulated) = spec::find(name)?;
    if !emulated {
        return Err(BoardError::Unknown {
            name: format!("{name} in process"),
            known: vec![format!("{}{name}", spec::VIRTUAL_PREFIX)],
        });
    }
    let firmware = Firmware::built(&spec, build)?;
    let machine = Handle::new(new_machine(&spec, &firmware)?);
    let options = Options {
        engine: EngineChoice::InProcess,
        verbose: false,
    };
    let behind = (None, Some(machine.clone()));
    let board = open_firmware(name, spec, firmware, build, behind, options)?;
    Ok((board, machine))
}

/// As [`open`], with a firmware that is built already.
fn open_firmware(
    name: &str,
    spec: BoardSpec,
    firmware: Firmware,
    build: &Build,
    (probe, machine): (Option<Probe>, Option<Handle>),
    options: Options,
) -> Result<Box<dyn Board>, BoardError> {
    let engine = match (&probe, options.engine) {
        (Some(_), _) => Engine::Probe,
        (None, EngineChoice::InProcess) => Engine::InProcess,
        (None, EngineChoice::Qemu) => Engine::Qemu,
        (None, EngineChoice::Auto) if can_use_qemu(&spec) && !build.writes_flash() => Engine::Qemu,
        (None, EngineChoice::Auto) => Engine::InProcess,
    };
    let identity = Identity {
        name: name.into(),
        engine,
        build_id: firmware.build_id,
        network_limit: build.network_limit(&spec),
    };
    if engine == Engine::Qemu {
        if build.writes_flash() {
            let reason = "its flash cannot be written, as this firmware does";
            return Err(BoardError::Qemu(reason.into()));
        }
        if !qemu::is_installed() {
            return Err(BoardError::Qemu(format!("not found ({})", qemu_hint())));
        }
        let link = QemuLink::new(&spec, firmware, super::build::qemu_plugin()?)?;
        return Ok(Box::new(Device::new(link, spec, identity)));
    }
    let (reopen, machine): (Reopen, _) = match (probe, machine) {
        (Some(probe), _) => (reopen(probe, spec.clone()), None),
        (None, machine) => {
            let machine = match machine {
                Some(machine) => machine,
                None => Handle::new(new_machine(&spec, &firmware)?),
            };
            let again = machine.clone();
            (Box::new(move || again.plugged()), Some(machine))
        }
    };
    let mut link = ProbeLink::attach(reopen, &spec, firmware, machine, options.verbose)?;
    link.has_two_slots(build.two_slots);
    Ok(Box::new(Device::new(link, spec, identity)))
}

/// Whether the board's machine can run on the QEMU that is installed, if one is.
#[must_use]
pub fn can_use_qemu(spec: &BoardSpec) -> bool {
    spec.emulated
        .as_ref()
        .is_some_and(|emulated| emulated.qemu.is_some())
        && qemu::is_installed()
}

/// How to get QEMU.
#[must_use]
pub fn qemu_hint() -> &'static str {
    "apt install qemu-system-arm"
}

pub(super) fn new_machine(spec: &BoardSpec, firmware: &Firmware) -> Result<Machine, BoardError> {
    let parts = Parts {
        flash: spec.flash_geometry(),
        sram_base: spec.sram.base,
        sram_size: spec.sram.bytes,
        wait_states: spec.flash.wait_states,
        clock_hz: spec.clock_hz,
    };
    let mut machine =
        Machine::new(&parts).map_err(|e| BoardError::file(spec.file(), format!("{e:?}")))?;
    machine.set_markers(firmware.begin, firmware.end);
    Ok(machine)
}

/// A debug probe that is connected, as it calls itself.
#[must_use]
pub fn connected_probes() -> Vec<String> {
    Lister::new()
        .list_all()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Gives the probe that was opened already first, and looks for it again later.
fn reopen(probe: Probe, spec: BoardSpec) -> Reopen {
    let first = Mutex::new(Some(probe));
    Box::new(move || {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.map_or_else(|| real_probe(&spec), Ok)
    })
}

fn real_probe(spec: &BoardSpec) -> Result<Probe, BoardError> {
    let none = |found: String| BoardError::NoProbe {
        board: spec.name.clone(),
        found,
    };
    let probes = Lister::new().list_all();
    match &probes[..] {
        [] => Err(none("none is connected".into())),
        [probe] => probe
            .open()
            .map_err(|e| none(format!("{probe} cannot be opened: {e}"))),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(none(format!(
                "{} are connected, leave one: {}",
                several.len(),
                names.join("; ")
            )))
        }
    }
}
