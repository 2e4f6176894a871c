//! `--format`: the part of Go's templates that people use. `{{.Field.Of.Field}}`, `{{json .}}`, `{{index .Map "key"}}`,
//! `{{range}}`, `{{if}}`, `{{len}}`, `{{join}}`, `{{upper}}`, `{{lower}}`, `{{println}}`, and pipes between them.

use serde_json::Value;

/// What a template says that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--format: {0}")]
pub(crate) struct TemplateError(String);

/// A template that was read.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Value(Vec<Vec<Word>>),
    Range(Vec<Vec<Word>>, Vec<Part>, Vec<Part>),
    If(Vec<Vec<Word>>, Vec<Part>, Vec<Part>),
}

#[derive(Debug, Clone)]
enum Word {
    /// A name of a function.
    Name(String),
    /// A path of fields, from the element at hand or from the top.
    Path(bool, Vec<String>),
    Literal(Value),
    Nested(Vec<Vec<Word>>),
}

type Result<T> = std::result::Result<T, TemplateError>;

fn wrong<T>(message: impl Into<String>) -> Result<T> {
    Err(TemplateError(message.into()))
}

impl Template {
    /// Reads a template. `\t` and `\n` are what they mean.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut rest = text.as_str();
        let (parts, end) = parts(&mut rest)?;
        match end {
            None => Ok(Self { parts }),
            Some(word) => wrong(format!("unexpected {{{{{word}}}}}")),
        }
    }

    /// Renders a value.
    ///
    /// # Errors
    /// If a field does not exist or a function does not fit.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        let mut into = String::new();
        render(&self.parts, value, value, &mut into)?;
        Ok(into)
    }
}

/// Reads until the end or a word that ends a block, which is given.
fn parts(rest: &mut &str) -> Result<(Vec<Part>, Option<String>)> {
    let mut found = Vec::new();
    while let Some(start) = rest.find("{{") {
        let before = &rest[..start];
        let Some(end) = rest[start..].find("}}") else { return wrong("unclosed {{") };
        let mut action = &rest[start + 2..start + end];
        *rest = &rest[start + end + 2..];
        let mut before = before.to_owned();
        if let Some(trimmed) = action.strip_prefix("- ") {
            action = trimmed;
            before.truncate(before.trim_end().len());
        }
        if let Some(trimmed) = action.strip_suffix(" -") {
            action = trimmed;
            *rest = rest.trim_start();
        }
        if !before.is_empty() {
            found.push(Part::Text(before));
        }
        let action = action.trim();
        let (word, of) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
        match word {
            "end" | "else" => return Ok((found, Some(word.to_owned()))),
            "range" | "if" => {
                let condition = pipeline(of)?;
                let (body, end) = parts(rest)?;
                let (otherwise, end) =
                    if end.as_deref() == Some("else") { parts(rest)? } else { (Vec::new(), end) };
                if end.as_deref() != Some("end") {
                    return wrong(format!("{{{{{word}}}}} without {{{{end}}}}"));
                }
                found.push(match word {
                    "range" => Part::Range(condition, body, otherwise),
                    _ => Part::If(condition, body, otherwise),
                });
            }
            "" => return wrong("empty {{}}"),
            _ if word.starts_with("/*") => {}
            _ => found.push(Part::Value(pipeline(action)?)),
        }
    }
    if !rest.is_empty() {
        found.push(Part::Text((*rest).to_owned()));
        *rest = "";
    }
    Ok((found, None))
}

/// Commands joined by `|`.
fn pipeline(text: &str) -> Result<Vec<Vec<Word>>> {
    let mut rest = text;
    let found = commands(&mut rest)?;
    if rest.is_empty() { Ok(found) } else { wrong(format!("unexpected `{rest}`")) }
}

fn commands(rest: &mut &str) -> Result<Vec<Vec<Word>>> {
    let mut found = vec![Vec::new()];
    loop {
        *rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { break };
        match first {
            '|' => {
                *rest = &rest[1..];
                found.push(Vec::new());
            }
            ')' => break,
            _ => {
                let word = word(rest)?;
                found.last_mut().expect("there is always a last command").push(word);
            }
        }
    }
    if found.iter().any(Vec::is_empty) { wrong("a command is missing") } else { Ok(found) }
}

