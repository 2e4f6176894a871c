//! Where a server may send a client: redirects, upload locations, token realms.

use reqwest::Url;

use crate::error::Fault;
use crate::hosts::authority;

/// The most redirects in a row.
pub(crate) const MAX_REDIRECTS: usize = 10;

/// The target of a `Location` header that answers a request for `from`.
///
/// A registry behind a proxy that ends TLS often writes `http://` with its own name: that means the https address the
/// client used. Any other step from https to http is refused.
pub(crate) fn target(from: &Url, location: &str) -> Result<Url, Fault> {
    let bad = |why| Fault::BadTarget { host: authority(from), target: shortened(location), why };
    let mut to = from.join(location).map_err(|_| bad("which is no address"))?;
    if !matches!(to.scheme(), "http" | "https") || to.host_str().is_none() {
        return Err(bad("which is no http address"));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(bad("which carries a user name"));
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        if to.host_str() != from.host_str() || to.port().is_some_and(|port| Some(port) != from.port()) {
            return Err(bad("which would leave the encrypted connection"));
        }
        let port = from.port();
        to.set_scheme("https").and_then(|()| to.set_port(port)).map_err(|()| bad("which is no address"))?;
    }
    to.set_fragment(None);
    Ok(to)
}

/// The token server that the registry at `registry` names. `trusting` says that the registry may be plain or unsigned.
pub(crate) fn realm(registry: &Url, text: &str, trusting: bool) -> Result<Url, Fault> {
    let bad = |why| Fault::BadTarget { host: authority(registry), target: shortened(text), why };
    let url = Url::parse(text).map_err(|_| bad("which is no address of a token server"))?;
    if url.host_str().is_none() || !matches!(url.scheme(), "http" | "https") {
        return Err(bad("which is no http address of a token server"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("a token server's address with a user name"));
    }
    if url.scheme() == "http" && registry.scheme() == "https" && !trusting {
        return Err(bad("a token server without encryption, which would see the password"));
    }
    Ok(url)
}

/// Whether both are the same server: scheme, host and port. Secrets for one are secrets for the other only then.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Without the query, which may be a signature.
fn shortened(text: &str) -> String {
    text.split('?').next().unwrap_or(text).chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(from: &str, location: &str) -> String {
        match target(&Url::parse(from).unwrap(), location) {
            Ok(url) => url.to_string(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn locations_are_resolved() {
        assert_eq!(to("https://r/v2/x", "/v2/up?a=1"), "https://r/v2/up?a=1");
        assert_eq!(to("https://r/v2/x", "https://cdn/y"), "https://cdn/y");
        assert_eq!(to("http://r:5000/v2/x", "http://cdn/y"), "http://cdn/y");
    }

    #[test]
    fn a_registry_that_does_not_know_of_its_tls_is_understood() {
        assert_eq!(to("https://r/v2/x", "http://r/up"), "https://r/up");
        assert_eq!(to("https://r:8443/v2/x", "http://r:8443/up"), "https://r:8443/up");
    }

    #[test]
    fn steps_out_of_encryption_and_odd_addresses_are_refused() {
        for location in ["http://cdn/y?sig=s", "http://r:81/y", "ftp://r/y", "https://u:p@r/y", "https://"] {
            let said = to("https://r/v2/x", location);
            assert!(said.starts_with("r points to") && !said.contains("sig"), "{location}: {said}");
        }
    }

    #[test]
    fn a_realm_must_be_as_safe_as_its_registry() {
        let (safe, plain) = (Url::parse("https://r/v2/").unwrap(), Url::parse("http://r:5000/v2/").unwrap());
        assert!(realm(&safe, "https://auth/token", false).is_ok());
        assert!(realm(&plain, "http://auth/token", false).is_ok());
        assert!(realm(&safe, "http://auth/token", true).is_ok());
        for bad in ["http://auth/token", "file:///etc/passwd", "auth/token", "https://u@auth/"] {
            assert!(realm(&safe, bad, false).is_err(), "{bad}");
        }
    }
}
