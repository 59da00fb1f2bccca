//! Time and peak memory of a command's stages.

use super::table::Table;
use super::units::grouped;
use crate::run::memory;
use serde_json::{Value, json};
use std::time::Instant;

/// What each stage took, in order.
#[derive(Default)]
pub(super) struct Stages(Vec<Stage>);

struct Stage {
    name: &'static str,
    seconds: f64,
    /// Of all cores together.
    cpu_seconds: Option<f64>,
    /// Most bytes that the process held meanwhile, what it held before included.
    peak: Option<u64>,
}

impl Stages {
    /// Does a stage's work and notes what it took.
    pub fn run<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        memory::reset_peak();
        let (start, computed) = (Instant::now(), memory::cpu_seconds());
        let done = work();
        let cpu_seconds = memory::cpu_seconds().zip(computed);
        let stage = Stage {
            name,
            seconds: start.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds.map(|(after, before)| after - before),
            peak: memory::peak_bytes(),
        };
        eprintln!(
            "{name}: {:.1} s, peak {} MiB",
            stage.seconds,
            mib(stage.peak)
        );
        self.0.push(stage);
        done
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut table = Table::new(&["stage", "seconds", "CPU seconds", "peak MiB"], &[0]);
        for s in &self.0 {
            table.row(vec![
                s.name.into(),
                format!("{:.1}", s.seconds),
                s.cpu_seconds.map_or("-".into(), |c| format!("{c:.1}")),
                mib(s.peak),
            ]);
        }
        table.render()
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let row = |s: &Stage| json!({ "stage": s.name, "seconds": s.seconds, "cpu_seconds": s.cpu_seconds, "peak_bytes": s.peak });
        self.0.iter().map(row).collect()
    }
}

fn mib(bytes: Option<u64>) -> String {
    bytes.map_or("-".into(), |b| grouped(b >> 20))
}
