//! What cannot be done: Docker's exit code, one clear line, nothing left behind.

use crate::world::World;

#[test]
fn each_mistake_has_its_code_and_leaves_nothing() {
    for world in World::each() {
        for (words, code, says) in [
            ("run busybox no-such-program", 127, "no-such-program"),
            ("run -d busybox no-such-program", 127, "no-such-program"),
            ("run busybox /etc/passwd", 126, "/etc/passwd"),
            ("run -d busybox /etc/passwd", 126, "/etc/passwd"),
            ("run busybox /etc", 126, "/etc"),
            ("run -u nobody-here busybox true", 125, "nobody-here"),
            ("run -u 0:nogroup-here busybox true", 125, "nogroup-here"),
            ("run -w relative busybox true", 125, "relative"),
            ("run --name .bad busybox true", 125, ".bad"),
            ("run --restart often busybox true", 125, "often"),
            ("run --stop-signal NOSUCH busybox true", 125, "NOSUCH"),
            ("run -v /a:/b:bogus busybox true", 125, "bogus"),
            ("run -v relative/path:/b busybox true", 125, "relative/path"),
            ("run -v a:relative busybox true", 125, "relative"),
            ("run -v x:/ busybox true", 125, "root"),
            ("run -v /a -v /a busybox true", 125, "/a"),
            ("run --mount type=bogus,target=/a busybox true", 125, "bogus"),
            ("run --log-driver bogus busybox true", 125, "bogus"),
            ("run --log-opt bogus=1 busybox true", 125, "bogus"),
            ("run --health-cmd x --no-healthcheck busybox true", 125, "--no-healthcheck"),
            ("run --health-cmd x --health-interval soon busybox true", 125, "soon"),
            ("run --detach-keys word -d busybox true", 0, ""),
            ("run --pull never no-such-image", 125, "no-such-image"),
            ("run --pull sometimes busybox", 125, "sometimes"),
            ("run --ulimit bogus=1 busybox true", 125, "bogus"),
            ("run --cap-add BOGUS busybox true", 125, "BOGUS"),
            ("run -m 12x busybox true", 125, "12x"),
            ("run --env-file /no/such/file busybox true", 125, "/no/such/file"),
            ("run --volumes-from nobody busybox true", 125, "nobody"),
            ("run --no-such-flag busybox", 125, "no-such-flag"),
            ("start nosuch", 1, "nosuch"),
            ("stop nosuch", 1, "nosuch"),
            ("rm nosuch", 1, "nosuch"),
            ("logs nosuch", 1, "nosuch"),
            ("wait nosuch", 1, "nosuch"),
            ("attach nosuch", 1, "nosuch"),
            ("top nosuch", 1, "nosuch"),
            ("rename nosuch other", 1, "nosuch"),
        ] {
            let outcome = world.line(words);
            assert_eq!(outcome.code, code, "{words}: {outcome}");
            if code != 0 {
                assert!(outcome.stderr.contains(says), "{words}: {outcome}");
                assert!(outcome.stderr.lines().count() <= 8, "{words}: {outcome}");
                assert_eq!(world.kept(), 0, "{words}");
            } else {
                world.words(&["rm", "-f", outcome.stdout().trim()]).success();
            }
        }
    }
}

#[test]
fn what_fails_late_leaves_nothing_either() {
    for world in World::each() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let port = format!("-p 127.0.0.1:{port}:80");
        for (flags, command, code, says) in [
            (&*port, "true", 125, "in use"),
            ("", "no-such-program", 127, "no-such-program"),
            ("", "/etc/passwd", 126, "/etc/passwd"),
            ("-u nobody-here", "true", 125, "nobody-here"),
            ("-w /bin/busybox", "true", 125, "/bin/busybox"),
            ("-m 1m", "true", 125, "minimum"),
            ("--memory-reservation 1g -m 10m", "true", 125, "larger"),
            ("--cpuset-cpus 4000", "true", 125, "cpuset"),
            ("--sysctl kernel.no-such=1", "true", 125, "kernel.no-such"),
            ("--device /dev/no-such", "true", 125, "/dev/no-such"),
            ("--mount type=bind,source=/no/such,target=/m", "true", 125, "/no/such"),
            ("--mount type=volume,source=../up,target=/m", "true", 125, "../up"),
            ("--volumes-from nobody", "true", 125, "nobody"),
            ("--network nobody", "true", 125, "nobody"),
            ("--network container:nobody", "true", 125, "nobody"),
            ("--runtime no-such-runtime", "true", 125, "no-such-runtime"),
            ("--security-opt seccomp=/no/such", "true", 125, "/no/such"),
            ("--cidfile /no/such/cid", "true", 125, "/no/such/cid"),
        ] {
            for how in ["run", "run -d", "run --rm"] {
                let line = format!("{how} --name late -v /anonymous {flags} busybox {command}");
                let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
                let outcome = world.words(&words);
                assert_eq!(outcome.code, code, "{line}: {outcome}");
                assert!(outcome.stderr.contains(says), "{line}: {outcome}");
                assert!(outcome.stderr.lines().count() <= 2, "{line}: {outcome}");
                assert_eq!(world.kept(), 0, "{line}");
                let volumes = std::fs::read_dir(world.store().join("volumes")).map_or(0, Iterator::count);
                assert_eq!(volumes, 0, "{line}");
            }
        }
        drop(taken);
        kiln_tests::settle(&world.store());
        assert!(!kiln_tests::has_mounts(&world.store()));
        // Nothing of what failed keeps the image's layers.
        world.line("rmi busybox").success();
        world.line("prune -a -f").success();
        assert_eq!(std::fs::read_dir(world.store().join("layers")).expect("layers").count(), 0);
    }
}

#[test]
fn volumes_that_do_not_exist_are_named() {
    let world = World::new();
    for words in ["volume inspect nosuch", "volume rm nosuch"] {
        world.line(words).failure(1).says(["no such volume", "nosuch"]);
    }
    // One that is only named is made, as Docker does it.
    world.line("run --rm -v fresh:/d busybox true").success();
    world.line("volume inspect fresh").success();
}
