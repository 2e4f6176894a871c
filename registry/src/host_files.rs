//! Folders of registries as Docker, podman and containerd have them: certificates, and containerd's `hosts.toml`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use crate::error::Fault;
use crate::{Endpoint, RegistryHosts, TlsFiles};

/// `hosts.toml`, as far as kiln reads it.
#[derive(Deserialize)]
struct HostsFile {
    server: Option<String>,
    /// In the order written.
    #[serde(default)]
    host: Table,
    #[serde(flatten)]
    own: HostFields,
}

#[derive(Default, Deserialize)]
struct HostFields {
    capabilities: Option<Vec<String>>,
    ca: Option<Files>,
    client: Option<Client>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Files {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

/// A file with both, a list of such, or pairs of certificate and key. One is used.
#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    Both(PathBuf),
    Several(Vec<Files>),
}

/// What the folders of `registry` in `directories` say. The certificates of all of them count, and the first
/// `hosts.toml`; `_default` stands in where there is none.
pub(crate) fn read(directories: &[PathBuf], registry: &str) -> Result<RegistryHosts, Fault> {
    let mut hosts = RegistryHosts::default();
    for directory in directories {
        add_certificates(&directory.join(registry), &mut hosts.tls)?;
    }
    for name in [registry, "_default"] {
        for directory in directories {
            let folder = directory.join(name);
            let file = folder.join("hosts.toml");
            match fs::read_to_string(&file) {
                Ok(text) => {
                    return parse(&text, &folder, hosts).map_err(|reason| unusable(file, reason));
                }
                Err(cause) if is_absent(&cause) => {}
                Err(cause) => return Err(unusable(file, cause.to_string())),
            }
        }
    }
    Ok(hosts)
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unusable(path: PathBuf, reason: String) -> Fault {
    Fault::Options { what: "configuration of a registry", path, reason }
}

/// Docker's and podman's rule: `*.crt` are authorities, `x.cert` belongs to `x.key`.
fn add_certificates(folder: &Path, tls: &mut TlsFiles) -> Result<(), Fault> {
    let failed = |cause: io::Error| unusable(folder.to_owned(), cause.to_string());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if is_absent(&cause) => return Ok(()),
        Err(cause) => return Err(failed(cause)),
    };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.ca.push(file),
            Some("cert") if tls.client.is_none() => {
                let key = file.with_extension("key");
                tls.client = Some((file, key));
            }
            _ => {}
        }
    }
    Ok(())
}

fn parse(text: &str, folder: &Path, mut hosts: RegistryHosts) -> Result<RegistryHosts, String> {
    let file: HostsFile = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    for (url, fields) in file.host {
        let fields: HostFields = fields.try_into().map_err(|e: toml::de::Error| e.message().to_owned())?;
        let can =
            |what: &str| fields.capabilities.as_ref().is_none_or(|all| all.iter().any(|one| one == what));
        if can("pull") {
            let resolve = can("resolve");
            hosts.mirrors.push(Endpoint { resolve, ..endpoint(&url, fields, folder)? });
        }
    }
    match file.server {
        Some(server) => {
            let mut own = endpoint(&server, file.own, folder)?;
            own.tls.ca.append(&mut hosts.tls.ca);
            own.tls.client = own.tls.client.or_else(|| hosts.tls.client.take());
            hosts.upstream = Some(own);
        }
        None => {
            let own = tls(file.own.ca, file.own.client, folder)?;
            hosts.tls.ca.extend(own.ca);
            hosts.tls.client = own.client.or(hosts.tls.client);
        }
    }
    Ok(hosts)
}

