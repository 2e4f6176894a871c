//! What is in an image: an SPDX 2.3 document of the packages found in its files.

use serde_json::{Value, json};

use super::Predicate;
use crate::error::ExportError;
use crate::packages::{Package, packages};
use crate::tree::FileTree;

/// The list of packages of a root file system. `name` is what the document is called; `created` is an RFC 3339 time.
///
/// # Errors
/// If the tree cannot be read.
pub fn sbom(tree: &dyn FileTree, name: &str, created: &str) -> Result<Predicate, ExportError> {
    let found = packages(tree)?;
    let packages: Vec<Value> = found.iter().map(package).collect();
    let described = found.iter().map(|package| {
        json!({
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relatedSpdxElement": id(package),
            "relationshipType": "DESCRIBES",
        })
    });
    // The same files give the same document: its name in the world is made of what it says.
    let namespace = kiln_core::Digest::of(Value::from(packages.clone()).to_string().as_bytes());
    let value = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:kiln:sbom:{namespace}"),
        "creationInfo": {
            "creators": ["Organization: kiln", format!("Tool: kiln-{}", env!("CARGO_PKG_VERSION"))],
            "created": created,
        },
        "packages": packages,
        "relationships": described.collect::<Vec<_>>(),
    });
    Ok(Predicate { kind: "https://spdx.dev/Document".to_owned(), value })
}

fn package(package: &Package) -> Value {
    let asserted = |text: &str| if text.is_empty() { "NOASSERTION".to_owned() } else { text.to_owned() };
    json!({
        "name": package.name,
        "SPDXID": id(package),
        "versionInfo": package.version,
        "supplier": match package.supplier.as_str() {
            "" => "NOASSERTION".to_owned(),
            supplier => format!("Organization: {supplier}"),
        },
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "sourceInfo": format!("found in {}", package.found_in.display()),
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "licenseComments": asserted(&package.license),
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.url(),
        }],
    })
}

/// SPDX lets only letters, digits, dots and dashes into an id.
fn id(package: &Package) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
    };
    let place = kiln_core::Digest::of(package.found_in.as_os_str().as_encoded_bytes()).hex();
    let kind = package.kind.as_str();
    format!("SPDXRef-Package-{kind}-{}-{}-{}", plain(&package.name), plain(&package.version), &place[..12])
}
