//! The client against registries: one of the tests' own that lies and breaks on command, and the real docker-registry.

mod auth;
mod fetch;
mod mirrors;
mod pull;
mod push;
mod real;
mod server;
