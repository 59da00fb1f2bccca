//! Which board a command works on.

use super::output::Output;
use crate::board::{
    Board, BoardError, Build, Engine, EngineChoice, Options, Patience, Steady, open_built,
    qemu_hint,
};
use crate::sign::PublicKey;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The board that is used where none is named.
pub(super) const DEFAULT: &str = "virtual-stm32f405";

/// Options that choose a board.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
pub(super) struct BoardArgs {
    /// The board, real or virtual; `boards` lists them [default: virtual-stm32f405]
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,
    /// What a virtual board runs on.
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    engine: EngineArg,
}

/// What a virtual board runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EngineArg {
    /// QEMU where it is installed, else in process.
    #[default]
    Auto,
    /// In process; needs nothing installed.
    InProcess,
    /// QEMU.
    Qemu,
}

impl BoardArgs {
    /// The board's name.
    pub fn name(&self) -> &str {
        self.board.as_deref().unwrap_or(DEFAULT)
    }

    /// What is not named here is taken from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            board: self.board.or(other.board),
            engine: if self.engine == EngineArg::Auto {
                other.engine
            } else {
                self.engine
            },
        }
    }

    /// Opens the board; says so, once, if it is the slow way for want of QEMU.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn open(&self, output: &Output) -> Result<Box<dyn Board>, BoardError> {
        self.open_built(output, &Build::default())
    }

    /// As [`open`](Self::open), for hours of work: a board that is gone is waited for.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn open_patiently(&self, output: &Output) -> Result<Box<dyn Board>, BoardError> {
        self.open_with(output, &Build::default(), Patience::LONG)
    }

    /// As [`open`](Self::open), with a firmware that is built otherwise.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn open_built(&self, output: &Output, build: &Build) -> Result<Box<dyn Board>, BoardError> {
        self.open_with(output, build, Patience::SHORT)
    }

    fn open_with(
        &self,
        output: &Output,
        build: &Build,
        patience: Patience,
    ) -> Result<Box<dyn Board>, BoardError> {
        let engine = match self.engine {
            EngineArg::Auto => EngineChoice::Auto,
            EngineArg::InProcess => EngineChoice::InProcess,
            EngineArg::Qemu => EngineChoice::Qemu,
        };
        let options = Options {
            engine,
            verbose: output.is_verbose(),
        };
        let board = open_built(self.name(), options, build)?;
        let wanted = self.engine == EngineArg::Auto && !build.writes_flash();
        if board.engine() == Engine::InProcess && wanted {
            output.ui().say(&format!(
                "  no qemu-system-arm found: timing in process, several times slower ({})",
                qemu_hint()
            ));
        }
        let ui = output.ui();
        let tell = Box::new(move |line: &str| ui.say(line));
        Ok(Box::new(Steady::new(board, patience, tell)))
    }
}

/// Options that make another firmware.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct FirmwareArgs {
    /// Firmware that runs only networks signed with this public key.
    #[arg(long, value_name = "KEY.pub")]
    trust: Option<PathBuf>,
    /// Firmware with two slots, whose network `update` can replace.
    #[arg(long)]
    two_slots: bool,
}

impl FirmwareArgs {
    /// What to build; `two_slots` whether asked for or not.
    ///
    /// # Errors
    /// [`crate::sign::SignError`] where the file holds no public key.
    pub fn build(&self, two_slots: bool) -> anyhow::Result<Build> {
        if let Some(path) = &self.trust {
            PublicKey::read(path)?;
        }
        Ok(Build {
            trust: self.trust.clone(),
            two_slots: two_slots || self.two_slots,
            ..Build::default()
        })
    }
}
