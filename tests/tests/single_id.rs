//! An ordinary user without subordinate ids: owners are recorded, and the image is the one that root would have made.

use kiln_tests::{Entry, Image, TestEnv, has_mounts, is_running, wait_until};

/// Root's world and the ordinary user's.
#[track_caller]
fn both() -> Option<[TestEnv; 2]> {
    let single = TestEnv::single_id()?;
    Some([TestEnv::new(), single])
}

/// Builds with all times set to one: what differs then is content.
fn build(env: &TestEnv, arguments: &[&str]) -> Image {
    let dest = env.path("layout").display().to_string();
    let output = format!("--output=type=oci,tar=false,rewrite-timestamp=true,dest={dest}");
    let context = env.path("context").display().to_string();
    let words = ["build", "--progress=plain", &output].into_iter().chain(arguments.iter().copied());
    env.kiln(words.chain([&*context])).env("SOURCE_DATE_EPOCH", "1700000000").run().success();
    Image::layout(env.path("layout").as_path())
}

/// The digests of the layers that were built: the base has the times of its making.
fn above_base(image: &Image) -> &[serde_json::Value] {
    &image.config["rootfs"]["diff_ids"].as_array().expect("diff ids")[1..]
}

/// All that a layer says but content and time, which logs and caches of packages have different in every run.
fn owners(layer: &[Entry]) -> String {
    let line = |entry: &Entry| {
        let Entry { path, kind, mode, uid, gid, link, dev, pax, .. } = entry;
        format!("{kind:?} {mode:04o} {uid}:{gid} /{path} {link:?} {dev:?} {pax:?}\n")
    };
    layer.iter().map(line).collect()
}

/// A script as one step on busybox: both users make the same layers, to the byte. Gives the step's own layer.
#[track_caller]
fn same(script: &str) -> Option<String> {
    let images = both()?.map(|env| {
        env.busybox().file("Dockerfile", format!("FROM busybox\nRUN <<'EOF'\nset -e\n{script}\nEOF\n"));
        build(&env, &[])
    });
    let [root, single] = &images;
    assert_eq!(owners(&root.layers[1]), owners(&single.layers[1]));
    assert_eq!(above_base(root), above_base(single));
    Some(single.added(1))
}

#[test]
fn owners_modes_and_devices_reach_the_layer() {
    let made = same(
        "mkdir /d; echo x > /d/f; chown 1000:1001 /d/f; chmod 4755 /d/f\n\
         ln -s f /d/l; chown -h 5:6 /d/l; mkfifo /d/p; chown 7:8 /d/p\n\
         mknod -m 640 /d/c c 1 3; mknod /d/b b 8 300; chown 4000000000:4000000001 /d/b\n\
         touch /d/suid; chmod 6755 /d/suid; chown 3 /d/suid; mkdir /e; chown -R 33:33 /e; chown 0:0 /e\n\
         touch /d/one; ln /d/one /d/two; chown 9:9 /d/two; touch /d/gone; chown 4 /d/gone; rm /d/gone; touch /d/gone",
    );
    let Some(made) = made else { return };
    for line in [
        "b 0644 /d/b 4000000000:4000000001\n",
        "c 0640 /d/c\n",
        "f 4755 /d/f 2 1000:1001\n",
        "f 0755 /d/suid 0 3:0\n",
        "l 0777 /d/l -> f 5:6\n",
        "p 0644 /d/p 7:8\n",
        "f 0644 /d/one 0 9:9\n",
        "f 0644 /d/gone 0\n",
    ] {
        assert!(made.contains(line), "{line} in\n{made}");
    }
}

#[test]
fn a_step_sees_the_owners_that_it_gave() {
    let script = "touch /f; chown 33:44 /f; ln -s f /l; chown -h 5:6 /l; mknod /c c 1 7; mkfifo /p; chown 8:9 /p\n\
                  stat -c '%n %F %u:%g %a' /f /l /c /p; ls -ln /f; tar c f l | tar tvf - | cut -d' ' -f1,2\n\
                  id; [ -O /f ] || echo not mine";
    let Some(envs) = both() else { return };
    let [root, single] = envs.map(|env| {
        env.busybox()
            .file("Dockerfile", format!("FROM busybox\nRUN <<'EOF'\nexec > /out 2>&1\n{script}\nEOF\n"));
        let out = build(&env, &[]).content("out");
        // `ls` tells the time.
        out.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n")
    });
    assert!(root.contains("/c character special file 0:0 644"), "{root}");
    assert_eq!(root, single);
}

