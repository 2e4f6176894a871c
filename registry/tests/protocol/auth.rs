//! Passwords, tokens, and where they must not go.

use std::sync::Arc;

use kiln_registry::{Credentials, Fault, Login, Pushed, Secret};

use crate::server::{Auth, Server, Trouble, basic, client, client_as, describe, noise};

fn password(server: &Server, text: &str) -> Credentials {
    let (user, secret) = text.split_once(':').unwrap();
    let login = Login::Password { user: user.to_owned(), secret: Secret::new(secret) };
    Credentials::none().with(&server.address, login)
}

async fn guarded(tokens: bool, strangers: bool) -> Server {
    let server = Server::start().await;
    server.shelf().auth = Some(Auth { tokens, login: "user:secret", strangers, expires_in: 300 });
    server.image("a", "latest", "linux", "amd64");
    server
}

fn tokens_asked(server: &Server) -> Vec<String> {
    server.asked().into_iter().filter(|line| line.contains(" /token")).collect()
}

#[tokio::test]
async fn a_password_is_shown_when_asked() {
    let server = guarded(false, false).await;
    client_as(password(&server, "user:secret")).resolve(&server.reference("a")).await.unwrap();
    assert_eq!(server.shelf().authorizations.first(), Some(&None), "not before it is asked for");
    assert_eq!(server.shelf().authorizations.last(), Some(&Some(basic("user:secret"))));

    let error = client_as(password(&server, "user:wrong")).resolve(&server.reference("a")).await.unwrap_err();
    assert!(error.is_unauthorized() && !error.to_string().contains("wrong"), "{error}");
    assert!(error.hint().unwrap().contains("again"));
    let error = client().resolve(&server.reference("a")).await.unwrap_err();
    assert!(matches!(*error.fault, Fault::Unauthorized { anonymous: true, .. }), "{error}");
    assert!(error.hint().unwrap().contains(&format!("kiln login {}", server.address)));
}

