//! What a target did with an input, coarse enough that only something new in kind is new.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// The marks that an input left.
#[derive(Debug, Default)]
pub struct Trace(Vec<u64>);

impl Trace {
    /// Notes that the input reached `mark`.
    pub fn reached(&mut self, mark: impl Hash) {
        // The hasher's keys are fixed: marks are the same in every run.
        let mut hasher = DefaultHasher::new();
        mark.hash(&mut hasher);
        self.0.push(hasher.finish());
    }

    /// Notes a message without what differs from input to input: quoted parts and numbers.
    pub fn said(&mut self, message: &str) {
        let mut plain = String::new();
        let mut quote = None;
        for c in message.chars() {
            match quote {
                Some(end) if c == end => quote = None,
                Some(_) => {}
                None if matches!(c, '"' | '`') => quote = Some(c),
                None if c.is_ascii_alphabetic() || c == ' ' => plain.push(c),
                None => {}
            }
        }
        let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        let words: Vec<&str> = plain.split(' ').filter(is_word).take(8).collect();
        self.reached(words);
    }

    /// Notes a quantity by its magnitude.
    pub fn counted(&mut self, what: &str, count: usize) {
        self.reached((what, usize::BITS - count.leading_zeros()));
    }

    pub(crate) fn into_marks(self) -> Vec<u64> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_by_kind_only() {
        let marks = |message: &str| {
            let mut trace = Trace::default();
            trace.said(message);
            trace.into_marks()
        };
        assert_eq!(marks("unknown flag: `a` (line 3)"), marks("unknown flag: `bcd` (line 14)"));
        assert_ne!(marks("unknown flag"), marks("unknown mount"));
    }
}
