//! `summary.json`, which is also the last line of `compress --json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A network's figures. Accuracies are fractions of the test images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkFigures {
    /// Host, floating point.
    pub accuracy_float: f64,
    /// Host, integer simulation.
    pub accuracy_integer: f64,
    /// On the board, over the [`Self::images_board`] images that it ran; null where it ran none.
    pub accuracy_board: Option<f64>,
    /// Images that the board ran, every logit equal to the host's.
    pub images_board: usize,
    /// Nonzero weights and biases in the blob.
    pub parameters: u64,
    /// Weights and biases after channel removal, zeros included.
    pub parameters_dense: u64,
    /// Dense multiply-accumulates of one inference.
    pub macs: u64,
    /// Bytes of the blob's file.
    pub blob_bytes: u64,
    /// Bytes of the arena that the blob states, scratch included.
    pub sram_bytes: u64,
    /// Cycles of one inference.
    pub cycles: u64,
    /// Milliseconds of one inference at the board's clock.
    pub ms: f64,
    /// Why the board ran no image, where it ran none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board_reason: Option<String>,
}

/// The given network after the same fine-tuning. It is not lowered: its size and cycles are those
/// of [`Summary::before`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlFigures {
    /// Host, floating point; a fraction of the test images.
    pub accuracy_float: f64,
    /// Times that a training image was seen, on average; `None` where an earlier version did not
    /// say.
    #[serde(default)]
    pub epochs: Option<f64>,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Path of the run folder.
    pub run: String,
    /// Name of the board.
    pub board: String,
    /// Seed of everything random.
    pub seed: u64,
    /// The given network, 8 bits, dense.
    pub before: NetworkFigures,
    /// The compressed one.
    pub after: NetworkFigures,
    /// The given network after the same fine-tuning, where that was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlFigures>,
    /// Episodes of both searches.
    pub episodes: usize,
    /// Layer timings that the board was asked for.
    pub timings_measured: u64,
    /// Layer timings that came from the table.
    pub timings_cached: u64,
    /// Wall-clock seconds, over all resumes.
    pub seconds: f64,
    /// The same by part of the work.
    pub seconds_by_part: BTreeMap<String, f64>,
    /// Path of the report.
    pub report: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_documented_ones() {
        let mut summary = Summary::default();
        let value = serde_json::to_value(&summary).unwrap();
        let keys =
            |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            keys(&value),
            [
                "run",
                "board",
                "seed",
                "before",
                "after",
                "episodes",
                "timings_measured",
                "timings_cached",
                "seconds",
                "seconds_by_part",
                "report"
            ]
        );
        assert_eq!(
            keys(&value["before"]),
            [
                "accuracy_float",
                "accuracy_integer",
                "accuracy_board",
                "images_board",
                "parameters",
                "parameters_dense",
                "macs",
                "blob_bytes",
                "sram_bytes",
                "cycles",
                "ms"
            ]
        );
        assert!(value["before"]["accuracy_board"].is_null());
        // Nothing that was not measured.
        summary.control = Some(ControlFigures {
            accuracy_float: 0.5,
            epochs: Some(2.0),
        });
        let mut value = serde_json::to_value(&summary).unwrap();
        assert_eq!(keys(&value["control"]), ["accuracy_float", "epochs"]);
        // As it was written before: every figure of a network, zeros.
        value["control"] = serde_json::to_value(NetworkFigures::default()).unwrap();
        let earlier: Summary = serde_json::from_value(value).unwrap();
        assert_eq!(earlier.control.unwrap().epochs, None);
    }

    #[test]
    fn figures_that_are_read_and_written_again_stay_what_they_are() {
        // `control` does so. JSON read quickly gives 0.4817559523809524 here.
        let ms = 0.481_755_952_380_952_37;
        let figures = NetworkFigures {
            ms,
            ..NetworkFigures::default()
        };
        let text = serde_json::to_string(&figures).unwrap();
        let read: NetworkFigures = serde_json::from_str(&text).unwrap();
        assert_eq!(read.ms.to_bits(), ms.to_bits());
    }
}
