//! Pushes and pulls through the command line: real registries, bad lines, other tools at the other end.

mod config;
mod copying;
mod liar;
mod line;
mod modern;
mod odd;
mod push;
mod referrers;
