//! Where results go, and how much is said.

use crate::compress::{Ui, Verbosity};
use serde_json::Value;
use std::io::Write;

/// Options of every command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Output {
    /// End with one line of JSON on the standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more.
    #[arg(short, long, global = true)]
    verbose: bool,
}

impl Output {
    /// How much is said.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    /// Whether everything is said.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// The screen for progress.
    pub fn ui(&self) -> Ui {
        Ui::new(self.verbosity())
    }

    /// Prints a result for people: on the standard output, which `--json` keeps for itself.
    pub fn result(&self, text: &str) {
        if self.json {
            self.ui().say(text);
        } else {
            line(text);
        }
    }

    /// Prints the JSON result, if it was asked for.
    pub fn json(&self, value: &Value) {
        if self.json {
            line(&value.to_string());
        }
    }
}

/// A line on the standard output. A reader that has gone away (`| head`) is no error.
fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
