//! The policy: what was decided for each layer, over the cycles that the layer costs.

use super::{
    RunData,
    page::{figure, section as wrap},
    svg::{Drawing, Scale},
    units::{bytes, count, escape, short},
};
use crate::run::{LayerFigures, Policy, PolicyLayer};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 118.0;
const RIGHT: f64 = 944.0;
/// Height of a panel, and of the one with cycles.
const PANEL: f64 = 54.0;
const CYCLES: f64 = 120.0;
const GAP: f64 = 24.0;
const TOP: f64 = 14.0;
/// Share of a column that bars take.
const FILL: f64 = 0.62;

/// Chart and table; nothing before there is a policy.
pub(super) fn section(data: &RunData) -> String {
    let Some(policy) = data.policy.as_ref().filter(|p| !p.layers.is_empty()) else {
        return String::new();
    };
    let caption = format!(
        "From top to bottom: output channels kept, weights kept of those, bits of weights and of output activations, \
         {} before (outline) and after (filled).",
        data.config.cycle_source.label()
    );
    let chart = figure(&chart(policy), &caption);
    wrap(
        "Policy by layer",
        &(chart + &table(policy, data.config.cycle_source.label())),
    )
}

/// Where a layer's column is.
struct Column {
    left: f64,
    width: f64,
}

fn chart(policy: &Policy) -> String {
    let height = TOP + 4.0 * (PANEL + GAP) + CYCLES + 40.0;
    let mut d = Drawing::new(WIDTH, height);
    let pitch = (RIGHT - LEFT) / policy.layers.len() as f64;
    let columns: Vec<Column> = (0..policy.layers.len())
        .map(|i| Column {
            left: LEFT + (i as f64 + 0.5 - 0.5 * FILL) * pitch,
            width: FILL * pitch,
        })
        .collect();
    let mut top = TOP;
    type Panel = (
        &'static str,
        &'static str,
        fn(&PolicyLayer) -> (f64, String),
    );
    let panels: [Panel; 4] = [
        ("channels", "channels kept", |l| {
            let share = l.after.c_out as f64 / l.before.c_out.max(1) as f64;
            (share, format!("{}", l.after.c_out))
        }),
        ("density", "weights kept", |l| {
            (l.density, format!("{:.0} %", 100.0 * l.density))
        }),
        ("w-bits", "weight bits", |l| {
            (f64::from(l.w_bits) / 8.0, l.w_bits.to_string())
        }),
        ("a-bits", "activation bits", |l| {
            (f64::from(l.a_bits) / 8.0, l.a_bits.to_string())
        }),
    ];
    for (class, title, value) in panels {
        let y = Scale::new(0.0, 1.0, top + PANEL, top);
        d.line("grid", [LEFT, top, RIGHT, top]);
        d.line("axis", [LEFT, top + PANEL, RIGHT, top + PANEL]);
        d.text("panel end", LEFT - 12.0, top + 0.5 * PANEL + 4.0, title);
        for (layer, column) in policy.layers.iter().zip(&columns) {
            let (share, text) = value(layer);
            let at = y.at(share);
            let tip = format!("{}: {title} {text}", layer.name);
            d.rect(
                &format!("bar {class}"),
                [column.left, at, column.width, top + PANEL - at],
                "",
                &tip,
            );
            d.text(
                "value middle",
                column.left + 0.5 * column.width,
                at - 4.0,
                &text,
            );
        }
        top += PANEL + GAP;
    }
    cycles(&mut d, policy, &columns, top);
    d.finish("Bar charts by layer: channels kept, density, bits, cycles")
}

