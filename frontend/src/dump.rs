//! The tree as text: one line in parentheses an instruction, every word quoted.

use crate::ast::{Dockerfile, Instruction};
use crate::syntax::go;

/// The instructions of `dockerfile` in the form of BuildKit's parser tests.
pub fn dump(dockerfile: &Dockerfile) -> String {
    let mut text = String::new();
    for instruction in &dockerfile.instructions {
        text.push('(');
        text.push_str(&one(instruction));
        text.push_str(")\n");
    }
    text.truncate(text.trim_end().len());
    text
}

fn one(instruction: &Instruction) -> String {
    let mut text = instruction.keyword.value.to_lowercase();
    if !instruction.flags.is_empty() {
        let flags: Vec<String> = instruction
            .flags
            .iter()
            .map(|flag| match &flag.value {
                Some(value) => go::quote(&format!("--{}={}", flag.name.value, value.value)),
                None => go::quote(&format!("--{}", flag.name.value)),
            })
            .collect();
        text.push_str(&format!(" [{}]", flags.join(" ")));
    }
    for word in &instruction.arguments.words {
        text.push(' ');
        text.push_str(&go::quote(&word.value));
    }
    if let Some(trigger) = &instruction.arguments.trigger {
        text.push_str(&format!(" ({})", one(trigger)));
    }
    text.trim().to_owned()
}
