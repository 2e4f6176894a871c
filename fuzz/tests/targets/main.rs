//! One campaign for everything that reads what strangers wrote. `KILN_FUZZ_SECONDS` says how long each takes.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod archive;
mod dockerfile;
mod expansion;
mod ignore;
mod layer;
mod mount;
mod name;
mod spans;
mod world;

/// An input as a text: what is no UTF-8 becomes a character of three bytes, which is just as unusual.
fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}
