//! A network that two containers share, and the ports that lead to it.

use crate::world::World;

const SERVER: &str = "trap 'exit 0' TERM; mkdir /w; echo a page > /w/index.html; httpd -p 8080 -h /w; \
    echo up; sleep 1000 & wait";

#[test]
fn a_container_joins_the_network_of_another() {
    for world in World::each() {
        let id = world.background("--name web --hostname web.example -p 127.0.0.1:0:8080", SERVER);
        world.until_logged("web", "up");
        let ask = "hostname; cat /etc/hosts /etc/resolv.conf; wget -qO- http://127.0.0.1:8080/";
        let words = ["run", "--rm", "--network", "container:web", "busybox", "sh", "-c", ask];
        let asked = world.words(&words).success();
        assert!(asked.stdout().starts_with("web.example\n"), "{asked}");
        assert!(asked.stdout().ends_with("a page\n"), "{asked}");
        assert!(asked.stdout().contains("\tweb.example\n"), "{asked}");

        // It is known by its id from then on, and joined again at each start.
        world
            .line("create --name beside --network container:web busybox wget -qO- http://127.0.0.1:8080/")
            .success();
        assert_eq!(world.inspect("beside")["HostConfig"]["NetworkMode"], format!("container:{id}"));
        world.line("rename web server").success();
        assert_eq!(world.line("start -a beside").success().stdout(), "a page\n");
        world.line("stop server").success();
        world.line("start -a beside").failure(125).says(["cannot join network of a non running container"]);
    }
}

#[test]
fn what_belongs_to_the_other_container_is_refused() {
    let world = World::new();
    world.line("create --name other busybox true").success();
    for (flag, said) in [
        ("--hostname=x", "conflicting options: hostname and the network mode"),
        ("--dns=1.1.1.1", "conflicting options: dns and the network mode"),
        ("--add-host=a:1.1.1.1", "conflicting options: custom host-to-IP mapping and the network mode"),
        ("-p=80:80", "conflicting options: port publishing and the container type network mode"),
    ] {
        world
            .words(&["run", "--rm", "--network=container:other", flag, "busybox", "true"])
            .failure(125)
            .says([said]);
    }
    world
        .line("run --rm --network=container:nosuch busybox true")
        .failure(125)
        .says(["no such container: nosuch"]);
    assert_eq!(world.kept(), 1);
}

#[test]
fn published_ports_are_shown() {
    for world in World::each() {
        world.background("--name web -p 127.0.0.1:0:8080 -p 127.0.0.1:0:53/udp", SERVER);
        let ports = world.inspect("web")["NetworkSettings"]["Ports"].clone();
        let port = ports["8080/tcp"][0]["HostPort"].as_str().expect("a port").to_owned();
        assert_ne!(port, "0");
        let address = format!("127.0.0.1:{port}");
        // What Docker's documentation tells people to write.
        let template = "{{(index (index .NetworkSettings.Ports \"8080/tcp\") 0).HostPort}}";
        assert_eq!(world.field("web", template), port);
        let template = "{{range $p, $at := .NetworkSettings.Ports}}{{$p}}={{(index $at 0).HostPort}} {{end}}";
        assert!(world.field("web", template).contains(&format!("8080/tcp={port}")));
        let shown = world.line("port web").success().stdout();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 2, "{shown}");
        assert!(lines[0].starts_with("53/udp -> 127.0.0.1:"), "{shown}");
        assert_eq!(lines[1], format!("8080/tcp -> {address}"));
        for asked in ["8080", "8080/tcp"] {
            assert_eq!(world.words(&["port", "web", asked]).success().stdout(), format!("{address}\n"));
        }
        world
            .line("container port web 8080/udp")
            .failure(1)
            .says(["no public port '8080/udp' published for web"]);
        world.line("port web x").failure(1).says(["invalid port `x`"]);
        world.line("ps --format {{.Ports}}").success().says([&*format!("{address}->8080/tcp")]);
        world.line("stop web").success();
        assert_eq!(world.line("port web").success().stdout(), "");
    }
    World::new().line("port nosuch").failure(1).says(["no such container: nosuch"]);
}

#[test]
fn exposed_ports_are_published_together() {
    for world in World::each() {
        let id = world.background("-P --expose 3000-3002 --expose 53/udp", SERVER);
        let ports = world.inspect(&id)["NetworkSettings"]["Ports"].clone();
        let ports = ports.as_object().expect("ports");
        assert_eq!(ports.keys().collect::<Vec<_>>(), ["3000/tcp", "3001/tcp", "3002/tcp", "53/udp"]);
        for (port, at) in ports {
            let number: u16 = at[0]["HostPort"].as_str().and_then(|port| port.parse().ok()).expect("a port");
            assert_ne!(number, 0, "{port}");
        }
        world.words(&["rm", "-f", &id]).success();
        // Without -P they are told and lead nowhere.
        let id = world.background("--expose 8000", "sleep 1000");
        assert_eq!(world.field(&id, "{{json .Config.ExposedPorts}}"), "{\"8000/tcp\":{}}");
        assert_eq!(world.words(&["port", &id]).success().stdout(), "");
        for wrong in ["80-", "0", "1.2.3.4:80:80", "x"] {
            world.words(&["run", "--expose", wrong, "busybox", "true"]).failure(125).says(["expose", wrong]);
        }
    }
}

#[test]
fn further_groups_of_the_user() {
    for world in World::each() {
        world.file("Dockerfile", "FROM busybox\nRUN mkdir -p /etc && echo video:x:27: > /etc/group\n");
        world.build(["--tag=grouped"]).success();
        let outcome =
            world.line("run --rm --group-add 7777 --group-add video -u 5:6 grouped id -G").success();
        assert_eq!(outcome.stdout(), "6 27 7777\n");
        world.line("run --rm --group-add nosuchgroup busybox true").failure(125).says(["nosuchgroup"]);
        assert_eq!(world.kept(), 0);
    }
}
