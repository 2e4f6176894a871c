//! What is done to an input: small damage, pieces of other inputs, words that mean something.

use crate::random::Random;

/// The longest input that is made: what grows faster than its input shows itself long before this.
pub(crate) const LONGEST: usize = 32 * 1024;

/// A changed copy of `input`, one to eight times.
pub(crate) fn mutated(input: &[u8], pool: &[Vec<u8>], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(8) {
        mutate(&mut bytes, pool, words, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&[u8]], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(12) {
        0 => flip(bytes, at, random),
        1 => replace(bytes, at, 1, &[random.number() as u8]),
        2 => drop(bytes.drain(piece(bytes, random))),
        3 | 4 => {
            let piece = bytes[piece(bytes, random)].to_vec();
            replace(bytes, at, 0, &piece);
        }
        5..=7 => {
            let word = *random.pick(words);
            replace(bytes, at, 0, word);
        }
        8 => {
            let word = *random.pick(words);
            replace(bytes, at, word.len(), word);
        }
        9 => {
            let other = random.pick(pool);
            let part = other[piece(other, random)].to_vec();
            replace(bytes, at, 0, &part);
        }
        10 => {
            let other = random.pick(pool);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        _ => {
            let times = 1 << random.below(9);
            let word = random.pick(words).repeat(times);
            replace(bytes, at, 0, &word);
        }
    }
}

fn flip(bytes: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn replace(bytes: &mut Vec<u8>, at: usize, old: usize, new: &[u8]) {
    let end = (at + old).min(bytes.len());
    bytes.splice(at..end, new.iter().copied());
}

/// A part of `bytes`: mostly a short one, or a line.
fn piece(bytes: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(bytes.len() + 1);
    let rest = bytes.len() - start;
    match random.below(4) {
        0 => start..start + random.below(rest + 1),
        1 => {
            let line = bytes[start..].iter().position(|&byte| byte == b'\n');
            start..start + line.map_or(rest, |length| length + 1)
        }
        _ => start..start + random.below(rest.min(24) + 1),
    }
}
