//! What each layer loses by itself, as a table whose cells darken with the loss.

use super::{RunData, page::section as wrap, svg::colour, units::escape};
use crate::run::LayerSensitivity;

/// The table; nothing where nothing was measured.
pub(super) fn section(data: &RunData) -> String {
    let layers = data.sensitivity.as_deref().unwrap_or_default();
    let columns = columns(layers);
    if columns.is_empty() {
        return String::new();
    }
    let heads: String = columns
        .iter()
        .map(|c| format!("<th>{}</th>", escape(c)))
        .collect();
    let values = || layers.iter().flat_map(cells).map(|(_, loss)| loss);
    let worst = values().filter(|l| l.is_finite()).fold(0.0, f64::max);
    let rows: String = layers.iter().map(|l| row(l, &columns, worst)).collect();
    let body = format!(
        "<div class=\"scroll\"><table class=\"layers\">\n<thead><tr><th>layer</th>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n<p class=\"note\">Points of validation accuracy that a \
         layer loses by itself, nothing trained: with a share of its channels or of its weights kept (in the given \
         network), with narrower weights or activations (in the pruned one).</p>\n"
    );
    wrap("Sensitivity", &body)
}

/// Heads and losses of what was measured of a layer.
fn cells(layer: &LayerSensitivity) -> Vec<(String, f64)> {
    let percent = |share: f32, of: &str| format!("{:.0} % {of}", 100.0 * share);
    let channels = layer.channels.iter();
    let channels = channels.map(|l| (percent(l.at, "channels"), l.loss));
    let elements = layer.elements.iter();
    let elements = elements.map(|l| (percent(l.at, "weights"), l.loss));
    let weights = layer.weights.iter();
    let weights = weights.map(|l| (format!("{}-bit weights", l.at), l.loss));
    let activations = layer.activations.iter();
    let activations = activations.map(|l| (format!("{}-bit activations", l.at), l.loss));
    channels
        .chain(elements)
        .chain(weights)
        .chain(activations)
        .collect()
}

fn columns(layers: &[LayerSensitivity]) -> Vec<String> {
    let mut columns = Vec::new();
    for (head, _) in layers.iter().flat_map(cells) {
        if !columns.contains(&head) {
            columns.push(head);
        }
    }
    columns
}

fn row(layer: &LayerSensitivity, columns: &[String], worst: f64) -> String {
    let cells = cells(layer);
    let cell = |column: &String| match cells.iter().find(|(head, _)| head == column) {
        None => "<td></td>".to_string(),
        Some((_, loss)) => {
            let share = if worst > 0.0 { loss / worst } else { 0.0 };
            let share = if share.is_finite() { share } else { 0.0 };
            let colour = colour(share.clamp(0.0, 1.0));
            format!(
                "<td style=\"border-left:4px solid {colour};padding-left:8px\">{:+.1}</td>",
                -100.0 * loss
            )
        }
    };
    let tds: String = columns.iter().map(cell).collect();
    format!("<tr><th>{}</th>{tds}</tr>\n", escape(&layer.name))
}
