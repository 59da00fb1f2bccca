//! Errors as people see them: what, where, what to try, once, in that order.
//!
//! The one place that knows what to try. Libraries say what is wrong; only the command line
//! knows which options and sub-commands could help.

use super::{BAD_INPUT, FAILED_CHECK};
use crate::agent::AgentError;
use crate::board::{BoardError, TimingError};
use crate::compress::{Disagreement, Infeasible};
use crate::data::DataError;
use crate::lower::LowerError;
use crate::nn::StoreError;
use crate::run::{RunError, disk_hint};
use crate::sign::SignError;
use crate::vgg::{VggConfig, VggError};
use serde_json::{Value, json};
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// An error of the command line itself.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct Complaint {
    what: String,
    place: Option<String>,
    hint: Option<String>,
    code: u8,
}

impl Complaint {
    /// Something given cannot be used.
    pub fn input(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            place: None,
            hint: None,
            code: BAD_INPUT,
        }
    }

    /// A check was made and failed.
    pub fn check(what: impl Into<String>) -> Self {
        Self {
            code: FAILED_CHECK,
            ..Self::input(what)
        }
    }

    /// Where it is: a file, a folder, an option.
    pub fn at(self, place: impl Display) -> Self {
        Self {
            place: Some(place.to_string()),
            ..self
        }
    }

    /// What to try.
    pub fn try_(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// An error, explained; its `Display` is what the user sees.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Explained {
    /// What is wrong.
    pub what: String,
    /// Where, if `what` does not say it.
    pub place: Option<String>,
    /// What to try.
    pub hint: Option<String>,
    /// Exit code.
    pub code: u8,
}

impl Explained {
    /// For `--json`.
    pub fn to_json(&self) -> Value {
        json!({ "error": self.what, "in": self.place, "try": self.hint })
    }
}

impl Display for Explained {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  in   {place}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  try  {hint}")?;
        }
        Ok(())
    }
}

/// Explains `error`, of whatever type.
pub(super) fn explain(error: &anyhow::Error) -> Explained {
    let known = error.chain().find_map(known);
    let (place, hint, code) = known.unwrap_or((None, None, BAD_INPUT));
    let disk = error
        .chain()
        .find_map(|e| e.downcast_ref::<std::io::Error>());
    let hint = disk.and_then(disk_hint).map(str::to_owned).or(hint);
    let mut what = sentence(error);
    let place = place.and_then(|place| {
        // The place has a line of its own, unless it stands in the middle of the sentence.
        if let Some(short) = what.strip_suffix(&format!(", in {place}")) {
            what = short.to_string();
        }
        (!what.contains(&place)).then_some(place)
    });
    Explained {
        what,
        place,
        hint,
        code,
    }
}

/// The error and its causes; a cause that its effect already spelled out is left out.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

type Advice = (Option<String>, Option<String>, u8);

