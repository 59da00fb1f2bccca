//! How the compressed network errs: confusion matrices and pictures that it lost.

use super::{RunData, page::section as wrap, svg::Drawing, units::escape};
use crate::run::{BrokenImage, Confusion, Evaluation};

/// Side of a matrix with its labels.
const SIDE: f64 = 460.0;
const LABELS: f64 = 82.0;
/// Above this many classes cells are too small for text.
const READABLE: usize = 20;

/// Matrices and pictures, where an evaluation was written.
pub(super) fn section(data: &RunData) -> String {
    let Some(evaluation) = &data.evaluation else {
        return String::new();
    };
    let matrices: String = [("before", &evaluation.before), ("after", &evaluation.after)]
        .into_iter()
        .filter(|(_, counts)| !counts.is_empty())
        .map(|(name, counts)| {
            let label = format!("Confusion matrix {name}");
            format!(
                "<figure>\n{}\n<figcaption>{name}: rows are the true class, columns what the network says</figcaption>\n</figure>\n",
                matrix(&evaluation.classes, counts, &label)
            )
        })
        .collect();
    let mut body = format!("<div class=\"pair\">\n{matrices}</div>\n");
    body += &pictures(evaluation);
    wrap("What it gets wrong", &body)
}

fn matrix(classes: &[String], counts: &Confusion, label: &str) -> String {
    let mut d = Drawing::new(SIDE, SIDE);
    let n = counts.len();
    let cell = (SIDE - LABELS) / n as f64;
    let readable = n <= READABLE;
    for (i, row) in counts.iter().enumerate() {
        let total = row.iter().copied().map(f64::from).sum::<f64>().max(1.0);
        let y = LABELS + i as f64 * cell;
        let class = name(classes, i);
        if readable {
            d.text("tick end", LABELS - 6.0, y + 0.5 * cell + 4.0, class);
            let x = LABELS + (i as f64 + 0.5) * cell;
            d.text("tick tilted", x, LABELS - 6.0, class);
        }
        for (j, &count) in row.iter().enumerate().take(n) {
            let kind = if i == j { "cell right" } else { "cell wrong" };
            // The square root keeps the few mistakes visible beside the many right ones.
            let strength = (f64::from(count) / total).sqrt();
            let x = LABELS + j as f64 * cell;
            let tip = format!("{class} taken for {}: {count}", name(classes, j));
            d.rect(
                kind,
                [x, y, cell - 1.0, cell - 1.0],
                &format!("fill-opacity:{strength:.2}"),
                &tip,
            );
            if readable && count > 0 {
                let class = if strength > 0.7 {
                    "count middle strong"
                } else {
                    "count middle"
                };
                d.text(
                    class,
                    x + 0.5 * cell,
                    y + 0.5 * cell + 4.0,
                    &count.to_string(),
                );
            }
        }
    }
    d.finish(label)
}

fn pictures(evaluation: &Evaluation) -> String {
    if evaluation.broken.is_empty() {
        return String::new();
    }
    let items: String = evaluation
        .broken
        .iter()
        .map(|image| picture(image, &evaluation.classes))
        .collect();
    format!("<h3>Images that the compression broke</h3>\n<ul class=\"pictures\">\n{items}</ul>\n")
}

fn picture(image: &BrokenImage, classes: &[String]) -> String {
    let (class, predicted) = (name(classes, image.class), name(classes, image.predicted));
    let (class, predicted) = (escape(class), escape(predicted));
    format!(
        "<li><img src=\"data:image/png;base64,{}\" alt=\"{class}\"/><b>{class}</b><small>taken for {predicted}</small>\
         <small>row {}</small></li>\n",
        escape(&image.png_base64),
        image.row
    )
}

fn name(classes: &[String], index: usize) -> &str {
    classes.get(index).map_or("?", String::as_str)
}