fn word(rest: &mut &str) -> Result<Word> {
    let first = rest.chars().next().unwrap_or(' ');
    if first == '(' {
        *rest = &rest[1..];
        let nested = commands(rest)?;
        let Some(after) = rest.strip_prefix(')') else { return wrong("unclosed (") };
        *rest = after;
        return Ok(Word::Nested(nested));
    }
    if first == '"' || first == '`' {
        let Some(end) = rest[1..].find(first) else { return wrong("unclosed string") };
        let text = rest[1..=end].to_owned();
        *rest = &rest[end + 2..];
        return Ok(Word::Literal(text.into()));
    }
    let end = rest.find(|c: char| c.is_whitespace() || c == '|' || c == ')').unwrap_or(rest.len());
    let text = &rest[..end];
    *rest = &rest[end..];
    let path = |from_top: bool, text: &str| {
        let names = text.split('.').filter(|name| !name.is_empty()).map(str::to_owned);
        Word::Path(from_top, names.collect())
    };
    if let Some(text) = text.strip_prefix('$') {
        return Ok(path(true, text));
    }
    if text.starts_with('.') {
        return Ok(path(false, text));
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Word::Literal(number.into()));
    }
    match text {
        "true" | "false" => Ok(Word::Literal((text == "true").into())),
        name if name.chars().all(char::is_alphanumeric) => Ok(Word::Name(name.to_owned())),
        other => wrong(format!("unexpected `{other}`")),
    }
}

fn render(parts: &[Part], at: &Value, top: &Value, into: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(text) => into.push_str(text),
            Part::Value(commands) => into.push_str(&shown(&run(commands, at, top)?)),
            Part::If(condition, body, otherwise) => {
                let chosen = if is_true(&run(condition, at, top)?) { body } else { otherwise };
                render(chosen, at, top, into)?;
            }
            Part::Range(over, body, otherwise) => {
                let over = run(over, at, top)?;
                let elements: Vec<&Value> = match &over {
                    Value::Array(elements) => elements.iter().collect(),
                    Value::Object(fields) => fields.values().collect(),
                    _ => Vec::new(),
                };
                if elements.is_empty() {
                    render(otherwise, at, top, into)?;
                }
                for element in elements {
                    render(body, element, top, into)?;
                }
            }
        }
    }
    Ok(())
}

fn run(commands: &[Vec<Word>], at: &Value, top: &Value) -> Result<Value> {
    let mut carried: Option<Value> = None;
    for command in commands {
        let mut values = Vec::new();
        let name = match command.first() {
            Some(Word::Name(name)) => Some(name.as_str()),
            _ => None,
        };
        for word in &command[usize::from(name.is_some())..] {
            values.push(evaluate(word, at, top)?);
        }
        values.extend(carried.take());
        carried = Some(match name {
            Some(name) => call(name, &values)?,
            None => values.into_iter().next().unwrap_or(Value::Null),
        });
    }
    Ok(carried.unwrap_or(Value::Null))
}

fn evaluate(word: &Word, at: &Value, top: &Value) -> Result<Value> {
    match word {
        Word::Literal(value) => Ok(value.clone()),
        Word::Nested(commands) => run(commands, at, top),
        Word::Name(name) => call(name, &[]),
        Word::Path(from_top, names) => {
            let mut value = if *from_top { top } else { at };
            for name in names {
                value = match value {
                    // A map's missing key is nothing; of a map that is not there too.
                    Value::Object(fields) => match fields.get(name) {
                        Some(value) => value,
                        None => return wrong(format!("there is no field `{name}`")),
                    },
                    Value::Null => &Value::Null,
                    _ => return wrong(format!("there is no field `{name}`")),
                };
            }
            Ok(value.clone())
        }
    }
}

