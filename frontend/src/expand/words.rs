//! The splitting of an expanded text into words.

/// Collects words. Text is added either plainly, and splits at blanks, or quoted, and does not.
#[derive(Debug)]
pub(super) struct Words {
    wanted: bool,
    done: Vec<String>,
    current: String,
}

impl Words {
    /// No words yet; none ever if they are not `wanted`.
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, done: Vec::new(), current: String::new() }
    }

    pub(super) fn plain(&mut self, text: &str) {
        if !self.wanted {
            return;
        }
        for character in text.chars() {
            self.plain_character(character);
        }
    }

    pub(super) fn plain_character(&mut self, character: char) {
        if !character.is_whitespace() {
            self.quoted_character(character);
        } else if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    pub(super) fn quoted(&mut self, text: &str) {
        if self.wanted {
            self.current.push_str(text);
        }
    }

    pub(super) fn quoted_character(&mut self, character: char) {
        if self.wanted {
            self.current.push(character);
        }
    }

    pub(super) fn forget_current_if(&mut self, so: bool) {
        if so {
            self.current.clear();
        }
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}
