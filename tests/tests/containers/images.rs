//! Images that are in no registry and under no name: archives and OCI layouts, run as they lie there.

use kiln_tests::TestEnv;

use crate::world::World;

/// An image that prints `in here`, as `docker.tar`, `oci.tar` and the directory `layout`, each under the name `app:v1`.
fn saved() -> TestEnv {
    let env = TestEnv::new();
    env.busybox().file("Dockerfile", "FROM busybox\nRUN echo in here > /x\nCMD [\"cat\", \"/x\"]\n");
    let layout = format!("--output=type=oci,tar=false,dest={}", env.path("layout").display());
    env.build(["--tag=app:v1"]).success();
    env.build(["--tag=app:v1", &layout]).success();
    for format in ["docker", "oci"] {
        let file = env.path(&format!("{format}.tar")).display().to_string();
        env.kiln(["save", "--format", format, "--output", &file, "app:v1"]).run().success();
    }
    env
}

#[test]
fn an_image_runs_from_where_it_lies() {
    let from = saved();
    let place = from.path("").display().to_string();
    let place = place.trim_end_matches('/');
    for world in World::each() {
        for image in [
            format!("{place}/docker.tar"),
            format!("{place}/oci.tar"),
            format!("{place}/layout"),
            format!("docker-archive:{place}/docker.tar"),
            format!("docker-archive:{place}/docker.tar:app:v1"),
            format!("oci-archive:{place}/oci.tar"),
            format!("oci-archive:{place}/oci.tar:app:v1"),
            format!("oci-layout://{place}/layout"),
            format!("oci-layout://{place}/layout:v1"),
        ] {
            let outcome = world.words(&["run", "--rm", "--pull=never", &image]).success();
            assert_eq!(outcome.stdout(), "in here\n", "{image}");
        }
        // No name of the store was made.
        world.line("run --rm --pull=never app:v1").failure(125);
        // A container that is kept runs when the archive is gone, and the store was tidied up.
        let copy = world.path("copy.tar");
        std::fs::copy(from.path("docker.tar"), &copy).expect("copy");
        let id = world.line("create ./copy.tar").success().stdout();
        std::fs::remove_file(copy).expect("remove");
        world.line("prune -a -f").success();
        assert_eq!(world.field(id.trim(), "{{.Config.Image}}"), "./copy.tar");
        assert_eq!(world.words(&["start", "-a", id.trim()]).success().stdout(), "in here\n");
    }
}

#[test]
fn an_archive_without_the_image_says_what_it_has() {
    let from = saved();
    let place = from.path("").display().to_string();
    let world = World::new();
    std::fs::write(world.path("empty.tar"), [0; 1024]).expect("write");
    for (image, says) in [
        (format!("docker-archive:{place}docker.tar:other"), "app:v1"),
        (format!("oci-layout://{place}layout:v2"), "v1"),
        ("./no-such.tar".to_owned(), "./no-such.tar"),
        ("oci-layout://no-such".to_owned(), "no-such"),
        ("./empty.tar".to_owned(), "no archive of images"),
        ("./context".to_owned(), "index.json"),
    ] {
        world.words(&["run", "--rm", &image]).failure(125).says([says]);
        assert_eq!(world.kept(), 0, "{image}");
    }
}
