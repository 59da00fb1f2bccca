//! Numbers as people read them, and text that is safe in HTML.

/// `text` with everything escaped that means something in HTML text or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Other control characters are not allowed in HTML at all.
            c if c.is_control() && !matches!(c, '\n' | '\t') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// A fraction in percent: `84.31 %`.
pub(super) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// A count with thousands apart: `288,746`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count in short: `9.30 M`, `37.7 k`, `640`.
pub(super) fn short(value: u64) -> String {
    let v = value as f64;
    match value {
        0..1_000 => value.to_string(),
        1_000..1_000_000 => format!("{} k", three_digits(v / 1e3)),
        1_000_000..1_000_000_000 => format!("{} M", three_digits(v / 1e6)),
        _ => format!("{} G", three_digits(v / 1e9)),
    }
}

/// Bytes: `640 B`, `120 KiB`, `1.50 MiB`.
pub(super) fn bytes(value: u64) -> String {
    let v = value as f64;
    match value {
        0..1_024 => format!("{value} B"),
        1_024..1_048_576 => format!("{} KiB", three_digits(v / 1024.0)),
        _ => format!("{} MiB", three_digits(v / 1_048_576.0)),
    }
}

/// Milliseconds: `12.3 ms`.
pub(super) fn ms(value: f64) -> String {
    format!("{} ms", three_digits(value))
}

/// Seconds as a duration: `8.4 s`, `3 min 05 s`, `2 h 10 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
    }
}

/// How many times smaller `after` is than `before`: `4.2x`. Nothing where either is 0.
pub(super) fn factor(before: f64, after: f64) -> Option<String> {
    (before > 0.0 && after > 0.0).then(|| format!("{}x", three_digits(before / after)))
}

/// At least three significant digits, no more decimals than that needs.
fn three_digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.84312), "84.31 %");
        assert_eq!(
            [count(0), count(999), count(288_746), count(1_000_000)],
            ["0", "999", "288,746", "1,000,000"]
        );
        assert_eq!(
            [short(640), short(37_720), short(9_300_000)],
            ["640", "37.7 k", "9.30 M"]
        );
        assert_eq!(
            [bytes(640), bytes(122_880), bytes(1_572_864)],
            ["640 B", "120 KiB", "1.50 MiB"]
        );
        assert_eq!(
            [duration(8.44), duration(185.0), duration(7_800.0)],
            ["8.4 s", "3 min 05 s", "2 h 10 min"]
        );
        assert_eq!(factor(400.0, 95.0).as_deref(), Some("4.21x"));
        assert_eq!(factor(400.0, 0.0), None);
    }

    #[test]
    fn nothing_escapes_the_escape() {
        assert_eq!(
            escape(r#"<a b="c">'&"#),
            "&lt;a b=&quot;c&quot;&gt;&#39;&amp;"
        );
        assert_eq!(escape("a\u{0}b"), "a\u{fffd}b");
    }
}
