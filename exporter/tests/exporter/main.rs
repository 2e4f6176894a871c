//! From a configuration and layers to what other tools read.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod assemble;
mod interop;
mod layout;
mod peer;
mod registry;
mod rootfs;
mod sample;
