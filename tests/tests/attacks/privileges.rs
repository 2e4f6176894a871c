//! CVE-2024-23653: a step gets the rights of the host's root without anybody who granted them.

use crate::outside::Attacked;

/// Each way to ask for it, without `--allow security.insecure`.
#[test]
fn no_way_leads_to_an_insecure_step_without_the_entitlement() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        env.file("Dockerfile", "FROM busybox\nONBUILD RUN --security=insecure echo ran > /ran\n");
        env.build(["--tag=with-trigger"]).success();
        for dockerfile in [
            "FROM busybox\nRUN --security=insecure echo ran-$((6*7))\n",
            "# syntax=docker/dockerfile:1-labs\nFROM busybox\nRUN --security=insecure echo ran-$((6*7))\n",
            "FROM busybox\nRUN --security=insecure <<EOF\necho ran-$((6*7))\nEOF\n",
            "FROM busybox\nRUN --mount=type=cache,target=/c --security=insecure echo ran-$((6*7))\n",
            "FROM with-trigger\nRUN echo ran-$((6*7))\n",
            "FROM busybox AS unused\nRUN --security=insecure echo ran-$((6*7))\nFROM busybox\nCOPY --from=unused /bin/sh /x\n",
        ] {
            attacked.build(dockerfile).failure(1).says(["security.insecure"]).says_not(["ran-42"]);
        }
        for arguments in [
            ["--build-arg", "BUILDKIT_SANDBOX_SECURITY=insecure"],
            ["--build-arg", "security=insecure"],
            ["--allow", "network.host"],
            ["--allow", "security.sandbox"],
        ] {
            let outcome =
                attacked.build_with("FROM busybox\nRUN --security=insecure echo ran-$((6*7))\n", arguments);
            assert!(outcome.code != 0 && !outcome.text().contains("ran-42"), "{outcome}");
        }
    }
}

/// A context that asks for rights by itself: only who types the command grants them.
#[test]
fn rights_are_not_granted_by_what_is_built() {
    for attacked in Attacked::each() {
        let capabilities = "RUN grep CapEff /proc/self/status && test $(grep CapEff /proc/self/status | cut -f2) = 00000000a80425fb\n";
        for dockerfile in [
            format!("FROM busybox\nENV BUILDKIT_SANDBOX_SECURITY=insecure\n{capabilities}"),
            format!("FROM busybox\nLABEL security=insecure privileged=true\n{capabilities}"),
            format!("FROM busybox\nARG security=insecure\nRUN --security=$security true\n{capabilities}"),
        ] {
            let outcome = attacked.build(&dockerfile);
            assert!(
                !outcome.text().contains("0000003fffffffff") && !outcome.text().contains("000001ffffffffff"),
                "{outcome}"
            );
        }
    }
}
