//! Numbers with units, in and out.

/// Reads a time such as `100ms`, `0.1s` or `800us`, as milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<f64, String> {
    scaled(text, &[("us", 1e-3), ("ms", 1.0), ("s", 1e3)], None)
        .ok_or_else(|| format!("`{text}` is no time: write 100ms, 0.1s or 800us"))
}

/// Reads a size such as `512KiB`, `1.5MiB`, `100kB` or `4096` (bytes), as bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("B", 1.0),
    ];
    scaled(text, &units, Some(1.0))
        .map(|v| v as u64)
        .ok_or_else(|| format!("`{text}` is no size: write 512KiB, 1.5MiB or 4096 (bytes)"))
}

/// Reads a count such as `20M`, `500k` or `1234`.
pub(super) fn count(text: &str) -> Result<u64, String> {
    scaled(text, &[("k", 1e3), ("M", 1e6), ("G", 1e9)], Some(1.0))
        .map(|v| v as u64)
        .ok_or_else(|| format!("`{text}` is no count: write 20M, 500k or 1234567"))
}

/// Reads a share such as `85%` or `0.85`, as a fraction of at most 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    scaled(text, &[("%", 0.01)], Some(1.0))
        .filter(|share| *share <= 1.0)
        .ok_or_else(|| format!("`{text}` is no share: write 85% or 0.85"))
}

/// A positive number with one of `units`; `bare` is the factor of a number without one.
fn scaled(text: &str, units: &[(&str, f64)], bare: Option<f64>) -> Option<f64> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim();
    let factor = match unit {
        "" => bare?,
        _ => {
            let known = |(name, _): &&(&str, f64)| name.eq_ignore_ascii_case(unit);
            units.iter().find(known)?.1
        }
    };
    let value = number.parse::<f64>().ok()? * factor;
    (value.is_finite() && value > 0.0).then_some(value)
}

/// `12,345,678`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `283.9 KiB`.
pub(super) fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

/// `1 MiB`, `128 KiB`: a size that is a round number.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b % 1024 == 0 => format!("{} KiB", b >> 10),
        b => kib(b),
    }
}

/// `84.15 %` of a fraction.
pub(super) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// `38.63 M`.
pub(super) fn millions(n: u64) -> String {
    format!("{:.2} M", n as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(milliseconds("100ms"), Ok(100.0));
        assert_eq!(milliseconds("0.1 s"), Ok(100.0));
        assert_eq!(milliseconds("800us"), Ok(0.8));
        for bad in ["100", "", "ms", "-3ms", "3 minutes", "0ms", "1e400s"] {
            let error = milliseconds(bad).unwrap_err();
            assert!(error.contains("write 100ms"), "{error}");
        }
    }

    #[test]
    fn sizes_are_binary_where_they_say_so() {
        assert_eq!(bytes("512KiB"), Ok(524_288));
        assert_eq!(bytes("512kib"), Ok(524_288));
        assert_eq!(bytes("1.5MiB"), Ok(1_572_864));
        assert_eq!(bytes("100kB"), Ok(100_000));
        assert_eq!(bytes("4096"), Ok(4096));
        assert!(bytes("12 apples").is_err());
    }

    #[test]
    fn shares_are_at_most_all() {
        assert_eq!(share("85%"), Ok(0.85));
        assert_eq!(share("0.5"), Ok(0.5));
        for bad in ["85", "101%", "-1%", "most"] {
            assert!(share(bad).unwrap_err().contains("write 85%"), "{bad}");
        }
    }

    #[test]
    fn counts_read_and_write() {
        assert_eq!(count("20M"), Ok(20_000_000));
        assert_eq!(count("2.5k"), Ok(2500));
        assert!(count("20 X").is_err());
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
