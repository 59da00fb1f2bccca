//! Scales, axes and colours of the charts.

use std::fmt::Write;

use super::units::escape;

/// Stops of the colour ramp from little to much: legible on light and on dark ground.
const RAMP: [[f64; 3]; 4] = [
    [58.0, 111.0, 216.0],
    [141.0, 82.0, 196.0],
    [214.0, 69.0, 104.0],
    [240.0, 160.0, 48.0],
];

/// A linear map from values to positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Maps the range of `values`, a little widened, to positions `from` to `to`.
    /// Values that are not finite do not count.
    pub fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let span = high - low;
        let margin = if span > 0.0 {
            0.06 * span
        } else {
            0.05 * low.abs().max(0.1)
        };
        Self::new(low - margin, high + margin, from, to)
    }

    /// Maps `low` to `from` and `high` to `to`.
    pub fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self {
            low,
            high,
            from,
            to,
        }
    }

    /// The same without values below zero, for what cannot be negative.
    pub fn not_negative(self) -> Self {
        Self {
            low: self.low.max(0.0),
            ..self
        }
    }

    /// Position of a value; outside the range it is at the nearer end, and what is
    /// no number at the lower one.
    pub fn at(&self, value: f64) -> f64 {
        let span = self.high - self.low;
        let t = if span > 0.0 {
            (value - self.low) / span
        } else {
            0.5
        };
        let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) };
        self.from + t * (self.to - self.from)
    }

    /// Share of the range that lies below a value, in `[0, 1]`.
    pub fn share(&self, value: f64) -> f64 {
        (self.at(value) - self.from) / (self.to - self.from)
    }

    /// About `wanted` round values inside the range, with the decimals that they need.
    pub fn ticks(&self, wanted: usize) -> (Vec<f64>, usize) {
        let raw = (self.high - self.low) / wanted.max(1) as f64;
        if !(raw.is_finite() && raw > 0.0) {
            return (vec![self.low], 2);
        }
        let power = 10f64.powf(raw.log10().floor());
        let factors = [1.0, 2.0, 5.0, 10.0];
        let step = factors
            .iter()
            .map(|f| f * power)
            .find(|s| *s >= raw * 0.999)
            .unwrap_or(raw);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        let ticks = (first..=last).map(|i| i as f64 * step).collect();
        (ticks, (-step.log10().floor()).max(0.0) as usize)
    }
}

/// A drawing of fixed inner size that scales with the page.
#[derive(Debug)]
pub(super) struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// Text at a point; `class` gives anchor and weight. Escaped here.
    pub fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = escape(text);
        self.push(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        ));
    }

    /// A rectangle with a tooltip. `style` is trusted, `tip` is escaped here.
    pub fn rect(&mut self, class: &str, [x, y, w, h]: [f64; 4], style: &str, tip: &str) {
        let (w, h) = (w.max(0.0), h.max(0.0));
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" style="{style}">{}</rect>"#,
            tooltip(tip)
        ));
    }

    /// A closed or open path from trusted `data`.
    pub fn path(&mut self, class: &str, data: &str, style: &str, tip: &str) {
        self.push(format_args!(
            r#"<path class="{class}" d="{data}" style="{style}">{}</path>"#,
            tooltip(tip)
        ));
    }

    /// Horizontal grid lines with their values at the left, and a title above the axis.
    pub fn y_axis(&mut self, scale: &Scale, [left, right]: [f64; 2], title: &str, unit: &str) {
        let (ticks, decimals) = scale.ticks(5);
        for tick in ticks {
            let y = scale.at(tick);
            self.line("grid", [left, y, right, y]);
            self.text(
                "tick end",
                left - 7.0,
                y + 4.0,
                &format!("{tick:.decimals$}{unit}"),
            );
        }
        self.text("title", left - 44.0, scale.to - 14.0, title);
    }

    /// Values below the horizontal axis, and its title at the right end.
    pub fn x_axis(&mut self, scale: &Scale, bottom: f64, title: &str) {
        let (ticks, decimals) = scale.ticks(8);
        for tick in ticks {
            let x = scale.at(tick);
            self.line("axis", [x, bottom, x, bottom + 4.0]);
            self.text(
                "tick middle",
                x,
                bottom + 17.0,
                &format!("{tick:.decimals$}"),
            );
        }
        self.line("axis", [scale.from, bottom, scale.to, bottom]);
        self.text("title end", scale.to, bottom + 34.0, title);
    }

    /// The finished element, with `label` for readers who cannot see it.
    pub fn finish(self, label: &str) -> String {
        format!(
            r#"<svg viewBox="0 0 {:.0} {:.0}" role="img" aria-label="{}">{}</svg>"#,
            self.width,
            self.height,
            escape(label),
            self.body
        )
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }
}

