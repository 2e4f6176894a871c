//! JSON arrays of strings: the exec form.

use std::ops::Range;

use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::{map, map_opt, value};
use nom::multi::{fold_many0, separated_list0};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser as _};

/// What a text is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Array {
    /// An array of strings: each decoded, with the bytes it was written in, quotes included.
    Strings(Vec<(String, Range<usize>)>),
    /// Some other JSON array.
    OtherJson,
    /// Anything else.
    NoJson,
}

/// Reads `text`.
pub(super) fn array(text: &str) -> Array {
    if !text.trim_start().starts_with('[') {
        return Array::NoJson;
    }
    let element = |input| {
        let start = text.len() - str::len(input);
        map(string, |value| (value, start))
            .parse(input)
            .map(|(rest, (value, start))| (rest, (value, start..text.len() - rest.len())))
    };
    let list = separated_list0(delimited(space, char(','), space), element);
    let mut whole =
        delimited((take_while(char::is_whitespace), char('['), space), list, (space, char(']'), space));
    match whole.parse(text) {
        Ok(("", strings)) => Array::Strings(strings),
        // What has a number or an object in it is a mistake; what is no JSON at all is a command for the shell.
        _ => match serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text.trim_start()) {
            Ok(_) => Array::OtherJson,
            Err(_) => Array::NoJson,
        },
    }
}

fn space(input: &str) -> IResult<&str, &str> {
    take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r')).parse(input)
}

fn string(input: &str) -> IResult<&str, String> {
    let plain = map(take_while1(|c| c != '"' && c != '\\' && c >= ' '), Piece::Text);
    let pieces = fold_many0(alt((plain, escape)), String::new, |mut text, piece| {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Char(c) => text.push(c),
        }
        text
    });
    delimited(char('"'), pieces, char('"')).parse(input)
}

#[derive(Clone)]
enum Piece<'a> {
    Text(&'a str),
    Char(char),
}

fn escape(input: &str) -> IResult<&str, Piece<'_>> {
    let simple = alt((
        value('"', char('"')),
        value('\\', char('\\')),
        value('/', char('/')),
        value('\u{8}', char('b')),
        value('\u{c}', char('f')),
        value('\n', char('n')),
        value('\r', char('r')),
        value('\t', char('t')),
    ));
    map(preceded(char('\\'), alt((simple, pair, map(unit, lone)))), Piece::Char).parse(input)
}

/// `uXXXX`: one unit of UTF-16.
fn unit(input: &str) -> IResult<&str, u32> {
    let digits = take_while_m_n(4, 4, |c: char| c.is_ascii_hexdigit());
    map_opt(preceded(char('u'), digits), |digits| u32::from_str_radix(digits, 16).ok()).parse(input)
}

/// Two units that are one character.
fn pair(input: &str) -> IResult<&str, char> {
    map_opt((unit, preceded(char('\\'), unit)), |(high, low)| {
        if !(0xd800..0xdc00).contains(&high) || !(0xdc00..0xe000).contains(&low) {
            return None;
        }
        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
    })
    .parse(input)
}

/// Half of a pair alone is the replacement character, as in Go.
fn lone(unit: u32) -> char {
    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_decoded_and_placed() {
        let Array::Strings(strings) = array(r#" [ "a\u00e9\ud83d\ude00\ud800" ,"" ] "#) else {
            panic!("no strings")
        };
        assert_eq!(strings[0], ("aé😀\u{fffd}".to_owned(), 3..30));
        assert_eq!(strings[1].1, 32..34);
        assert_eq!(array("[]"), Array::Strings(vec![]));
    }

    #[test]
    fn other_arrays_and_other_texts_are_told_apart() {
        for text in [r#"["a", 1]"#, "[[]]", "[null]", "[1]"] {
            assert_eq!(array(text), Array::OtherJson, "{text}");
        }
        for text in ["['a']", r#"["a" "b"]"#, r#"["a",]"#, r#"["a"] b"#, "[", "x", "[\"a\nb\"]"] {
            assert_eq!(array(text), Array::NoJson, "{text}");
        }
    }
}
