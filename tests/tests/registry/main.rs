//! Pushes and pulls through the command line: real registries, bad lines, other tools at the other end.

mod attributes;
mod bad_input;
mod config;
mod copying;
mod credentials;
mod interop;
mod liar;
mod line;
mod modern;
mod odd;
mod proxy;
mod push;
mod referrers;
mod tls;