fn tooltip(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("<title>{}</title>", escape(text)),
    }
}

/// Path data of a circle, a square or a triangle (pointing down) around a point.
pub(super) enum Mark {
    /// Circle.
    Circle,
    /// Square.
    Square,
    /// Triangle that points down.
    Down,
}

impl Mark {
    /// Path data of the mark with radius `r`.
    pub fn data(&self, x: f64, y: f64, r: f64) -> String {
        match self {
            Self::Circle => {
                let (left, d) = (x - r, 2.0 * r);
                format!(
                    "M{left:.1} {y:.1}a{r:.1} {r:.1} 0 1 0 {d:.1} 0a{r:.1} {r:.1} 0 1 0 {:.1} 0z",
                    -d
                )
            }
            Self::Square => {
                let r = 0.88 * r;
                format!(
                    "M{:.1} {:.1}h{d:.1}v{d:.1}h{:.1}z",
                    x - r,
                    y - r,
                    -2.0 * r,
                    d = 2.0 * r
                )
            }
            Self::Down => format!(
                "M{:.1} {:.1}h{:.1}l{:.1} {:.1}z",
                x - r,
                y - r,
                2.0 * r,
                -r,
                1.6 * r
            ),
        }
    }
}

/// Colour of a share in `[0, 1]` on the ramp, as a CSS colour.
pub(super) fn colour(share: f64) -> String {
    let t = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let i = (t.floor() as usize).min(RAMP.len() - 2);
    let mix = |k: usize| RAMP[i][k] + (t - i as f64) * (RAMP[i + 1][k] - RAMP[i][k]);
    format!("rgb({:.0},{:.0},{:.0})", mix(0), mix(1), mix(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let (ticks, decimals) = Scale::new(0.713, 0.862, 0.0, 100.0).ticks(5);
        assert_eq!(decimals, 2);
        let text: Vec<String> = ticks.iter().map(|t| format!("{t:.2}")).collect();
        assert_eq!(text, ["0.75", "0.80", "0.85"]);
        let (ticks, decimals) = Scale::new(0.0, 1234.0, 0.0, 1.0).ticks(5);
        assert_eq!((ticks.len(), decimals), (3, 0));
    }

    #[test]
    fn scales_survive_one_value_none_and_nonsense() {
        for values in [vec![], vec![3.0], vec![0.0], vec![f64::NAN, f64::INFINITY]] {
            let scale = Scale::over(values.iter().copied(), 10.0, 20.0);
            let (ticks, _) = scale.ticks(5);
            assert!(
                !ticks.is_empty() && ticks.iter().all(|t| t.is_finite()),
                "{values:?}"
            );
            assert!((10.0..=20.0).contains(&scale.at(3.0)));
        }
        let scale = Scale::new(0.0, 10.0, 100.0, 0.0);
        assert_eq!(
            (scale.at(2.5), scale.at(-5.0), scale.share(2.5)),
            (75.0, 100.0, 0.25)
        );
    }

    #[test]
    fn colours_run_along_the_ramp() {
        assert_eq!(colour(-1.0), "rgb(58,111,216)");
        assert_eq!(colour(1.0), "rgb(240,160,48)");
        assert_ne!(colour(0.4), colour(0.5));
    }
}
