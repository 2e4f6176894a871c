//! Networks of steps and containers.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Child;
use std::time::{Duration, Instant};

use kiln_tests::{Outcome, TestEnv, skipped};
use rustix::process::{Pid, Signal, kill_process};

/// Waits until `done` gives something; the kernel tells nobody when it has cleaned up.
#[track_caller]
fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn run(env: &TestEnv, words: &[&str]) -> Outcome {
    env.kiln(["run", "--rm"].iter().chain(words)).run()
}

/// A port of loopback that is free at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    listener.local_addr().expect("an address").port()
}

/// A container that runs until it is dropped.
struct Container {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Container {
    fn start(env: &TestEnv, words: &[&str]) -> Self {
        let mut child = env.kiln(["run", "--rm"].iter().chain(words)).start();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read");
        line.trim().to_owned()
    }

    /// Ends it with a signal; of an ordinary user, runuser is in front of kiln.
    fn signal(&mut self, signal: Signal) {
        let named = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "kiln"
        };
        let below = descendants(self.child.id()).into_iter().map(|(pid, _)| pid);
        for pid in std::iter::once(self.child.id()).chain(below).filter(named) {
            // It may have ended.
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).expect("a process"), signal);
        }
        self.child.wait().expect("wait");
    }

    fn end(&mut self) {
        self.signal(Signal::TERM);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The page that a web server at `address` shows, if there is one.
fn page(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

const UNTIL_TOLD: &str = "trap 'exit 0' TERM; echo up; sleep 1000 & wait";
const WEB_SERVER: &str = "trap 'exit 0' TERM; mkdir /w; echo a page > /w/index.html; httpd -p 8080 -h /w; \
    ip -4 -o addr show eth0; sleep 1000 & wait";

#[test]
fn a_published_port_answers_on_its_address_alone() {
    for env in TestEnv::each() {
        env.busybox();
        let port = free_port();
        let mapping = format!("127.0.0.1:{port}:8080");
        let mut container = Container::start(&env, &["-p", &mapping, "busybox", "sh", "-c", WEB_SERVER]);
        assert!(container.line().contains("eth0"), "it has a link");
        let text = wait_for("the page", || page((Ipv4Addr::LOCALHOST, port).into()));
        assert!(text.ends_with("a page\n"), "{text}");
        let other: SocketAddr = (Ipv4Addr::new(127, 0, 0, 2), port).into();
        assert!(TcpStream::connect_timeout(&other, Duration::from_secs(2)).is_err(), "{other} answers too");
        let again = run(&env, &["-p", &mapping, "busybox", "true"]).failure(125);
        assert_eq!(again.stderr, format!("error: port is in use: 127.0.0.1:{port}/tcp\n"));
    }
}

#[test]
fn a_port_without_an_address_answers_on_all_of_them() {
    for env in TestEnv::each() {
        env.busybox();
        let port = free_port();
        let mapping = format!("{port}:8080");
        let _container = Container::start(&env, &["-p", &mapping, "busybox", "sh", "-c", WEB_SERVER]);
        for host in ["127.0.0.1", "127.0.0.9", "::1"] {
            let host: IpAddr = host.parse().expect("an address");
            if host.is_ipv6() && TcpListener::bind((host, 0)).is_err() {
                continue; // a machine without IPv6
            }
            wait_for(&format!("the page from {host}"), || page((host, port).into()));
        }
    }
}

/// Not a test: this program is what runs in the container of the next one.
#[test]
fn answers_datagrams_if_told_to() {
    if std::env::var_os("KILN_TEST_ECHO").is_none() {
        return;
    }
    let socket = UdpSocket::bind("0.0.0.0:5300").expect("bind");
    println!("\nready");
    let mut buffer = [0; 2000];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).expect("receive");
        let answer = [b"echo ".as_slice(), &buffer[..length]].concat();
        socket.send_to(&answer, from).expect("answer");
    }
}

#[test]
fn datagrams_reach_a_published_port_and_answers_come_back() {
    for env in TestEnv::each() {
        env.busybox();
        let own = std::env::current_exe().expect("a running program has a path");
        env.write("echo", std::fs::read(own).expect("read this program"));
        std::fs::set_permissions(env.path("echo"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("chmod");
        let volume = format!("{}:/echo:ro", env.path("echo").display());
        let port = free_port();
        let mapping = format!("127.0.0.1:{port}:5300/udp");
        let words = ["-v", &volume, "-e", "KILN_TEST_ECHO=1", "-p", &mapping, "busybox", "/echo", "--exact"];
        let words = [&words[..], &["answers_datagrams_if_told_to", "--nocapture"]].concat();
        let mut container = Container::start(&env, &words);
        while container.line() != "ready" {}
        for _ in 0..2 {
            let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
            client.set_read_timeout(Some(Duration::from_secs(10))).expect("set a time limit");
            for word in ["one", "two"] {
                client.send_to(word.as_bytes(), ("127.0.0.1", port)).expect("send");
                let mut buffer = [0; 100];
                let (length, from) = client.recv_from(&mut buffer).expect("an answer");
                assert_eq!(std::str::from_utf8(&buffer[..length]), Ok(&*format!("echo {word}")));
                assert_eq!(from.port(), port);
            }
        }
    }
}

/// The address of this machine towards others.
#[track_caller]
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
    let address = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr());
    match address {
        Ok(address) => Some(address.ip()),
        Err(_) => {
            skipped("this machine has no route to others");
            None
        }
    }
}

