//! Extended headers: PAX records and GNU's long names.

use std::collections::BTreeMap;

use super::super::entry::{Timestamp, Xattrs};

/// What extended headers say of the member that follows.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    /// By keyword. An empty value takes an earlier one back.
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `GNU.sparse.offset` and `numbytes` come again and again (version 0.0).
    pub(super) sparse_pairs: Vec<u64>,
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.long_name.is_none() && self.long_link.is_none()
    }

    /// Reads records of the form `length keyword=value\n`.
    pub(super) fn read(&mut self, mut text: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "its extended header is malformed";
        while !text.is_empty() && text[0] != 0 {
            let blank = text.iter().take(20).position(|&byte| byte == b' ').ok_or(BAD)?;
            let length = parse(&text[..blank]).and_then(|n| usize::try_from(n).ok()).ok_or(BAD)?;
            let record = text.get(blank + 1..length).ok_or(BAD)?;
            let record = record.strip_suffix(b"\n").ok_or(BAD)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or(BAD)?;
            let (keyword, value) = (&record[..equals], &record[equals + 1..]);
            if keyword == b"GNU.sparse.offset" || keyword == b"GNU.sparse.numbytes" {
                self.sparse_pairs.push(parse(value).ok_or(BAD)?);
            } else if value.is_empty() && !keyword.starts_with(XATTR) {
                self.records.remove(keyword);
            } else {
                self.records.insert(keyword.to_vec(), value.to_vec());
            }
            text = &text[length..];
        }
        Ok(())
    }

    pub(super) fn get(&self, keyword: &str) -> Option<&[u8]> {
        self.records.get(keyword.as_bytes()).map(Vec::as_slice)
    }

    pub(super) fn path(&self) -> Option<&[u8]> {
        self.get("GNU.sparse.name").or_else(|| self.get("path")).or(self.long_name.as_deref().map(cut))
    }

    pub(super) fn link(&self) -> Option<&[u8]> {
        self.get("linkpath").or(self.long_link.as_deref().map(cut))
    }

    pub(super) fn number(&self, keyword: &str) -> Result<Option<u64>, &'static str> {
        let value =
            self.get(keyword).map(|value| parse(value).ok_or("a number in its extended header is none"));
        value.transpose()
    }

    /// Seconds with a fraction of any length, perhaps negative.
    pub(super) fn time(&self, keyword: &str) -> Result<Option<Timestamp>, &'static str> {
        let Some(value) = self.get(keyword) else { return Ok(None) };
        let bad = "a time in its extended header is none";
        let (negative, value) = match value.strip_prefix(b"-") {
            Some(value) => (true, value),
            None => (false, value),
        };
        let dot = value.iter().position(|&byte| byte == b'.').unwrap_or(value.len());
        let seconds = parse(&value[..dot]).and_then(|n| i64::try_from(n).ok()).ok_or(bad)?;
        let digits = value.get(dot + 1..).unwrap_or_default();
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(bad);
        }
        let mut digits = digits.iter().map(|digit| u32::from(digit - b'0')).chain(std::iter::repeat(0));
        let nanoseconds = (0..9).fold(0, |value, _| value * 10 + digits.next().unwrap_or_default());
        Ok(Some(match (negative, nanoseconds) {
            (false, nanoseconds) => Timestamp { seconds, nanoseconds },
            (true, 0) => Timestamp::seconds(-seconds),
            (true, nanoseconds) => {
                Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds }
            }
        }))
    }

    pub(super) fn xattrs(&self) -> Xattrs {
        let all = self.records.iter();
        all.filter_map(|(name, value)| Some((name.strip_prefix(XATTR)?.to_vec(), value.clone()))).collect()
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.get("GNU.sparse.size").is_some() || self.get("GNU.sparse.realsize").is_some()
    }
}

/// A decimal number without sign.
pub(super) fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// GNU's long names end in a zero byte.
fn cut(name: &[u8]) -> &[u8] {
    &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())]
}