fn cycles(d: &mut Drawing, policy: &Policy, columns: &[Column], top: f64) {
    let both = |l: &PolicyLayer| l.before.cycles.max(l.after.cycles);
    let most = policy.layers.iter().map(both).max().unwrap_or(1).max(1);
    let bottom = top + CYCLES;
    let y = Scale::new(0.0, most as f64, bottom, top);
    let (ticks, _) = y.ticks(3);
    for tick in ticks {
        d.line("grid", [LEFT, y.at(tick), RIGHT, y.at(tick)]);
        d.text(
            "tick end",
            LEFT - 7.0,
            y.at(tick) + 4.0,
            &short(tick as u64),
        );
    }
    d.line("axis", [LEFT, bottom, RIGHT, bottom]);
    d.text("panel end", LEFT - 12.0, top - 9.0, "cycles");
    for (layer, column) in policy.layers.iter().zip(columns) {
        let tip = format!(
            "{}: {} cycles before, {} after",
            layer.name,
            count(layer.before.cycles),
            count(layer.after.cycles)
        );
        let bar = |cycles: u64| {
            let at = y.at(cycles as f64);
            [column.left, at, column.width, bottom - at]
        };
        d.rect("bar before", bar(layer.before.cycles), "", &tip);
        d.rect("bar cycles", bar(layer.after.cycles), "", &tip);
        let middle = column.left + 0.5 * column.width;
        d.text("tick middle", middle, bottom + 17.0, &layer.name);
    }
}

fn table(policy: &Policy, cycle_label: &str) -> String {
    let rows: String = policy.layers.iter().map(row).collect();
    let sum = |get: fn(&LayerFigures) -> u64| {
        let total = |side: fn(&PolicyLayer) -> &LayerFigures| {
            let all = policy.layers.iter().map(|l| get(side(l)));
            all.fold(0, u64::saturating_add)
        };
        (total(|l| &l.before), total(|l| &l.after))
    };
    let total = |(before, after): (u64, u64)| pair(&short(before), &short(after));
    let flash = sum(|l| l.flash_bytes);
    format!(
        "<details><summary>All figures by layer</summary>\n<div class=\"scroll\"><table class=\"layers\">\n<thead><tr>\
         <th scope=\"col\">layer</th><th scope=\"col\">kind</th><th scope=\"col\">channels in</th><th scope=\"col\">channels out</th>\
         <th scope=\"col\">density</th><th scope=\"col\">w bits</th><th scope=\"col\">a bits</th><th scope=\"col\">kernel</th>\
         <th scope=\"col\">encoding</th><th scope=\"col\">flash</th><th scope=\"col\">MACs</th><th scope=\"col\">{}</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n<tfoot><tr><th scope=\"row\">total</th><td colspan=\"8\"></td><td>{}</td><td>{}</td><td>{}</td></tr></tfoot>\n\
         </table></div></details>\n",
        escape(cycle_label),
        pair(&bytes(flash.0), &bytes(flash.1)),
        total(sum(|l| l.macs)),
        total(sum(|l| l.cycles)),
    )
}

fn row(layer: &PolicyLayer) -> String {
    let (b, a) = (&layer.before, &layer.after);
    let cells = [
        escape(&layer.kind),
        pair(&b.c_in.to_string(), &a.c_in.to_string()),
        pair(&b.c_out.to_string(), &a.c_out.to_string()),
        format!("{:.1} %", 100.0 * layer.density),
        layer.w_bits.to_string(),
        layer.a_bits.to_string(),
        escape(&layer.kernel),
        escape(&layer.encoding),
        pair(&bytes(b.flash_bytes), &bytes(a.flash_bytes)),
        pair(&short(b.macs), &short(a.macs)),
        pair(&short(b.cycles), &short(a.cycles)),
    ];
    let cells: String = cells
        .iter()
        .map(|cell| format!("<td>{cell}</td>"))
        .collect();
    format!(
        "<tr><th scope=\"row\">{}</th>{cells}</tr>\n",
        escape(&layer.name)
    )
}

/// Before and after in one cell; once where they read the same.
fn pair(before: &str, after: &str) -> String {
    if before == after {
        after.into()
    } else {
        format!("<span class=\"was\">{before}</span> {after}")
    }
}
