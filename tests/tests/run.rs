//! `kiln run`: a container of an image.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use kiln_tests::{Outcome, TestEnv, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// Runs a command in busybox.
fn run(env: &TestEnv, words: &[&str]) -> Outcome {
    env.kiln(["run", "--rm"].iter().chain(words)).run()
}

#[test]
fn output_and_exit_code_are_the_containers() {
    for env in TestEnv::all() {
        env.busybox();
        let outcome = run(&env, &["busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]).failure(7);
        assert_eq!((outcome.stdout().as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
        run(&env, &["busybox", "true"]).success();
    }
}

#[test]
fn exit_codes_of_docker_tell_what_went_wrong() {
    let env = TestEnv::new();
    env.busybox().write("not-executable", "x");
    run(&env, &["busybox", "no-such-program"]).failure(127).says(["no-such-program"]);
    run(&env, &["busybox", "/etc/passwd"]).failure(126);
    run(&env, &["--no-such-flag", "busybox"]).failure(125);
    run(&env, &["--pull=never", "no-such-image"]).failure(125).says(["no-such-image"]);
}

#[test]
fn environment_directory_and_user_are_set() {
    for env in TestEnv::all() {
        env.busybox();
        let words = ["-e", "A=1", "-e", "B", "-w", "/new/dir", "-u", "7:8", "busybox", "sh", "-c"];
        let words = [&words[..], &["echo $A-$B-$PWD; id -u; id -g"]].concat();
        let outcome = env.kiln(["run", "--rm"].iter().chain(&words)).env("B", "2").run().success();
        assert_eq!(outcome.stdout(), "1-2-/new/dir\n7\n8\n");
    }
}

#[test]
fn the_entrypoint_is_the_images_unless_another_is_given() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox\nENTRYPOINT [\"echo\", \"from\"]\nCMD [\"image\"]\n");
    env.build(["--tag=app"]).success();
    assert_eq!(run(&env, &["app"]).success().stdout(), "from image\n");
    assert_eq!(run(&env, &["app", "here"]).success().stdout(), "from here\n");
    assert_eq!(run(&env, &["--entrypoint", "printf", "app", "x%s", "y"]).success().stdout(), "xy");
}

#[test]
fn volumes_are_bound_and_read_only_ones_stay_as_they_are() {
    for env in TestEnv::all() {
        env.busybox().write("shared/in", "from the host");
        let dir = env.path("shared").display().to_string();
        let script = "cat /v/in; echo out > /v/out; touch /r/x 2>/dev/null || echo ' refused'";
        let volumes = [format!("{dir}:/v"), format!("{dir}:/r:ro")];
        let outcome =
            run(&env, &["-v", &volumes[0], "-v", &volumes[1], "busybox", "sh", "-c", script]).success();
        assert_eq!(outcome.stdout(), "from the host refused\n");
        assert_eq!(std::fs::read_to_string(env.path("shared/out")).expect("the file"), "out\n");
    }
}

#[test]
fn standard_input_is_given_with_i_and_withheld_without() {
    let env = TestEnv::new();
    env.busybox();
    let outcome =
        env.kiln(["run", "--rm", "-i", "busybox", "wc", "-c"]).stdin(vec![b'x'; 300_000]).run().success();
    assert_eq!(outcome.stdout().trim(), "300000");
    let outcome = env.kiln(["run", "--rm", "busybox", "wc", "-c"]).stdin("unseen").run().success();
    assert_eq!(outcome.stdout().trim(), "0");
}

#[test]
fn a_container_writes_to_a_layer_of_its_own_that_goes_away() {
    let env = TestEnv::new();
    env.busybox();
    run(&env, &["busybox", "sh", "-c", "rm -rf /bin/yes /etc; echo x > /new"]).success();
    run(&env, &["busybox", "sh", "-c", "test -e /bin/yes && test -e /etc/passwd && ! test -e /new"])
        .success();
}

#[test]
fn the_network_is_the_hosts_or_none() {
    let env = TestEnv::new();
    env.busybox();
    let none = run(&env, &["--network", "none", "busybox", "ls", "/sys/class/net"]).success();
    assert_eq!(none.stdout(), "lo\n");
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = server.local_addr().expect("an address").port().to_string();
    let accepted = std::thread::spawn(move || server.accept().is_ok());
    run(&env, &["--network", "host", "busybox", "nc", "-w", "2", "127.0.0.1", &port]);
    assert!(accepted.join().expect("the listener"), "the host's loopback is reached");
}

#[test]
fn signals_reach_the_process_in_the_container() {
    let env = TestEnv::new();
    env.busybox();
    let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let mut child = env.kiln(["run", "--rm", "busybox", "sh", "-c", script]).start();
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut text = String::new();
    let mut byte = [0];
    while !text.contains("ready\n") && stdout.read(&mut byte).expect("read") == 1 {
        text.push(char::from(byte[0]));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("kill");
    stdout.read_to_string(&mut text).expect("read");
    assert_eq!(text, "ready\ncaught\n");
    assert_eq!(child.wait().expect("wait").code(), Some(9));
}

/// A pseudo terminal: the side of the person, and the side of the program.
fn terminal(rows: u16, columns: u16) -> (std::fs::File, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("open a terminal");
    grantpt(&person).expect("grant");
    unlockpt(&person).expect("unlock");
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&person, size).expect("set the size");
    let name = ptsname(&person, Vec::new()).expect("the name of the terminal");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let program = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).expect("open the other side");
    (person.into(), program)
}

#[test]
fn a_terminal_has_the_window_size_and_echoes_what_is_typed() {
    let env = TestEnv::new();
    env.busybox();
    let (mut person, program) = terminal(33, 101);
    let clone = || Stdio::from(program.try_clone().expect("clone"));
    let script = "test -t 0 && test -t 1 && stty size; read line; echo got:$line; exit 5";
    let mut command = env
        .kiln(["run", "--rm", "-it", "busybox", "sh", "-c", script])
        .through(["setsid", "--ctty", "--wait"])
        .stdin_from(clone())
        .command();
    let mut child = command.stdout(clone()).stderr(clone()).spawn().expect("start");
    drop(command);
    drop(program);
    let reader = std::thread::spawn({
        let mut person = person.try_clone().expect("clone");
        move || {
            let mut text = Vec::new();
            let mut buffer = [0; 1024];
            // Reading fails when the last program has closed its side.
            while let Ok(n @ 1..) = person.read(&mut buffer) {
                text.extend_from_slice(&buffer[..n]);
            }
            String::from_utf8_lossy(&text).into_owned()
        }
    });
    person.write_all(b"typed\r").expect("type");
    let status = child.wait().expect("wait");
    let text = reader.join().expect("the reader");
    assert_eq!(status.code(), Some(5), "{text}");
    assert!(text.contains("33 101") && text.contains("got:typed"), "{text}");
}

#[test]
fn a_container_ends_with_a_kiln_that_is_killed() {
    let env = TestEnv::new();
    env.busybox();
    let mark = format!("4{}", std::process::id());
    let mut child =
        env.kiln(["run", "--rm", "busybox", "sh", "-c", &format!("echo up; sleep {mark}")]).start();
    let mut byte = [0; 3];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("it is up");
    child.kill().expect("kill -9");
    child.wait().expect("wait");
    assert!(wait_until(false, &["sleep", &mark]), "the container outlives kiln");
    run(&env, &["busybox", "true"]).success();
}
