//! Escapes through `RUN --mount`.

use std::fs;

use crate::outside::{Attacked, SECRET};

/// CVE-2024-23652: the builder removes a mount point that it made, through a link that the step put above it.
#[test]
fn a_mount_point_whose_parent_became_a_link_is_not_removed_elsewhere() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        for mount in ["type=tmpfs", "type=cache", "type=bind,from=busybox,source=/tmp"] {
            // `empty` is a directory outside that a removal would take.
            for (target, script) in [
                ("/a/empty", format!("mv /a /old; ln -s {outside} /a")),
                ("/a/b/empty", format!("mv /a/b /old; ln -s {outside} /a/b")),
                ("/a/b/empty", format!("mv /a /old; mkdir /a; ln -s {outside} /a/b")),
                ("/a", format!("mv /a /old; ln -s {outside}/empty /a")),
            ] {
                attacked
                    .build(&format!("FROM busybox\nRUN --mount={mount},target={target} {script}; true\n"));
            }
        }
    }
}

/// A mount point behind a link of the image lies in the image.
#[test]
fn a_mount_target_stays_within_the_root() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        for target in
            ["/link/empty", "/link/secret", "/link/new", "/climbing/empty", "/../../../../etc/kiln-new"]
        {
            let outcome = attacked.build(&format!(
                "FROM busybox\nRUN ln -s {outside} /link && ln -s ../../../../../../../../..{outside} /climbing\n\
                 RUN --mount=type=tmpfs,target={target} touch {target}/x; cat {outside}/secret; true\n"
            ));
            assert!(!std::path::Path::new("/etc/kiln-new").exists(), "{outcome}");
        }
    }
}

/// CVE-2024-1753: the source of a bind mount is a link that leads to the host's root.
#[test]
fn a_bind_source_that_is_a_link_stays_within_its_stage() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        for source in [
            "/slash",
            "/slash/..",
            "/climbing",
            "/proc-root",
            "/deep",
            "../../../../..",
            "/slash/proc/1/root",
        ] {
            attacked.build(&format!(
                "FROM busybox AS evil\nRUN ln -s / /slash; ln -s ../../../../../../.. /climbing; ln -s /proc/self/root /proc-root; ln -s {outside} /deep\n\
                 FROM busybox\nRUN --mount=type=bind,from=evil,source={source},target=/mnt,rw \
                 for top in /mnt /mnt{outside}; do cat $top/secret; echo x > $top/made; rm -rf $top/victim; done; true\n"
            ));
        }
    }
}

/// The same with the context as the source.
#[test]
fn a_link_of_the_context_is_no_way_out_of_it() {
    for attacked in Attacked::each() {
        attacked.env.symlink("link", &attacked.outside());
        attacked.env.symlink("dir/climbing", "../../outside");
        for source in ["link", "dir/climbing", "link/secret", "../outside", "dir/../../outside", "."] {
            attacked.build(&format!(
                "FROM busybox\nRUN --mount=type=bind,source={source},target=/mnt,rw cat /mnt/secret /mnt /mnt/link/secret /mnt/dir/climbing/secret; \
                 echo x > /mnt/made; echo x > /mnt/link/made; true\n"
            ));
        }
    }
}

/// CVE-2024-9407: an option of a mount goes to the kernel or the runtime unread.
#[test]
fn mount_options_that_are_not_the_dockerfiles_are_refused() {
    for attacked in Attacked::each() {
        for options in [
            "type=bind,source=.,target=/m,bind-propagation=shared",
            "type=bind,source=.,target=/m,bind-propagation=rshared",
            "type=bind,source=.,target=/m,shared",
            "type=bind,source=.,target=/m,rslave,rw",
            "type=bind,source=.,target=/m,z",
            "type=bind,source=.,target=/m,suid,dev,exec",
            "type=tmpfs,target=/m,lowerdir=/etc",
            "type=tmpfs,target=/m,mode=7777",
            "type=cache,target=/m,upperdir=/etc",
            "type=cache,target=/m,bind-propagation=rshared",
            "type=devpts,target=/m",
            "type=proc,target=/m",
            "type=overlay,target=/m,lowerdir=/",
            "type=volume,source=/,target=/m",
        ] {
            attacked.build(&format!("FROM busybox\nRUN --mount={options} touch /m/x\n")).failure(1);
        }
    }
}

/// CVE-2024-11218, CVE-2025-4953: what a step writes to a writable bind mount stays in the user's directory, or in the image.
#[test]
fn writes_to_a_bind_mount_are_thrown_away() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        env.file("keep", "kept").file("dir/file", "kept");
        env.file(
            "Dockerfile",
            "FROM busybox AS other\nRUN echo kept > /of-other\nFROM busybox\n\
             RUN --mount=type=bind,target=/ctx,rw cd /ctx && echo evil > keep && echo evil > new && rm -r dir && chmod 777 . && chown 7:7 keep\n\
             RUN --mount=type=bind,target=/ctx,rw test $(cat /ctx/keep) = kept && test ! -e /ctx/new && test -e /ctx/dir/file\n\
             RUN --mount=type=bind,from=other,target=/other,rw echo evil > /other/of-other; rm -r /other/bin\n\
             RUN --mount=type=bind,from=other,target=/other test $(cat /other/of-other) = kept && test -e /other/bin/sh\n\
             RUN --mount=type=bind,target=/ctx sh -c 'echo x > /ctx/new || echo x > /ctx/keep || rm /ctx/keep || chmod 777 /ctx' && exit 1; true\n",
        );
        let image = env.image([]);
        let context = env.path("context");
        assert_eq!(fs::read_to_string(context.join("keep")).expect("it is there"), "kept");
        assert!(context.join("dir/file").exists() && !context.join("new").exists());
        assert!(!image.listing().contains("evil") && !image.has("ctx/new"), "{}", image.listing());
    }
}

/// A secret is in no layer, no history, no other step and no log.
#[test]
fn a_secret_stays_with_its_step() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        env.write("token", SECRET);
        env.file(
            "Dockerfile",
            "FROM busybox\nRUN --mount=type=secret,id=t --mount=type=secret,id=t,env=TOKEN --mount=type=secret,id=t,target=/etc/deep/token \
             test -n \"$TOKEN\" && wc -c < /run/secrets/t && cat /etc/deep/token > /dev/null && mv /run/secrets /kept-1; ln -s /run/secrets/t /kept-2; true\n\
             RUN env; cat /run/secrets/t /etc/deep/token /kept-1/t /kept-2; true\n",
        );
        let secret = format!("id=t,src={}", env.path("token").display());
        let layout = env.path("home/layout");
        let output = format!("--output=type=oci,tar=false,dest={}", layout.display());
        let metadata = env.path("home/metadata").display().to_string();
        attacked
            .held(env.build([
                "--no-cache",
                "--tag=app",
                "--secret",
                &secret,
                &output,
                "--metadata-file",
                &metadata,
            ]))
            .success();
        attacked.kiln(&["history"]);
        let image = kiln_tests::Image::layout(&layout);
        assert!(!image.config.to_string().contains(SECRET));
        assert!(!image.has("run/secrets") && !image.has("etc/deep"), "{}", image.listing());
        assert!(
            image
                .layers
                .iter()
                .flat_map(|layer| layer.iter())
                .all(|entry| !String::from_utf8_lossy(&entry.content).contains(SECRET))
        );
        // Neither is it in a file of the store, whole.
        let found = std::process::Command::new("grep")
            .args(["-rlaF", SECRET])
            .arg(env.store())
            .output()
            .expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
}
