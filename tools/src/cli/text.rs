//! Figures and tables as people read them, and as programs do.

pub(crate) use crate::report::thousands;
use std::fmt::Write as _;

/// A size with a binary unit: `640 B`, `12.3 KiB`, `1.20 GiB`.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be printed as 1024.0 belongs to the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 { format!("{value:.2} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A size in both forms: `12.3 MiB (12,903,041 bytes)`.
#[must_use]
pub(crate) fn size_exact(bytes: u64) -> String {
    if bytes < 1024 { format!("{bytes} bytes") } else { format!("{} ({} bytes)", size(bytes), thousands(bytes)) }
}

/// A duration with the unit that suits it: `850 µs`, `12.3 ms`, `4.56 s`, `3 min 12 s`.
#[must_use]
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 100.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}

/// `n` things in `seconds`, a second; 0 where no time passed.
#[must_use]
pub(crate) fn rate(n: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { n as f64 / seconds } else { 0.0 }
}

/// `n` of what has its plural by an `s`: `1 thread`, `2,000 threads`.
#[must_use]
pub(crate) fn count(n: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// Text whose control characters cannot disturb a terminal.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// `[0, 1, 2, 5]` as `0-2, 5`.
#[must_use]
pub(crate) fn ranges(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &n in numbers {
        match parts.last_mut() {
            Some((_, end)) if *end + 1 == n => *end = n,
            _ => parts.push((n, n)),
        }
    }
    parts.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect::<Vec<_>>().join(", ")
}

/// A figure with three significant digits: `0.0123`, `4.56`, `78.9`, `1,234`.
#[must_use]
pub(crate) fn significant(x: f64) -> String {
    let decimals = match x.abs() {
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        x if x >= 0.9995 => 2,
        x if x >= 1e-6 => (2.0 - x.log10().floor()) as usize,
        _ => 2,
    };
    grouped(x, decimals)
}

/// `1234.56` as `1,234.56`, with so many decimals.
#[must_use]
pub(crate) fn grouped(x: f64, decimals: usize) -> String {
    let text = format!("{x:.decimals$}");
    let (whole, part) = text.split_at(text.find('.').unwrap_or(text.len()));
    format!("{}{part}", whole.parse().map_or_else(|_| whole.to_owned(), thousands))
}

/// How a column of a [`Table`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Figures.
    Right,
}

/// Rows under a header, as Markdown or CSV.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        Self { columns: columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// A Markdown table whose columns also line up in a terminal.
    #[must_use]
    pub(crate) fn markdown(&self) -> String {
        let width = |s: &str| s.chars().count();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| self.rows.iter().map(|r| width(&r[i])).chain([width(&self.columns[i].0), 3]).max().unwrap_or(3))
            .collect();
        let mut out = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            for (i, cell) in cells.enumerate() {
                let pad = " ".repeat(widths[i] - width(cell));
                let _ = match self.columns[i].1 {
                    Align::Left => write!(out, "| {cell}{pad} "),
                    Align::Right => write!(out, "| {pad}{cell} "),
                };
            }
            out.push_str("|\n");
        };
        line(&mut self.columns.iter().map(|(name, _)| name.as_str()));
        let rules: Vec<String> = (self.columns.iter().zip(&widths))
            .map(|((_, align), &w)| if *align == Align::Left { "-".repeat(w) } else { format!("{}:", "-".repeat(w - 1)) })
            .collect();
        line(&mut rules.iter().map(String::as_str));
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str));
        }
        out
    }

    /// The table as CSV (RFC 4180).
    #[must_use]
    pub(crate) fn csv(&self) -> String {
        let quote =
            |cell: &str| if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() };
        let names: Vec<String> = self.columns.iter().map(|(name, _)| quote(name)).collect();
        let lines = self.rows.iter().map(|row| row.iter().map(|cell| quote(cell)).collect::<Vec<_>>().join(","));
        std::iter::once(names.join(",")).chain(lines).map(|line| line + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (175_181_291_520, "175,181,291,520")];
        for (n, expected) in cases {
            assert_eq!(thousands(n), expected);
        }
        let cases = [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (12_903_041, "12.3 MiB"), ((1 << 30) - 1, "1.00 GiB")];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
        let cases = [(0.000_85, "850 µs"), (0.0123, "12.3 ms"), (4.561, "4.56 s"), (192.0, "3 min 12 s")];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
        let cases = [
            (0.0, "0.00"),
            (0.00123, "0.00123"),
            (0.0999999, "0.1000"),
            (1.0, "1.00"),
            (45.67, "45.7"),
            (1234.5, "1,234"),
            (-2.5, "-2.50"),
        ];
        for (x, expected) in cases {
            assert_eq!(significant(x), expected);
        }
        assert_eq!(grouped(1234.567, 2), "1,234.57");
        assert_eq!(grouped(f64::NAN, 1), "NaN");
        assert_eq!((ranges(&[0, 1, 2, 5]), ranges(&[])), ("0-2, 5".to_owned(), String::new()));
        assert_eq!(printable("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
    }

    #[test]
    fn tables_line_up_and_csv_quotes() {
        let mut table = Table::new(&[("test", Align::Left), ("t/s", Align::Right)]);
        table.row(["pp512", "1,234.5"]);
        table.row(["say \"a\"", "1"]);
        assert_eq!(table.markdown(), "| test    |     t/s |\n| ------- | ------: |\n| pp512   | 1,234.5 |\n| say \"a\" |       1 |\n");
        assert_eq!(table.csv(), "test,t/s\npp512,\"1,234.5\"\n\"say \"\"a\"\"\",1\n");
    }
}
