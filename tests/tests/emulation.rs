//! Images for another processor, built and run by an emulator that the kernel knows through binfmt_misc.
//!
//! A user namespace has a registration of its own (since Linux 6.7): what a test registers is there for its own commands
//! alone, and goes with the last of them.

use kiln_tests::{Invocation, Login, Outcome, Peer, Registry, TestEnv, busybox_arm64_tar, skipped};

/// As Debian registers it; nothing is registered without.
const EMULATOR: &str = "/usr/lib/binfmt.d/qemu-aarch64.conf";

/// A machine of its own, with an emulator or without.
struct Machine {
    env: TestEnv,
    script: String,
}

impl Machine {
    #[track_caller]
    fn new(emulator: bool) -> Option<Self> {
        if std::env::consts::ARCH != "x86_64" {
            skipped("the other processor is arm64, which this one is");
            return None;
        }
        let env = TestEnv::rootless()?;
        Peer::find("qemu-aarch64-static")?;
        let place = "/proc/sys/fs/binfmt_misc";
        let register = if emulator { format!("cat {EMULATOR} > {place}/register &&") } else { String::new() };
        let script = format!("mount -t binfmt_misc none {place} && {register} exec \"$@\"");
        let machine = Self { env, script };
        let tried = machine.with(machine.env.kiln(["version"])).run();
        if tried.code != 0 {
            skipped(&format!(
                "no registration in a user namespace, which Linux 6.7 brought: {}",
                tried.stderr
            ));
            return None;
        }
        Some(machine)
    }

    fn with<'a>(&self, command: Invocation<'a>) -> Invocation<'a> {
        let unshare = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount"];
        let [a, b, c, d, e] = unshare;
        command.through([a, b, c, d, e, "sh", "-c", &self.script, "sh"])
    }

    fn kiln<const N: usize>(&self, words: [&str; N]) -> Outcome {
        self.with(self.env.kiln(words)).run()
    }

    fn build<const N: usize>(&self, words: [&str; N]) -> Outcome {
        self.with(self.env.build_command(words)).run()
    }

    /// `busybox` of a registry for both processors, and the same for arm64 alone as `arm` in the store.
    #[track_caller]
    fn furnish(&self, registry: &Registry) -> Option<String> {
        let env = &self.env;
        busybox_arm64_tar(&env.path("arm.tar"))?;
        kiln_tests::busybox_tar(&env.path("amd.tar"));
        let both = registry.name("busybox:1");
        for (tar, platform, tag) in [("amd.tar", "linux/amd64", "amd"), ("arm.tar", "linux/arm64", "arm")] {
            let (tar, name) = (env.path(tar).display().to_string(), registry.name(&format!("busybox:{tag}")));
            self.kiln(["import", "--platform", platform, &tar, &name]).success();
            self.kiln(["push", &name]).success();
        }
        let [amd, arm] = ["amd", "arm"].map(|tag| registry.name(&format!("busybox:{tag}")));
        self.kiln(["tag", &arm, "arm"]).success();
        self.kiln(["imagetools", "create", "--tag", &both, &amd, &arm]).success();
        Some(both)
    }
}

#[test]
fn a_step_runs_on_another_processor_and_so_does_a_container() {
    let (Some(machine), Some(registry)) = (Machine::new(true), Registry::start(Login::Open)) else { return };
    let Some(both) = machine.furnish(&registry) else { return };
    machine
        .env
        .file("Dockerfile", "FROM arm\nARG TARGETARCH\nRUN uname -m > /made; echo $TARGETARCH >> /made\n");
    machine.build(["--platform=linux/arm64", "--tag=made"]).success();
    let ran = machine.kiln(["run", "--rm", "--platform=linux/arm64", "made", "cat", "/made"]).success();
    assert_eq!(ran.stdout(), "aarch64\narm64\n");
    // A name of several platforms is this machine's, or what is asked for, and then what is here, as Docker has it.
    let machine_of = |words: &[&str]| {
        let words: Vec<_> =
            ["run", "--rm"].iter().chain(words).chain(&[&*both, "uname", "-m"]).copied().collect();
        machine.with(machine.env.kiln(words)).run().success()
    };
    assert_eq!(machine_of(&[]).stdout(), "x86_64\n");
    assert_eq!(machine_of(&["--platform=linux/arm64"]).stdout(), "aarch64\n");
    let told =
        machine_of(&[]).says(["warning: the image's platform is linux/arm64, this machine's linux/amd64"]);
    assert_eq!(told.stdout(), "aarch64\n");
    assert_eq!(machine_of(&["--platform=linux/amd64"]).stdout(), "x86_64\n");
    let exit = machine.kiln(["run", "--rm", "--platform=linux/arm64", &both, "sh", "-c", "exit 7"]);
    assert_eq!(exit.code, 7, "{exit}");
}

/// Each platform's step waits for the other's: one after the other, they would wait in vain.
#[test]
fn platforms_are_built_side_by_side_into_an_index() {
    let (Some(machine), Some(registry)) = (Machine::new(true), Registry::start(Login::Open)) else { return };
    let Some(both) = machine.furnish(&registry) else { return };
    let meet = "touch /meet/$(uname -m); n=0; \
        until [ -e /meet/aarch64 ] && [ -e /meet/x86_64 ]; do n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.1; done";
    let dockerfile = format!(
        "FROM {both}\nRUN --mount=type=cache,target=/meet {meet}\nRUN uname -m > /machine\n\
         FROM --platform=$BUILDPLATFORM {both} AS here\nRUN uname -m > /machine\n\
         FROM scratch\nCOPY --from=0 /machine /there\nCOPY --from=here /machine /here\n"
    );
    machine.env.file("Dockerfile", dockerfile);
    let (name, out) = (registry.name("app:1"), machine.env.path("out"));
    let (pushed, copied) = (
        format!("--output=type=registry,name={name}"),
        format!("--output=type=local,dest={}", out.display()),
    );
    machine.build(["--platform=linux/amd64,linux/arm64", &pushed, &copied]).success();
    let read = |path: &str| std::fs::read_to_string(out.join(path)).expect("a file");
    assert_eq!(read("linux_arm64/there"), "aarch64\n");
    assert_eq!(read("linux_amd64/there"), "x86_64\n");
    assert_eq!(read("linux_arm64/here"), "x86_64\n", "what builds runs on this processor");
    let index = machine.kiln(["imagetools", "inspect", "--raw", &name]).success().json();
    let platforms: Vec<_> = index["manifests"]
        .as_array()
        .expect("an index")
        .iter()
        .map(|m| &m["platform"]["architecture"])
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
}

#[test]
fn without_an_emulator_it_is_said_what_is_missing() {
    let (Some(machine), Some(registry)) = (Machine::new(false), Registry::start(Login::Open)) else { return };
    if machine.furnish(&registry).is_none() {
        return;
    }
    machine.env.file("Dockerfile", "FROM arm\nRUN uname -m\n");
    let advice = ["Exec format error", "qemu-user-static"];
    let failed = machine.build(["--platform=linux/arm64"]).failure(1).says(advice);
    failed.says(["RUN uname -m", "for another processor"]);
    machine.kiln(["run", "--rm", "--platform=linux/arm64", "arm", "uname"]).failure(126).says(advice);
    // What runs nothing needs no emulator.
    machine.env.file("Dockerfile", "FROM arm\nCOPY Dockerfile /\nENV A=b\n");
    machine.build(["--platform=linux/arm64"]).success();
}
