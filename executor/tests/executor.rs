//! Ops on a real store, with a real sandbox: a context is copied, a process runs on it, stages are copied from.
//!
//! The isolation is entered before there are threads, which the usual harness cannot do: each test is a process of its own.

#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

#[path = "executor/cases.rs"]
mod cases;
#[path = "executor/images.rs"]
mod images;
#[path = "executor/world.rs"]
mod world;

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            for (name, _) in cases::CASES {
                println!("{name}: test");
            }
        }
        return ExitCode::SUCCESS;
    }
    if let (true, [name]) = (arguments.iter().any(|argument| argument == "--exact"), names.as_slice()) {
        let Some((_, case)) = cases::CASES.iter().find(|(known, _)| known == name) else {
            eprintln!("no test is called {name}");
            return ExitCode::FAILURE;
        };
        match world::World::enter() {
            Ok(world) => case(&world),
            Err(reason) => eprintln!("skipped: {reason}"),
        }
        return ExitCode::SUCCESS;
    }
    let own = std::env::current_exe().expect("a running test has a path");
    let mut failed = false;
    for (name, _) in cases::CASES {
        if !names.is_empty() && !names.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let status = Command::new(&own).args(["--exact", name]).status().expect("it can be started again");
        println!("test {name} ... {}", if status.success() { "ok" } else { "FAILED" });
        failed |= !status.success();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
