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