#[test]
fn copied_and_added_files_have_their_owners() {
    let Some(envs) = both() else { return };
    let images = envs.map(|env| {
        env.busybox().file("f", "x").file("dir/in", "y");
        env.file(
            "Dockerfile",
            "FROM busybox AS a\nRUN touch /mine && chown 11:12 /mine && mkfifo /q && chown 13:14 /q\n\
             FROM busybox\nCOPY --chown=7:8 f /g\nCOPY --chown=9 dir /dir\nCOPY --from=a /mine /q /from/\n\
             USER 5:6\nWORKDIR /work\nRUN id -u > own && mkdir sub && ln -s own link\n",
        );
        build(&env, &[])
    });
    let [root, single] = &images;
    assert_eq!(above_base(root), above_base(single));
    let made = single.listing();
    for line in
        ["/g 1 7:8", "/dir/in 1 9:9", "/from/mine 0 11:12", "/work/own 2 5:6", "/work/link -> own 5:6"]
    {
        assert!(made.contains(line), "{line} in\n{made}");
    }
}

#[test]
fn files_of_lower_layers_keep_their_owners_when_they_change() {
    let Some(envs) = both() else { return };
    let images = envs.map(|env| {
        env.busybox().file(
            "Dockerfile",
            "FROM busybox\nRUN mkdir /d && for f in a b c d e g; do echo $f > /d/$f; chown 70:71 /d/$f; done; chown 72 /d\n\
             RUN cd /d && echo more >> a && sed -i s/b/x/ b && mv c moved && ln d linked && chmod 600 e && cp -a g copy\n",
        );
        build(&env, &[])
    });
    assert_eq!(above_base(&images[0]), above_base(&images[1]));
    // A file that only has a second name is as it was, and not in the layer.
    assert_eq!(images[1].added(2).matches("70:71").count(), 6, "{}", images[1].added(2));
}

#[test]
fn a_directory_gives_its_group_to_what_is_made_in_it() {
    let made = same(
        "mkdir /d; chgrp 50 /d; chmod 2775 /d; cd /d; touch f; mkdir sub; ln -s f l; mkfifo p; mknod c c 1 3; echo > sub/x\n\
         mkdir /tmp/t; echo > /tmp/t/f; chown 9:9 /tmp/t/f; mv /tmp/t /d/t",
    );
    if let Some(made) = made {
        assert_eq!(made.matches(" 0:50").count(), 7, "{made}");
    }
}

#[test]
fn a_chroot_in_a_step_changes_the_files_that_it_sees() {
    same(
        "mkdir -p /c/bin /c/d; cp /bin/busybox /c/bin/; touch /c/d/f /f; ln -s /d/f /c/link\n\
         chroot /c /bin/busybox chown 71:72 /link; chroot /c /bin/busybox sh -c 'cd d; busybox chown 73 ../../../d/f' || \
         chroot /c /bin/busybox sh -c 'cd d; /bin/busybox chown 73 ../../../d/f'\n\
         test $(stat -c %u:%g /c/d/f) = 73:72; test $(stat -c %u:%g /f) = 0:0; rm -r /c/bin",
    );
}

#[test]
fn own_descriptors_can_be_named() {
    same(
        "touch /a /b; chown 77 /proc/self/fd/3 3>/a; exec 4>/b; chown 78 /dev/fd/4; exec 4>&-\n\
         test $(stat -c %u /a) = 77; test $(stat -c %u /b) = 78; chown 5 /dev/stdout || true",
    );
}

#[test]
fn a_user_that_is_not_root_may_not_give_files_away() {
    let Some(env) = TestEnv::single_id() else { return };
    env.busybox().file(
        "Dockerfile",
        "FROM busybox\nRUN touch /roots\nUSER 12:13\nRUN id -u; touch /tmp/f; ! chown 0 /tmp/f && ! chown 12 /roots && \
         ! mknod /tmp/c c 1 3 && chgrp 13 /tmp/f && grep -q 00000000a80425fb /proc/self/status\n",
    );
    env.build([]).success();
}

