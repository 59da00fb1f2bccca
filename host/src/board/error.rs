//! What can go wrong between here and a board.

use super::virt::Fault;
use crate::sign;
use shared::blob::{BlobError, Malformed};
use shared::message::{DeviceError, FrameError};
use shared::update::UpdateError;
use std::path::PathBuf;
use std::time::Duration;

/// Errors of building for, reaching and talking to a board.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// There is no such board.
    #[error("no board `{name}`; known: {}", known.join(", "))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A file of a board cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Cargo did not build something.
    #[error("building {what} failed:\n{output}")]
    Build {
        /// What was to be built.
        what: String,
        /// The end of what cargo said.
        output: String,
    },
    /// The built firmware is not what it must be.
    #[error("firmware {}: {reason}", path.display())]
    Firmware {
        /// The ELF.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A real board was asked for and no debug probe is connected.
    #[error("board `{board}` needs a debug probe, and {found}")]
    NoProbe {
        /// The board.
        board: String,
        /// What was found instead of one probe.
        found: String,
    },
    /// The debug probe or the core behind it refused something.
    #[error("{doing}: {reason}")]
    Probe {
        /// What was being done.
        doing: &'static str,
        /// probe-rs' error with its causes.
        reason: String,
    },
    /// QEMU could not be started or died.
    #[error("qemu-system-arm: {0}")]
    Qemu(String),
    /// The firmware stopped at a fault.
    #[error("the firmware stopped{}: {fault}", .function.as_ref().map_or(String::new(), |f| format!(" in `{f}`")))]
    Faulted {
        /// Where and why.
        fault: Fault,
        /// The function that the fault's PC lies in.
        function: Option<String>,
    },
    /// The board has lost its power.
    #[error("the board has no power")]
    Unpowered,
    /// No reply came.
    #[error("no reply from {board} to {request} within {} s{}", .waited.as_secs(), said(.log))]
    Silent {
        /// The board.
        board: String,
        /// What was asked.
        request: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// The last lines that the firmware logged.
        log: Vec<String>,
    },
    /// A reply was damaged.
    #[error("{board} sent a frame that cannot be read ({error:?})")]
    Frame {
        /// The board.
        board: String,
        /// What is wrong with the frame.
        error: FrameError,
    },
    /// The reply does not answer the request.
    #[error("{board} answered {request} with something else: {got}")]
    Unexpected {
        /// The board.
        board: String,
        /// What was asked.
        request: &'static str,
        /// What came.
        got: String,
    },
    /// The board could not do what it was asked.
    #[error("{board} refused {request}: {}", refusal(.error))]
    Refused {
        /// The board.
        board: String,
        /// What was asked.
        request: &'static str,
        /// Why.
        error: DeviceError,
    },
    /// The firmware on the board is not the one that was built.
    #[error(
        "{board} runs another firmware than the one built here: {what} {got:#010x}, expected {want:#010x}"
    )]
    Stale {
        /// The board.
        board: String,
        /// What differs: schema or build id.
        what: &'static str,
        /// The board's.
        got: u32,
        /// Ours.
        want: u32,
    },
    /// The board's crystal did not start, so its clock, and every time in ms, is another.
    #[error("{board} runs from its internal oscillator at {hz} Hz instead of the crystal")]
    NoCrystal {
        /// The board.
        board: String,
        /// The clock it runs at.
        hz: u32,
    },
    /// The blob does not fit the board's flash.
    #[error("the blob has {need} bytes, {board} has room for {limit}")]
    BlobTooLarge {
        /// The board.
        board: String,
        /// Bytes needed.
        need: usize,
        /// Bytes there are.
        limit: usize,
    },
    /// The latency table cannot be used.
    #[error("latency table {}: {error}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Attempts after an error that the same firmware may give again.
const FEW: u32 = 3;

