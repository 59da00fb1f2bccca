//! What the user sees while it works: bars on a terminal, lines elsewhere, nothing if quiet.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(20);

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Progress and results.
    Normal,
    /// Everything.
    Verbose,
}

/// The user's screen.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    verbosity: Verbosity,
    terminal: bool,
}

/// Progress of one part.
pub struct Bar {
    bar: ProgressBar,
    ui: Ui,
    label: &'static str,
    total: usize,
    start: Instant,
    last_line: Instant,
}

impl Ui {
    /// Progress goes to the standard error, so that the standard output can be piped.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        Self {
            verbosity,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Says a line.
    pub fn say(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            eprintln!("{text}");
        }
    }

    /// Says a line to those who want to know everything.
    pub fn detail(&self, text: &str) {
        if self.verbosity >= Verbosity::Verbose {
            eprintln!("  {text}");
        }
    }

    /// Starts a bar of `total` steps of which `done` are done.
    #[must_use]
    pub fn bar(&self, label: &'static str, total: usize, done: usize) -> Bar {
        let drawn = self.terminal && self.verbosity >= Verbosity::Normal;
        let target = if drawn {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:11} {bar:20} {pos}/{len}  {msg}  eta {eta}")
        {
            bar.set_style(style.progress_chars("██░"));
        }
        bar.set_prefix(label);
        bar.set_position(done as u64);
        bar.reset_eta();
        let now = Instant::now();
        Bar {
            bar,
            ui: *self,
            label,
            total,
            start: now,
            last_line: now,
        }
    }
}

impl Bar {
    /// `done` steps are done; `message` says how it goes.
    pub fn set(&mut self, done: usize, message: &str) {
        self.bar.set_position(done as u64);
        self.bar.set_message(message.to_string());
        if !self.ui.terminal && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            self.ui.say(&format!(
                "{:11} {done}/{}  {message}",
                self.label, self.total
            ));
        }
    }

    /// `done` of `total` steps are done, where their number was not known before.
    pub fn set_of(&mut self, done: usize, total: usize, message: &str) {
        self.total = total;
        self.bar.set_length(total as u64);
        self.set(done, message);
    }

    /// Ends it with a line that stays.
    pub fn finish(self, message: &str) {
        self.bar.finish_and_clear();
        let seconds = self.start.elapsed().as_secs_f64();
        self.ui
            .say(&format!("{:11} {message}  ({seconds:.0} s)", self.label));
    }
}