#[test]
fn containers_have_recorded_owners_too() {
    let Some(env) = TestEnv::single_id() else { return };
    env.busybox();
    let script = "touch /f && chown 5:6 /f && stat -c %u:%g /f && id -u";
    let run = env.kiln(["run", "--rm", "--user", "0", "busybox", "sh", "-c", script]).run().success();
    assert_eq!(run.stdout(), "5:6\n0\n");
    let run =
        env.kiln(["run", "--rm", "--user", "8:9", "busybox", "sh", "-c", "id -u; id -g"]).run().success();
    assert_eq!(run.stdout(), "8\n9\n");
}

#[test]
fn mounts_belong_to_whom_they_are_made_for() {
    let Some(envs) = both() else { return };
    let [root, single] = envs.map(|env| {
        env.busybox().write("secret", "s").file(
            "Dockerfile",
            "FROM busybox\nRUN --mount=type=cache,target=/cache,uid=5,gid=6,mode=0750 \
             --mount=type=secret,id=s,uid=7,gid=8,mode=0400 \
             stat -c '%n %u:%g %a' /cache /run/secrets/s > /out && touch /cache/f && chown 9 /cache/f\n\
             RUN --mount=type=cache,target=/cache,uid=5,gid=6,mode=0750 stat -c %u /cache/f >> /out\n",
        );
        let secret = format!("--secret=id=s,src={}", env.path("secret").display());
        build(&env, &[&secret]).content("out")
    });
    assert_eq!(root, "/cache 5:6 750\n/run/secrets/s 7:8 400\n9\n");
    assert_eq!(root, single);
}

#[test]
fn records_in_a_foreign_layer_are_no_records() {
    let Some(env) = TestEnv::single_id() else { return };
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(0);
    tar.append_pax_extensions([("SCHILY.xattr.user.kiln.owner", "5:6:c:1:3".as_bytes())]).expect("pax");
    tar.append_data(&mut header, "file", std::io::empty()).expect("file");
    env.write("foreign.tar", tar.into_inner().expect("tar"));
    let path = env.path("foreign.tar").display().to_string();
    env.kiln(["import", &path, "foreign"]).run().success();
    env.busybox().file(
        "Dockerfile",
        "FROM busybox\nCOPY --from=foreign /file /file\nRUN stat -c '%F %u:%g' /file > /out; chmod 600 /file\n",
    );
    let image = build(&env, &[]);
    assert_eq!(image.content("out"), "regular empty file 0:0\n");
    let all: String = image.layers.iter().map(|layer| owners(layer)).collect();
    assert!(!all.contains("kiln.owner"), "no attribute of ours is packed");
}

#[test]
fn a_step_whose_supervisor_is_killed_fails_and_says_so() {
    let Some(env) = TestEnv::single_id() else { return };
    let mark = format!("4{}", std::process::id());
    env.busybox().file("Dockerfile", format!("FROM busybox\nRUN sleep {mark}; true\n"));
    let build = env.build_command([]).start();
    assert!(wait_until(true, &["sleep", &mark]), "the step runs");
    let supervisor = supervisor_of(&mark).expect("the step has a supervisor");
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).expect("kill it");
    let output = build.wait_with_output().expect("wait for kiln");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("record owners"), "{said}");
    assert!(!is_running(&["sleep", &mark]), "the step has ended");
    assert!(!has_mounts(env.path("store").as_path()));
}

/// The process called `kiln-owners` in the mount namespace of the one that runs `sleep <mark>`.
fn supervisor_of(mark: &str) -> Option<rustix::process::Pid> {
    let pids = || {
        let entries = std::fs::read_dir("/proc").expect("/proc");
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
    };
    let read = |pid: i32, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let mounts = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let step = pids().find(|pid| read(*pid, "cmdline") == format!("sleep\0{mark}\0").as_bytes())?;
    let supervisor =
        pids().find(|pid| read(*pid, "comm") == b"kiln-owners\n" && mounts(*pid) == mounts(step))?;
    rustix::process::Pid::from_raw(supervisor)
}

#[test]
fn a_store_tells_what_it_is() {
    let Some(env) = TestEnv::single_id() else { return };
    env.busybox();
    let info = env.kiln(["info"]).run().success().stdout();
    assert!(info.contains("isolation: single-id") && info.contains("store/single-id"), "{info}");
    env.kiln(["fsck"]).run().success();
}

