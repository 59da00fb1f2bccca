//! The run folder: configuration, log, checkpoint, resume.
//!
//! `runs/<date>-<name>/` holds what one `compress` did:
//!
//! | file | what |
//! |---|---|
//! | `config.json` | [`RunConfig`]: the resolved configuration and what was compressed |
//! | `log.jsonl` | one [`EpisodeRecord`] a line, append-only |
//! | `checkpoint/` | [`Checkpoints`]: everything that an identical continuation needs |
//! | `policy.json` | [`Policy`]: what was decided for each layer |
//! | `sensitivity.json` | [`LayerSensitivity`]: what each layer loses by itself |
//! | `pareto.json` | [`FrontPoint`]s: the front of accuracy, cycles and bytes of both searches |
//! | `evaluation.json` | [`Evaluation`]: confusion and broken images, where there are any |
//! | `storage.json` | [`StoredFigures`]: the result in each encoding |
//! | `summary.json` | [`Summary`]: the figures before and after |
//! | `model.safetensors`, `model.blob`, `report.html` | what came out |
//! | `run.lock` | held by the process that works on the run |
//!
//! [`RunFolder`] creates, locks, logs, checkpoints and resumes; the other types are what its
//! files contain. A process may die at any moment: a file is either the old one or the new one,
//! and a checkpoint is read whole or not at all.

mod atomic;
mod checkpoint;
mod config;
mod error;
mod evaluation;
mod folder;
pub mod interrupt;
mod lock;
mod log;
pub mod memory;
mod pareto;
mod policy;
mod progress;
mod record;
mod sensitivity;
mod storage;
mod summary;

pub use atomic::write_atomic;
pub use checkpoint::{Checkpoints, Manifest, PartEntry};
pub use config::{CycleSource, Identity, RunConfig, fingerprint};
pub use error::{RunError, disk_hint};
pub use evaluation::{BrokenImage, Confusion, Evaluation};
pub use folder::RunFolder;
pub(crate) use folder::read_json;
pub use lock::RunLock;
pub use log::EpisodeLog;
pub use pareto::{FrontPoint, pareto_front};
pub use policy::{LayerFigures, Policy, PolicyLayer};
pub use progress::{PartTimer, Progress, Stage};
pub use record::{EpisodeRecord, EpisodeSeconds, LayerAction};
pub use sensitivity::{LayerSensitivity, Loss};
pub use storage::StoredFigures;
pub use summary::{ControlFigures, NetworkFigures, Summary};

/// File names inside a run folder.
pub mod files {
    /// [`super::RunConfig`].
    pub const CONFIG: &str = "config.json";
    /// [`super::EpisodeRecord`]s.
    pub const LOG: &str = "log.jsonl";
    /// Folder of the checkpoint.
    pub const CHECKPOINT: &str = "checkpoint";
    /// [`super::Policy`].
    pub const POLICY: &str = "policy.json";
    /// [`super::LayerSensitivity`], one a layer.
    pub const SENSITIVITY: &str = "sensitivity.json";
    /// [`super::FrontPoint`]s.
    pub const PARETO: &str = "pareto.json";
    /// [`super::StoredFigures`], one an encoding.
    pub const STORAGE: &str = "storage.json";
    /// [`super::Evaluation`].
    pub const EVALUATION: &str = "evaluation.json";
    /// [`super::Summary`].
    pub const SUMMARY: &str = "summary.json";
    /// The compressed network's weights.
    pub const MODEL: &str = "model.safetensors";
    /// The compressed network for the board.
    pub const BLOB: &str = "model.blob";
    /// The report.
    pub const REPORT: &str = "report.html";
    /// The lock.
    pub const LOCK: &str = "run.lock";
}

#[cfg(test)]
pub(crate) mod testing;
