//! What someone else needs to get the same, and where the time went.

use serde_json::Value;

use super::{
    RunData,
    page::section as wrap,
    units::{count, duration, escape},
};
use crate::run::{Stage, Summary};

/// Settings, provenance and times.
pub(super) fn section(data: &RunData) -> String {
    let config = &data.config;
    let episodes = |stage, wanted: usize| format!("{} of {wanted}", data.stage(stage).count());
    let mut rows: Vec<(String, String)> = [
        ("run", config.run.clone()),
        ("started", config.created.clone()),
        ("version", config.version.clone()),
        (
            "model",
            format!("{} ({})", config.model, config.identity.model),
        ),
        ("data", config.dataset.clone()),
        ("board", config.board.clone()),
        ("firmware build id", config.build_id.clone()),
        ("clock", format!("{} MHz", config.clock_hz as f64 / 1e6)),
        ("cycle source", config.cycle_source.label().to_owned()),
        ("seed", config.seed.to_string()),
        ("agent", text(&config.agent)),
        ("reward", text(&config.reward)),
        (
            "pruning episodes",
            episodes(Stage::Prune, config.prune_episodes),
        ),
        (
            "quantization episodes",
            episodes(Stage::Quantize, config.quantize_episodes),
        ),
        ("targets", text(&config.targets)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    rows.extend(whole_errors(data));
    match &config.settings {
        Value::Object(settings) => {
            rows.extend(settings.iter().map(|(key, v)| (key.clone(), plain(v))))
        }
        Value::Null => {}
        other => rows.push(("settings".into(), plain(other))),
    }
    let mut body = table(&rows);
    if let Some(summary) = &data.summary {
        body += &times(summary);
    }
    wrap("To get the same", &body)
}

/// Errors of summed layer cycles against networks measured whole.
fn whole_errors(data: &RunData) -> Option<(String, String)> {
    let errors: Vec<f64> = data.log.iter().filter_map(|r| r.cycles_error).collect();
    let worst = errors
        .iter()
        .copied()
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
    let text = format!(
        "{:+.2} % at worst, {} networks measured whole",
        100.0 * worst,
        errors.len()
    );
    Some(("sum of layer cycles".into(), text))
}

fn table(rows: &[(String, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(key, value)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n",
                escape(key),
                escape(value)
            )
        })
        .collect();
    format!(
        "<div class=\"scroll\"><table class=\"settings\">\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn times(summary: &Summary) -> String {
    let longest = summary
        .seconds_by_part
        .values()
        .copied()
        .fold(0.0, f64::max)
        .max(1e-9);
    let rows: String = summary
        .seconds_by_part
        .iter()
        .map(|(part, &seconds)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"meter\"><i style=\"width:{:.1}%\"></i></td></tr>\n",
                escape(part),
                duration(seconds),
                100.0 * (seconds / longest).clamp(0.0, 1.0)
            )
        })
        .collect();
    format!(
        "<h3>Where {} went</h3>\n<table class=\"settings times\">\n<tbody>\n{rows}</tbody>\n</table>\n\
         <p class=\"note\">{} layer timings measured, {} from the table of earlier runs.</p>\n",
        duration(summary.seconds),
        count(summary.timings_measured),
        count(summary.timings_cached)
    )
}

/// A serde value as plain text.
fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).map_or_else(|error| error.to_string(), |value| plain(&value))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, v)| format!("{key} {}", plain(v)));
            fields.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