impl BoardError {
    /// What to try, where something can be.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoProbe { board, .. } => {
                format!("connect a probe (SWD) and power the board, or use virtual-{board}")
            }
            Self::Probe { .. } => "check the debug cable and the supply, close other tools".into(),
            Self::Frame { .. } => "check the cable: it is noisy, or too long".into(),
            Self::Silent { .. } => "run again with -v to see what the firmware logs".into(),
            Self::Stale { .. } => "flash it again, and close other tools that use the probe".into(),
            Self::NoCrystal { .. } => "check the crystal and `hse_hz` in board.toml".into(),
            Self::BlobTooLarge { .. } => "compress further, or take a board with more flash".into(),
            Self::Unpowered => "check the supply and the cable, then run again".into(),
            Self::Refused { error, .. } => return refusal_hint(error),
            Self::Qemu(_) => "use --engine in-process, which needs no QEMU".into(),
            _ => return None,
        })
    }

    /// The need and limit in bytes, where the board said that a layer or network takes more
    /// SRAM than it has.
    #[must_use]
    pub fn too_large(&self) -> Option<(u32, u32)> {
        match self {
            Self::Refused {
                error: DeviceError::TooLarge { need, limit },
                ..
            } => Some((*need, *limit)),
            _ => None,
        }
    }

    /// How often it is worth asking again, of `patience` attempts: not at all where the
    /// answer is final, a few times where the firmware may do the same again, as long as
    /// wanted where somebody may put things right.
    #[must_use]
    pub fn worth(&self, patience: u32) -> u32 {
        match self {
            Self::Probe { .. }
            | Self::NoProbe { .. }
            | Self::Unpowered
            | Self::Frame { .. }
            | Self::Stale { .. } => patience,
            Self::Silent { .. }
            | Self::Qemu(_)
            | Self::Faulted { .. }
            | Self::Unexpected { .. }
            | Self::Refused {
                error: DeviceError::BadFrame,
                ..
            } => patience.min(FEW),
            _ => 0,
        }
    }

    /// Wraps an error of probe-rs with its causes.
    pub(super) fn probe(doing: &'static str, error: impl std::error::Error) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        Self::Probe { doing, reason }
    }

    /// Wraps an error about a file.
    pub(super) fn file(path: impl Into<PathBuf>, error: impl std::fmt::Display) -> Self {
        Self::File {
            path: path.into(),
            reason: error.to_string(),
        }
    }
}

fn refusal(error: &DeviceError) -> String {
    match error {
        DeviceError::TooLarge { need, limit } => {
            format!("it needs {need} bytes of SRAM, there are {limit}")
        }
        DeviceError::ImageSize { got, need } => {
            format!("the image has {got} bytes, the network takes {need}")
        }
        DeviceError::NotBuilt { layer, kernel } => format!(
            "layer {layer} needs the kernel {}, which the firmware was built without",
            kernel.name()
        ),
        DeviceError::NoBench => "its firmware was built without `bench`, which times layers".into(),
        DeviceError::Blob(error) => format!("its blob is not usable: {}", blob(error)),
        DeviceError::Update(error) => update_refusal(error),
        other => format!("{other:?}"),
    }
}

fn blob(error: &BlobError) -> String {
    match error.what {
        Malformed::Signature(error) => sign::describe(&error),
        _ => format!("{error:?}"),
    }
}

fn update_refusal(error: &UpdateError) -> String {
    use UpdateError as E;
    match error {
        E::NotBegun => {
            "no update is under way: the board was reset, or its flash failed, meanwhile".into()
        }
        E::Order { next } => format!("it waits for byte {next}"),
        E::Length { limit } => format!("a slot takes {limit} bytes"),
        E::Flash => "its flash controller reported an error".into(),
        E::Verify { offset } => {
            format!("its flash does not hold what was written at byte {offset}")
        }
        E::Blob(error) => blob(error),
        E::NotBuilt { layer, kernel } => refusal(&DeviceError::NotBuilt {
            layer: *layer,
            kernel: *kernel,
        }),
        E::CannotRun { need, limit } if need > limit => {
            format!("it needs {need} bytes of SRAM, there are {limit}")
        }
        E::CannotRun { .. } => "the network cannot run there".into(),
        E::SelfTest { expected, got } => {
            format!("the network failed its self-test: checksum {got:08x}, expected {expected:08x}")
        }
        E::Worn => "no room is left to note another version".into(),
        other => format!("{other:?}"),
    }
}

/// What to try after a refusal.
fn refusal_hint(error: &DeviceError) -> Option<String> {
    use UpdateError as E;
    let text = match error {
        DeviceError::TooLarge { .. } | DeviceError::Update(E::CannotRun { .. }) => {
            "compress further: the activations and scratch must fit the board's SRAM"
        }
        DeviceError::Blob(e) | DeviceError::Update(E::Blob(e)) => match &e.what {
            Malformed::Signature(error) => sign::hint(error),
            _ => "copy the blob again, or make it anew with `compress`",
        },
        DeviceError::NoBench => "flash the board's firmware with its default features",
        DeviceError::BadFrame => "`flash --two-slots` first, if this was an update",
        DeviceError::Update(E::NotBegun | E::Order { .. }) => {
            "run the update again; the network that ran before still runs"
        }
        DeviceError::Update(E::Length { .. }) => "compress further, or flash one large network",
        DeviceError::Update(E::Flash | E::Verify { .. }) => {
            "check the supply (2.7 V at least), run again; the sector may be worn out"
        }
        DeviceError::Update(E::SelfTest { .. }) => {
            "the old network runs on; `bench` shows whether a kernel is wrong"
        }
        DeviceError::Update(E::Worn) => "erase the chip with a debug probe, then `flash`",
        _ => return None,
    };
    Some(text.into())
}

fn said(log: &[String]) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("; it logged last: {}", log.join(" | "))
    }
}