/// An address of containerd's as an endpoint. What follows `/v2` in an overridden path stands before the repository.
fn endpoint(url: &str, fields: HostFields, folder: &Path) -> Result<Endpoint, String> {
    let url = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let url = url.trim_end_matches('/');
    let (base, prefix) = match url.split_once("/v2/") {
        Some((base, prefix)) if fields.override_path => (base, prefix),
        _ => (url.strip_suffix("/v2").unwrap_or(url), ""),
    };
    Ok(Endpoint {
        repository_prefix: prefix.to_owned(),
        skip_verify: fields.skip_verify,
        tls: tls(fields.ca, fields.client, folder)?,
        ..Endpoint::new(base)
    })
}

fn tls(ca: Option<Files>, client: Option<Client>, folder: &Path) -> Result<TlsFiles, String> {
    let at = |path: &PathBuf| folder.join(path);
    let ca = match ca {
        None => Vec::new(),
        Some(Files::One(path)) => vec![at(&path)],
        Some(Files::Several(paths)) => paths.iter().map(at).collect(),
    };
    let first = match client {
        None => return Ok(TlsFiles { ca, client: None }),
        Some(Client::Both(path)) => Files::One(path),
        Some(Client::Several(several)) => several.into_iter().next().ok_or("`client` is empty")?,
    };
    let client = match first {
        Files::One(both) => (at(&both), at(&both)),
        Files::Several(pair) => match pair.as_slice() {
            [both] => (at(both), at(both)),
            [certificate, key] => (at(certificate), at(key)),
            _ => return Err("`client` is a file, or pairs of certificate and key".to_owned()),
        },
    };
    Ok(TlsFiles { ca, client: Some(client) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<RegistryHosts, String> {
        parse(text, Path::new("/d"), RegistryHosts::default())
    }

    #[test]
    fn containerds_file_gives_mirrors_in_its_order() {
        let hosts = parsed(
            r#"
            server = "https://registry-1.docker.io"
            [host."https://z.example"]
            capabilities = ["pull"]
            ca = "z.crt"
            client = [["c.crt", "c.key"], ["d.crt", "d.key"]]
            [host."http://push.example"]
            capabilities = ["push"]
            [host."https://a.example/v2/hub"]
            override_path = true
            skip_verify = true
            "#,
        )
        .unwrap();
        let [z, a] = hosts.mirrors.as_slice() else { panic!("{:?}", hosts.mirrors) };
        assert_eq!((z.url.as_str(), z.resolve, z.skip_verify), ("https://z.example", false, false));
        assert_eq!(z.tls.ca, [PathBuf::from("/d/z.crt")]);
        assert_eq!(z.tls.client, Some(("/d/c.crt".into(), "/d/c.key".into())));
        assert_eq!((a.url.as_str(), a.repository_prefix.as_str()), ("https://a.example", "hub"));
        assert!(a.resolve && a.skip_verify);
        assert_eq!(hosts.upstream.unwrap().url, "https://registry-1.docker.io");
    }

    #[test]
    fn malformed_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("r:5000");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("hosts.toml"), "server = 1").unwrap();
        let error = read(&[directory.path().to_owned()], "r:5000").unwrap_err().to_string();
        assert!(error.contains("/r:5000/hosts.toml`: "), "{error}");
    }

    #[test]
    fn certificates_of_all_folders_count() {
        let directory = tempfile::tempdir().unwrap();
        let dirs = ["one", "two", "absent"].map(|name| directory.path().join(name));
        for (at, files) in [(&dirs[0], ["a.crt", "c.cert"]), (&dirs[1], ["b.crt", "c.key"])] {
            fs::create_dir_all(at.join("r")).unwrap();
            for file in files {
                fs::write(at.join("r").join(file), "").unwrap();
            }
        }
        let tls = read(&dirs, "r").unwrap().tls;
        assert_eq!(tls.ca, [dirs[0].join("r/a.crt"), dirs[1].join("r/b.crt")]);
        assert_eq!(tls.client, Some((dirs[0].join("r/c.cert"), dirs[0].join("r/c.key"))));
        assert!(read(&dirs, "other").unwrap().tls.ca.is_empty());
    }
}