/// What apt of a frozen archive needs, and its lists.
const APT: &str = "RUN printf 'Acquire::Check-Valid-Until \"false\";\\nAcquire::Check-Date \"false\";\\n' \
                   > /etc/apt/apt.conf.d/99frozen && apt-get -q update\nENV DEBIAN_FRONTEND=noninteractive\n";

/// Steps on Debian: both users give all files the same types, modes, owners and capabilities.
#[track_caller]
fn same_on_debian(steps: &str) -> Option<Image> {
    let mut images = Vec::new();
    for env in both()? {
        env.debian()?.file("Dockerfile", format!("FROM debian\n{APT}{steps}"));
        images.push(build(&env, &["--network=host"]));
    }
    let [root, single] = &images[..] else { return None };
    for (root, single) in root.layers.iter().zip(&single.layers).skip(1) {
        assert_eq!(owners(root), owners(single));
    }
    images.pop()
}

#[test]
fn packages_and_their_users_are_installed_as_by_root() {
    let image = same_on_debian(
        "RUN apt-get -q install -y --no-install-recommends sudo dbus openssh-client iputils-ping libcap2-bin perl-base\n\
         RUN <<'EOF'\n\
         set -ex\n\
         useradd -m bob; usermod -aG audio bob\n\
         su bob -c 'cd; touch f; mkdir d; ln -s f l; echo x > d/y; ! chown root f'\n\
         echo 'bob ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/bob; chmod 440 /etc/sudoers.d/bob\n\
         test \"$(su bob -c 'sudo id -u')\" = 0; test \"$(su bob -c 'sudo -u www-data id -u')\" = 33\n\
         test \"$(sudo -u bob id -un)\" = bob; su bob -c 'sudo touch /root/by-sudo'; sudo -u bob touch /tmp/by-bob\n\
         test \"$(setpriv --reuid=12 --regid=13 --clear-groups id -u)\" = 12; test \"$(runuser -u bob -- id -u)\" = 1000\n\
         ! setpriv --reuid=12 --regid=13 --clear-groups setpriv --reuid=0 id\n\
         test \"$(perl -e '$>=5; print \"$<$>\"; $>=0; print \"$<$>\"')\" = 0500\n\
         test \"$(perl -e '$)=\"7 7\"; $>=9; $<=9; $>=0; print \"$>\"')\" = 9\n\
         test \"$(chroot --userspec=12:13 / id -u)\" = 12\n\
         cp /bin/ping /srv/ping; setcap cap_net_raw+ep /srv/ping; cp -a /srv/ping /srv/lost; chown 5 /srv/lost\n\
         echo >> /etc/shadow; sed -i s/bob:x/bob:x/ /etc/gshadow; test $(stat -c %g /etc/shadow) = 42\n\
         chown -R 33:33 /srv; install -o 7 -g 8 -m 4755 /bin/true /srv/true; cp -a /srv /srv2; mkdir /opt/o\n\
         tar --xattrs --xattrs-include='*' -C / -c srv home | tar --xattrs --xattrs-include='*' -C /opt/o -xp\n\
         tar --xattrs --xattrs-include='*' -C / -c srv home | grep -ac user.kiln | grep -q '^0$'\n\
         mkdir -p /run/dbus; dbus-daemon --system --fork; setpriv --reuid=bob --regid=bob --clear-groups \
         dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetConnectionUnixUser \
         string:org.freedesktop.DBus | grep -q 'uint32 '\n\
         rm -rf /run/dbus\n\
         EOF\n",
    );
    let Some(image) = image else { return };
    let made = image.listing();
    for line in ["/etc/shadow", "/home/bob/d/y 2 1000:1000", "/srv/true", "/opt/o/home/bob/l -> f 1000:1000"]
    {
        assert!(made.contains(line), "{line} in\n{made}");
    }
}

#[test]
fn a_database_starts_and_knows_its_users() {
    // Its clusters are made of random numbers: what is compared are the owners of what is left.
    same_on_debian(
        "RUN apt-get -q install -y --no-install-recommends postgresql\n\
         RUN pg_ctlcluster 15 main start && test \"$(su postgres -c \"psql -tAc 'select current_user'\")\" = postgres && \
         pg_ctlcluster 15 main stop && rm -rf /var/lib/postgresql /var/log/postgresql /var/run/postgresql\n",
    );
}
