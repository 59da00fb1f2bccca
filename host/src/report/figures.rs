//! The headline: figures before and after.

use super::{
    RunData,
    page::section as wrap,
    units::{bytes, count, escape, factor, ms, percent, short},
};
use crate::run::{NetworkFigures, Summary};

/// Tiles and table; nothing while the run is not done.
pub(super) fn section(data: &RunData) -> String {
    let Some(summary) = &data.summary else {
        return String::new();
    };
    let mut body = tiles(data, summary);
    body += &table(data, summary);
    for (name, network) in [("before", &summary.before), ("after", &summary.after)] {
        if let Some(reason) = &network.board_reason {
            body += &format!(
                "<p class=\"note\">On the board, {name}: {}</p>\n",
                escape(reason)
            );
        }
    }
    wrap("Before and after", &body)
}

fn tiles(data: &RunData, summary: &Summary) -> String {
    let (b, a) = (&summary.before, &summary.after);
    let change = 100.0 * (a.accuracy_integer - b.accuracy_float);
    let limit = data.config.targets.sram_bytes;
    let limit = limit.map_or(String::new(), |l| format!("of {}", bytes(l)));
    let (faster, speed) = gain(b.cycles, a.cycles, "faster");
    let (smaller, size) = gain(b.blob_bytes, a.blob_bytes, "smaller");
    let change = format!("{change:+.2} points");
    let tiles = [
        ("accuracy", percent(a.accuracy_integer), change, ""),
        ("latency", ms(a.ms), faster, speed),
        ("blob", bytes(a.blob_bytes), smaller, size),
        ("SRAM", bytes(a.sram_bytes), limit, ""),
    ];
    let items: String = tiles
        .iter()
        .map(|(label, value, note, class)| {
            format!("<li><span>{label}</span><b>{value}</b><small class=\"{class}\">{note}</small></li>\n")
        })
        .collect();
    format!("<ul class=\"tiles\">\n{items}</ul>\n")
}

/// A gain in words with its style; not dressed up as one where there is none.
fn gain(before: u64, after: u64, word: &str) -> (String, &'static str) {
    match factor(before as f64, after as f64) {
        Some(factor) if after < before => (format!("{factor} {word}"), "good"),
        _ => (format!("not {word}"), ""),
    }
}

/// One row of the table: name, how a network's figure reads, and its size for the factor.
type Row = (
    String,
    fn(&NetworkFigures) -> String,
    Option<fn(&NetworkFigures) -> f64>,
);

fn table(data: &RunData, summary: &Summary) -> String {
    let rows: [Row; 9] = [
        (
            "accuracy, float".into(),
            |n| percent(n.accuracy_float),
            None,
        ),
        (
            "accuracy, integer".into(),
            |n| percent(n.accuracy_integer),
            None,
        ),
        ("accuracy, board".into(), board_accuracy, None),
        (
            "parameters, nonzero".into(),
            |n| count(n.parameters),
            Some(|n| n.parameters as f64),
        ),
        (
            "parameters, dense".into(),
            |n| count(n.parameters_dense),
            Some(|n| n.parameters_dense as f64),
        ),
        (
            "MACs, dense".into(),
            |n| short(n.macs),
            Some(|n| n.macs as f64),
        ),
        (
            "blob".into(),
            |n| bytes(n.blob_bytes),
            Some(|n| n.blob_bytes as f64),
        ),
        (
            "SRAM (arena)".into(),
            |n| bytes(n.sram_bytes),
            Some(|n| n.sram_bytes as f64),
        ),
        (
            format!("latency ({})", data.config.cycle_source.label()),
            |n| format!("{} <small>{}</small>", ms(n.ms), short(n.cycles)),
            Some(|n| n.cycles as f64),
        ),
    ];
    let control = summary.control.as_ref();
    let body: String = rows
        .iter()
        .enumerate()
        .map(|(i, (name, text, size))| {
            // Of the control only the accuracy, the first row, was measured.
            let control = control.map_or(String::new(), |c| {
                let accuracy = if i == 0 { percent(c.accuracy_float) } else { String::new() };
                format!("<td>{accuracy}</td>")
            });
            let (b, a) = (&summary.before, &summary.after);
            let gain = size.and_then(|size| factor(size(b), size(a))).unwrap_or_default();
            format!(
                "<tr><th scope=\"row\">{name}</th><td>{}</td>{control}<td>{}</td><td class=\"gain\">{gain}</td></tr>\n",
                text(b),
                text(a),
            )
        })
        .collect();
    let note = control.map_or(String::new(), |c| {
        let epochs = c.epochs.map_or(String::new(), |n| format!(" ({n:.1} epochs)"));
        format!("<p class=\"note\">The control is the given network after the same fine-tuning{epochs}, so that more training does not count as compression. It was not lowered.</p>\n")
    });
    let control = if control.is_some() {
        "<th scope=\"col\">control</th>"
    } else {
        ""
    };
    format!(
        "<div class=\"scroll\"><table class=\"figures\">\n<thead><tr><td></td><th scope=\"col\">before</th>{control}\
         <th scope=\"col\">after</th><th scope=\"col\">gain</th></tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n{note}"
    )
}

fn board_accuracy(network: &NetworkFigures) -> String {
    match network.accuracy_board {
        Some(accuracy) => {
            let images = count(network.images_board as u64);
            format!("{} <small>{images} images</small>", percent(accuracy))
        }
        None => "not run".into(),
    }
}
