//! Whether the cheap judgements of a search rank candidates as a thorough one does: Kendall's τ
//! over policies that the search came to in its second half.

use super::store::load_rankings;
use super::{Input, Settings, Ui};
use crate::prune::{Moments, PrunePolicy, Rankings, judge};
use crate::reward::{SpeedModel, Targets};
use crate::run::{EpisodeLog, EpisodeRecord, RunConfig, Stage, files, interrupt, write_atomic};
use crate::search::{TrialConfig, episode_seed};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Judgements so far, a line each, in the run's folder: the command goes on from there.
const FILE: &str = "fidelity.jsonl";
/// Training steps of a thorough judgement, and images a step (method.md's full evaluation).
const FULL: (usize, usize) = (100, 128);
/// How far below its budget a policy may be: those far from it would rank themselves.
const NEAR: f64 = 0.9;
/// Number of these judgements in seeds; searches use those before.
const STREAM: u64 = 9;

/// One candidate, judged one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Episode that the policy comes from.
    pub episode: usize,
    /// How it was judged.
    pub trial: TrialConfig,
    /// Seed of its training.
    pub seed: u64,
    /// Accuracy on the trial's validation images, a fraction.
    pub accuracy: f64,
    /// Geometric mean of the probabilities that their labels got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<f64>,
    /// What it took.
    pub seconds: f64,
}

/// A way of judging, compared with the thorough one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// Images sent forward plus three times images trained, a candidate.
    pub images: u64,
    /// Mean wall-clock seconds of a candidate; of the search's own episodes with everything
    /// that they did.
    pub seconds: f64,
    /// Kendall's τ-b between its ranking by accuracy and the thorough one's; `None` where one of
    /// them has all policies alike.
    pub tau: Option<f64>,
    /// The same of its ranking by likelihood; `None` also where that is not known.
    pub tau_likelihood: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fidelity {
    /// Policies compared.
    pub policies: usize,
    /// The thorough judgement first, then the search's own, then the others.
    pub rows: Vec<Row>,
}

/// The comparison for one run.
pub struct FidelityJob<'a> {
    /// The given network and its images.
    pub input: &'a Input,
    /// The run's folder.
    pub run: &'a Path,
    /// Its configuration.
    pub config: &'a RunConfig,
    /// Its settings.
    pub settings: &'a Settings,
    /// Policies to compare, at most.
    pub policies: usize,
    /// Other ways of judging: steps, images a step, validation images.
    pub cheap: &'a [(usize, usize, usize)],
    /// Shows the progress.
    pub ui: &'a Ui,
}

