//! Lists in the form that `--format` asks for.

use serde_json::Value;

use super::evaluate::shown;
use super::{Result, Template};

/// A list in the form that `--format` asks for: a table of `columns` (field and head), JSON lines, or a template, which
/// may be a table too (`table {{.ID}}\t{{.Names}}`).
///
/// # Errors
/// If the template is none.
pub(crate) fn list(format: &str, columns: &[(&str, &str)], rows: &[Value]) -> Result<String> {
    let mut text = String::new();
    match format {
        "json" => {
            for row in rows {
                text.push_str(&format!("{row}\n"));
            }
        }
        "table" | "" => {
            let head = columns.iter().map(|(_, head)| (*head).to_owned()).collect();
            let cells = |row: &Value| columns.iter().map(|(field, _)| shown(&row[*field])).collect();
            let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
            text = aligned(&lines);
        }
        _ => match format.strip_prefix("table ") {
            Some(template) => {
                let template = Template::parse(template)?;
                let heads: serde_json::Map<String, Value> =
                    columns.iter().map(|(field, head)| ((*field).to_owned(), (*head).into())).collect();
                let mut head = heads;
                // A field that is no column of the usual table is headed by its name.
                if let Some(Value::Object(fields)) = rows.first() {
                    for name in fields.keys() {
                        head.entry(name.clone()).or_insert_with(|| name.to_uppercase().into());
                    }
                }
                let mut lines = vec![template.render(&Value::Object(head))?];
                for row in rows {
                    lines.push(template.render(row)?);
                }
                let lines: Vec<Vec<String>> =
                    lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
                text = aligned(&lines);
            }
            None => {
                let template = Template::parse(format)?;
                for row in rows {
                    text.push_str(&template.render(row)?);
                    text.push('\n');
                }
            }
        },
    }
    Ok(text)
}

/// Columns as wide as their widest cell, three blanks between.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            shown.push_str(&format!("{cell:width$}   "));
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}
