//! Accuracy against latency, bytes as colour: everything that was tried.

use super::{
    RunData,
    page::{figure, section as wrap},
    svg::{Drawing, Mark, Scale, colour},
    units::{bytes, ms, percent},
};
use crate::run::{EpisodeRecord, Stage, pareto_front};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 430.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 380.0;
/// Steps of the colour key.
const KEY_STEPS: usize = 24;

/// The chart; nothing before the first episode.
pub(super) fn section(data: &RunData) -> String {
    if data.log.is_empty() {
        return String::new();
    }
    let config = &data.config;
    let latency = |r: &EpisodeRecord| config.ms(r.costs.cycles);
    let limit = config.targets.cycles.map(|c| config.ms(c));
    let xs = data.log.iter().map(latency).chain(limit);
    let x = Scale::over(xs, LEFT, RIGHT).not_negative();
    let y = Scale::over(data.log.iter().map(|r| 100.0 * r.accuracy), BOTTOM, TOP);
    let sizes = data.log.iter().map(|r| kib(r.costs.flash_bytes));
    let size = Scale::over(sizes, BOTTOM, TOP).not_negative();

    let mut d = Drawing::new(WIDTH, HEIGHT);
    d.y_axis(
        &y,
        [LEFT, RIGHT],
        "accuracy on the validation subset, %",
        "",
    );
    d.x_axis(
        &x,
        BOTTOM,
        &format!("latency, ms ({})", config.cycle_source.label()),
    );
    if let Some(limit) = limit {
        let at = x.at(limit);
        d.line("budget", [at, TOP, at, BOTTOM]);
        d.text(
            "budget-label end",
            at - 6.0,
            TOP + 10.0,
            &format!("budget {}", ms(limit)),
        );
    }
    // What is over budget goes below what is not, and the chosen one on top.
    for feasible in [false, true] {
        for r in data.log.iter().filter(|r| r.feasible == feasible) {
            dot(
                &mut d,
                r,
                x.at(latency(r)),
                y.at(100.0 * r.accuracy),
                size.share(kib(r.costs.flash_bytes)),
                &tip(data, r),
            );
        }
    }
    for p in pareto_front(&data.log).iter().filter(|p| p.feasible) {
        let (cx, cy) = (x.at(config.ms(p.cycles)), y.at(100.0 * p.accuracy));
        let style = "fill:none;stroke:currentColor";
        d.path("", &Mark::Circle.data(cx, cy, 8.0), style, "");
    }
    if let Some(r) = data.chosen() {
        let (cx, cy) = (x.at(latency(r)), y.at(100.0 * r.accuracy));
        d.path("chosen", &Mark::Circle.data(cx, cy, 10.0), "", "");
        let left = cx > 0.5 * (LEFT + RIGHT);
        let (class, shift) = if left {
            ("chosen-label end", -15.0)
        } else {
            ("chosen-label", 15.0)
        };
        d.text(class, cx + shift, cy - 9.0, "chosen");
    }
    key(&mut d, data, &size);

    let over = data.log.iter().filter(|r| !r.feasible).count();
    let refined = if data.log.iter().any(|r| r.stage == Stage::Refine) {
        "Triangles are variants of the refinement between them. "
    } else {
        ""
    };
    let caption = format!(
        "Every candidate of both searches ({} episodes): circles from pruning, squares from quantization. \
         {refined}{over} of them exceed a budget and are drawn hollow. Ringed: the front of each search, what no other of its policies beats \
         in accuracy, latency and bytes at once. Accuracies are of candidates before the final fine-tuning. \
         Pruning prices latency and SRAM at 8 bits and flash at 4, quantization at the true widths.",
        data.log.len()
    );
    let label = "Scatter chart: accuracy against latency, coloured by bytes of flash";
    wrap("Trade-off", &figure(&d.finish(label), &caption))
}

fn dot(d: &mut Drawing, r: &EpisodeRecord, x: f64, y: f64, share: f64, tip: &str) {
    let mark = match r.stage {
        Stage::Quantize => Mark::Square,
        Stage::Refine => Mark::Down,
        _ => Mark::Circle,
    };
    let colour = colour(share);
    let (class, style) = if r.feasible {
        ("dot", format!("fill:{colour}"))
    } else {
        ("dot hollow", format!("stroke:{colour}"))
    };
    d.path(class, &mark.data(x, y, 5.0), &style, tip);
}

/// The colour key at the right, with the flash budget marked where it falls inside.
fn key(d: &mut Drawing, data: &RunData, size: &Scale) {
    let (x, w) = (RIGHT + 40.0, 14.0);
    let step = (BOTTOM - TOP) / KEY_STEPS as f64;
    for i in 0..KEY_STEPS {
        let share = (i as f64 + 0.5) / KEY_STEPS as f64;
        let y = BOTTOM - (i + 1) as f64 * step;
        d.rect(
            "",
            [x, y, w, step + 0.5],
            &format!("fill:{}", colour(share)),
            "",
        );
    }
    let (ticks, decimals) = size.ticks(5);
    for tick in ticks {
        d.text(
            "tick",
            x + w + 8.0,
            size.at(tick) + 4.0,
            &format!("{tick:.decimals$} KiB"),
        );
    }
    d.text("title", x - 2.0, TOP - 14.0, "flash");
    if let Some(limit) = data.config.targets.flash_bytes {
        let share = size.share(kib(limit));
        if share > 0.0 && share < 1.0 {
            let y = size.at(kib(limit));
            d.line("budget", [x - 6.0, y, x + w + 6.0, y]);
        } else {
            d.text(
                "tick",
                x - 2.0,
                BOTTOM + 17.0,
                &format!("budget {}", bytes(limit)),
            );
        }
    }
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

fn tip(data: &RunData, r: &EpisodeRecord) -> String {
    let over: Vec<String> = data
        .config
        .targets
        .exceeded(&r.costs)
        .iter()
        .map(|e| e.cost.replace("_bytes", ""))
        .collect();
    let over = if over.is_empty() {
        String::new()
    } else {
        format!("\nover budget: {}", over.join(", "))
    };
    format!(
        "{} {}: {} at {}\nflash {}, SRAM {}{over}",
        r.stage.label(),
        r.episode,
        percent(r.accuracy),
        ms(data.config.ms(r.costs.cycles)),
        bytes(r.costs.flash_bytes),
        bytes(r.costs.sram_bytes),
    )
}
