//! Which board a command works on.

use super::output::Output;
use crate::board::{Board, BoardError, Engine, EngineChoice, Options, open, qemu_hint};
use serde::{Deserialize, Serialize};

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
        let engine = match self.engine {
            EngineArg::Auto => EngineChoice::Auto,
            EngineArg::InProcess => EngineChoice::InProcess,
            EngineArg::Qemu => EngineChoice::Qemu,
        };
        let options = Options {
            engine,
            verbose: output.is_verbose(),
        };
        let board = open(self.name(), options)?;
        if board.engine() == Engine::InProcess && self.engine == EngineArg::Auto {
            output.ui().say(&format!(
                "  no qemu-system-arm found: timing in process, several times slower ({})",
                qemu_hint()
            ));
        }
        Ok(board)
    }
}
