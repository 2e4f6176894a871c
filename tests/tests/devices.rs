//! Devices by their CDI names: `RUN --device`, `kiln build --device`, `kiln run --device`.

use kiln_tests::{Outcome, TestEnv};

/// Two specifications: one in YAML, one in JSON with a device that needs no right and one with a hook.
fn specifications(env: &TestEnv) {
    env.write("shared/file", "from the host");
    let shared = env.path("shared").display().to_string();
    env.write(
        "cdi/gpu.yaml",
        format!(
            "---\ncdiVersion: \"0.8.0\"\nkind: example.com/gpu\ncontainerEdits:\n  env:\n    - ALL=all\n  \
             mounts:\n    - hostPath: {shared}\n      containerPath: /opt/shared\n      options: [ro, nosuid, rbind]\n\
             devices:\n  - name: \"0\"\n    containerEdits:\n      env: [ONE=zero]\n      additionalGids: [4242]\n      \
             deviceNodes:\n        - path: /dev/gpu0\n          hostPath: /dev/zero\n          permissions: rw\n  \
             - name: \"1\"\n    containerEdits:\n      env: [ONE=one]\n"
        ),
    );
    let open = r#"{"cdiVersion": "0.6.0", "kind": "example.com/open", "devices": [
        {"name": "a", "containerEdits": {"env": ["OPEN=yes"]},
         "annotations": {"org.mobyproject.buildkit.device.autoallow": "true"}},
        {"name": "b", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}}]}"#;
    env.write("cdi/open.json", open);
}

const LOOK: &str = "echo $ALL-$ONE-$OPEN; head -c 3 /dev/gpu0 | wc -c; cat /opt/shared/file; echo; id -G; \
    touch /opt/shared/x 2>/dev/null || echo refused";

fn build(env: &TestEnv, dockerfile: &str, more: &[&str]) -> Outcome {
    env.busybox().file("Dockerfile", dockerfile);
    let (directory, context) = (env.path("cdi"), env.path("context"));
    let mut words = vec!["build", "--progress=plain", "--cdi-spec-dir"];
    words.push(directory.to_str().expect("UTF-8"));
    words.extend(more);
    words.push(context.to_str().expect("UTF-8"));
    env.kiln(words).run()
}

#[test]
fn a_step_has_the_devices_that_it_asks_for_with_all_that_comes_with_them() {
    for env in TestEnv::each() {
        specifications(&env);
        let dockerfile = format!(
            "FROM busybox\nRUN --device=example.com/gpu=0 {LOOK}\nRUN echo [$ALL] && test ! -e /dev/gpu0\n"
        );
        let outcome = build(&env, &dockerfile, &["--allow", "device"]).success();
        outcome.says(["all-zero-\n", " 3\n", "from the host", " 4242", "refused", "[]"]);
    }
}

#[test]
fn a_device_needs_the_right_unless_its_specification_gives_it() {
    let env = TestEnv::new();
    specifications(&env);
    let gpu = "FROM busybox\nRUN --device=example.com/gpu=1 echo got:$ONE\n";
    build(&env, gpu, &[]).failure(1).says([
        "example.com/gpu=1",
        "--allow device=example.com/gpu=1",
        "Dockerfile:2",
    ]);
    build(&env, gpu, &["--allow", "device=example.com/gpu=0"]).failure(1).says(["not allowed"]);
    build(&env, gpu, &["--allow", "device=example.com/gpu=1"]).success().says(["got:one"]);
    build(&env, "FROM busybox\nRUN --device=example.com/open=a echo got:$OPEN\n", &[])
        .success()
        .says(["got:yes"]);
    build(&env, "FROM busybox\nRUN echo all:$ONE\n", &["--device=example.com/gpu=1"])
        .success()
        .says(["all:one"]);
}

#[test]
fn a_device_that_is_missing_matters_only_where_it_is_required() {
    let env = TestEnv::new();
    specifications(&env);
    env.write("cdi/broken.json", "{");
    build(&env, "FROM busybox\nRUN --device=example.com/gpu=7 echo without\n", &[])
        .success()
        .says(["without"]);
    let required = "FROM busybox\nRUN --device=example.com/gpu=7,required true\n";
    let outcome = build(&env, required, &["--allow=device"]).failure(1);
    outcome.says(["required device \"example.com/gpu=7\" is not registered", "broken.json"]);
}

#[test]
fn hooks_are_refused() {
    let env = TestEnv::new();
    specifications(&env);
    let outcome = build(&env, "FROM busybox\nRUN --device=example.com/open=b true\n", &["--allow=device"]);
    outcome.failure(1).says(["example.com/open=b", "open.json", "hooks"]);
}

#[test]
fn a_container_has_the_devices_that_it_asks_for() {
    for env in TestEnv::each() {
        env.busybox();
        specifications(&env);
        let directory = env.path("cdi").display().to_string();
        let run = |device: &str| {
            env.kiln([
                "run",
                "--rm",
                "--cdi-spec-dir",
                &directory,
                "--device",
                device,
                "busybox",
                "sh",
                "-c",
                LOOK,
            ])
            .run()
        };
        let outcome = run("example.com/gpu=0").success();
        outcome.says(["all-zero-\n3\nfrom the host\n", " 4242\nrefused\n"]);
        run("example.com/gpu=7").failure(125).says(["example.com/gpu=7", "not registered"]);
    }
}
