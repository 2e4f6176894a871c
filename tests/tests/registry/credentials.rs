//! Logins, and the programs that keep them.

use kiln_tests::{Login, Registry, TestEnv};

/// Keeps what it is told in a file for each server, as `docker-credential-pass` and the like do in safer places.
const HELPER: &str = r#"#!/bin/sh
cd "$HOME"
echo "$1" >> asked
case $1 in
store) cat > kept; ;;
get) read server; grep -q "\"$server\"" kept 2>/dev/null && cat kept || { echo credentials not found in native keychain; exit 1; } ;;
erase) rm -f kept ;;
esac
"#;

/// A world whose programs are found in its own directory too.
fn with_helper(registry: &Registry, config: &str) -> TestEnv {
    let env = TestEnv::new();
    env.write("bin/docker-credential-test", HELPER);
    let program = env.path("bin/docker-credential-test");
    std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    env.write("home/.docker/config.json", config.replace("REGISTRY", registry.address()));
    env.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    env
}

#[test]
fn a_login_is_kept_by_the_registrys_helper_or_by_that_for_all() {
    let Some(registry) = Registry::start(Login::Basic) else { return };
    for config in [r#"{"credHelpers": {"REGISTRY": "test"}}"#, r#"{"credsStore": "test"}"#] {
        let env = with_helper(&registry, config);
        let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
        let run = |words: &[&str], input: &str| env.kiln(words).env("PATH", &path).stdin(input).run();
        let login = ["login", "--username", registry.user(), "--password-stdin", registry.address()];
        run(&login, registry.password()).success().says_not([registry.password()]);
        let kept = std::fs::read_to_string(env.path("home/kept")).expect("the helper was told");
        assert!(kept.contains(registry.password()), "{kept}");
        let written =
            std::fs::read_to_string(env.path("home/.docker/config.json")).expect("the configuration");
        assert!(!written.contains(registry.password()) && written.contains("\"test\""), "{written}");

        let (name, context) = (registry.name("app:1"), env.path("context").display().to_string());
        run(&["build", "--push", "--tag", &name, &context], "").success();
        run(&["logout", registry.address()], "").success();
        assert!(!env.path("home/kept").exists());
        let refused = run(&["push", &name], "").failure(1);
        refused.says(["wants a login", &format!("kiln login {}", registry.address())]);
    }
}

#[test]
fn a_login_without_a_helper_is_in_dockers_file_and_nobody_elses_to_read() {
    let Some(registry) = Registry::start(Login::Basic) else { return };
    let env = TestEnv::new();
    let login = |password: &str| {
        let words = ["login", "-u", registry.user(), "--password-stdin", registry.address()];
        env.kiln(words).stdin(password).run()
    };
    login("wrong").failure(1).says([registry.address()]).says_not(["wrong\n"]);
    assert!(!env.path("home/.docker/config.json").exists(), "what is refused is not kept");
    // With the line's end that `echo` writes.
    login(&format!("{}\n", registry.password())).success();
    let file = env.path("home/.docker/config.json");
    let mode =
        std::fs::metadata(&file).map(|file| std::os::unix::fs::PermissionsExt::mode(&file.permissions()));
    assert_eq!(mode.expect("the file") & 0o777, 0o600);
    env.kiln(["logout", registry.address()]).run().success();
    let text = std::fs::read_to_string(file).expect("the file");
    assert!(!text.contains(registry.address()), "{text}");
}
