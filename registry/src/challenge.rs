//! `WWW-Authenticate`: what a server wants to be shown (RFC 9110 §11.6.1; distribution's token authentication).

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a server wants to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token of the token server at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// User and password.
    Basic,
}

/// The challenge that kiln can answer: a bearer token before a password.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut offered: Vec<(String, BTreeMap<String, String>)> = texts.flat_map(parse).collect();
    if let Some(at) =
        offered.iter().position(|(scheme, fields)| scheme == "bearer" && fields.contains_key("realm"))
    {
        let mut fields = offered.swap_remove(at).1;
        return Some(Challenge::Bearer {
            realm: fields.remove("realm").unwrap_or_default(),
            service: fields.remove("service").filter(|text| !text.is_empty()),
            scope: fields.remove("scope").filter(|text| !text.is_empty()),
        });
    }
    offered.iter().any(|(scheme, _)| scheme == "basic").then_some(Challenge::Basic)
}

/// The schemes of one header in lower case, each with its parameters. What makes no sense is passed over.
fn parse(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut challenges: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() && after.is_empty() {
            return challenges;
        }
        // A word before `=` is a parameter of the scheme before it, any other begins a scheme.
        let after = after.trim_start_matches([' ', '\t']);
        let Some(value) = after.strip_prefix('=') else {
            challenges.push((word.to_ascii_lowercase(), BTreeMap::new()));
            rest = after;
            continue;
        };
        let (value, after) = parameter(value.trim_start_matches([' ', '\t']));
        if let Some((_, fields)) = challenges.last_mut() {
            fields.insert(word.to_ascii_lowercase(), value);
        }
        rest = after;
    }
}

/// A token or quoted string, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        challenge(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.into(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn docker_hubs_challenge() {
        let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let scope = Some("repository:a/b:pull,push");
        assert_eq!(asked(&[text]), bearer("https://auth.docker.io/token", Some("registry.docker.io"), scope));
    }

    #[test]
    fn bearer_goes_before_basic_in_one_header_or_two() {
        let wanted = bearer("https://r/t", None, None);
        assert_eq!(asked(&[r#"Basic realm="x", Bearer realm="https://r/t""#]), wanted);
        assert_eq!(asked(&[r#"Basic realm="x""#, r"bearer realm=https://r/t"]), wanted);
        assert_eq!(asked(&[r#"Basic realm="a \"b\", Bearer realm=c""#]), Some(Challenge::Basic));
    }

    #[test]
    fn what_kiln_cannot_answer_is_no_challenge() {
        for text in ["", "Negotiate", "Digest realm=x", "Bearer", "Bearer scope=x", ",=,", "\"", "a=\"b"] {
            assert_eq!(asked(&[text]), None, "{text}");
        }
    }
}
