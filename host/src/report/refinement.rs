//! The refinement between the searches: variants of the pruning, by their integers.

use super::{
    RunData,
    page::section as wrap,
    units::{bytes, escape, ms, percent},
};
use crate::run::{EpisodeRecord, Stage};

/// The table; nothing where no variant was tried.
pub(super) fn section(data: &RunData) -> String {
    let all: Vec<&EpisodeRecord> = data.stage(Stage::Refine).collect();
    // The last that was the best so far is the one that went on.
    let Some(kept) = all.iter().rfind(|r| r.best) else {
        return String::new();
    };
    let rows: String = all
        .iter()
        .map(|r| row(data, r, r.episode == kept.episode))
        .collect();
    wrap(
        "Refinement",
        &format!(
            "<div class=\"scroll\"><table class=\"figures refinement\">\n<thead><tr><th>variant</th><th>accuracy</th>\
             <th>latency</th><th>blob</th><th>channels</th><th>weights kept</th><th>mean width</th></tr></thead>\n\
             <tbody>\n{rows}</tbody>\n</table></div>\n<p class=\"note\">The pruning that was chosen, and the same \
             proportions fitted to the budgets otherwise, since the flash left a part of the latency unused or \
             no widths stored it. Each was trained a little and quantized; accuracies are of its integers on \
             the validation pictures. The one in bold went on.</p>\n"
        ),
    )
}

fn row(data: &RunData, r: &EpisodeRecord, kept: bool) -> String {
    let channels = r.actions.iter().filter_map(|a| a.channels);
    let channels = channels.fold(0, usize::saturating_add);
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let density = mean(r.actions.iter().filter_map(|a| a.density).collect());
    let widths = r.actions.iter().filter_map(|a| a.w_bits);
    let width = mean(widths.map(f64::from).collect());
    let label = escape(r.variant.as_deref().unwrap_or("-"));
    let label = if kept {
        format!("<b>{label}</b>")
    } else {
        label
    };
    let over = if r.feasible {
        ""
    } else {
        " <small>over budget</small>"
    };
    format!(
        "<tr><th scope=\"row\">{label}</th><td>{}{over}</td><td>{}</td><td>{}</td><td>{channels}</td>\
         <td>{}</td><td>{width:.1} bits</td></tr>\n",
        percent(r.accuracy),
        ms(data.config.ms(r.costs.cycles)),
        bytes(r.costs.flash_bytes),
        percent(density),
    )
}