impl FidelityJob<'_> {
    /// Judges all policies all ways; nothing where the user stopped it.
    ///
    /// # Errors
    /// Where the run has too few policies near its budget, or training or disk fail.
    pub fn run(&self) -> Result<Option<Fidelity>> {
        let log = EpisodeLog::read(&self.run.join(files::LOG))?;
        let limits = limits(&log, &self.config.targets, self.settings.speed);
        let chosen = choose(&log, &limits, self.policies);
        if chosen.len() < 3 {
            bail!(
                "{} has {} policies of stage 1 within {:.0} % of its budget in its second half: too few to rank",
                self.run.display(),
                chosen.len(),
                100.0 * (1.0 - NEAR)
            );
        }
        let rankings = load_rankings(self.run)?;
        let moments = if self.settings.reconstruct {
            Some(Moments::of(&self.input.network, &self.input.data())?)
        } else {
            None
        };
        let mut known = Known::open(&self.run.join(FILE))?;
        let own = &self.settings.prune.trial;
        let full = TrialConfig {
            steps: FULL.0,
            batch: FULL.1,
            validation_images: usize::MAX,
            ..own.clone()
        };
        let mut ways = vec![("thorough".to_owned(), full, 0)];
        ways.push(("the search's, one seed for all".to_owned(), own.clone(), 1));
        for &(steps, batch, validation_images) in self.cheap {
            let trial = TrialConfig {
                steps,
                batch,
                validation_images,
                ..own.clone()
            };
            let name = format!("{steps}x{batch}/{validation_images}, one seed for all");
            ways.push((name, trial, 1));
        }
        let mut judged = Vec::new();
        let mut bar = self.ui.bar("judge", ways.len() * chosen.len(), 0);
        for (i, (name, trial, seed)) in ways.iter().enumerate() {
            let mut all = Vec::new();
            for (j, record) in chosen.iter().enumerate() {
                if interrupt::requested() {
                    return Ok(None);
                }
                let seed = episode_seed(self.settings.seed, STREAM, *seed);
                all.push(self.judgement(
                    (&rankings, moments.as_ref()),
                    &mut known,
                    record,
                    (trial, seed),
                )?);
                bar.set(i * chosen.len() + j + 1, name);
            }
            judged.push(all);
        }
        bar.finish(&format!("{} policies, {} ways", chosen.len(), ways.len()));
        Ok(Some(self.compare(&chosen, &ways, &judged)))
    }

    fn judgement(
        &self,
        (rankings, moments): (&Rankings, Option<&Moments>),
        known: &mut Known,
        record: &EpisodeRecord,
        (trial, seed): (&TrialConfig, u64),
    ) -> Result<Judgement> {
        if let Some(judgement) = known.find(record.episode, trial, seed) {
            return Ok(judgement);
        }
        let start = Instant::now();
        let small =
            policy_of(record).apply_reconstructed(&self.input.network, rankings, moments)?;
        let quality = judge(&small, trial, &self.input.data(), seed)?;
        let judgement = Judgement {
            episode: record.episode,
            trial: trial.clone(),
            seed,
            accuracy: quality.accuracy,
            likelihood: quality.likelihood,
            seconds: start.elapsed().as_secs_f64(),
        };
        known.keep(judgement.clone())?;
        Ok(judgement)
    }

    fn compare(
        &self,
        chosen: &[&EpisodeRecord],
        ways: &[(String, TrialConfig, usize)],
        judged: &[Vec<Judgement>],
    ) -> Fidelity {
        let accuracies = |all: &[Judgement]| all.iter().map(|j| j.accuracy).collect::<Vec<_>>();
        let thorough = accuracies(&judged[0]);
        let by_likelihood = |all: &mut dyn Iterator<Item = Option<f64>>| {
            let all: Option<Vec<f64>> = all.collect();
            all.and_then(|all| kendall_tau(&thorough, &all))
        };
        let images = |trial: &TrialConfig| {
            let statistics = if trial.steps > 0 { 2 } else { 1 };
            let validation = self.input.splits.validation.len();
            trial.images(crate::search::Effort::Episode, validation, statistics)
        };
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len().max(1) as f64;
        let mut rows: Vec<Row> = ways
            .iter()
            .zip(judged)
            .map(|((name, trial, _), all)| Row {
                name: name.clone(),
                images: images(trial),
                seconds: mean(&all.iter().map(|j| j.seconds).collect::<Vec<_>>()),
                tau: kendall_tau(&thorough, &accuracies(all)),
                tau_likelihood: by_likelihood(&mut all.iter().map(|j| j.likelihood)),
            })
            .collect();
        let recorded: Vec<f64> = chosen.iter().map(|r| r.accuracy).collect();
        rows.insert(
            1,
            Row {
                name: "the search's, as it was".to_owned(),
                images: images(&self.settings.prune.trial),
                seconds: mean(&chosen.iter().map(|r| r.seconds).collect::<Vec<_>>()),
                tau: kendall_tau(&thorough, &recorded),
                tau_likelihood: by_likelihood(&mut chosen.iter().map(|r| r.likelihood)),
            },
        );
        Fidelity {
            policies: chosen.len(),
            rows,
        }
    }
}

