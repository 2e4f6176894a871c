//! Platforms: the operating system and processor that an image is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{StableHash, StableHasher};

/// An operating system, an architecture and its variant, in Go's names (image-spec, image-index.md).
///
/// Always normalised as containerd does: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` alone is `arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, as in Go's GOOS.
    pub os: String,
    /// `amd64`, `arm64`, …, as in Go's GOARCH.
    pub architecture: String,
    /// `v7`, `v6`, …; empty where the architecture needs none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected os[/architecture[/variant]], for example linux/amd64")]
pub struct PlatformError(pub String);

impl Platform {
    /// A normalised platform.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) =
            normalize(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        Self { os, architecture, variant }
    }

    /// The platform that this binary runs on.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// Whether an image for `offered` runs on a machine of this platform without emulation: the same system and
    /// architecture, and a variant that is not newer.
    pub fn runs(&self, offered: &Platform) -> bool {
        self.rank(offered).is_some()
    }

    /// How well `offered` fits (smaller is better), or `None` if it does not run here.
    pub fn rank(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os {
            return None;
        }
        if self.architecture == offered.architecture {
            let level = |variant: &str| variant.strip_prefix('v').and_then(|v| v.parse::<u32>().ok());
            return match (self.variant.as_str(), offered.variant.as_str()) {
                (a, b) if a == b => Some(0),
                ("", _) if self.architecture != "amd64" => None,
                (a, b) => {
                    let (have, want) = (level(a).unwrap_or(1), level(b).unwrap_or(1));
                    have.checked_sub(want)
                }
            };
        }
        // A 64-bit ARM machine runs 32-bit ARM images: after all 64-bit ones, newest variant first.
        if self.architecture == "arm64" && offered.architecture == "arm" {
            let level = offered.variant.strip_prefix('v').and_then(|v| v.parse::<u32>().ok())?;
            return Some(100_u32.saturating_sub(level));
        }
        None
    }
}

fn normalize(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i686" | "x86" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", v) => ("ppc64le", v),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.()".contains(&b))
        };
        if parts.len() > 3 || !parts.iter().all(word) {
            return Err(error());
        }
        let host = Self::host();
        match parts.as_slice() {
            ["local"] => Ok(host),
            // One word is an operating system or an architecture (containerd, platforms.Parse).
            [
                os @ ("linux" | "windows" | "darwin" | "macos" | "freebsd" | "netbsd" | "openbsd" | "solaris"
                | "wasi"),
            ] => Ok(Self::new(os, &host.architecture, &host.variant)),
            [architecture] => {
                let platform = Self::new(&host.os, architecture, "");
                let known = [
                    "386", "amd64", "arm", "arm64", "ppc64le", "ppc64", "s390x", "riscv64", "loong64",
                    "mips64", "mips64le", "mips", "mipsle", "wasm",
                ];
                if known.contains(&platform.architecture.as_str()) { Ok(platform) } else { Err(error()) }
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(error()),
        }
    }
}

impl StableHash for Platform {
    fn stable_hash(&self, into: &mut StableHasher) {
        self.os.stable_hash(into);
        self.architecture.stable_hash(into);
        self.variant.stable_hash(into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_normalised_as_containerd_does() {
        for (written, meant) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("arm64", "linux/arm64"),
        ] {
            assert_eq!(platform(written).to_string(), meant, "{written}");
        }
        for bad in ["", "linux/", "a/b/c/d", "linux/am d64", "nonsense"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_variant_wins() {
        let v7 = platform("linux/arm/v7");
        assert_eq!(v7.rank(&platform("linux/arm/v7")), Some(0));
        assert_eq!(v7.rank(&platform("linux/arm/v6")), Some(1));
        assert_eq!(v7.rank(&platform("linux/arm/v8")), None);
        assert!(platform("linux/arm64").runs(&platform("linux/arm/v7")));
        assert!(!platform("linux/amd64").runs(&platform("linux/arm64")));
        assert!(!platform("linux/amd64").runs(&platform("linux/amd64/v3")));
    }
}
