//! Credentials in URLs, which nobody is shown and nothing keeps.

use std::borrow::Cow;

const HIDDEN: &str = "xxxxx";

/// `text` with the user and password of each URL in it replaced, as BuildKit does: `https://xxxxx:xxxxx@host/`. The user of
/// `ssh://git@host` is no secret and stays.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(at) = scheme_end(rest) {
        let (scheme, authority) = rest.split_at(at + 3);
        let end = authority
            .find(|c: char| c.is_whitespace() || "/?#\"'`<>\\".contains(c))
            .unwrap_or(authority.len());
        redacted.push_str(scheme);
        rest = authority;
        let Some(user_end) = authority[..end].rfind('@') else { continue };
        let user = &authority[..user_end];
        let web = scheme.ends_with("http://") || scheme.ends_with("https://");
        match (user.contains(':'), web) {
            (true, _) => redacted.push_str(&format!("{HIDDEN}:{HIDDEN}")),
            (false, true) => redacted.push_str(HIDDEN),
            (false, false) => redacted.push_str(user),
        }
        rest = &authority[user_end..];
    }
    if redacted.is_empty() {
        return Cow::Borrowed(text);
    }
    redacted.push_str(rest);
    Cow::Owned(redacted)
}

/// Where the first `://` is. Texts are long and seldom have one: a single byte is looked for much faster.
fn scheme_end(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(':')?;
        if text[at..].starts_with("://") {
            return Some(at);
        }
        from = at + 1;
    }
}

/// The same for a text that is not copied if there is nothing to hide.
pub fn redacted(text: String) -> String {
    match redact(&text) {
        Cow::Owned(clean) => clean,
        Cow::Borrowed(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_of_urls_are_hidden_wherever_they_stand() {
        for (text, expected) in [
            ("ADD https://me:pw@host/x /y", "ADD https://xxxxx:xxxxx@host/x /y"),
            ("https://token@host", "https://xxxxx@host"),
            ("a http://u:p@h b https://t@i/c@d", "a http://xxxxx:xxxxx@h b https://xxxxx@i/c@d"),
            ("https://u:p@ss@host/", "https://xxxxx:xxxxx@host/"),
            ("ssh://git@host/x git@host:x", "ssh://git@host/x git@host:x"),
            ("ssh://git:pw@host/x", "ssh://xxxxx:xxxxx@host/x"),
            ("https://host/@scope mail@host", "https://host/@scope mail@host"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }
}
