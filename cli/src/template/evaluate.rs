//! A template over a value: fields, functions, blocks.

use serde_json::Value;

use super::{Block, Part, Result, Word, wrong};

/// The variables that can be named, the last one of a name first.
type Variables<'a> = &'a [(String, Value)];

/// Renders the parts of a template, `at` being the element at hand.
pub(super) fn render(parts: &[Part], at: &Value, variables: Variables<'_>, into: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(text) => into.push_str(text),
            Part::Value(commands) => into.push_str(&shown(&run(commands, at, variables)?)),
            Part::Block(Block::If, condition, body, otherwise) => {
                let chosen = if is_true(&run(condition, at, variables)?) { body } else { otherwise };
                render(chosen, at, variables, into)?;
            }
            Part::Block(Block::With, condition, body, otherwise) => {
                let found = run(condition, at, variables)?;
                let is_there = is_true(&found);
                render(
                    if is_there { body } else { otherwise },
                    if is_there { &found } else { at },
                    variables,
                    into,
                )?;
            }
            Part::Block(Block::Range(names), over, body, otherwise) => {
                let elements: Vec<(Value, Value)> = match run(over, at, variables)? {
                    Value::Array(elements) => {
                        elements.into_iter().enumerate().map(|(at, value)| (at.into(), value)).collect()
                    }
                    Value::Object(fields) => {
                        fields.into_iter().map(|(name, value)| (name.into(), value)).collect()
                    }
                    _ => Vec::new(),
                };
                if elements.is_empty() {
                    render(otherwise, at, variables, into)?;
                }
                for (key, element) in elements {
                    let mut inner = variables.to_vec();
                    match names.as_slice() {
                        [one] => inner.push((one.clone(), element.clone())),
                        [first, second] => {
                            inner.extend([(first.clone(), key), (second.clone(), element.clone())]);
                        }
                        _ => {}
                    }
                    render(body, &element, &inner, into)?;
                }
            }
        }
    }
    Ok(())
}

fn run(commands: &[Vec<Word>], at: &Value, variables: Variables<'_>) -> Result<Value> {
    let mut carried: Option<Value> = None;
    for command in commands {
        let mut values = Vec::new();
        let name = match command.first() {
            Some(Word::Name(name)) => Some(name.as_str()),
            _ => None,
        };
        for word in &command[usize::from(name.is_some())..] {
            values.push(evaluate(word, at, variables)?);
        }
        values.extend(carried.take());
        carried = Some(match name {
            Some(name) => call(name, &values)?,
            None => values.into_iter().next().unwrap_or(Value::Null),
        });
    }
    Ok(carried.unwrap_or(Value::Null))
}

fn evaluate(word: &Word, at: &Value, variables: Variables<'_>) -> Result<Value> {
    match word {
        Word::Literal(value) => Ok(value.clone()),
        Word::Nested(commands, names) => field(&run(commands, at, variables)?, names),
        Word::Name(name) => call(name, &[]),
        Word::Path(None, names) => field(at, names),
        Word::Path(Some(variable), names) => {
            match variables.iter().rev().find(|(name, _)| name == variable) {
                Some((_, value)) => field(value, names),
                None => wrong(format!("there is no variable `${variable}`")),
            }
        }
    }
}

fn field(mut value: &Value, names: &[String]) -> Result<Value> {
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
pub(super) fn shown(value: &Value) -> String {
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
