//! Reward by episode, with the best so far, a chart a stage.

use super::{
    RunData,
    page::{figure, section as wrap},
    svg::{Drawing, Mark, Scale},
    units::{escape, percent},
};
use crate::run::{EpisodeRecord, EpisodeSeconds, Stage};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 944.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 220.0;

/// The charts of both searches, as far as they went.
pub(super) fn section(data: &RunData) -> String {
    let body: String = [Stage::Prune, Stage::Quantize]
        .into_iter()
        .map(|stage| chart(&data.stage(stage).collect::<Vec<_>>(), stage))
        .collect();
    if body.is_empty() {
        body
    } else {
        wrap("Reward by episode", &body)
    }
}

fn chart(records: &[&EpisodeRecord], stage: Stage) -> String {
    let Some(last) = records.last() else {
        return String::new();
    };
    // Penalties reach −10 and would press everything of interest into one line: where there are
    // feasible rewards the axis spans those, and what lies below sits at its foot as a triangle.
    let feasible = records.iter().filter(|r| r.feasible);
    let floor = feasible.map(|r| r.reward).reduce(f64::min);
    let floor = floor.unwrap_or(f64::NEG_INFINITY);
    let shown = |r: &EpisodeRecord| r.reward >= floor;
    let y = Scale::over(
        records.iter().filter(|r| shown(r)).map(|r| r.reward),
        BOTTOM,
        TOP,
    );
    let x = Scale::new(-0.5, last.episode as f64 + 0.5, LEFT, RIGHT);

    let mut d = Drawing::new(WIDTH, HEIGHT);
    d.y_axis(&y, [LEFT, RIGHT], &format!("reward, {}", stage.label()), "");
    d.x_axis(&x, BOTTOM, "episode");
    best_so_far(&mut d, records, &x, &y);
    for r in records {
        let (cx, cy) = (x.at(r.episode as f64), y.at(r.reward));
        let tip = format!(
            "episode {}: reward {:.4}, accuracy {}",
            r.episode,
            r.reward,
            percent(r.accuracy)
        );
        let (class, data) = match (shown(r), r.feasible) {
            (false, _) => ("reward hollow", Mark::Down.data(cx, BOTTOM - 6.0, 4.0)),
            (true, false) => ("reward hollow", Mark::Circle.data(cx, cy, 4.0)),
            (true, true) => ("reward", Mark::Circle.data(cx, cy, 4.0)),
        };
        d.path(class, &data, "", &tip);
    }
    let best = records.iter().rfind(|r| r.best);
    let best = best.map_or(String::new(), |r| {
        format!(
            "Best: episode {}, accuracy {}, reward {:.4}. ",
            r.episode,
            percent(r.accuracy),
            r.reward
        )
    });
    let below = records.iter().filter(|r| !shown(r)).count();
    let below = if below > 0 {
        format!(" Triangles: {below} below the axis.")
    } else {
        String::new()
    };
    let caption = format!(
        "{} by <em>{}</em>. {best}Line: best so far. Hollow: over budget.{below}",
        capital(stage.label()),
        escape(&last.agent)
    );
    let label = format!("Line chart: reward by episode, {}", stage.label());
    figure(&d.finish(&label), &format!("{caption}{}", pace(records)))
}

/// How many policies were judged a minute, and where an episode's time went on average; nothing where
/// the log does not say it. The first episode is left out: the board is asked most then.
fn pace(records: &[&EpisodeRecord]) -> String {
    let judged = records.iter().skip(1).filter_map(|r| {
        let parts = r.seconds_by_part?;
        Some((r.seconds, parts))
    });
    let judged: Vec<(f64, EpisodeSeconds)> = judged.collect();
    let n = judged.len() as f64;
    let total: f64 = judged.iter().map(|(seconds, _)| seconds).sum();
    if total <= 0.0 {
        return String::new();
    }
    let mean = |part: fn(&EpisodeSeconds) -> f64| {
        judged.iter().map(|(_, parts)| part(parts)).sum::<f64>() / n
    };
    format!(
        " {:.0} policies judged a minute; seconds each: {:.2} to choose, {:.2} to make it, {:.2} to judge it, \
         {:.2} waiting for the board.",
        60.0 * n / total,
        mean(|p| p.choose),
        mean(|p| p.make),
        mean(|p| p.judge),
        mean(|p| p.board)
    )
}

fn best_so_far(d: &mut Drawing, records: &[&EpisodeRecord], x: &Scale, y: &Scale) {
    let mut data = String::new();
    for r in records.iter().filter(|r| r.best) {
        let (at, level) = (x.at(r.episode as f64), y.at(r.reward));
        data += &match data.is_empty() {
            true => format!("M{at:.1} {level:.1}"),
            false => format!("H{at:.1}V{level:.1}"),
        };
    }
    if !data.is_empty() {
        d.path("best", &format!("{data}H{RIGHT:.1}"), "", "");
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
