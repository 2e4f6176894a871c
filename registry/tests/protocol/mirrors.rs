//! Mirrors and proxies before a registry.

use kiln_registry::{Client, ClientOptions, Endpoint, Hosts, ProxyOptions, RegistryHosts, Secret};

use crate::server::{Server, Trouble, hasty, noise};

fn client(mirrors: &[&Server], own: &Server, mirrors_only: bool) -> Client {
    let endpoint = |server: &Server| Endpoint::new(format!("http://{}", server.address));
    let hosts = RegistryHosts {
        mirrors: mirrors.iter().map(|mirror| endpoint(mirror)).collect(),
        upstream: Some(endpoint(own)),
        mirrors_only,
        ..RegistryHosts::default()
    };
    let registries = [("docker.io".to_owned(), hosts)].into();
    Client::new(ClientOptions { hosts: Hosts { registries }, ..hasty() })
}

#[tokio::test]
async fn the_first_mirror_that_has_it_wins_and_the_registry_is_the_last() {
    let (empty, mirror, own) = (Server::start().await, Server::start().await, Server::start().await);
    let reference = "busybox".parse().unwrap();
    let manifest = mirror.image("library/busybox", "latest", "linux", "amd64");
    let client_of_three = client(&[&empty, &mirror], &own, false);
    let fetched = client_of_three.resolve(&reference).await.unwrap();
    assert_eq!(fetched.descriptor.digest(), manifest.digest());
    assert_eq!(empty.asked(), ["GET /v2/library/busybox/manifests/latest?ns=docker.io"]);
    assert!(own.asked().is_empty());

    own.image("library/own", "latest", "linux", "amd64");
    client_of_three.resolve(&"own".parse().unwrap()).await.unwrap();
    let only = client(&[&empty], &own, true).resolve(&"own".parse().unwrap()).await.unwrap_err();
    assert!(only.is_not_found());
}

#[tokio::test]
async fn a_transfer_goes_on_at_the_next_mirror() {
    let (mirror, own) = (Server::start().await, Server::start().await);
    let content = noise(800_000);
    let descriptor = mirror.blob(&content);
    own.blob(&content);
    mirror.trouble("GET /v2/library/x/blobs", Trouble::CutAnswer(300_000));
    for _ in 0..3 {
        mirror.trouble("GET /v2/library/x/blobs", Trouble::Answer(500, Vec::new(), String::new()));
    }
    let received =
        client(&[&mirror], &own, false).blob(&"x".parse().unwrap(), &descriptor, Vec::new()).await.unwrap();
    assert!(received == content);
    assert_eq!(own.asked().len(), 1);
}

#[tokio::test]
async fn a_mirror_with_damaged_content_is_passed_over() {
    let (mirror, own) = (Server::start().await, Server::start().await);
    let content = noise(100_000);
    let descriptor = mirror.blob(&content);
    own.blob(&content);
    mirror.trouble("GET /v2/library/x/blobs", Trouble::Corrupt);
    mirror.trouble("GET /v2/library/x/blobs", Trouble::Corrupt);
    let received =
        client(&[&mirror], &own, false).blob(&"x".parse().unwrap(), &descriptor, Vec::new()).await.unwrap();
    assert!(received == content);
}

#[tokio::test]
async fn pushes_go_to_the_registry_itself_and_prefixes_are_put_before() {
    let (mirror, own) = (Server::start().await, Server::start().await);
    client(&[&mirror], &own, false)
        .push_manifest(&"x".parse().unwrap(), "application/x", b"{}")
        .await
        .unwrap();
    assert!(mirror.asked().is_empty());
    assert_eq!(own.asked(), ["PUT /v2/library/x/manifests/latest"]);

    let mut endpoint = Endpoint::new(format!("http://{}/proxy", mirror.address));
    endpoint.repository_prefix = "hub".to_owned();
    let hosts = RegistryHosts { mirrors: vec![endpoint], mirrors_only: true, ..RegistryHosts::default() };
    let registries = [("docker.io".to_owned(), hosts)].into();
    let client = Client::new(ClientOptions { hosts: Hosts { registries }, ..hasty() });
    let _ = client.resolve(&"x".parse().unwrap()).await;
    assert_eq!(mirror.asked(), ["GET /proxy/v2/hub/library/x/manifests/latest?ns=docker.io"]);
}

#[tokio::test]
async fn a_proxy_is_asked_for_other_machines_but_not_for_this_one() {
    let (proxy, here) = (Server::start().await, Server::start().await);
    here.image("a", "latest", "linux", "amd64");
    proxy.image("a", "latest", "linux", "amd64");
    let upstream = Some(Endpoint::new("http://registry.test"));
    let hosts = RegistryHosts { upstream, ..RegistryHosts::default() };
    let through = |none_for: &str| {
        Client::new(ClientOptions {
            hosts: Hosts { registries: [("registry.test".to_owned(), hosts.clone())].into() },
            proxy: ProxyOptions {
                http: Some(Secret::new(proxy.address.clone())),
                none_for: none_for.to_owned(),
                ..ProxyOptions::default()
            },
            ..hasty()
        })
    };
    through("").resolve(&"registry.test/a".parse().unwrap()).await.unwrap();
    assert_eq!(proxy.asked(), ["GET /v2/a/manifests/latest"]);
    through("").resolve(&here.reference("a")).await.unwrap();
    assert!(through("example.com,.test").resolve(&"registry.test/a".parse().unwrap()).await.is_err());
    assert!(proxy.asked().is_empty());
}
