//! Agents side by side: figures, paired differences, best reward against cost.

use super::{
    RunData,
    page::{document, figure, section},
    svg::{Drawing, Scale, colour},
    units::escape,
};
use crate::run::{EpisodeRecord, Stage, Summary};
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 280.0;
/// Two-sided 95 % points of Student's t for 1 to 10 degrees of freedom, and beyond.
const STUDENT: [f64; 11] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 1.96,
];

/// One agent's run with one seed.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The agent's name.
    pub agent: String,
    /// Seed; what does not depend on one was run with the first.
    pub seed: u64,
    /// Whether another seed would give another result.
    pub depends_on_seed: bool,
    /// The run's files, as far as there are any.
    pub data: Option<RunData>,
    /// Why there is no result, where the run ended without one.
    pub failure: Option<String>,
}

impl Cell {
    fn summary(&self) -> Option<&Summary> {
        self.data.as_ref().and_then(|d| d.summary.as_ref())
    }

    /// Accuracy on the test images, a fraction.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        self.summary().map(|s| s.after.accuracy_integer)
    }

    fn records(&self, stage: Stage) -> impl Iterator<Item = &EpisodeRecord> {
        let log = self.data.iter().flat_map(|d| &d.log);
        log.filter(move |r| r.stage == stage)
    }

    /// The best reward of a policy within the budgets.
    fn best(&self, stage: Stage) -> Option<f64> {
        let feasible = self.records(stage).filter(|r| r.feasible);
        feasible.map(|r| r.reward).reduce(f64::max)
    }

    /// Images forward plus three times images trained, both stages.
    fn cost(&self) -> u64 {
        let log = self.data.iter().flat_map(|d| &d.log);
        log.filter_map(|r| r.images).fold(0, u64::saturating_add)
    }
}

/// Mean, and standard deviation where there are several.
#[must_use]
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    Some((mean, deviation))
}

/// Half the width of the mean's 95 % interval by Student's t; `None` for fewer than two.
#[must_use]
pub fn half_interval(values: &[f64]) -> Option<f64> {
    let (_, deviation) = mean_and_deviation(values)?;
    let t = STUDENT[values.len().saturating_sub(2).min(STUDENT.len() - 1)];
    deviation.map(|d| t * d / (values.len() as f64).sqrt())
}

/// The comparison as Markdown: one table of figures, one of paired differences from the first
/// agent, in points of test accuracy.
#[must_use]
pub fn markdown(cells: &[Cell]) -> String {
    let mut out = String::from(
        "| agent | runs | accuracy, mean ± deviation | stage 1 best reward | stage 2 best reward | cost, k images | blob, bytes | cycles |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for agent in agents(cells) {
        let of = || cells.iter().filter(|c| c.agent == agent);
        let accuracies: Vec<f64> = of().filter_map(Cell::accuracy).collect();
        let mean = |value: &dyn Fn(&Cell) -> Option<f64>, digits: usize| {
            let values: Vec<f64> = of().filter_map(value).collect();
            mean_and_deviation(&values).map_or("-".into(), |(m, _)| format!("{m:.digits$}"))
        };
        let failed = of().filter(|c| c.failure.is_some()).count();
        let runs = match failed {
            0 => format!("{}", of().count()),
            n => format!("{}, {n} without a result", of().count()),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| {agent} | {runs} | {} | {} | {} | {} | {} | {} |",
            spread(&accuracies),
            mean(&|c| c.best(Stage::Prune), 3),
            mean(&|c| c.best(Stage::Quantize), 3),
            mean(&|c| Some(c.cost() as f64 / 1e3), 0),
            mean(&|c| c.summary().map(|s| s.after.blob_bytes as f64), 0),
            mean(&|c| c.summary().map(|s| s.after.cycles as f64), 0),
        );
    }
    out + &differences(cells)
}

/// In percent: mean ± deviation.
fn spread(accuracies: &[f64]) -> String {
    match mean_and_deviation(accuracies) {
        None => "-".into(),
        Some((mean, None)) => format!("{:.2} %", 100.0 * mean),
        Some((mean, Some(d))) => format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * d),
    }
}

