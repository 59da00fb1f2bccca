//! The HTML report: one file that opens without a network.
//!
//! [`RunData::read`] loads a run folder's own files, finished or not; [`render`] makes the page
//! of them: figures before and after, the trade-off of everything tried, reward by episode, the
//! policy by layer, how the compressed network errs, and what is needed to get the same again.
//! Charts are inline SVG, colours follow the reader's light or dark setting, and there is no
//! script.

pub mod compare;
mod figures;
mod mistakes;
mod page;
mod policy;
mod refinement;
mod rewards;
mod sensitivity;
mod settings;
mod storage;
mod svg;
mod tradeoff;
mod units;

use std::path::{Path, PathBuf};

use crate::run::{
    self, EpisodeLog, EpisodeRecord, Evaluation, LayerSensitivity, Policy, RunConfig, RunError,
    RunFolder, Stage, StoredFigures, Summary, files,
};

pub use page::render;

/// What a report is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct RunData {
    /// What was compressed, how, and for which board.
    pub config: RunConfig,
    /// All episodes so far.
    pub log: Vec<EpisodeRecord>,
    /// The decisions, once there are any.
    pub policy: Option<Policy>,
    /// The figures, once the run is done.
    pub summary: Option<Summary>,
    /// What each layer loses by itself, where that was measured.
    pub sensitivity: Option<Vec<LayerSensitivity>>,
    /// The result in each encoding, where that was measured.
    pub storage: Option<Vec<StoredFigures>>,
    /// How both networks err, where that was written down.
    pub evaluation: Option<Evaluation>,
}

impl RunData {
    /// Reads the files of the run in `dir`; what is not there yet is left out.
    ///
    /// # Errors
    /// [`RunError::NotARun`] without a configuration, [`RunError::Damaged`] where a file is not
    /// what it should be.
    pub fn read(dir: &Path) -> Result<Self, RunError> {
        Ok(Self {
            config: RunFolder::read_config(dir)?,
            log: EpisodeLog::read(&dir.join(files::LOG))?,
            policy: run::read_json(dir, files::POLICY)?,
            summary: run::read_json(dir, files::SUMMARY)?,
            sensitivity: run::read_json(dir, files::SENSITIVITY)?,
            storage: run::read_json(dir, files::STORAGE)?,
            evaluation: run::read_json(dir, files::EVALUATION)?,
        })
    }

    /// Episodes of one stage, in order.
    fn stage(&self, stage: Stage) -> impl Iterator<Item = &EpisodeRecord> {
        self.log.iter().filter(move |record| record.stage == stage)
    }

    /// The candidate that was kept: the winner of the finals, or the last best of the latest
    /// stage that has one.
    fn chosen(&self) -> Option<&EpisodeRecord> {
        let best = |stage| self.stage(stage).filter(|r| r.best).last();
        let won = self.policy.as_ref().and_then(|p| p.quantize_episode);
        won.and_then(|episode| self.stage(Stage::Quantize).find(|r| r.episode == episode))
            .or_else(|| best(Stage::Quantize))
            .or_else(|| best(Stage::Prune))
    }
}

/// Writes `report.html` into the run in `dir` and returns its path.
///
/// # Errors
/// As [`RunData::read`], and [`RunError::Io`] where the report cannot be written.
pub fn write(dir: &Path) -> Result<PathBuf, RunError> {
    let html = render(&RunData::read(dir)?);
    let path = dir.join(files::REPORT);
    run::write_atomic(&path, html.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod well_formed;