/// Says hello to whoever asks for a page.
fn greeter(listener: TcpListener) -> u16 {
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 1024];
            // It may have gone again.
            let _ = client.read(&mut request);
            let _ = client.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
        }
    });
    port
}

#[test]
fn a_private_step_reaches_other_machines_but_not_the_hosts_loopback() {
    let Some(address) = own_address() else { return };
    let public = greeter(TcpListener::bind("0.0.0.0:0").expect("listen"));
    let local = greeter(TcpListener::bind("127.0.0.1:0").expect("listen"));
    for env in TestEnv::each() {
        env.busybox().file(
            "Dockerfile",
            format!(
                "FROM busybox\n\
                 RUN --network=private (echo GET / HTTP/1.0; echo; sleep 1) | nc -w 5 {address} {public} > /public\n\
                 RUN --network=private for to in 127.0.0.1 $(ip route | sed -n 's/default via \\([0-9.]*\\) .*/\\1/p') {address}; do \
                   ! sleep 1 | nc -w 2 $to {local} || exit 1; done\n"
            ),
        );
        env.build(["--tag=reached"]).success();
        assert!(run(&env, &["reached", "cat", "/public"]).success().stdout().ends_with("hello\n"));
    }
}

#[test]
fn the_flag_of_a_build_is_the_default_of_its_steps() {
    for env in TestEnv::each() {
        env.busybox().file(
            "Dockerfile",
            "FROM busybox\nRUN ls /sys/class/net > /default\nRUN --network=none ls /sys/class/net > /none\n",
        );
        env.build(["--tag=links", "--network=private"]).success();
        let links = run(&env, &["links", "cat", "/default", "/none"]).success().stdout();
        let links: Vec<&str> = links.split_whitespace().collect();
        assert_eq!(links, ["eth0", "lo", "lo"], "a private step has eth0, one with none has loopback alone");
    }
}

#[test]
fn hosts_and_name_servers_are_those_asked_for() {
    for env in TestEnv::each() {
        env.busybox();
        let flags = ["--network=private", "--hostname=box", "--dns=192.0.2.53", "--dns-search=example.org"];
        let more = ["--add-host=db:192.0.2.7", "--add-host=outside:host-gateway", "busybox", "sh", "-c"];
        let script = "cat /etc/resolv.conf; grep -v localhost /etc/hosts; ip -4 -o addr show eth0";
        let text = run(&env, &[&flags[..], &more, &[script]].concat()).success().stdout();
        assert!(text.starts_with("nameserver 192.0.2.53\nsearch example.org\n"), "{text}");
        let line = |name: &str| {
            let end = format!("\t{name}");
            let found = text.lines().find_map(|line| line.strip_suffix(&*end));
            found.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
        };
        assert_eq!(line("db"), "192.0.2.7");
        assert!(text.contains(&format!("inet {}/", line("box"))), "{text}");
        assert!(line("outside").parse::<IpAddr>().is_ok_and(|address| !address.is_loopback()), "{text}");
    }
}

#[test]
fn a_name_server_on_the_hosts_loopback_is_asked_for_the_container() {
    let env = TestEnv::new();
    if env.is_rootless() {
        return skipped("only root can listen on port 53");
    }
    env.busybox();
    let server = Ipv4Addr::new(127, 41, (std::process::id() >> 8) as u8, std::process::id() as u8);
    let socket = UdpSocket::bind((server, 53)).expect("listen on port 53");
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // The question, one answer: its name, A, IN, 60 s, 203.0.113.7; none for other kinds.
            let end = 12 + buffer[12..length].iter().position(|&b| b == 0).unwrap_or(0) + 5;
            let is_a = buffer[end - 4..end] == [0, 1, 0, 1];
            let mut answer =
                [&buffer[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0], &buffer[12..end]].concat();
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 7]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    env.write("resolv.conf", format!("nameserver {server}\n"));
    let script =
        format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", env.path("resolv.conf").display());
    let words = ["run", "--rm", "--network=private", "busybox", "nslookup", "somewhere.example"];
    let outcome = env.kiln(words).through(["unshare", "--mount", "sh", "-c", &script, "sh"]).run().success();
    assert!(outcome.stdout().contains("203.0.113.7"), "{outcome}");
}

