//! Hashing of structured values into keys that mean the same in every run, build and version of the compiler.

use std::collections::BTreeMap;
use std::path::Path;

use crate::ContentHash;

/// Collects fields for a key. Every field carries its length, so that neighbours cannot run into each other.
#[derive(Debug, Clone)]
pub struct StableHasher(blake3::Hasher);

impl StableHasher {
    /// Begins a hash in the namespace `domain`, for example `"kiln exec 1"`: a new meaning is a new domain.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.bytes(domain.as_bytes());
        hasher
    }

    /// Adds bytes with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Adds a number, a length or the tag of an enum's variant.
    pub fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// Ends the hash.
    pub fn finish(&self) -> ContentHash {
        ContentHash::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// A value with a hash that depends on its meaning alone: lengths and variants are tagged, maps are sorted.
pub trait StableHash {
    /// Adds the value to `into`.
    fn stable_hash(&self, into: &mut StableHasher);
}

impl StableHash for str {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.bytes(self.as_bytes());
    }
}

impl StableHash for String {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.bytes(self.as_bytes());
    }
}

impl StableHash for Path {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.bytes(self.as_os_str().as_encoded_bytes());
    }
}

impl StableHash for std::path::PathBuf {
    fn stable_hash(&self, into: &mut StableHasher) {
        self.as_path().stable_hash(into);
    }
}

impl StableHash for bool {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.number(u64::from(*self));
    }
}

impl StableHash for u32 {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.number(u64::from(*self));
    }
}

impl StableHash for u64 {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.number(*self);
    }
}

impl StableHash for i64 {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.number(self.cast_unsigned());
    }
}

impl StableHash for usize {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.number(*self as u64);
    }
}

impl StableHash for ContentHash {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.bytes(self.as_bytes());
    }
}

impl StableHash for crate::Digest {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.bytes(self.as_bytes());
    }
}

impl<T: StableHash> StableHash for Option<T> {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.number(u64::from(self.is_some()));
        if let Some(value) = self {
            value.stable_hash(into);
        }
    }
}

impl<T: StableHash> StableHash for [T] {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.number(self.len() as u64);
        for item in self {
            item.stable_hash(into);
        }
    }
}

impl<T: StableHash> StableHash for Vec<T> {
    fn stable_hash(&self, into: &mut StableHasher) {
        self.as_slice().stable_hash(into);
    }
}

impl<A: StableHash, B: StableHash> StableHash for (A, B) {
    fn stable_hash(&self, into: &mut StableHasher) {
        self.0.stable_hash(into);
        self.1.stable_hash(into);
    }
}

impl<K: StableHash, V: StableHash> StableHash for BTreeMap<K, V> {
    fn stable_hash(&self, into: &mut StableHasher) {
        into.number(self.len() as u64);
        for (key, value) in self {
            key.stable_hash(into);
            value.stable_hash(into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(value: &impl StableHash) -> ContentHash {
        let mut hasher = StableHasher::new("test");
        value.stable_hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn neighbours_do_not_run_together() {
        assert_ne!(
            hash(&vec!["ab".to_owned(), "c".to_owned()]),
            hash(&vec!["a".to_owned(), "bc".to_owned()])
        );
        assert_ne!(hash(&vec![None, Some(1_u64)]), hash(&vec![Some(1_u64), None]));
        assert_ne!(hash(&vec![String::new()]), hash(&Vec::<String>::new()));
    }

    #[test]
    fn the_domain_separates_equal_values() {
        assert_ne!(StableHasher::new("a").finish(), StableHasher::new("b").finish());
    }
}