fn call(name: &str, values: &[Value]) -> Result<Value> {
    let first = values.first().cloned().unwrap_or(Value::Null);
    let second = values.get(1).cloned().unwrap_or(Value::Null);
    let text = |value: &Value| shown(value);
    Ok(match name {
        "json" => Value::String(first.to_string()),
        "len" => Value::from(match &first {
            Value::Array(elements) => elements.len(),
            Value::Object(fields) => fields.len(),
            other => text(other).len(),
        }),
        "index" => values.iter().skip(1).fold(first, |value, key| match (&value, key) {
            (Value::Array(elements), Value::Number(n)) => {
                let index = n.as_u64().and_then(|n| usize::try_from(n).ok());
                index.and_then(|index| elements.get(index)).cloned().unwrap_or(Value::Null)
            }
            (Value::Object(fields), key) => fields.get(&shown(key)).cloned().unwrap_or(Value::Null),
            _ => Value::Null,
        }),
        "join" => match &first {
            Value::Array(elements) => {
                elements.iter().map(shown).collect::<Vec<_>>().join(&text(&second)).into()
            }
            other => text(other).into(),
        },
        "split" => text(&first).split(&text(&second)).map(Value::from).collect(),
        "upper" => text(&first).to_uppercase().into(),
        "lower" => text(&first).to_lowercase().into(),
        "title" => {
            let text = text(&first);
            let mut letters = text.chars();
            letters.next().map(|letter| letter.to_uppercase().chain(letters).collect::<String>()).into()
        }
        "println" => (values.iter().map(shown).collect::<Vec<_>>().join(" ") + "\n").into(),
        "print" => values.iter().map(shown).collect::<Vec<_>>().join(" ").into(),
        "eq" => values.iter().skip(1).any(|value| *value == first).into(),
        "ne" => (first != second).into(),
        "not" => (!is_true(&first)).into(),
        "and" => {
            values.iter().find(|value| !is_true(value)).or(values.last()).cloned().unwrap_or(Value::Null)
        }
        "or" => values.iter().find(|value| is_true(value)).or(values.last()).cloned().unwrap_or(Value::Null),
        other => return wrong(format!("there is no function `{other}`")),
    })
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// As Go prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", shown(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expected: &str) {
        let value = json!({
            "Name": "web", "Ports": ["80/tcp", "90/tcp"], "Empty": [], "State": { "Running": true, "ExitCode": 0 },
            "Labels": { "a.b": "c" }, "Networks": { "x": { "IP": "1.2.3.4" } }, "Nothing": null
        });
        let rendered = Template::parse(template).and_then(|template| template.render(&value));
        assert_eq!(rendered.as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn templates_do_what_gos_do() {
        check("plain", "plain");
        check("{{.Name}}: {{ .State.Running }} {{.State.ExitCode}}", "web: true 0");
        check("{{json .State}}", r#"{"Running":true,"ExitCode":0}"#);
        check("{{.Ports}} {{len .Ports}} {{join .Ports \",\"}}", "[80/tcp 90/tcp] 2 80/tcp,90/tcp");
        check("{{index .Labels \"a.b\"}} {{index .Ports 1}}", "c 90/tcp");
        check("{{range .Ports}}<{{.}}>{{end}}", "<80/tcp><90/tcp>");
        check("{{range .Networks}}{{.IP}}{{$.Name}}{{end}}", "1.2.3.4web");
        check("{{range .Empty}}x{{else}}none{{end}}", "none");
        check("{{if .State.Running}}up{{else}}down{{end}}{{if .Empty}}x{{end}}", "up");
        check("{{if eq .Name \"web\"}}same{{end}}", "same");
        check("{{.Name | upper}}\\t{{(index .Ports 0) | len}}", "WEB\t6");
        check("a {{- .Name -}} b{{.Nothing}}", "awebb<no value>");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "{{",
            "{{}}",
            "{{end}}",
            "{{if .A}}",
            "{{.A",
            "{{nosuch .A}}",
            "{{.A | }}",
            "{{(.A}}",
            "{{.Missing}}",
        ] {
            let rendered = Template::parse(text).and_then(|template| template.render(&json!({ "A": 1 })));
            assert!(rendered.is_err(), "{text}: {rendered:?}");
        }
    }

    #[test]
    fn lists_are_tables_json_or_templates() {
        let rows = [json!({ "ID": "1", "Names": "a" }), json!({ "ID": "22", "Names": "b" })];
        let columns = [("ID", "CONTAINER ID"), ("Names", "NAMES")];
        assert_eq!(
            list("table", &columns, &rows).unwrap(),
            "CONTAINER ID   NAMES\n1              a\n22             b\n"
        );
        assert_eq!(list("{{.ID}}-{{.Names}}", &columns, &rows).unwrap(), "1-a\n22-b\n");
        assert_eq!(
            list("table {{.Names}}\\t{{.ID}}", &columns, &rows).unwrap(),
            "NAMES   CONTAINER ID\na       1\nb       22\n"
        );
        assert_eq!(list("json", &columns, &rows[..1]).unwrap(), "{\"ID\":\"1\",\"Names\":\"a\"}\n");
    }
}
