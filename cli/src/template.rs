//! `--format`: the part of Go's templates that people use. `{{.Field.Of.Field}}`, `{{json .}}`, `{{index .Map "key"}}`,
//! `{{range}}` and its variables, `{{if}}`, `{{with}}`, `{{len}}`, `{{join}}`, `{{upper}}`, `{{lower}}`, `{{println}}`, and
//! pipes between them.

mod evaluate;
mod list;

use serde_json::Value;

pub(crate) use self::list::list;

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
    Block(Block, Vec<Vec<Word>>, Vec<Part>, Vec<Part>),
}

#[derive(Debug, Clone)]
enum Block {
    If,
    With,
    /// The variables that stand for an element, or for its key and itself.
    Range(Vec<String>),
}

#[derive(Debug, Clone)]
enum Word {
    /// A name of a function.
    Name(String),
    /// A path of fields, from the element at hand or from a variable, whose name is empty for the top.
    Path(Option<String>, Vec<String>),
    Literal(Value),
    /// A pipeline in parentheses, and the fields after it.
    Nested(Vec<Vec<Word>>, Vec<String>),
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
        evaluate::render(&self.parts, value, &[(String::new(), value.clone())], &mut into)?;
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
            "range" | "if" | "with" => {
                let (names, of) = if word == "range" { variables(of)? } else { (Vec::new(), of) };
                let condition = pipeline(of)?;
                let (body, end) = parts(rest)?;
                let (otherwise, end) =
                    if end.as_deref() == Some("else") { parts(rest)? } else { (Vec::new(), end) };
                if end.as_deref() != Some("end") {
                    return wrong(format!("{{{{{word}}}}} without {{{{end}}}}"));
                }
                let block = match word {
                    "range" => Block::Range(names),
                    "with" => Block::With,
                    _ => Block::If,
                };
                found.push(Part::Block(block, condition, body, otherwise));
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

/// The names before `:=`, and what is behind it.
fn variables(text: &str) -> Result<(Vec<String>, &str)> {
    let Some((names, of)) = text.split_once(":=") else { return Ok((Vec::new(), text)) };
    let name = |text: &str| match text.trim().strip_prefix('$') {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => wrong(format!("`{}` is no variable", text.trim())),
    };
    let names: Vec<String> = names.split(',').map(name).collect::<Result<_>>()?;
    if names.len() > 2 { wrong("a range has two variables at most") } else { Ok((names, of)) }
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
        let end = if after.starts_with('.') { end_of_word(after) } else { 0 };
        *rest = &after[end..];
        return Ok(Word::Nested(nested, fields(&after[..end])));
    }
    if first == '"' || first == '`' {
        let Some(end) = rest[1..].find(first) else { return wrong("unclosed string") };
        let text = rest[1..=end].to_owned();
        *rest = &rest[end + 2..];
        return Ok(Word::Literal(text.into()));
    }
    let end = end_of_word(rest);
    let text = &rest[..end];
    *rest = &rest[end..];
    if let Some(text) = text.strip_prefix('$') {
        let (name, path) = text.split_once('.').unwrap_or((text, ""));
        return Ok(Word::Path(Some(name.to_owned()), fields(path)));
    }
    if text.starts_with('.') {
        return Ok(Word::Path(None, fields(text)));
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

fn end_of_word(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || c == '|' || c == ')').unwrap_or(text.len())
}

fn fields(path: &str) -> Vec<String> {
    path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expected: &str) {
        let value = json!({
            "Name": "web", "Ports": ["80/tcp", "90/tcp"], "Empty": [], "State": { "Running": true, "ExitCode": 0 },
            "Labels": { "a.b": "c" }, "Published": { "80/tcp": [{ "Port": "1" }], "90/tcp": null }, "Networks": { "x": { "IP": "1.2.3.4" } }, "Nothing": null
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
        check("{{(index (index .Published \"80/tcp\") 0).Port}}", "1");
        check(
            "{{range $p, $at := .Published}}{{$p}}={{if $at}}{{(index $at 0).Port}}{{end}} {{end}}",
            "80/tcp=1 90/tcp= ",
        );
        check("{{range $port := .Ports}}{{$port}}{{$.Name}} {{end}}", "80/tcpweb 90/tcpweb ");
        check("{{with .State}}{{.ExitCode}}{{end}}{{with .Empty}}x{{else}}{{.Name}}{{end}}", "0web");
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
            "{{$none}}",
            "{{range x := .A}}{{end}}",
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
