//! Variables in the order they were last set.

use std::collections::{BTreeMap, HashMap};

use crate::expand::Variables;

/// Variables in the order they were last set: what a process gets, and what words are expanded with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    entries: BTreeMap<u64, (String, String)>,
    places: HashMap<String, u64>,
    next: u64,
    bytes: usize,
}

impl Environment {
    /// Sets a variable; one that was set before moves to the end.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if let Some(place) = self.places.insert(name.to_owned(), self.next) {
            self.forget(place);
        }
        self.bytes += size(name, value);
        self.entries.insert(self.next, (name.to_owned(), value.to_owned()));
        self.next += 1;
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(place) = self.places.remove(name) {
            self.forget(place);
        }
    }

    fn forget(&mut self, place: u64) {
        if let Some((name, value)) = self.entries.remove(&place) {
            self.bytes -= size(&name, &value);
        }
    }

    /// About how much memory a copy of it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.values().map(|(name, _)| name.as_str())
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &(String, String)> {
        self.entries.values()
    }
}

/// About how much memory a variable takes.
fn size(name: &str, value: &str) -> usize {
    const OVERHEAD: usize = 80;
    name.len() + value.len() + OVERHEAD
}

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        let place = self.places.get(name)?;
        self.entries.get(place).map(|(_, value)| value.as_str())
    }
}
