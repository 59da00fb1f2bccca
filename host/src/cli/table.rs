//! Plain tables: columns as wide as they must be, numbers to the right.

use std::fmt::Write;

/// A table under a heading.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that are words, and so to the left.
    left: Vec<usize>,
}

impl Table {
    /// A table with these column heads; `left` are the columns of words.
    pub fn new(heads: &[&str], left: &[usize]) -> Self {
        Self {
            rows: vec![heads.iter().map(ToString::to_string).collect()],
            left: left.to_vec(),
        }
    }

    /// Appends a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text, without a line break at the end.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(c));
            cells.map(|s| s.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (c, cell) in row.iter().enumerate() {
                let w = widths[c];
                let pad = if c == 0 { "" } else { "  " };
                // Writing to a string cannot fail.
                let _ = if self.left.contains(&c) {
                    write!(line, "{pad}{cell:<w$}")
                } else {
                    write!(line, "{pad}{cell:>w$}")
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.trim_end().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other() {
        let mut table = Table::new(&["layer", "bytes"], &[0]);
        table.row(vec!["conv0".into(), "8".into()]);
        table.row(vec!["linear0".into(), "12,345".into()]);
        assert_eq!(
            table.render(),
            "layer     bytes\nconv0         8\nlinear0  12,345"
        );
    }
}