/// All processes below `root`, with the time of their start: numbers are used again.
fn descendants(root: u32) -> BTreeSet<(u32, String)> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("list /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name, in parentheses, may contain anything.
        let fields: Vec<&str> = stat.rsplit(')').next().expect("a field").split_whitespace().collect();
        if fields[0] != "Z" {
            parents.push((pid, fields[1].parse::<u32>().expect("a number"), fields[19].to_owned()));
        }
    }
    let mut found = BTreeSet::new();
    let mut roots = vec![root];
    while let Some(root) = roots.pop() {
        for (pid, parent, start) in &parents {
            if *parent == root && found.insert((*pid, start.clone())) {
                roots.push(*pid);
            }
        }
    }
    found
}

fn alive(process: &(u32, String)) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0)).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(19).is_some_and(|start| *start == process.1) && fields[0] != "Z"
}

/// The host's end of the link to a container, by the container's address.
fn link_to(line: &str) -> Option<String> {
    let address = line.split_whitespace().skip_while(|word| *word != "inet").nth(1)?;
    let address: Ipv4Addr = address.split('/').next()?.parse().ok()?;
    let number = (u32::from(address) - u32::from(Ipv4Addr::new(10, 90, 0, 0))) / 4;
    Some(format!("/sys/class/net/kiln{number}"))
}