fn known(error: &(dyn std::error::Error + 'static)) -> Option<Advice> {
    let advice = |place: Option<String>, hint: Option<String>| Some((place, hint, BAD_INPUT));
    if let Some(e) = error.downcast_ref::<Complaint>() {
        return Some((e.place.clone(), e.hint.clone(), e.code));
    }
    if let Some(e) = error.downcast_ref::<DataError>() {
        return advice(None, Some(data(e)));
    }
    if let Some(e) = error.downcast_ref::<VggError>() {
        return vgg(e);
    }
    if let Some(e) = error.downcast_ref::<StoreError>() {
        return advice(None, store(e));
    }
    if let Some(e) = error.downcast_ref::<BoardError>() {
        return Some((None, board(e), board_code(e)));
    }
    if let Some(e) = error.downcast_ref::<TimingError>() {
        if let TimingError::Board(e) = e {
            return Some((None, board(e), board_code(e)));
        }
        let hint = "run again with -v; if it repeats, report it: kernels must agree in every byte";
        return Some((None, Some(hint.into()), FAILED_CHECK));
    }
    if let Some(e) = error.downcast_ref::<LowerError>() {
        return advice(None, lower(e));
    }
    if let Some(e) = error.downcast_ref::<SignError>() {
        return advice(None, Some(e.hint()));
    }
    if let Some(e) = error.downcast_ref::<RunError>() {
        return advice(None, e.hint());
    }
    if let Some(e) = error.downcast_ref::<AgentError>() {
        let hint = match e {
            AgentError::Diverged(_) => "a new run with another `--seed`, or `--agent random`",
            _ => "start a new run without `--resume`; nothing else was changed",
        };
        return advice(None, Some(hint.into()));
    }
    if error.is::<Disagreement>() {
        let hint =
            "`bench` shows whether a kernel is wrong; on a real board, check supply and clock";
        return Some((None, Some(hint.into()), FAILED_CHECK));
    }
    if error.is::<Infeasible>() {
        let hint = "budgets of at least the nearest's, or smaller `--w-widths` and `--a-widths`";
        return advice(None, Some(hint.into()));
    }
    None
}

fn data(error: &DataError) -> String {
    use DataError as E;
    match error {
        E::UnknownLayout { .. } => {
            "`--data` with such a folder, or no `--data` for the bundled sample".into()
        }
        E::Io { .. } => "check the path; without `--data` the bundled sample is used".into(),
        E::Label { classes, .. } => {
            format!(
                "correct or remove that row: labels are 0 to {}",
                classes.saturating_sub(1)
            )
        }
        E::NotStreamed { .. } => "the same command without `--crop`".into(),
        E::Class { .. } => "folders named as those of the training part".into(),
        E::Truncated { .. } | E::Parquet { .. } | E::Decode { .. } | E::CutShort { .. } => {
            "copy or download the file again; nothing was changed".into()
        }
        E::ImageSize { .. } | E::TooLarge { .. } => {
            "`--crop SIDE`, which takes pictures of any size, or resize them to one".into()
        }
        E::Pixels { .. } => "resize that picture, or take it away".into(),
        E::Empty { .. } => "check that the pictures are .png or .jpg files".into(),
        E::ModelInput {
            input: [h, w, _], ..
        } => {
            format!("pictures of {w}x{h} pixels, or a model that was trained on these")
        }
        E::ModelClasses { .. } => "the data that the model was trained on".into(),
    }
}

fn vgg(error: &VggError) -> Option<Advice> {
    use VggError as E;
    let (place, hint) = match error {
        E::Config { .. } | E::Parse { .. } => (
            None,
            "config.json has the keys architecture, cfg, num_classes, input, mean and std"
                .to_string(),
        ),
        E::Io { path, .. } => (
            Some(path),
            "`--model` with a folder of model.safetensors and config.json, or a .safetensors file with `--arch`".into(),
        ),
        E::Store(e) => return Some((None, store(e), BAD_INPUT)),
        E::Missing { path, .. } | E::Shape { path, .. } | E::List { path, .. } => {
            (Some(path), fitting(path))
        }
        E::NotFinite { path, .. } => (
            Some(path),
            "an earlier checkpoint of that training: weights must be finite".into(),
        ),
        E::Data(e) => return Some((None, Some(data(e)), BAD_INPUT)),
        E::Memory { fits, .. } => (
            None,
            match fits {
                Some(batch) => format!("`--batch {batch}` (of `compress`: `--finetune-batch`), the most that fits"),
                None => "a smaller network or more memory: not even one picture fits".into(),
            },
        ),
        E::Diverged { .. } => (None, "a lower learning rate: `--lr`, or of `compress` `--finetune-lr` and `--qat-lr`, in a new run; what was saved is as it was".into()),
        E::Checkpoint { .. } => (None, "start anew without `--resume`".into()),
        E::NoData => (None, "check `--data`: its training part is empty".into()),
        _ => return None,
    };
    let place = place.map(|p| p.display().to_string());
    Some((place, Some(hint), BAD_INPUT))
}

/// Which known architecture a weights file looks like.
fn fitting(path: &Path) -> String {
    let inspect = "compare the file with config.json's `cfg`";
    let Ok(found) = VggConfig::of_weights(path) else {
        return inspect.into();
    };
    match found.nearest_preset() {
        Some(preset) => format!(
            "`--arch {}` (this file looks like {}), or {inspect}",
            preset.architecture,
            found.looks_like()
        ),
        None => format!("{inspect}: the file has {}", found.looks_like()),
    }
}

fn store(error: &StoreError) -> Option<String> {
    Some(match error {
        StoreError::Io { .. } => "check the path and its permissions".into(),
        StoreError::Malformed { .. } => {
            "copy or download the file again: it is cut short, or no safetensors file".into()
        }
        StoreError::Dtype { .. } => "save the tensor as F32, F16 or BF16".into(),
        _ => return None,
    })
}

fn lower(error: &LowerError) -> Option<String> {
    use LowerError as E;
    Some(match error {
        E::AccumulatorRange { .. } => "fewer weight bits (`--w-widths 2,4`)".into(),
        E::Scale { .. } | E::NotFinite { .. } => {
            "an earlier checkpoint of the training: this layer's weights have run away".into()
        }
        E::Sram { .. } => "fewer channels or activation bits in that layer, or a board with more SRAM".into(),
        E::Kernel { .. } | E::Inexact { .. } => {
            "`--kernel LAYER=direct`, or leave the choice to the board".into()
        }
        E::NoLayer { names, .. } => format!("`--kernel {}=direct`", names.first()?),
        E::Spec { .. } | E::PoolPlace { .. } => {
            "a VGG of 3x3 convolutions with 2x2 max-pools, an average pool last (see the README's table)".into()
        }
        _ => return None,
    })
}

fn board(error: &BoardError) -> Option<String> {
    if let BoardError::Unknown { known, .. } = error {
        return Some(format!("`--board {}`", known.first()?));
    }
    error.hint()
}

/// What the user named or lacks is bad input; a board that fails or lies is a failed check.
fn board_code(error: &BoardError) -> u8 {
    use BoardError as E;
    match error {
        E::Faulted { .. } | E::Silent { .. } | E::Frame { .. } | E::Unexpected { .. } => {
            FAILED_CHECK
        }
        _ => BAD_INPUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn what_where_and_try_come_once() {
        let error = VggError::Shape {
            path: "no/such.safetensors".into(),
            tensor: "features.7.weight".into(),
            found: vec![128, 64, 3, 3],
            expected: vec![128, 128, 3, 3],
        };
        let text = explain(&error.into()).to_string();
        assert_eq!(
            text,
            "error: weights: tensor `features.7.weight` is [128, 64, 3, 3], the model needs [128, 128, 3, 3]\n  \
             in   no/such.safetensors\n  \
             try  compare the file with config.json's `cfg`"
        );
    }

    #[test]
    fn causes_are_not_repeated() {
        let io = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = DataError::Io {
            path: "pictures".into(),
            source: io(),
        };
        let explained = explain(&anyhow::Error::from(error).context("loading"));
        assert_eq!(
            explained.what.matches("entity not found").count(),
            1,
            "{explained}"
        );
        assert!(explained.hint.is_some());
        let plain = explain(&Err::<(), _>(io()).context("reading x").unwrap_err());
        assert_eq!(plain.what, "reading x: entity not found");
        assert_eq!((plain.hint, plain.code), (None, BAD_INPUT));
    }

    #[test]
    fn a_failed_check_has_its_own_code() {
        let check = Complaint::check("3 logits differ").at("image 7");
        let explained = explain(&check.into());
        assert_eq!(explained.code, FAILED_CHECK);
        assert_eq!(
            explained.to_string(),
            "error: 3 logits differ\n  in   image 7"
        );
    }
}
