//! Real input: Debian, a C program, a Python application, the tutorials' images, a web server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kiln_tests::{Peer, TestEnv};

/// Runs an image in kiln and, if it is there, in podman; both must say the same.
#[track_caller]
fn run_everywhere(env: &TestEnv, name: &str) -> String {
    let ours = env.kiln(["run", "--rm", name]).run().success().stdout();
    if let Some(podman) = Peer::podman(&env.path(".")) {
        let file = env.path("saved.tar").display().to_string();
        env.kiln(["save", "--output", &file, name]).run().success();
        podman.run(["load", "--quiet", "--input", &file]).success();
        let theirs = podman.run(Peer::PODMAN_RUN.into_iter().chain([name])).success().stdout();
        assert_eq!(ours, theirs, "podman says something else");
    }
    ours
}

const HELLO_C: &str =
    "#include <stdio.h>\nint main(void) { puts(\"hello from a static binary\"); return 0; }\n";

#[test]
fn debian_installs_packages_and_builds_c_and_python() {
    let env = TestEnv::new();
    if env.debian().is_none() {
        return;
    }
    env.file("hello.c", HELLO_C).file("app/__main__.py", "import lib\nprint(lib.words())\n");
    env.file("app/lib.py", "def words():\n    return 'hello from ' + 'python'\n");
    env.file(
        "Dockerfile",
        "FROM debian AS tools\n\
         RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev python3 && rm -rf /var/lib/apt/lists/*\n\
         FROM tools AS compile\nWORKDIR /src\nCOPY hello.c .\nRUN gcc -O2 -static -o hello hello.c\n\
         FROM scratch AS c\nCOPY --from=compile /src/hello /hello\nCMD [\"/hello\"]\n\
         FROM tools AS python\nCOPY app /app\nRUN python3 -m compileall -q /app\nCMD [\"python3\", \"/app\"]\n",
    );
    env.build(["--network=host", "--target=c", "--tag=c"]).success();
    assert_eq!(run_everywhere(&env, "c"), "hello from a static binary\n");
    let image = env.image(["--network=host", "--target=c"]);
    assert_eq!(image.listing().lines().count(), 1, "one file: {}", image.listing());

    env.build(["--network=host", "--target=python", "--tag=python"]).success();
    assert_eq!(run_everywhere(&env, "python"), "hello from python\n");
    let image = env.image(["--network=host", "--target=python"]);
    assert!(image.listing().contains("/app/__pycache__/lib.cpython-3"), "it is compiled");
}

#[test]
fn an_ordinary_user_installs_packages_too() {
    let Some(env) = TestEnv::rootless() else { return };
    if env.debian().is_none() {
        return;
    }
    env.file("Dockerfile", "FROM debian\nRUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev\nCMD [\"gcc\", \"-dumpmachine\"]\n");
    env.build(["--network=host", "--tag=gcc"]).success();
    assert!(env.kiln(["run", "--rm", "gcc"]).run().success().stdout().contains("linux-gnu"));
}

#[test]
fn the_tutorials_greeting_runs_as_nobody() {
    let env = TestEnv::new();
    env.busybox().file("greeting.txt", "hello, reader\n").file(
        "Dockerfile",
        "FROM busybox\nRUN echo 'nobody:x:65534:65534:nobody:/:/bin/false' >> /etc/passwd\nWORKDIR /app\n\
         COPY greeting.txt .\nUSER nobody\nCMD [\"cat\", \"greeting.txt\"]\n",
    );
    env.build(["--tag=greeting"]).success();
    assert_eq!(run_everywhere(&env, "greeting"), "hello, reader\n");
    let id = env.kiln(["run", "--rm", "greeting", "id", "-u"]).run().success();
    assert_eq!(id.stdout(), "65534\n");
}

#[test]
fn a_web_server_answers_on_the_hosts_network() {
    let env = TestEnv::new();
    env.busybox().file("index.html", "served by kiln\n").file(
        "Dockerfile",
        "FROM busybox\nCOPY index.html /www/\nEXPOSE 8080\nENV PORT=8080\n\
         CMD [\"sh\", \"-c\", \"exec httpd -f -p 127.0.0.1:$PORT -h /www\"]\n",
    );
    env.build(["--tag=web"]).success();
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let variable = format!("PORT={port}");
    let mut server = env.kiln(["run", "--rm", "--network=host", "-e", &variable, "web"]).start();
    let answer = ask(port);
    server.kill().expect("kill"); // the first process of a container has no default for SIGTERM
    server.wait().expect("wait");
    assert!(answer.ends_with("served by kiln\n"), "{answer:?}");
}

fn ask(port: u16) -> String {
    let patience = Instant::now() + Duration::from_secs(20);
    while Instant::now() < patience {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut answer = String::new();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("ask");
            stream.read_to_string(&mut answer).expect("read");
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20)); // a server in a container gives no event to wait on
    }
    String::new()
}
