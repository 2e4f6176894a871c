//! Proxies between this machine and a registry, as the environment names them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use kiln_tests::{Login, Registry, TestEnv};

use crate::tls::{Authority, secure};

/// A proxy that carries every tunnel to `server`, wherever it is to lead; says where they were to lead.
fn tunnel(server: &str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let (tell, told) = channel();
    let server = server.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (tell, server) = (tell.clone(), server.clone());
            std::thread::spawn(move || carry(&client, &server, |asked| drop(tell.send(asked))));
        }
    });
    (address, told)
}

fn carry(client: &TcpStream, server: &str, tell: impl Fn(String)) -> std::io::Result<()> {
    let mut from = BufReader::new(client.try_clone()?);
    let mut asked = String::new();
    from.read_line(&mut asked)?;
    tell(asked.trim_end().to_owned());
    let mut line = String::new();
    while from.read_line(&mut line)? > 2 {
        line.clear();
    }
    (&*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let server = TcpStream::connect(server)?;
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        back_to.shutdown(Shutdown::Both)
    });
    std::io::copy(&mut from, &mut &server)?;
    server.shutdown(Shutdown::Both)
}

/// With an image to push, and no way to any machine of example's but by a proxy.
fn world() -> TestEnv {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    env
}

#[test]
fn a_proxy_for_plain_http_is_asked_unless_it_is_not_to_be() {
    // A server that takes whole addresses is a proxy to itself.
    let Some(registry) = Registry::start(Login::Open) else { return };
    let env = world();
    let hosts = "server = \"http://registry.example\"\n";
    env.write("home/.config/containers/certs.d/registry.example/hosts.toml", hosts);
    let proxy = format!("http://{}", registry.address());
    let push = ["--push", "--tag=registry.example/app:1"];
    for variable in ["HTTP_PROXY", "http_proxy"] {
        env.build_command(push).env(variable, &proxy).run().success();
    }
    env.kiln(["pull", &registry.name("app:1")]).run().success();
    for exception in [".example", "*"] {
        let alone = env.build_command(push).env("HTTP_PROXY", &proxy).env("NO_PROXY", exception);
        alone.run().failure(1).says(["cannot connect to registry.example"]);
    }
    let nobody = env.build_command(push).env("HTTP_PROXY", "http://127.0.0.1:9").run().failure(1);
    nobody.says(["registry.example"]);
    // This machine itself is not behind a proxy.
    let here = env.kiln(["pull", &registry.name("app:1")]).env("HTTP_PROXY", "http://127.0.0.1:9");
    here.run().success();
}

#[test]
fn a_proxy_for_https_is_a_tunnel() {
    let authority = Authority::new();
    let own = authority.sign("registry.example", false, false);
    let Some(registry) = secure(&authority, &own, false) else { return };
    let (proxy, asked) = tunnel(registry.address());
    let env = world();
    env.write("home/.config/containers/certs.d/registry.example/ca.crt", &authority.certificate);
    let proxy = format!("http://{proxy}");
    let push = env.build_command(["--push", "--tag=registry.example/app:1"]).env("HTTPS_PROXY", &proxy);
    push.run().success();
    assert_eq!(asked.recv().expect("the proxy was asked"), "CONNECT registry.example:443 HTTP/1.1");
    env.kiln(["pull", "registry.example/app:1"]).env("https_proxy", &proxy).run().success();
}
