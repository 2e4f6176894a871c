//! Escapes through cache mounts, which outlive builds and are shared by steps that run at the same time.

use crate::outside::Attacked;

/// CVE-2024-23651: between the check of a cache mount's source and the mount, a parallel step puts a link in its place.
#[test]
fn a_source_that_a_parallel_step_swaps_for_a_link_stays_in_the_cache() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        let mut dockerfile = format!(
            "FROM busybox AS swapping\nRUN --mount=type=cache,id=c,target=/c cd /c; rm -rf sub; mkdir -p sub real; \
             for i in $(seq 400); do rm -rf sub; ln -s {outside} sub; rm sub; ln -s ../../../../../../../../../..{outside} sub; rm sub; mkdir sub; done; touch /done\n\
             FROM busybox AS reading\n"
        );
        for number in 0..12 {
            dockerfile.push_str(&format!(
                "RUN --mount=type=cache,id=c,target=/seen --mount=type=cache,id=c,source=sub,target=/m cat /m/secret; echo x > /m/made; echo {number}; true\n"
            ));
        }
        dockerfile.push_str("FROM busybox\nCOPY --from=swapping /done /\nCOPY --from=reading /bin/true /t\n");
        for _ in 0..3 {
            attacked.build(&dockerfile);
        }
    }
}

/// The same without a race: the link is there already.
#[test]
fn a_source_that_is_a_link_stays_in_the_cache() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        attacked
            .build(&format!(
                "FROM busybox\nRUN --mount=type=cache,id=c,target=/c ln -s {outside} /c/absolute; ln -s ../../../../../../../../../..{outside} /c/climbing; ln -s / /c/slash; ln -s /proc/self/root /c/magic\n"
            ))
            .success();
        for source in [
            "absolute",
            "climbing",
            "slash",
            "magic",
            "slash/../..",
            &format!("slash{outside}"),
            "absolute/secret",
        ] {
            attacked.build(&format!(
                "FROM busybox\nRUN --mount=type=cache,id=c,source={source},target=/m cat /m/secret /m /m{outside}/secret; echo x > /m/made; echo x > /m{outside}/made; true\n"
            ));
        }
    }
}

/// CVE-2024-9675: the id or the source of a cache climbs out of the directory of caches.
#[test]
fn ids_and_sources_that_climb_stay_in_the_directory_of_caches() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        let climb = "../../../../../../../../../../../..";
        let mut paths: Vec<String> =
            [&format!("{climb}{outside}"), &outside, "..", ".", "/", "../blobs", "a/../../.."]
                .map(str::to_owned)
                .into();
        paths.push(format!("x/{climb}{outside}"));
        for path in &paths {
            for options in [
                format!("id={path}"),
                format!("id=c,source={path}"),
                format!("id=c,from=busybox,source={path}"),
                format!("target=/m/{path}"),
            ] {
                let target = if options.starts_with("target") { "" } else { ",target=/m" };
                let outcome = attacked.build(&format!(
                    "FROM busybox\nRUN --mount=type=cache{target},{options} cat /m/secret; echo x > /m/made; ls /m; true\n"
                ));
                for name in ["sha256", "layers", "index.redb"] {
                    assert!(!outcome.text().contains(&format!(" {name}\n")), "the store is shown: {outcome}");
                }
            }
        }
        assert_eq!(
            std::fs::read_dir(attacked.env.path("")).expect("list").count(),
            count(&attacked),
            "something was made beside the store"
        );
    }
}

/// context, home, store, outside, the base's tar, and the copy of kiln that an ordinary user runs.
fn count(attacked: &Attacked) -> usize {
    5 + usize::from(attacked.env.path("kiln").exists())
}

/// The owner and mode of a cache are the cache's own, not those of what a link in it leads to.
#[test]
fn owners_of_a_cache_reach_nothing_behind_its_links() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        for options in ["uid=7,gid=7,mode=0777", "mode=4777", "uid=1000"] {
            attacked.build(&format!(
                "FROM busybox\nRUN --mount=type=cache,id=o,target=/c,{options} rm -rf /c/l; ln -s {outside} /c/l\n\
                 RUN --mount=type=cache,id=o,source=l,target=/c,{options} true\nRUN --mount=type=cache,id=o,source=l/new,target=/c,{options} true\n"
            ));
        }
    }
}
