//! Certificates: of an authority that is known or not, expired, and of those who ask.

use kiln_tests::{Registry, TestEnv, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

/// A certificate and its key, in PEM.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// An authority.
pub(crate) struct Authority {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it signs itself").pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// For a server of this name, or for a client of it.
    pub(crate) fn sign(&self, name: &str, client: bool, expired: bool) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let usage =
            if client { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
        params.extended_key_usages = vec![usage];
        if expired {
            params.not_before = date_time_ymd(2001, 9, 9);
            params.not_after = date_time_ymd(2002, 9, 9);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs").pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}

/// A registry with a certificate of the authority; it wants one of its clients too, or not.
pub(crate) fn secure(authority: &Authority, own: &Signed, clients: bool) -> Option<Registry> {
    let clients = clients.then_some(&*authority.certificate);
    Registry::start_tls(Tls { own: (&own.certificate, &own.key), clients })
}

/// Has a world know a file about a registry.
fn know(env: &TestEnv, registry: &str, file: &str, text: &str) {
    env.write(&format!("home/.config/containers/certs.d/{registry}/{file}"), text);
}

#[test]
fn an_unknown_authority_is_refused_until_it_is_known() {
    let authority = Authority::new();
    let own = authority.sign("127.0.0.1", false, false);
    let Some(registry) = secure(&authority, &own, false) else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let name = registry.name("app:1");
    let refused = env.build(["--push", "--tag", &name]).failure(1);
    let place = format!("/etc/docker/certs.d/{}/ca.crt", registry.address());
    refused.says(["cannot connect to", registry.address(), "unknown authority", "help: ", &place]);
    env.build([&format!("--output=type=registry,name={name},registry.insecure=true")]).success();
    know(&env, registry.address(), "ca.crt", &authority.certificate);
    env.build(["--push", "--tag", &name]).success();
    env.kiln(["pull", &name]).run().success();
}

#[test]
fn an_expired_certificate_is_told() {
    let authority = Authority::new();
    let own = authority.sign("127.0.0.1", false, true);
    let Some(registry) = secure(&authority, &own, false) else { return };
    let env = TestEnv::new();
    know(&env, registry.address(), "ca.crt", &authority.certificate);
    let refused = env.kiln(["pull", &registry.name("team/app:1")]).run().failure(1);
    let name = registry.name("team/app:1");
    refused.says([&name, "expired", "help: check this machine's clock", "renew its certificate"]);
    env.kiln(["fsck"]).run().success();
}

#[test]
fn a_registry_that_wants_certificates_is_shown_one() {
    let authority = Authority::new();
    let own = authority.sign("127.0.0.1", false, false);
    let Some(registry) = secure(&authority, &own, true) else { return };
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    know(&env, registry.address(), "ca.crt", &authority.certificate);
    let name = registry.name("app:1");
    env.build(["--push", "--tag", &name]).failure(1).says([registry.address()]);
    let client = authority.sign("kiln", true, false);
    know(&env, registry.address(), "client.cert", &client.certificate);
    know(&env, registry.address(), "client.key", &client.key);
    env.build(["--push", "--tag", &name]).success();
    env.kiln(["pull", &name]).run().success();
    // A certificate without its key is a mistake, and said to be one.
    std::fs::remove_file(
        env.path("home/.config/containers/certs.d").join(registry.address()).join("client.key"),
    )
    .expect("remove the key");
    env.kiln(["pull", &name]).run().failure(1).says(["client.key"]);
}
