//! The splitting of an expanded text into words.

/// Collects words. Text is added either plainly, and splits at blanks, or quoted, and does not.
#[derive(Debug, Default)]
pub(super) struct Words {
    done: Vec<String>,
    current: String,
}

impl Words {
    pub(super) fn plain(&mut self, text: &str) {
        for character in text.chars() {
            self.plain_character(character);
        }
    }

    pub(super) fn plain_character(&mut self, character: char) {
        if !character.is_whitespace() {
            self.current.push(character);
        } else if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    pub(super) fn quoted(&mut self, text: &str) {
        self.current.push_str(text);
    }

    pub(super) fn quoted_character(&mut self, character: char) {
        self.current.push(character);
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
