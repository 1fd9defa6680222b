//! A Markdown table with columns of even width, so that it reads well unrendered too.

use std::fmt;

/// A table under construction.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns.
    pub fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|cell| escaped(cell)).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row(&mut self, cells: &[String]) {
        let mut cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Columns of figures stand to the right.
    fn is_numeric(&self, column: usize) -> bool {
        let starts = |cell: &String| {
            cell.trim_start_matches('*').starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c))
        };
        self.rows.iter().all(|row| starts(&row[column]))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = 0..self.header.len();
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.header]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(3)
        };
        let layout: Vec<(usize, bool)> =
            columns.map(|column| (width(column), self.is_numeric(column))).collect();
        write_row(formatter, &self.header, &layout)?;
        for (width, right) in &layout {
            let line = "-".repeat(if *right { width + 1 } else { width + 2 });
            write!(formatter, "|{line}{}", if *right { ":" } else { "" })?;
        }
        writeln!(formatter, "|")?;
        self.rows.iter().try_for_each(|row| write_row(formatter, row, &layout))
    }
}

fn write_row(formatter: &mut fmt::Formatter<'_>, cells: &[String], layout: &[(usize, bool)]) -> fmt::Result {
    for (cell, (width, right)) in cells.iter().zip(layout) {
        if *right {
            write!(formatter, "| {cell:>width$} ")?;
        } else {
            write!(formatter, "| {cell:<width$} ")?;
        }
    }
    writeln!(formatter, "|")
}

/// A bar would end the cell and a line break the row.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_even_and_figures_stand_right() {
        let mut table = Table::new(&["proxy", "us"]);
        table.row(&["nginx".into(), "11.20".into()]);
        table.row(&["HAProxy".into(), "9.00".into()]);
        let expected = "\
| proxy   |    us |
|---------|------:|
| nginx   | 11.20 |
| HAProxy |  9.00 |
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn cells_cannot_break_the_table() {
        let mut table = Table::new(&["what", "why"]);
        table.row(&["a|b\nc".into()]);
        assert_eq!(table.to_string().lines().last(), Some("| a\\|b c |     |"));
    }
}