#[test]
fn nothing_is_left_behind() {
    for env in TestEnv::each() {
        env.busybox();
        for kill in [false, true] {
            let port = free_port();
            let mapping = format!("127.0.0.1:{port}:8080");
            let mut container = Container::start(&env, &["-p", &mapping, "busybox", "sh", "-c", WEB_SERVER]);
            let line = container.line();
            let link = if env.is_rootless() { None } else { link_to(&line) };
            assert!(
                env.is_rootless() || link.as_ref().is_some_and(|link| std::fs::exists(link).unwrap_or(false))
            );
            let processes = descendants(container.child.id());
            assert!(processes.len() >= 3, "kiln, launcher, network: {processes:?}");
            container.signal(if kill { Signal::KILL } else { Signal::TERM });
            wait_for("processes of the network outlive kiln", || {
                (!processes.iter().any(alive)).then_some(())
            });
            TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
            if let Some(link) = link {
                wait_for("the link outlives kiln", || {
                    (!std::fs::exists(&link).unwrap_or(true)).then_some(())
                });
            }
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let Some(env) = TestEnv::rootless() else { return };
    env.busybox().file("Dockerfile", "FROM busybox\nRUN --network=private true\n");
    let nowhere = ["env", "PATH=/nonexistent"];
    let words = ["run", "--rm", "--network=private", "busybox", "true"];
    env.kiln(words).through(nowhere).run().failure(125).says(["pasta", "package passt"]);
    env.build_command([]).through(nowhere).run().failure(1).says(["package passt"]);
}

#[test]
fn what_cannot_be_published_is_one_clear_line() {
    let env = TestEnv::new();
    env.busybox();
    for (words, problem) in [
        (&["-p", "x"][..], "invalid --publish `x`"),
        (&["-p", "203.0.113.77:0:80"], "no interface of this host has the address"),
        (&["--dns", "x", "--network=private"], "invalid --dns `x`"),
        (&["--network", "no/name"], "invalid --network `no/name`"),
        (
            &["--network", "container:x", "-p", "80"],
            "conflicting options: port publishing and the container type network mode",
        ),
    ] {
        let outcome = run(&env, &[words, &["busybox", "true"]].concat()).failure(125).says([problem]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    }
}

/// The address that a container's line of `ip -o addr` shows.
fn address_in(line: &str) -> String {
    let address = line.split_whitespace().skip_while(|word| *word != "inet").nth(1);
    let address = address.and_then(|address| address.split('/').next());
    address.unwrap_or_else(|| panic!("no address in {line}")).to_owned()
}

/// Fetches a page in a container. The connection stays open in both directions until the server has answered: old versions
/// of pasta send again and again what comes after one direction was closed. Whoever answers for an address that nobody has
/// may keep it open for ever.
fn fetch(host: &str, port: u16) -> String {
    format!("(echo GET / HTTP/1.0; echo; sleep 1) | timeout 8 nc -w 3 {host} {port}")
}

#[test]
fn containers_of_one_network_reach_each_other_by_name_and_others_do_not() {
    for env in TestEnv::each() {
        env.busybox();
        for name in ["a", "b"] {
            env.kiln(["network", "create", name]).run().success();
        }
        let port = free_port();
        let mapping = format!("127.0.0.1:{port}:8080");
        let words = ["--network=a", "--network-alias=web", "-p", &mapping, "busybox", "sh", "-c", WEB_SERVER];
        let mut web = Container::start(&env, &words);
        let address = address_in(&web.line());
        wait_for("the page at the published port", || page((Ipv4Addr::LOCALHOST, port).into()));

        let resolve = "to=$(nslookup web | sed -n 's/^Address: \\([0-9.]*\\)$/\\1/p'); test -n \"$to\"";
        let by_name = format!("{resolve} && {}", fetch("$to", 8080));
        let asked = run(&env, &["--network=a", "busybox", "sh", "-c", &by_name]).success();
        assert!(asked.stdout().ends_with("a page\n"), "{asked}");
        run(&env, &["--network=b", "busybox", "nslookup", "web"]).failure(1);
        let direct = fetch(&address, 8080);
        // Something else on the way may answer for any address.
        for elsewhere in ["--network=b", "--network=private"] {
            run(&env, &[elsewhere, "busybox", "sh", "-c", &direct]).says_not(["a page"]);
        }

        let shown = env.kiln(["network", "inspect", "a"]).run().success().json();
        assert_eq!(shown[0]["Containers"][0]["Names"][0], "web", "{shown}");
        assert_eq!(shown[0]["Containers"][0]["IPv4Address"], format!("{address}/24"), "{shown}");
        env.kiln(["network", "rm", "a"]).run().failure(1).says(["in use by web"]);

        // A name goes with its container, and another may have it.
        let mut other = Container::start(&env, &["--network=a", "busybox", "sh", "-c", UNTIL_TOLD]);
        assert_eq!(other.line(), "up");
        web.end();
        wait_for("the name is forgotten", || {
            let asked = run(&env, &["--network=a", "busybox", "nslookup", "web"]);
            (asked.code == 1).then_some(())
        });
        other.end();
        // The hub ends with the last member.
        let socket = env.store().join("networks/a/hub.sock");
        wait_for("the hub outlives the network", || (!socket.exists()).then_some(()));
        env.kiln(["network", "rm", "a"]).run().success();
    }
}

#[test]
fn a_member_reaches_out_through_its_network() {
    let Some(address) = own_address() else { return };
    let public = greeter(TcpListener::bind("0.0.0.0:0").expect("listen"));
    let fetch = fetch(&address.to_string(), public);
    for env in TestEnv::each() {
        env.busybox();
        env.kiln(["network", "create", "out"]).run().success();
        let words = ["--network=out", "busybox", "sh", "-c", &fetch];
        assert!(run(&env, &words).success().stdout().ends_with("hello\n"));
    }
}

#[test]
fn networks_are_made_listed_and_removed() {
    let env = TestEnv::new();
    env.busybox();
    let id = env.kiln(["network", "create", "--label", "k=v", "one"]).run().success().stdout();
    assert_eq!(id.trim().len(), 64);
    env.kiln(["network", "create", "--subnet", "10.7.8.0/24", "two"]).run().success();
    env.kiln(["network", "create", "one"]).run().failure(1).says(["there is a network `one` already"]);
    for bad in ["host", "../x", "a b"] {
        env.kiln(["network", "create", bad]).run().failure(1).says(["cannot be called"]);
    }
    env.kiln(["network", "create", "--subnet", "10.7.8.0/16", "three"])
        .run()
        .failure(1)
        .says(["10.1.2.0/24"]);
    env.kiln(["network", "create", "--subnet", "10.7.8.0/24", "three"])
        .run()
        .failure(1)
        .says(["another network"]);
    assert_eq!(env.kiln(["network", "ls", "-q"]).run().success().stdout(), "one\ntwo\n");
    env.kiln(["network", "ls"]).run().success().says(["NETWORK ID", "10.7.8.0/24", id.trim().split_at(12).0]);
    let shown = env.kiln(["network", "inspect", "two"]).run().success().json();
    assert_eq!(shown[0]["IPAM"]["Config"][0]["Gateway"], "10.7.8.1");
    env.kiln(["network", "inspect", "none-such"]).run().failure(1).says(["there is no network `none-such`"]);
    run(&env, &["--network=none-such", "busybox", "true"])
        .failure(125)
        .says(["kiln network create none-such"]);
    env.kiln(["network", "rm", "one", "two"]).run().success();
    env.kiln(["network", "rm", "one"]).run().failure(1);
    assert_eq!(env.kiln(["network", "ls", "-q"]).run().success().stdout(), "");
}
