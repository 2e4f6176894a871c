//! What RUN steps are granted: networks, privileges, agents.

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

use kiln_tests::TestEnv;

use crate::corpus::Scenario;
use crate::made::Made;

#[test]
fn a_step_on_the_hosts_network_reaches_what_listens_there() {
    let Some(scenario) = Scenario::read("runnetwork/testRunHostNetwork") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("an address").port().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"foo\n");
        }
    });
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", scenario.text("dockerfile").replace("«port»", &port));
    // Without the right too: kiln's steps are on the host's network unless they ask for another.
    env.build(["--allow=network.host"]).success();
    env.build([]).success();
}

#[test]
fn a_step_without_a_sandbox_needs_the_right_to_it() {
    let Some(scenario) = Scenario::read("runsecurity/testRunSecurityInsecure") else { return };
    let env = TestEnv::new();
    // A machine may withhold capabilities from its administrator too: what it grants is all there is.
    let status = std::fs::read_to_string("/proc/self/status").expect("read status");
    let all = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("a bounding set");
    let bits = u64::from_str_radix(all.trim(), 16).expect("hexadecimal") & 0x3f_ffff_ffff;
    let dockerfile = scenario.dockerfile().replace("== \"3fffffffff\"", &format!("== \"{bits:x}\""));
    env.busybox().file("Dockerfile", dockerfile);
    env.build([]).failure(1).says(["security.insecure"]);
    env.build(["--allow=security.insecure"]).success();
}

/// An agent with one key, ended when it is dropped.
struct Agent {
    process: String,
    socket: String,
}

impl Agent {
    fn start(env: &TestEnv) -> Self {
        let socket = env.path("agent.sock").display().to_string();
        let output = Command::new("ssh-agent").args(["-a", &socket]).output().expect("start ssh-agent");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let process = text.split("SSH_AGENT_PID=").nth(1).and_then(|rest| rest.split(';').next());
        Self { process: process.expect("a process").to_owned(), socket }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(&self.process).status();
    }
}

#[test]
fn the_agents_socket_has_the_owner_and_mode_that_the_step_asks_for() {
    let Some(scenario) = Scenario::read("ssh/testSSHSocketParams") else { return };
    let env = TestEnv::new();
    let agent = Agent::start(&env);
    env.busybox().file("Dockerfile", scenario.dockerfile());
    env.build([&*format!("--ssh=default={}", agent.socket)]).success();
}

#[test]
fn a_key_file_is_an_agent_too_and_a_missing_agent_fails_only_where_it_is_required() {
    let env = TestEnv::new();
    let key = env.path("key").display().to_string();
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]).status();
    assert!(made.expect("run ssh-keygen").success());
    env.busybox().file("Dockerfile", "FROM busybox\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\"\n");
    env.build([&*format!("--ssh=default={key}")]).success();
    env.file("Dockerfile", "FROM busybox\nRUN --mount=type=ssh,required=true true\n");
    env.build([]).failure(1).says(["ssh"]);
    env.file("Dockerfile", "FROM busybox\nRUN --mount=type=ssh true\n");
    env.build([]).success();
}

#[test]
fn secrets_have_the_path_owner_and_mode_that_the_step_asks_for() {
    let env = TestEnv::new();
    env.write("secret", "topsecret");
    let lines = [
        "FROM busybox",
        "RUN --mount=type=secret,required=false,mode=741,uid=100,gid=102,target=/mysecret \\",
        "  [ \"$(stat -c '%u %g %f' /mysecret)\" = '100 102 81e1' ]",
        "RUN --mount=type=secret,id=mysecret cat /run/secrets/mysecret | grep -x topsecret",
        "RUN --mount=type=secret,id=absent [ ! -e /run/secrets/absent ]",
    ];
    env.busybox().file("Dockerfile", lines.join("\n"));
    let secret = format!("--secret=id=mysecret,src={}", env.path("secret").display());
    env.build([&*secret]).success();
    env.file("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=absent,required true\n");
    env.build([&*secret]).failure(1).says(["absent"]);
}

#[test]
fn a_cache_mount_is_kept_between_builds_and_is_in_no_layer() {
    let env = TestEnv::new();
    let run =
        "RUN --mount=type=cache,target=/c echo x >> /c/log && cp /c/log /out && head -c 9 /dev/urandom > /u";
    env.busybox().file("Dockerfile", format!("FROM busybox AS a\n{run}\nFROM scratch\nCOPY --from=a / /\n"));
    assert_eq!(Made::new(&env, &[]).content("out"), "x\n");
    let second = Made::new(&env, &["--no-cache-filter=a"]);
    assert_eq!(second.content("out"), "x\nx\n");
    assert!(!second.has("c/log"));
}

#[test]
fn a_device_that_is_described_is_lent_and_a_required_one_must_be() {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox\nRUN --device=vendor2.com/device=bar,required true\n");
    env.build([]).failure(1).says(["vendor2.com/device"]);
}
