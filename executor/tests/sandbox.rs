//! The sandbox from outside: steps in a busybox root, as root and as an ordinary user.
//!
//! Namespaces are entered before there are threads, which the usual test harness cannot do, so this one is its own: it
//! lists its tests, runs those that are named (all of them, each in a process of its own, otherwise) and, as root, runs them
//! a second time as an unprivileged user.

#![expect(clippy::unwrap_used, reason = "a failed preparation fails the test")]

#[path = "sandbox/attacks.rs"]
mod attacks;
#[path = "sandbox/cases.rs"]
mod cases;
#[path = "sandbox/fixture.rs"]
mod fixture;
#[path = "sandbox/floor.rs"]
mod floor;

use std::process::{Command, ExitCode};

/// Says that this process is an ordinary user's already.
const AS_USER: &str = "--as-user";

/// Has the rung of a user without subordinate ids taken.
const ONE_ID: &str = "--one-id";

/// The ways in which a case is run: the beginning of its name, and the flags that the ordinary user's process is given. A case
/// that looks at ids other than root's has no sense where there are none.
const WAYS: [(&str, &[&str]); 2] = [("rootless::", &[AS_USER]), ("one_id::", &[AS_USER, ONE_ID])];

/// Makes a case the process that another run of it kills; the file it writes follows.
const VICTIM: &str = "--victim";

/// The file that this process writes until it is killed, if it is there for that.
fn victim_marker() -> Option<String> {
    std::env::args().skip_while(|argument| argument != VICTIM).nth(1)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let names: Vec<&String> =
        arguments.iter().take_while(|a| *a != VICTIM).filter(|argument| !argument.starts_with('-')).collect();
    let root = rustix::process::geteuid().is_root();

    if flag("--list") {
        if !flag("--ignored") {
            names_of_all().for_each(|name| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    if flag("--floor") {
        floor::measure();
        return ExitCode::SUCCESS;
    }
    if let (true, [name]) = (flag("--exact"), names.as_slice()) {
        return run_one(name, root, flag(AS_USER));
    }
    run_all(&names)
}

fn run_one(name: &str, root: bool, as_user: bool) -> ExitCode {
    let way = WAYS.iter().find_map(|(way, flags)| Some((name.strip_prefix(way)?, flags)));
    if let (Some((plain, flags)), false) = (way, as_user) {
        if !root {
            eprintln!("skipped: becoming another user needs root");
            return ExitCode::SUCCESS;
        }
        return fixture::as_ordinary_user(&[&["--exact", plain], *flags].concat());
    }
    let Some((_, case)) = cases::CASES.iter().find(|(known, _)| *known == name) else {
        eprintln!("no test is called {name}");
        return ExitCode::FAILURE;
    };
    match fixture::Fixture::enter() {
        Ok(fixture) => {
            case(&fixture);
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("skipped: {reason}");
            ExitCode::SUCCESS
        }
    }
}

fn run_all(filters: &[&String]) -> ExitCode {
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let mut failed = Vec::new();
    for name in names_of_all().filter(|name| wanted(name)) {
        let program = std::env::current_exe().expect("this program has a path");
        let output =
            Command::new(program).args(["--exact", &name]).output().expect("this program can be started");
        let text = String::from_utf8_lossy(&output.stderr);
        let skipped = text.lines().find(|line| line.starts_with("skipped: "));
        println!(
            "test {name} ... {}",
            if output.status.success() { skipped.unwrap_or("ok") } else { "FAILED" }
        );
        if !output.status.success() {
            println!("{text}");
            failed.push(name);
        }
    }
    println!("\n{} failed: {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each case in each way.
fn names_of_all() -> impl Iterator<Item = String> {
    let ways = ["", WAYS[0].0, WAYS[1].0].into_iter();
    ways.flat_map(|way| cases::CASES.iter().map(move |(name, _)| format!("{way}{name}"))).filter(|name| {
        !(name.starts_with(WAYS[1].0) && cases::NEED_IDS.iter().any(|case| name.ends_with(case)))
    })
}
