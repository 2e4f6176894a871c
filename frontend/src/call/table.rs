//! Columns of text, as wide as their widest cell.

/// Joins the cells of each row; all but the last are padded to their column's width and `gap` blanks more.
pub(super) fn table<const N: usize>(rows: &[[&str; N]], gap: usize) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + gap;
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                let missing = widths[column] - cell.chars().count();
                text.extend(std::iter::repeat_n(' ', missing));
            }
        }
        text.push('\n');
    }
    text
}
