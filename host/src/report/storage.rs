//! Bytes against latency: the result stored dense, sparse, coded, and as it was chosen.

use super::{
    RunData,
    page::{figure, section as wrap},
    svg::{Drawing, Mark, Scale},
    units::{bytes, escape, ms},
};
use crate::run::StoredFigures;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 900.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 280.0;

/// Chart and table; nothing where it was not measured.
pub(super) fn section(data: &RunData) -> String {
    let all = data.storage.as_deref().unwrap_or_default();
    if all.is_empty() {
        return String::new();
    }
    let caption = format!(
        "The same weights in each encoding, and as the run chose for each layer (ringed): bytes of the \
         blob against the time of one inference out of the board's flash ({}). All give the same logits. \
         Weights that are not dense are decoded on the way into the kernel.",
        data.config.cycle_source.label()
    );
    let body = figure(&chart(data, all), &caption) + &table(data, all);
    wrap("Storage", &body)
}

fn chart(data: &RunData, all: &[StoredFigures]) -> String {
    let config = &data.config;
    let latency = |s: &StoredFigures| config.ms(s.cycles);
    let (flash, cycles) = (config.targets.flash_bytes, config.targets.cycles);
    // Budgets are drawn where they are near enough to say something.
    let near = |limit: Option<f64>, most: f64| limit.filter(|l| *l <= 1.6 * most);
    let most = |of: &dyn Fn(&StoredFigures) -> f64| all.iter().map(of).fold(0.0, f64::max);
    let flash = near(flash.map(kib), most(&|s| kib(s.blob_bytes)));
    let limit = near(cycles.map(|c| config.ms(c)), most(&latency));
    let x = Scale::over(
        all.iter().map(|s| kib(s.blob_bytes)).chain(flash),
        LEFT,
        RIGHT,
    );
    let x = x.not_negative();
    let y = Scale::over(all.iter().map(latency).chain(limit), BOTTOM, TOP).not_negative();

    let mut d = Drawing::new(WIDTH, HEIGHT);
    d.y_axis(&y, [LEFT, RIGHT], "latency, ms", "");
    d.x_axis(&x, BOTTOM, "blob, KiB");
    if let Some(flash) = flash {
        let at = x.at(flash);
        d.line("budget", [at, TOP, at, BOTTOM]);
        let text = format!("budget {flash:.0} KiB");
        d.text("budget-label end", at - 6.0, BOTTOM - 8.0, &text);
    }
    if let Some(limit) = limit {
        let at = y.at(limit);
        d.line("budget", [LEFT, at, RIGHT, at]);
        let text = format!("budget {}", ms(limit));
        d.text("budget-label", LEFT + 8.0, at - 6.0, &text);
    }
    for s in all {
        let (cx, cy) = (x.at(kib(s.blob_bytes)), y.at(latency(s)));
        let tip = format!(
            "{}: {} at {}\nSRAM {}",
            s.stored,
            bytes(s.blob_bytes),
            ms(latency(s)),
            bytes(s.sram_bytes)
        );
        let left = cx > 0.5 * (LEFT + RIGHT);
        let at = |class: &str, shift: f64| match left {
            true => (format!("{class} end"), cx - shift),
            false => (class.to_string(), cx + shift),
        };
        if s.stored == StoredFigures::CHOSEN {
            d.path("chosen", &Mark::Circle.data(cx, cy, 10.0), "", &tip);
            let (class, x) = at("chosen-label", 15.0);
            d.text(&class, x, cy + 19.0, &s.stored);
        } else {
            d.path("way", &Mark::Circle.data(cx, cy, 5.0), "", &tip);
            let (class, x) = at("", 12.0);
            d.text(class.trim(), x, cy - 8.0, &s.stored);
        }
    }
    d.finish("Scatter chart: bytes of the blob against latency, by how weights are stored")
}

fn table(data: &RunData, all: &[StoredFigures]) -> String {
    let dense = all.iter().find(|s| s.stored == "dense");
    let change = |value: u64, of: fn(&StoredFigures) -> u64| match dense.map(of) {
        Some(dense) if dense > 0 && dense != value => {
            let share = 100.0 * (value as f64 / dense as f64 - 1.0);
            format!(" <small>{share:+.1} %</small>")
        }
        _ => String::new(),
    };
    let row = |s: &StoredFigures| {
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}{}</td><td>{}{}</td><td>{}{}</td></tr>\n",
            escape(&s.stored),
            bytes(s.blob_bytes),
            change(s.blob_bytes, |s| s.blob_bytes),
            ms(data.config.ms(s.cycles)),
            change(s.cycles, |s| s.cycles),
            bytes(s.sram_bytes),
            change(s.sram_bytes, |s| s.sram_bytes),
        )
    };
    let rows: String = all.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table class=\"figures stored\">\n<thead><tr><th>weights</th><th>blob</th>\
         <th>latency</th><th>SRAM</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
