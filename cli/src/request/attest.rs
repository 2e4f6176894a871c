//! `--provenance`, `--sbom`, `--attest`: what is to be said of an image beside it.

use kiln_exporter::{Mode, ProvenanceVersion};

use super::UsageError;
use crate::output::csv_fields;

/// What is asked for. Nothing by default: an index around a single image breaks consumers who want the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attests {
    /// How it was built.
    pub(crate) provenance: Option<ProvenanceWanted>,
    /// What is in it.
    pub(crate) sbom: bool,
}

/// `--provenance`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProvenanceWanted {
    pub(crate) mode: Mode,
    pub(crate) version: ProvenanceVersion,
    pub(crate) builder: String,
    pub(crate) reproducible: bool,
}

impl Attests {
    /// Understands the three flags; a bare one is `true`.
    ///
    /// # Errors
    /// The first value that cannot be understood.
    pub(crate) fn parse(
        provenance: Option<Option<&str>>,
        sbom: Option<Option<&str>>,
        attest: &[String],
    ) -> Result<Self, UsageError> {
        let mut all = Self::default();
        for text in attest {
            let fields = csv_fields(text);
            let kind = fields.iter().find_map(|field| field.strip_prefix("type="));
            let rest: Vec<&str> =
                fields.iter().map(String::as_str).filter(|field| !field.starts_with("type=")).collect();
            match kind {
                Some("provenance") => all.provenance = wanted("attest", text, &rest)?,
                Some("sbom") => all.sbom = packages("attest", text, &rest)?,
                _ => return Err(UsageError::value("attest", text, "expected type=provenance or type=sbom")),
            }
        }
        if let Some(text) = provenance {
            let text = text.unwrap_or("true");
            let fields = csv_fields(text);
            all.provenance =
                wanted("provenance", text, &fields.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        if let Some(text) = sbom {
            let text = text.unwrap_or("true");
            let fields = csv_fields(text);
            all.sbom = packages("sbom", text, &fields.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(all)
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.provenance.is_none() && !self.sbom
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn wanted(flag: &'static str, text: &str, fields: &[&str]) -> Result<Option<ProvenanceWanted>, UsageError> {
    let mut wanted = ProvenanceWanted::default();
    let bad = |problem: &str| Err(UsageError::value(flag, text, problem));
    for field in fields {
        let (key, value) = field.split_once('=').unwrap_or(("", field));
        match (key, value) {
            ("" | "disabled", _) if boolean(value) == Some(key == "disabled") => return Ok(None),
            ("" | "disabled", _) if boolean(value).is_some() => {}
            ("" | "mode", "min") => wanted.mode = Mode::Min,
            ("" | "mode", "max") => wanted.mode = Mode::Max,
            ("version", "v1" | "slsa-v1") => wanted.version = ProvenanceVersion::V1,
            ("version", "v0.2" | "slsa-v0.2") => wanted.version = ProvenanceVersion::V02,
            ("builder-id", _) => value.clone_into(&mut wanted.builder),
            ("reproducible", _) if boolean(value).is_some() => {
                wanted.reproducible = boolean(value) == Some(true);
            }
            // The Dockerfile's own name, and where the statement goes, are known here.
            ("filename" | "inline-only", _) => {}
            _ => {
                return bad(
                    "expected true, false, mode=min|max, version=v1|v0.2, builder-id=ID, reproducible=BOOL",
                );
            }
        }
    }
    Ok(Some(wanted))
}

fn packages(flag: &'static str, text: &str, fields: &[&str]) -> Result<bool, UsageError> {
    let mut wanted = true;
    for field in fields {
        let (key, value) = field.split_once('=').unwrap_or(("", field));
        match key {
            "" if boolean(value).is_some() => wanted = boolean(value) == Some(true),
            "disabled" if boolean(value).is_some() => wanted = boolean(value) == Some(false),
            "generator" => {
                let problem =
                    "no generator is run: kiln reads the packages of an image itself; say --sbom=true";
                return Err(UsageError::value(flag, text, problem));
            }
            _ => return Err(UsageError::value(flag, text, "expected true or false")),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance(text: &str) -> Option<ProvenanceWanted> {
        Attests::parse(Some(Some(text)), None, &[]).unwrap().provenance
    }

    #[test]
    fn the_forms_of_buildxs_manual_are_understood() {
        assert!(Attests::parse(None, None, &[]).unwrap().is_empty());
        assert_eq!(
            Attests::parse(Some(None), None, &[]).unwrap().provenance,
            Some(ProvenanceWanted::default())
        );
        assert_eq!(provenance("false"), None);
        assert_eq!(provenance("mode=min").unwrap().mode, Mode::Min);
        assert_eq!(provenance("min").unwrap().mode, Mode::Min);
        assert_eq!(provenance("mode=max,builder-id=https://ci").unwrap().builder, "https://ci");
        assert_eq!(provenance("version=v0.2").unwrap().version, ProvenanceVersion::V02);
        let attest = |text: &str| Attests::parse(None, None, &[text.to_owned()]);
        assert!(attest("type=sbom").unwrap().sbom);
        assert!(!attest("type=sbom,disabled=true").unwrap().sbom);
        assert!(attest("type=provenance,mode=max").unwrap().provenance.is_some());
        assert!(attest("type=provenance,disabled=true").unwrap().is_empty());
        // The shorthand has the last word.
        assert!(!Attests::parse(None, Some(Some("false")), &["type=sbom".to_owned()]).unwrap().sbom);
    }

    #[test]
    fn what_is_not_understood_is_told() {
        assert!(Attests::parse(Some(Some("mode=most")), None, &[]).is_err());
        let generator = Attests::parse(None, Some(Some("generator=docker.io/scanner")), &[]).unwrap_err();
        assert!(generator.to_string().contains("kiln reads the packages"), "{generator}");
        assert!(Attests::parse(None, None, &["type=vex".to_owned()]).is_err());
    }
}
