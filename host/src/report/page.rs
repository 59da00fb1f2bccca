//! The page around the sections.

use super::{
    RunData, figures, mistakes, policy, refinement, rewards, sensitivity, settings, storage,
    tradeoff,
    units::{bytes, escape, ms},
};
use crate::reward::Targets;

/// Everything about looks; no fonts, pictures or scripts from elsewhere.
const STYLE: &str = include_str!("style.css");

/// The whole report as one HTML document.
pub fn render(data: &RunData) -> String {
    let config = &data.config;
    let title = format!("{} for {}", config.model, config.board);
    let sections: String = [
        figures::section(data),
        tradeoff::section(data),
        rewards::section(data),
        refinement::section(data),
        policy::section(data),
        storage::section(data),
        sensitivity::section(data),
        mistakes::section(data),
        settings::section(data),
    ]
    .concat();
    document(&title, &(header(data) + &sections))
}

/// The page around a finished `body`.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>Pressboard: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         {body}</main>\n</body>\n</html>\n",
        title = escape(title),
    )
}

fn header(data: &RunData) -> String {
    let config = &data.config;
    let state = if data.summary.is_some() {
        ""
    } else {
        "<p class=\"note\">This run is not finished.</p>\n"
    };
    format!(
        "<header>\n<p class=\"eyebrow\">Pressboard {version}</p>\n<h1>{model} on {dataset}</h1>\n\
         <p class=\"lead\">compressed for <strong>{board}</strong> at {clock} MHz, \
         budget {budget}</p>\n{state}</header>\n",
        version = escape(&config.version),
        model = escape(&config.model),
        dataset = escape(&config.dataset),
        board = escape(&config.board),
        clock = config.clock_hz as f64 / 1e6,
        budget = budget(data),
    )
}

/// The budgets in words.
fn budget(data: &RunData) -> String {
    let Targets {
        macs,
        flash_bytes,
        sram_bytes,
        cycles,
    } = data.config.targets;
    let parts: Vec<String> = [
        cycles.map(|c| format!("latency {}", ms(data.config.ms(c)))),
        flash_bytes.map(|b| format!("flash {}", bytes(b))),
        sram_bytes.map(|b| format!("SRAM {}", bytes(b))),
        macs.map(|m| format!("{} MACs", super::units::short(m))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        "none".into()
    } else {
        parts.join(", ")
    }
}

/// A section with a heading; `body` is finished HTML.
pub(super) fn section(heading: &str, body: &str) -> String {
    format!(
        "<section>\n<h2>{}</h2>\n{body}</section>\n",
        escape(heading)
    )
}

/// A chart with the words below it; `caption` is finished HTML.
pub(super) fn figure(chart: &str, caption: &str) -> String {
    format!("<figure>\n{chart}\n<figcaption>{caption}</figcaption>\n</figure>\n")
}
