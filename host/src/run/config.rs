//! `config.json`: what was compressed, how, and for which board.

use crc::{CRC_64_XZ, Crc, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agent::AgentKind,
    reward::{RewardMode, Targets},
};

/// Slicing by 16, since whole models are fed through it at every checkpoint.
pub(super) static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// CRC-64/XZ of `bytes` in hexadecimal: tells models and configurations apart, and is no
/// protection against anyone who means to make two alike.
pub fn fingerprint(bytes: &[u8]) -> String {
    format!("{:016x}", CRC64.checksum(bytes))
}

/// What a run was made from. A run resumes only from the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// [`fingerprint`] of the model's file.
    pub model: String,
    /// [`fingerprint`] of the settings as JSON.
    pub configuration: String,
}

impl Identity {
    /// Of a model's file and of the settings that decide the result (seed, episodes, targets,
    /// board, data; not how chatty the output is).
    ///
    /// # Errors
    /// serde_json's, for settings that are no JSON.
    pub fn of(model: &[u8], settings: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self {
            model: fingerprint(model),
            configuration: fingerprint(&serde_json::to_vec(settings)?),
        })
    }
}

/// Where cycles come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CycleSource {
    /// The cycle model, applied to a virtual board's instruction stream.
    Model,
    /// A real core's DWT counter.
    Dwt,
}

impl CycleSource {
    /// What reports say: model cycles are never passed off as silicon's.
    pub fn label(self) -> &'static str {
        match self {
            Self::Model => "model cycles",
            Self::Dwt => "cycles (DWT)",
        }
    }
}

/// The resolved configuration of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Name of the run's folder; [`super::RunFolder::create`] fills it in.
    #[serde(default)]
    pub run: String,
    /// When it was started, RFC 3339; filled in likewise.
    #[serde(default)]
    pub created: String,
    /// Version of this program; filled in likewise.
    #[serde(default)]
    pub version: String,
    /// What it was made from.
    pub identity: Identity,
    /// Name of the network, such as `vgg-small`.
    pub model: String,
    /// Name of the data, such as `cifar10-sample`.
    pub dataset: String,
    /// Name of the board, such as `virtual-stm32f405`.
    pub board: String,
    /// Build id of the firmware that was measured, as `crc32` in hexadecimal.
    pub build_id: String,
    /// The board's clock.
    pub clock_hz: u64,
    /// Where cycles come from.
    pub cycle_source: CycleSource,
    /// Seed of everything random.
    pub seed: u64,
    /// Who searches.
    pub agent: AgentKind,
    /// How candidates are scored.
    pub reward: RewardMode,
    /// The budgets.
    pub targets: Targets,
    /// Episodes of the pruning search.
    pub prune_episodes: usize,
    /// Episodes of the quantization search.
    pub quantize_episodes: usize,
    /// Everything else that was resolved, by name.
    pub settings: Value,
}

impl RunConfig {
    /// Milliseconds of `cycles` at the board's clock.
    pub fn ms(&self, cycles: u64) -> f64 {
        cycles as f64 * 1e3 / self.clock_hz.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_crc_64_xz() {
        // The check value of the CRC catalogue.
        assert_eq!(fingerprint(b"123456789"), "995dc9bbdf1939fa");
    }

    #[test]
    fn identity_tells_models_and_settings_apart() {
        let settings = serde_json::json!({ "seed": 0 });
        let a = Identity::of(b"weights", &settings).unwrap();
        let other_model = Identity::of(b"weightz", &settings).unwrap();
        let other_settings = Identity::of(b"weights", &serde_json::json!({ "seed": 1 })).unwrap();
        assert!(a.model != other_model.model && a.configuration == other_model.configuration);
        assert!(a.model == other_settings.model && a.configuration != other_settings.configuration);
    }
}
