//! Where a run is, and what its time went into.

use std::{collections::BTreeMap, time::Instant};

use serde::{Deserialize, Serialize};

/// The steps of `compress`, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Figures before, variational noise, the element ranking.
    Prepare,
    /// Search over channels and elements.
    Prune,
    /// The pruning held against what the widths can do with it.
    Refine,
    /// Training of the pruned network.
    FinetunePruned,
    /// Search over widths.
    Quantize,
    /// Training of the quantized network.
    FinetuneQuantized,
    /// Lowering, the board's verdict, figures after, report.
    Finish,
    /// Nothing is left to do.
    Done,
}

impl Stage {
    /// The stage that follows; [`Stage::Done`] follows itself.
    pub fn next(self) -> Self {
        match self {
            Self::Prepare => Self::Prune,
            Self::Prune => Self::Refine,
            Self::Refine => Self::FinetunePruned,
            Self::FinetunePruned => Self::Quantize,
            Self::Quantize => Self::FinetuneQuantized,
            Self::FinetuneQuantized => Self::Finish,
            Self::Finish | Self::Done => Self::Done,
        }
    }

    /// Name for people, such as `prune`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Prune => "prune",
            Self::Refine => "refine",
            Self::FinetunePruned => "fine-tune pruned",
            Self::Quantize => "quantize",
            Self::FinetuneQuantized => "fine-tune quantized",
            Self::Finish => "finish",
            Self::Done => "done",
        }
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Progress {
    /// The stage at work.
    pub stage: Stage,
    /// What is finished of it: episodes of a search, epochs of a training.
    pub step: usize,
}

impl Progress {
    /// A new run.
    pub const START: Self = Self {
        stage: Stage::Prepare,
        step: 0,
    };
}

/// Seconds by part of the work, one part at a time, carried over resumes.
#[derive(Debug, Default)]
pub struct PartTimer {
    seconds: BTreeMap<String, f64>,
    current: Option<(String, Instant)>,
}

impl PartTimer {
    /// A timer that has these seconds already.
    pub fn resume(seconds: BTreeMap<String, f64>) -> Self {
        Self {
            seconds,
            current: None,
        }
    }

    /// From now on time counts for `part`.
    pub fn switch(&mut self, part: &str) {
        self.pause();
        self.current = Some((part.to_owned(), Instant::now()));
    }

    /// From now on time counts for nothing.
    pub fn pause(&mut self) {
        if let Some((part, since)) = self.current.take() {
            *self.seconds.entry(part).or_default() += since.elapsed().as_secs_f64();
        }
    }

    /// Counts `work` for `part`, then goes on with the part before.
    pub fn time<T>(&mut self, part: &str, work: impl FnOnce() -> T) -> T {
        let before = self.current.as_ref().map(|(part, _)| part.clone());
        self.switch(part);
        let result = work();
        match before {
            Some(before) => self.switch(&before),
            None => self.pause(),
        }
        result
    }

    /// Seconds by part up to now.
    pub fn seconds(&self) -> BTreeMap<String, f64> {
        let mut seconds = self.seconds.clone();
        if let Some((part, since)) = &self.current {
            *seconds.entry(part.clone()).or_default() += since.elapsed().as_secs_f64();
        }
        seconds
    }

    /// Seconds of all parts.
    pub fn total(&self) -> f64 {
        self.seconds().values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{thread::sleep, time::Duration};

    #[test]
    fn stages_follow_each_other_to_the_end() {
        let mut stage = Stage::Prepare;
        let mut seen = vec![stage];
        while stage != Stage::Done {
            assert!(stage < stage.next());
            stage = stage.next();
            seen.push(stage);
        }
        assert_eq!(seen.len(), 8);
        assert_eq!(Stage::Done.next(), Stage::Done);
    }

    #[test]
    fn time_counts_for_one_part_and_survives_a_resume() {
        let start = Instant::now();
        let mut timer = PartTimer::default();
        timer.switch("search");
        let answer = timer.time("board", || {
            sleep(Duration::from_millis(30));
            42
        });
        assert_eq!(answer, 42);
        sleep(Duration::from_millis(10));
        timer.pause();
        let ran = start.elapsed().as_secs_f64();
        sleep(Duration::from_millis(30));
        let saved = timer.seconds();
        assert!(saved["board"] >= 0.03 && saved["search"] >= 0.01);
        // No time counts twice, and none of the pause; how long a sleep takes is the machine's affair.
        assert!(
            saved["board"] + saved["search"] <= ran,
            "{saved:?} of {ran}"
        );
        let mut resumed = PartTimer::resume(saved.clone());
        resumed.time("board", || sleep(Duration::from_millis(5)));
        assert!(resumed.seconds()["board"] >= saved["board"] + 0.005);
        assert!((resumed.total() - resumed.seconds().values().sum::<f64>()).abs() < 1e-9);
    }
}
