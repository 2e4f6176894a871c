//! The client against registries: one of the tests' own that lies and breaks on command, and the real docker-registry.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod auth;
mod fetch;
mod growing;
mod mirrors;
mod pull;
mod push;
mod real;
mod server;
