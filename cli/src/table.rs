//! Tables of text: columns as wide as their widest cell.

use std::fmt;

/// Rows under a head.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}   "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `3 hours ago`, as Docker words ages.
pub(crate) fn age(seconds: i64) -> String {
    let unit =
        |n: i64, one: &str, many: &str| if n == 1 { format!("{one} ago") } else { format!("{n} {many} ago") };
    match seconds {
        ..=0 => "Less than a second ago".to_owned(),
        s if s < 60 => unit(s, "1 second", "seconds"),
        s if s < 3600 => unit(s / 60, "About a minute", "minutes"),
        s if s < 48 * 3600 => unit(s / 3600, "About an hour", "hours"),
        s if s < 14 * 86400 => unit(s / 86400, "1 day", "days"),
        s if s < 60 * 86400 => unit(s / (7 * 86400), "1 week", "weeks"),
        s if s < 730 * 86400 => unit(s / (30 * 86400), "1 month", "months"),
        s => unit(s / (365 * 86400), "1 year", "years"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let mut table = Table::new(["NAME", "SIZE"]);
        table.row(["é".to_owned(), "1".to_owned()]);
        table.row(["longer".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "NAME     SIZE\né        1\nlonger\n");
    }

    #[test]
    fn ages_are_worded_as_docker_words_them() {
        assert_eq!(age(61), "About a minute ago");
        assert_eq!(age(7200), "2 hours ago");
        assert_eq!(age(40 * 86400), "5 weeks ago");
    }
}