/// What stage 1 of a run was limited by. A search by MACs goes by those of the uniform policy,
/// which its configuration does not tell: the most of all that it found to be within.
fn limits(log: &[EpisodeRecord], targets: &Targets, speed: SpeedModel) -> Targets {
    if speed == SpeedModel::Cycles || targets.cycles.is_none() {
        return *targets;
    }
    let within = log.iter().filter(|r| r.stage == Stage::Prune && r.feasible);
    Targets {
        cycles: None,
        macs: within.map(|r| r.costs.macs).max(),
        ..*targets
    }
}

/// Policies of stage 1's second half that meet the budgets and come near them, each once.
fn choose<'a>(log: &'a [EpisodeRecord], targets: &Targets, most: usize) -> Vec<&'a EpisodeRecord> {
    let episodes: Vec<&EpisodeRecord> = log.iter().filter(|r| r.stage == Stage::Prune).collect();
    let half = episodes.len() / 2;
    let near = |r: &&EpisodeRecord| match (targets.cycles, targets.macs) {
        (Some(target), _) => r.costs.cycles as f64 >= NEAR * target as f64,
        (None, Some(target)) => r.costs.macs as f64 >= NEAR * target as f64,
        (None, None) => true,
    };
    let mut chosen: Vec<&EpisodeRecord> = Vec::new();
    for record in episodes[half..].iter().filter(|r| r.feasible && near(r)) {
        if !chosen.iter().any(|c| c.actions == record.actions) {
            chosen.push(record);
        }
    }
    chosen.truncate(most);
    chosen
}

/// The policy that an episode's line tells.
fn policy_of(record: &EpisodeRecord) -> PrunePolicy {
    let density = |a: &crate::run::LayerAction| a.density.unwrap_or(1.0) as f32;
    PrunePolicy {
        channels: record.actions.iter().filter_map(|a| a.channels).collect(),
        elements: record.actions.iter().map(density).collect(),
    }
}

/// Kendall's τ-b: agreement of two rankings of the same things, ties allowed. There is none where
/// one of them has all of them alike.
#[must_use]
pub fn kendall_tau(a: &[f64], b: &[f64]) -> Option<f64> {
    let sign = |v: &[f64], i: usize, j: usize| {
        let order = v[i].partial_cmp(&v[j]);
        order.map_or(0.0, |order| f64::from(order as i8))
    };
    let (mut agree, mut in_a, mut in_b) = (0.0, 0.0, 0.0);
    for i in 0..a.len() {
        for j in 0..i {
            let (x, y) = (sign(a, i, j), sign(b, i, j));
            agree += x * y;
            in_a += x * x;
            in_b += y * y;
        }
    }
    let scale = f64::sqrt(in_a * in_b);
    (scale > 0.0).then(|| agree / scale)
}

/// Judgements that were made before.
struct Known {
    path: PathBuf,
    all: Vec<Judgement>,
}

impl Known {
    fn open(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        // A line that lacks its end was being written when the process died.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let all = whole
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is damaged", path.display()))?;
        if whole.len() + 1 < text.len() {
            write_atomic(path, format!("{whole}\n").as_bytes())?;
        }
        Ok(Self {
            path: path.into(),
            all,
        })
    }

    fn find(&self, episode: usize, trial: &TrialConfig, seed: u64) -> Option<Judgement> {
        let same = |j: &&Judgement| j.episode == episode && j.seed == seed && j.trial == *trial;
        self.all.iter().find(same).cloned()
    }

    fn keep(&mut self, judgement: Judgement) -> Result<()> {
        let line = serde_json::to_string(&judgement)?;
        let mut options = std::fs::OpenOptions::new();
        options
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| writeln!(file, "{line}"))
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.all.push(judgement);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::Costs;
    use crate::run::LayerAction;

