//! `kiln build --on-failure=shell` and `kiln debug shell`: a shell in a step's place.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use kiln_tests::TestEnv;

const DOCKERFILE: &str = "FROM busybox\nRUN mkdir /w && chown 7 /w\nUSER 7\nWORKDIR /w\nENV NAME=value\n\
    RUN --mount=type=tmpfs,target=/t echo left-behind > made; echo x > /t/x; exit 3\n";

/// A pseudo terminal: the side of the person, and the side of the program.
fn terminal() -> (std::fs::File, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("open a terminal");
    grantpt(&person).expect("grant");
    unlockpt(&person).expect("unlock");
    let name = ptsname(&person, Vec::new()).expect("the name of the terminal");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let program = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).expect("open the other side");
    (person.into(), program)
}

/// Runs kiln on a terminal and types `typed` when `prompt` is seen: the exit code, and what was to be seen.
fn on_terminal(env: &TestEnv, words: &[&str], prompt: &str, typed: &str) -> (Option<i32>, String) {
    let (mut person, program) = terminal();
    let before = rustix::termios::tcgetattr(&program).expect("the terminal's state");
    let clone = || Stdio::from(program.try_clone().expect("clone"));
    let mut command = env.kiln(words).through(["setsid", "--ctty", "--wait"]).stdin_from(clone()).command();
    let mut child = command.stdout(clone()).stderr(clone()).spawn().expect("start");
    drop(command);
    let reader = std::thread::spawn({
        let (mut keys, prompt, typed) =
            (person.try_clone().expect("clone"), prompt.to_owned(), typed.to_owned());
        move || {
            let (mut text, mut buffer, mut waits) = (String::new(), [0; 1024], true);
            // Reading fails when the last program has closed its side.
            while let Ok(n @ 1..) = person.read(&mut buffer) {
                text.push_str(&String::from_utf8_lossy(&buffer[..n]));
                if waits && text.contains(&prompt) {
                    waits = false;
                    keys.write_all(typed.as_bytes()).expect("type");
                }
            }
            text
        }
    });
    let status = child.wait().expect("wait");
    let after = rustix::termios::tcgetattr(&program).expect("the terminal's state");
    assert_eq!(after.local_modes, before.local_modes, "the terminal is as it was");
    drop(program);
    (status.code(), reader.join().expect("the reader"))
}

#[test]
fn a_shell_shows_what_the_failed_step_left() {
    for env in TestEnv::all() {
        env.busybox().file("Dockerfile", DOCKERFILE);
        let (code, text) = on_terminal(
            &env,
            &["build", "--on-failure=shell", "--progress=plain", "context"],
            "the build ends with it",
            "cat made /t/x; echo $(id -u)-$NAME-$PWD; exit\r",
        );
        for expected in ["left-behind\r\n", "7-value-/w\r\n", "exit code: 3"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert_eq!(code, Some(1), "{text}");
        // What the shell did is in no cache.
        env.build([]).failure(1).says(["exit code: 3"]);
    }
}

#[test]
fn without_a_terminal_a_note_says_that_there_is_no_shell() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", DOCKERFILE);
    let outcome = env.build(["--on-failure=shell"]).failure(1);
    outcome.says(["opens no shell", "exit code: 3"]);
    env.kiln(["debug", "shell", "2", "context"]).run().failure(1).says(["needs a terminal"]);
}

#[test]
fn an_image_without_a_shell_gets_a_note() {
    let env = TestEnv::new();
    env.busybox().file(
        "Dockerfile",
        "FROM scratch\nCOPY --from=busybox /bin/busybox /bin/busybox\nRUN [\"/bin/busybox\", \"false\"]\n",
    );
    let (code, text) = on_terminal(&env, &["build", "--on-failure=shell", "context"], "no prompt", "");
    assert!(text.contains("has no /bin/sh") && text.contains("exit code: 1"), "{text}");
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn a_shell_is_opened_before_a_step_that_is_named_by_its_line_or_label() {
    const STAGES: &str = "FROM busybox AS build\nENV NAME=value\nRUN echo one > /one\n\
        RUN --mount=type=secret,id=word \\\n    echo two > /two\nFROM busybox\nCOPY --from=build /two /\nRUN cat /two\n";
    for env in TestEnv::each() {
        env.busybox().file("Dockerfile", STAGES).write("word", "open sesame");
        let secret = format!("id=word,src={}", env.path("word").display());
        let shell = |step, typed| {
            let words = ["debug", "shell", "--progress=plain", "--secret", &secret, step, "context"];
            on_terminal(&env, &words, "is kept", typed)
        };
        for step in ["5", "build 3/3"] {
            let look = "cat /one /run/secrets/word; ls /two; echo $NAME; exit\r";
            let (code, text) = shell(step, look);
            for expected in ["one\r\n", "open sesame", "/two: No such file", "value\r\n"] {
                assert!(text.contains(expected), "{step}: {expected}: {text}");
            }
            assert_eq!(code, Some(0), "{text}");
        }
        let (code, text) = shell("stage-1 3/3", "cat /two; exit\r");
        assert!(code == Some(0) && text.contains("two\r\n"), "{text}");
        let (code, text) = shell("2", "");
        assert!(text.contains("line 3: [build 2/3] RUN echo one") && code == Some(1), "{text}");
    }
}