fn differences(cells: &[Cell]) -> String {
    let agents = agents(cells);
    let Some((first, others)) = agents.split_first() else {
        return String::new();
    };
    let mut seeds: Vec<u64> = cells.iter().map(|c| c.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mut out = format!("\n| {first} better by, points |");
    seeds.iter().for_each(|s| out += &format!(" seed {s} |"));
    out += " mean, 95 % interval | better in |\n|---|";
    out += &"---|".repeat(seeds.len() + 2);
    out.push('\n');
    for other in others {
        let pairs: Vec<Option<f64>> = seeds
            .iter()
            .map(|&s| Some(100.0 * (accuracy(cells, first, s)? - accuracy(cells, other, s)?)))
            .collect();
        let known: Vec<f64> = pairs.iter().flatten().copied().collect();
        out += &format!("| than {other} |");
        for pair in &pairs {
            out += &pair.map_or(" - |".into(), |d| format!(" {d:+.2} |"));
        }
        let mean = match (mean_and_deviation(&known), half_interval(&known)) {
            (Some((mean, _)), Some(half)) => format!("{mean:+.2} ± {half:.2}"),
            (Some((mean, _)), None) => format!("{mean:+.2}"),
            _ => "-".into(),
        };
        let better = known.iter().filter(|d| **d > 0.0).count();
        out += &format!(" {mean} | {better} of {} |\n", known.len());
    }
    out
}

/// The accuracy to compare in seed `seed`: of what does not depend on one, its only run's.
fn accuracy(cells: &[Cell], agent: &str, seed: u64) -> Option<f64> {
    let mut of = cells.iter().filter(|c| c.agent == agent);
    of.find(|c| c.seed == seed || !c.depends_on_seed)?
        .accuracy()
}

/// Agents in the order of their first cells.
fn agents(cells: &[Cell]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for cell in cells {
        if !names.contains(&cell.agent.as_str()) {
            names.push(&cell.agent);
        }
    }
    names
}

/// The same with the curves, as a page that needs no network.
#[must_use]
pub fn page(cells: &[Cell]) -> String {
    let mut body = section("Agents", &html_tables(&markdown(cells)));
    for stage in [Stage::Prune, Stage::Quantize] {
        let caption = "Best reward of a policy within the budgets, against what it cost: images \
                       sent forward plus three times images trained, what the agent knew \
                       beforehand counted. One line per run; what decides beforehand is a point.";
        let chart = chart(cells, stage);
        let heading = format!("Best reward against cost, {}", stage.label());
        body += &section(&heading, &figure(&chart, caption));
    }
    document("comparison of agents", &body)
}

fn chart(cells: &[Cell], stage: Stage) -> String {
    let curves: Vec<(usize, Vec<(f64, f64)>)> = agents(cells)
        .iter()
        .enumerate()
        .flat_map(|(k, agent)| {
            let of = cells.iter().filter(move |c| c.agent == *agent);
            of.map(move |c| (k, curve(c, stage)))
        })
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let points = || curves.iter().flat_map(|(_, points)| points);
    let x = Scale::over(points().map(|p| p.0), LEFT, RIGHT).not_negative();
    let y = Scale::over(points().map(|p| p.1), BOTTOM, TOP);
    let mut d = Drawing::new(WIDTH, HEIGHT);
    d.y_axis(&y, [LEFT, RIGHT], "best reward", "");
    d.x_axis(&x, BOTTOM, "cost, thousands of images");
    let names = agents(cells);
    let paint = |k: usize| colour(k as f64 / (names.len().max(2) - 1) as f64);
    for (k, points) in &curves {
        let mut data = String::new();
        for (i, (cost, reward)) in points.iter().enumerate() {
            let (at, level) = (x.at(*cost), y.at(*reward));
            data += &match i {
                // A dot, so that a single policy is seen.
                0 => format!("M{at:.1} {level:.1}h0.1"),
                _ => format!("H{at:.1}V{level:.1}"),
            };
        }
        let style = format!(
            "fill:none;stroke:{};stroke-width:2;stroke-linecap:round",
            paint(*k)
        );
        d.path("", &data, &style, names[*k]);
    }
    for (k, name) in names.iter().enumerate() {
        let at = TOP + 18.0 * k as f64;
        let fill = format!("fill:{}", paint(k));
        d.rect("", [RIGHT + 30.0, at, 12.0, 12.0], &fill, "");
        d.text("tick", RIGHT + 50.0, at + 10.0, name);
    }
    d.finish(&format!(
        "Line chart: best reward against cost, {}",
        stage.label()
    ))
}

/// Cost so far in thousands of images and best reward so far, after each feasible episode.
fn curve(cell: &Cell, stage: Stage) -> Vec<(f64, f64)> {
    let (mut cost, mut best, mut points) = (0u64, f64::NEG_INFINITY, Vec::new());
    for r in cell.records(stage) {
        cost = cost.saturating_add(r.images.unwrap_or(0));
        if r.feasible {
            best = best.max(r.reward);
            points.push((cost as f64 / 1e3, best));
        }
    }
    points
}

/// The Markdown tables as HTML.
fn html_tables(markdown: &str) -> String {
    let mut out = String::new();
    for table in markdown.split("\n\n").filter(|t| !t.trim().is_empty()) {
        out += "<table>\n";
        for (i, line) in table.trim().lines().enumerate().filter(|(i, _)| *i != 1) {
            let tag = if i == 0 { "th" } else { "td" };
            let cells = line.trim_matches('|').split('|');
            let cells: String = cells
                .map(|c| format!("<{tag}>{}</{tag}>", escape(c.trim())))
                .collect();
            out += &format!("<tr>{cells}</tr>\n");
        }
        out += "</table>\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::NetworkFigures;

    /// A finished run of this accuracy, whose two episodes cost 10 and 20 images.
    fn cell(agent: &str, seed: u64, accuracy: f64) -> Cell {
        let mut data = super::super::tests::synthetic();
        data.log.truncate(2);
        for (i, r) in data.log.iter_mut().enumerate() {
            r.images = Some(10 * (i as u64 + 1));
        }
        if let Some(summary) = &mut data.summary {
            summary.after = NetworkFigures {
                accuracy_integer: accuracy,
                ..NetworkFigures::default()
            };
        }
        Cell {
            agent: agent.into(),
            seed,
            depends_on_seed: agent != "uniform",
            data: Some(data),
            failure: None,
        }
    }

    #[test]
    fn spread_and_interval_by_hand() {
        let (mean, deviation) = mean_and_deviation(&[1.0, 2.0, 3.0]).expect("some");
        assert_eq!((mean, deviation), (2.0, Some(1.0)));
        let half = half_interval(&[1.0, 2.0, 3.0]).expect("several");
        assert!((half - 4.303 / 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(mean_and_deviation(&[5.0]), Some((5.0, None)));
        assert_eq!(
            (half_interval(&[5.0]), mean_and_deviation(&[])),
            (None, None)
        );
    }

    #[test]
    fn differences_are_paired_and_what_needs_no_seed_stands_in_all() {
        let cells = [
            cell("ddpg", 0, 0.80),
            cell("random", 0, 0.79),
            cell("uniform", 0, 0.75),
            cell("ddpg", 1, 0.82),
            cell("random", 1, 0.83),
        ];
        let text = markdown(&cells);
        assert!(text.contains("| ddpg | 2 | 81.00 ± 1.41 % |"), "{text}");
        assert!(
            text.contains("| than random | +1.00 | -1.00 | +0.00 ± 12.71 | 1 of 2 |"),
            "{text}"
        );
        assert!(
            text.contains("| than uniform | +5.00 | +7.00 | +6.00 ± 12.71 | 2 of 2 |"),
            "{text}"
        );
        let html = page(&cells);
        assert!(html.starts_with("<!DOCTYPE html>") && html.contains("<td>than random</td>"));
    }

    #[test]
    fn a_run_without_a_result_is_said_and_left_out() {
        let mut failed = cell("random", 0, 0.0);
        (failed.data, failed.failure) = (None, Some("over budget".into()));
        let text = markdown(&[cell("ddpg", 0, 0.8), failed]);
        assert!(
            text.contains("| random | 1, 1 without a result | - |"),
            "{text}"
        );
        assert!(text.contains("| than random | - | - | 0 of 0 |"), "{text}");
    }
}