    #[test]
    fn tau_is_the_share_of_pairs_in_order() {
        let a = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(kendall_tau(&a, &[10.0, 20.0, 30.0, 40.0]), Some(1.0));
        assert_eq!(kendall_tau(&a, &[4.0, 3.0, 2.0, 1.0]), Some(-1.0));
        // One of six pairs the other way: (5 - 1) / 6.
        let tau = kendall_tau(&a, &[1.0, 2.0, 4.0, 3.0]).unwrap();
        assert!((tau - 4.0 / 6.0).abs() < 1e-12, "{tau}");
        // A tie in b: 5 of its 5 pairs agree; √(6·5) below.
        let tau = kendall_tau(&a, &[1.0, 2.0, 3.0, 3.0]).unwrap();
        assert!((tau - 5.0 / 30f64.sqrt()).abs() < 1e-12, "{tau}");
        assert_eq!(kendall_tau(&a, &[1.0; 4]), None);
    }

    #[test]
    fn policies_come_from_the_second_half_near_the_budget_each_once() {
        let record = |episode: usize, cycles: u64, channels: usize, feasible: bool| EpisodeRecord {
            stage: Stage::Prune,
            episode,
            agent: "ddpg".into(),
            reward: 0.5,
            accuracy: 0.5,
            likelihood: None,
            costs: Costs {
                cycles,
                ..Costs::default()
            },
            feasible,
            excess: 0.0,
            best: false,
            variant: None,
            cycles_error: None,
            images: None,
            actions: vec![LayerAction {
                layer: "conv0".into(),
                channels: Some(channels),
                ..LayerAction::default()
            }],
            seconds: 1.0,
            seconds_by_part: None,
        };
        let log = [
            record(0, 100, 1, true),
            record(1, 100, 2, true),
            record(2, 100, 3, true),
            record(3, 95, 4, true),
            record(4, 95, 4, true),
            record(5, 80, 5, true),
            record(6, 101, 6, false),
            record(7, 99, 7, true),
        ];
        let targets = Targets {
            cycles: Some(100),
            ..Targets::default()
        };
        let episodes = |most| {
            let chosen = choose(&log[..6], &targets, most);
            chosen.iter().map(|r| r.episode).collect::<Vec<_>>()
        };
        assert_eq!(episodes(30), [3]);
        let chosen = choose(&log, &targets, 30);
        assert_eq!(chosen.iter().map(|r| r.episode).collect::<Vec<_>>(), [4, 7]);
        assert_eq!(policy_of(chosen[0]).channels, [4]);

        // A search by MACs found these to be within; their cycles limited nothing.
        let mut by_macs = log.to_vec();
        for (record, macs) in by_macs.iter_mut().zip([40, 50, 50, 50, 46, 20, 99, 44]) {
            record.costs.macs = macs;
        }
        let found = limits(&by_macs, &targets, SpeedModel::Macs);
        assert_eq!((found.macs, found.cycles), (Some(50), None));
        let chosen = choose(&by_macs, &found, 30);
        assert_eq!(chosen.iter().map(|r| r.episode).collect::<Vec<_>>(), [4]);
        assert_eq!(limits(&by_macs, &targets, SpeedModel::Cycles), targets);
    }

    #[test]
    fn what_was_judged_is_found_again_and_half_a_line_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let trial = TrialConfig {
            steps: 1,
            batch: 2,
            lr: 0.1,
            norm_images: 3,
            validation_images: 4,
        };
        let judgement = Judgement {
            episode: 5,
            trial: trial.clone(),
            seed: u64::MAX - 1,
            accuracy: 0.25,
            likelihood: Some(0.125),
            seconds: 1.5,
        };
        Known::open(&path).unwrap().keep(judgement.clone()).unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.extend(b"{\"episode\":6");
        std::fs::write(&path, text).unwrap();
        let mut known = Known::open(&path).unwrap();
        assert_eq!(known.find(5, &trial, u64::MAX - 1), Some(judgement.clone()));
        assert_eq!(known.find(5, &trial, 1), None);
        known
            .keep(Judgement {
                seed: 1,
                ..judgement
            })
            .unwrap();
        assert!(Known::open(&path).unwrap().find(5, &trial, 1).is_some());
    }
}