#[tokio::test]
async fn one_token_serves_all_of_a_repository() {
    let server = guarded(true, false).await;
    let client = client_as(password(&server, "user:secret"));
    let blobs: Vec<_> = (0..8).map(|n| server.blob(&noise(100 + n))).collect();
    client.resolve(&server.reference("a")).await.unwrap();
    let transfers = blobs.iter().map(|blob| {
        let (client, reference, blob) = (client.clone(), server.reference("a"), blob.clone());
        tokio::spawn(async move { client.blob(&reference, &blob, Vec::new()).await.map(|_| ()) })
    });
    for transfer in transfers.collect::<Vec<_>>() {
        transfer.await.unwrap().unwrap();
    }
    let asked = tokens_asked(&server);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].contains("scope=repository%3Aa%3Apull") && asked[0].contains("service=tests"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn strangers_may_pull_what_is_public() {
    let server = guarded(true, true).await;
    client().resolve(&server.reference("a")).await.unwrap();
    // A helper that is not there does not stand in the way.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, r#"{"credsStore":"kiln-has-no-such-helper"}"#).unwrap();
    let client = client_as(Credentials::from_files(vec![file]));
    client.resolve(&server.reference("a")).await.unwrap();
    server.shelf().auth.as_mut().unwrap().strangers = false;
    let error = client.resolve(&server.reference("b")).await.unwrap_err();
    assert!(error.to_string().contains("docker-credential-kiln-has-no-such-helper"), "{error}");
}

#[tokio::test]
async fn a_refused_password_is_told_in_the_token_servers_words() {
    let server = guarded(true, true).await;
    let error = client_as(password(&server, "user:wrong")).resolve(&server.reference("a")).await.unwrap_err();
    assert!(error.to_string().contains("incorrect username or password"), "{error}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = guarded(true, false).await;
    let login = Login::IdentityToken(Secret::new("identity"));
    let client = client_as(Credentials::none().with(&server.address, login.clone()));
    client.resolve(&server.reference("a")).await.unwrap();
    let form = server.shelf().forms[0].clone();
    for part in
        ["grant_type=refresh_token", "refresh_token=identity", "service=tests", "scope=repository%3Aa%3Apull"]
    {
        assert!(form.contains(part), "{form}");
    }
    client.login_check(&server.address, &login).await.unwrap();
    let wrong = Login::IdentityToken(Secret::new("x"));
    assert!(client.login_check(&server.address, &wrong).await.unwrap_err().is_unauthorized());
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories() {
    let server = guarded(true, false).await;
    let descriptor = describe(b"content");
    let from = [server.reference("base/has")];
    let client = client_as(password(&server, "user:secret"));
    client
        .push_blob(&server.reference("new"), &descriptor, Arc::new(b"content".to_vec()), &from)
        .await
        .unwrap();
    let asked = tokens_asked(&server).join(" ");
    assert!(asked.contains("repository%3Abase%2Fhas%3Apull&"), "{asked}");
    assert!(asked.contains("repository%3Anew%3Apull%2Cpush"), "{asked}");
}

#[tokio::test]
async fn an_old_token_is_renewed_before_it_is_used() {
    let server = guarded(true, false).await;
    server.shelf().auth.as_mut().unwrap().expires_in = 0;
    let client = client_as(password(&server, "user:secret"));
    for _ in 0..3 {
        client.resolve(&server.reference("a")).await.unwrap();
    }
    assert_eq!(tokens_asked(&server).len(), 3);
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_an_upload_is_renewed() {
    let server = guarded(true, false).await;
    let content = noise(3_000_000);
    server.trouble("PATCH", Trouble::Revoke);
    server.trouble("PUT", Trouble::Revoke);
    let client = client_as(password(&server, "user:secret"));
    let descriptor = describe(&content);
    let pushed = client.push_blob(&server.reference("a"), &descriptor, Arc::new(content), &[]).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
}

#[tokio::test]
async fn a_redirect_to_another_host_leaves_secrets_behind() {
    let (server, storage) = (guarded(false, false).await, Server::start().await);
    let descriptor = storage.blob(b"content");
    let target = format!("http://{}/v2/x/blobs/{}?signature=s", storage.address, descriptor.digest());
    let client = client_as(password(&server, "user:secret"));
    client.resolve(&server.reference("a")).await.unwrap();
    server.trouble("GET /v2/a/blobs", Trouble::Answer(307, vec![("location", target)], String::new()));
    assert_eq!(client.blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap(), b"content");
    assert_eq!(storage.shelf().authorizations, [None]);

    // The same host on the same port is the same server.
    let here = format!("/v2/b/blobs/{}", server.blob(b"content").digest());
    server.trouble("GET /v2/a/blobs", Trouble::Answer(302, vec![("location", here)], String::new()));
    client.blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap();
    assert_eq!(server.shelf().authorizations.last(), Some(&Some(basic("user:secret"))));
}

#[tokio::test]
async fn circles_and_odd_targets_are_refused() {
    let server = Server::start().await;
    let descriptor = server.blob(b"content");
    for _ in 0..20 {
        let circle = format!("/v2/a/blobs/{}", descriptor.digest());
        server.trouble("GET /v2/a/blobs", Trouble::Answer(307, vec![("location", circle)], String::new()));
    }
    let error = client().blob(&server.reference("a"), &descriptor, Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("too many redirects"), "{error}");
    let away = vec![("location", "file:///etc/passwd".to_owned())];
    server.trouble("GET /v2/b/blobs", Trouble::Answer(307, away, String::new()));
    let error = client().blob(&server.reference("b"), &descriptor, Vec::new()).await.unwrap_err();
    assert!(matches!(*error.fault, Fault::BadTarget { .. }), "{error}");
    let realm = vec![("www-authenticate", r#"Bearer realm="file:///x""#.to_owned())];
    server.trouble("GET /v2/c/manifests", Trouble::Answer(401, realm, String::new()));
    let error = client().resolve(&server.reference("c")).await.unwrap_err();
    assert!(matches!(*error.fault, Fault::BadTarget { .. }), "{error}");
}
