use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn files(texts: &[&str]) -> (tempfile::TempDir, Credentials) {
    let directory = tempfile::tempdir().unwrap();
    let paths = texts.iter().enumerate().map(|(n, text)| {
        let path = directory.path().join(n.to_string());
        fs::write(&path, text).unwrap();
        path
    });
    let credentials = Credentials::from_files(paths.collect());
    (directory, credentials)
}

async fn login(text: &str, registry: &str, repository: &str) -> String {
    show(&files(&[text]).1.get(registry, repository).await.unwrap())
}

fn show(login: &Option<Login>) -> String {
    match login {
        Some(Login::Password { user, secret }) => format!("{user}:{}", secret.reveal()),
        Some(Login::IdentityToken(token)) => format!("identity {}", token.reveal()),
        Some(Login::RegistryToken(token)) => format!("registry {}", token.reveal()),
        None => "nobody".to_owned(),
    }
}

/// A helper under a path of its own: the name in the file leads out of the search path.
fn helper(directory: &Path, script: &str) -> String {
    let program = directory.join("docker-credential-x");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program.display().to_string()
}

#[tokio::test]
async fn keys_are_found_however_tools_write_them() {
    // user:secret, with and without padding
    for key in
        ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"]
    {
        let text = format!(r#"{{"auths":{{"{key}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#);
        assert_eq!(login(&text, "docker.io", "library/busybox").await, "user:secret", "{key}");
        assert_eq!(login(&text, "ghcr.io", "x").await, "nobody");
    }
    let text = r#"{"auths":{"http://r.example:5000":{"auth":"dXNlcjpzZWNyZXQ"}}}"#;
    assert_eq!(login(text, "r.example:5000", "x").await, "user:secret");
}

#[tokio::test]
async fn the_longest_path_wins() {
    let text = r#"{"auths":{"quay.io":{"username":"all","password":"1"},"quay.io/team":{"username":"team","password":"2"}}}"#;
    assert_eq!(login(text, "quay.io", "team/app").await, "team:2");
    assert_eq!(login(text, "quay.io", "teams/app").await, "all:1");
}

#[tokio::test]
async fn tokens_are_told_from_passwords() {
    let text = r#"{"auths":{"a":{"auth":"dTo=","identitytoken":"i"},"b":{"registrytoken":"r"},"c":{}}}"#;
    assert_eq!(login(text, "a", "x").await, "identity i");
    assert_eq!(login(text, "b", "x").await, "registry r");
    assert_eq!(login(text, "c", "x").await, "nobody");
}

#[tokio::test]
async fn the_first_file_that_knows_wins_and_absent_files_say_nothing() {
    let (_directory, credentials) = files(&[
        r#"{"auths":{"a":{"username":"first","password":"1"}}}"#,
        r#"{"auths":{"a":{"username":"second","password":"2"},"b":{"username":"b","password":"3"}}}"#,
        "",
    ]);
    assert_eq!(show(&credentials.get("a", "x").await.unwrap()), "first:1");
    assert_eq!(show(&credentials.get("b", "x").await.unwrap()), "b:3");
    assert_eq!(
        show(&Credentials::from_files(vec!["/nowhere/x".into()]).get("a", "x").await.unwrap()),
        "nobody"
    );
}

#[tokio::test]
async fn broken_files_are_named_without_their_content() {
    for text in ["[1]", r#"{"auths": secret"#, r#"{"auths":{"a":{"auth":"secret!"}}}"#] {
        let error = files(&[text]).1.get("a", "x").await.unwrap_err().to_string();
        assert!(error.starts_with("read credentials from `/") && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_helper_is_asked_with_dockers_key() {
    let directory = tempfile::tempdir().unwrap();
    let program = helper(
        directory.path(),
        r#"read url; [ "$1 $url" = "get https://index.docker.io/v1/" ] && echo '{"ServerURL":"","Username":"<token>","Secret":"i"}'"#,
    );
    let helper = Helper { program, timeout: Duration::from_secs(20) };
    assert_eq!(show(&helper.get(helper_key("docker.io")).await.unwrap()), "identity i");
}

#[tokio::test]
async fn a_helper_that_has_nothing_fails_or_hangs_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let ask = async |script: &str| {
        let program = helper(directory.path(), script);
        Helper { program, timeout: Duration::from_millis(500) }.get("r").await
    };
    assert_eq!(
        show(&ask("echo 'credentials not found in native keychain'; exit 1").await.unwrap()),
        "nobody"
    );
    assert!(ask("echo locked; exit 1").await.unwrap_err().to_string().ends_with(": locked"));
    assert!(ask("exec sleep 60").await.unwrap_err().to_string().contains("no answer"));
    let absent = Helper::new("kiln-has-no-such-helper", Duration::from_secs(1)).get("r").await.unwrap_err();
    assert!(absent.to_string().contains("cannot be started"), "{absent}");
}

#[tokio::test]
async fn a_login_is_stored_readable_by_its_owner_and_keeps_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new/config.json");
    let credentials = Credentials::from_files(vec![file.clone()]);
    let login = Login::Password { user: "user".into(), secret: Secret::new("a:b") };
    assert_eq!(credentials.store(&file, "docker.io", &login).await.unwrap(), Stored::File(file.clone()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(show(&credentials.get("docker.io", "x").await.unwrap()), "user:a:b");

    fs::write(&file, r#"{"psFormat":"x","auths":{"docker.io":{"auth":"dTpw"},"b":{"auth":"dTpw"}}}"#)
        .unwrap();
    credentials.store(&file, "docker.io", &login).await.unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("docker.io").count(), 1, "{text}");
    assert!(text.contains("psFormat") && text.contains("\"b\""), "{text}");

    assert!(credentials.erase(&file, "docker.io").await.unwrap());
    assert!(!credentials.erase(&file, "docker.io").await.unwrap());
    assert_eq!(show(&credentials.get("docker.io", "x").await.unwrap()), "nobody");
    assert_eq!(show(&credentials.get("b", "x").await.unwrap()), "u:p");
}

#[test]
fn secrets_are_not_shown() {
    let login = Login::Password { user: "u".into(), secret: Secret::new("hidden") };
    assert!(!format!("{login:?}").contains("hidden"));
}
