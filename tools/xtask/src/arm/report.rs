//! Tables.

/// A table that is read as it stands, or as Markdown.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "a row of another width");
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// Columns whose cells are numbers stand on the right.
    pub(crate) fn text(&self, markdown: bool) -> String {
        let widths: Vec<usize> =
            (0..self.rows[0].len()).map(|i| self.rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0).max(2)).collect();
        let right: Vec<bool> = (0..widths.len())
            .map(|i| self.rows[1..].iter().all(|row| row[i].starts_with(|c: char| c.is_ascii_digit() || c == '-')))
            .collect();
        let (edge, between) = if markdown { ("|", " | ") } else { ("", "  ") };
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&right);
            let cells: Vec<_> =
                cells.map(|((cell, &w), right)| if *right { format!("{cell:>w$}") } else { format!("{cell:<w$}") }).collect();
            let line = cells.join(between);
            if markdown { format!("{edge} {line} {edge}\n") } else { format!("{}\n", line.trim_end()) }
        };
        let mut text = line(&self.rows[0]);
        let dashes = widths.iter().zip(&right).map(|(&w, right)| {
            let dashes = "-".repeat(w + if markdown { 2 } else { 0 });
            if markdown && *right { dashes[1..].to_owned() + ":" } else { dashes }
        });
        let dashes: Vec<_> = dashes.collect();
        text += &if markdown { format!("|{}|\n", dashes.join("|")) } else { dashes.join("  ") + "\n" };
        self.rows[1..].iter().for_each(|row| text += &line(row));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn numbers_stand_on_the_right() {
        let mut table = Table::new(&["core", "cycles"]);
        table.row(vec!["A72".into(), "1.5".into()]);
        table.row(vec!["A710".into(), "-".into()]);
        assert_eq!(table.text(false), "core  cycles\n----  ------\nA72      1.5\nA710       -\n");
        assert_eq!(table.text(true), "| core | cycles |\n|------|-------:|\n| A72  |    1.5 |\n| A710 |      - |\n");
    }
}
