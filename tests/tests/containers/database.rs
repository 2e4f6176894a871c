//! A database whose image kiln builds on Debian: its data outlives its containers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use kiln_tests::TestEnv;

use crate::world::World;

const DOCKERFILE: &str = "FROM debian\n\
    RUN printf 'Acquire::Check-Valid-Until \"false\";\\nAcquire::Check-Date \"false\";\\n' \
        > /etc/apt/apt.conf.d/99frozen && apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends postgresql && \
        ln -s /usr/lib/postgresql/*/bin /pg && install -d -o postgres -m 700 /data\n\
    ENV PATH=/pg:$PATH\n\
    USER postgres\n\
    VOLUME /data\n\
    EXPOSE 5432\n\
    STOPSIGNAL SIGINT\n\
    HEALTHCHECK --interval=100ms --retries=300 CMD [\"psql\", \"-h\", \"/tmp\", \"-c\", \"select 1\"]\n\
    CMD [\"sh\", \"-c\", \"[ -s /data/PG_VERSION ] || initdb -D /data -A trust && \
        exec postgres -D /data -k /tmp -c listen_addresses=*\"]\n";

/// Starts it, and waits until it answers.
fn start(world: &World) {
    world.line("run -d --name db -v pgdata:/data -p 127.0.0.1:0:5432 postgres").success();
    world.until("db", |value| value["State"]["Health"]["Status"] == "healthy");
}

fn ask(world: &World, statement: &str) -> String {
    world.words(&["exec", "db", "psql", "-h", "/tmp", "-tAc", statement]).success().stdout()
}

/// Whether PostgreSQL answers at the published port: to the wish for TLS with a letter (protocol 3, `SSLRequest`).
fn answers(world: &World) -> bool {
    let port = world.line("port db 5432").success().stdout();
    let mut stream = TcpStream::connect(port.trim()).expect("connect");
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).expect("ask");
    let mut letter = [0];
    stream.read_exact(&mut letter).expect("an answer");
    matches!(letter, [b'S' | b'N'])
}

#[test]
fn a_database_keeps_its_data_in_a_volume() {
    let builder = TestEnv::new();
    if builder.is_rootless() {
        return kiln_tests::skipped("needs root for the Debian base image");
    }
    if builder.debian().is_none() {
        return;
    }
    builder.file("Dockerfile", DOCKERFILE);
    builder.build(["--network=host", "--tag=postgres"]).success();
    builder.kiln(["save", "-o", "postgres.tar", "postgres"]).run().success();
    let archive = builder.path("postgres.tar").display().to_string();
    for world in World::each() {
        world.words(&["load", "-q", "-i", &archive]).success();
        start(&world);
        ask(&world, "create table t (x text); insert into t values ('kept')");
        assert!(answers(&world));
        assert_eq!(world.line("exec db id -un").success().stdout(), "postgres\n");
        world.line("stop db").success();
        assert_eq!(world.field("db", "{{.State.ExitCode}}"), "0");
        assert!(world.line("logs db").success().text().contains("database system is shut down"));
        world.line("rm db").success();

        start(&world);
        assert_eq!(ask(&world, "select x from t"), "kept\n");
        ask(&world, "insert into t values ('too')");
        // Without time to tidy up.
        world.line("kill db").success();
        world.line("rm -v db").success();

        start(&world);
        assert_eq!(ask(&world, "select x from t order by 1"), "kept\ntoo\n");
        world.line("volume rm pgdata").failure(1).says(["in use"]);
        world.line("rm -f db").success();
        world.line("volume rm pgdata").success();
    }
}
