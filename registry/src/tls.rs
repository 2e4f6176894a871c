//! Whom to trust, and what to show, when speaking TLS.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::TlsFiles;
use crate::error::{ConnectKind, Fault};

/// How a server is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Profile {
    /// Certificates beside the machine's own.
    pub(crate) files: TlsFiles,
    /// Whether the server's certificate is checked.
    pub(crate) verify: bool,
}

impl Profile {
    /// What another host is spoken to with: the same trust, but no client certificate.
    pub(crate) fn for_stranger(&self) -> Self {
        Self { files: TlsFiles { client: None, ..self.files.clone() }, verify: self.verify }
    }
}

/// The configuration for https.
pub(crate) fn https(profile: &Profile, ca_files: &[PathBuf], host: &str) -> Result<ClientConfig, Fault> {
    let builder = builder();
    let builder = if profile.verify {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(native_roots().iter().cloned());
        for file in ca_files.iter().chain(&profile.files.ca) {
            let certificates = certificates(file, "CA certificates")?;
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                return Err(unusable("CA certificates", file, "it has no certificate"));
            }
        }
        if roots.is_empty() {
            let reason = "this machine has no certificate authorities to trust".to_owned();
            return Err(Fault::Connect { host: host.to_owned(), reason, kind: ConnectKind::NoRoots });
        }
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
    };
    let Some((chain, key)) = &profile.files.client else { return Ok(builder.with_no_client_auth()) };
    let chain_der = certificates(chain, "client certificate")?;
    let key_der = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| unusable("key of the client certificate", key, &e.to_string()))?;
    builder
        .with_client_auth_cert(chain_der, key_der)
        .map_err(|e| unusable("client certificate", chain, &e.to_string()))
}

/// The configuration of a client that never speaks TLS: no authority is read.
pub(crate) fn plain() -> ClientConfig {
    builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The machine's authorities, read once: some 150 certificates.
fn native_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| rustls_native_certs::load_native_certs().certs)
}

fn certificates(file: &PathBuf, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|e| unusable(what, file, &e.to_string()))
}

fn unusable(what: &'static str, path: &std::path::Path, reason: &str) -> Fault {
    Fault::Options { what, path: path.to_owned(), reason: reason.to_owned() }
}

/// Takes every certificate: for registries that the user called insecure. Content is still checked by digest.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
