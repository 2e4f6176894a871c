//! `RUN --mount=…`: a comma-separated list of options. Its values may have variables, so it is understood in two steps: the
//! parser splits it into fields, and whoever has expanded the values of the fields asks for the [`Mount`].

use kiln_core::{Sharing, Span, Spanned};

use super::csv;
use super::go;
use super::suggest;
use crate::ast::Word;

/// `--mount` as written, split into fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// The whole value of the flag.
    pub text: Word,
    /// Its fields in order.
    pub fields: Vec<MountField>,
}

/// `key=value` or `key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountField {
    /// The field as written, for messages.
    pub text: Word,
    /// The key in lower case.
    pub key: String,
    /// The value, if there is an `=`; raw until expanded.
    pub value: Option<Word>,
}

/// The types of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MountType {
    /// A part of a stage, an image or a context.
    #[default]
    Bind,
    /// A directory kept between builds.
    Cache,
    /// An empty memory file system.
    Tmpfs,
    /// A secret.
    Secret,
    /// A forwarded SSH agent.
    Ssh,
}

impl MountType {
    const NAMES: [(&'static str, MountType); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    /// The word that names it in `type=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// A mount with all its options, as far as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// `type=`.
    pub kind: MountType,
    /// `from=`; empty if not given.
    pub from: String,
    /// `source=`; empty if not given.
    pub source: String,
    /// `target=`; empty if not given.
    pub target: String,
    /// Whether it cannot be written to: as told by `ro` or `rw`, else by the type.
    pub read_only: bool,
    /// `id=`; empty if not given.
    pub id: String,
    /// `sharing=`.
    pub sharing: Option<Sharing>,
    /// `required`.
    pub required: bool,
    /// `size=` in bytes.
    pub size: Option<u64>,
    /// `mode=`.
    pub mode: Option<u32>,
    /// `uid=`.
    pub uid: Option<u32>,
    /// `gid=`.
    pub gid: Option<u32>,
    /// `env=`.
    pub env: Option<String>,
}

/// What is wrong with a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MountError {
    /// BuildKit's words.
    pub message: String,
    /// The field it is about, or the whole flag.
    pub span: Span,
    /// The nearest valid word.
    pub help: Option<String>,
}

const KEYS: &[&str] = &[
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

/// Understands the text of a `--mount` whose variables are expanded. Spans of errors count from the start of `text`.
///
/// # Errors
/// On quotes out of place, unknown options and values, and options that do not fit the type.
pub fn parse_mount(text: &str) -> Result<Mount, MountError> {
    let word = Spanned::new(text.to_owned(), Span::new(0, text.len()));
    MountFlag::parse(word, |range| Span::new(range.start, range.end))?.mount()
}

impl MountFlag {
    /// Splits `text`; `place` tells where a part of it stands.
    ///
    /// # Errors
    /// If the quotes make no sense, or `from=` has a variable.
    pub(crate) fn parse(
        text: Word,
        place: impl Fn(std::ops::Range<usize>) -> Span,
    ) -> Result<Self, MountError> {
        let split = csv::fields(&text.value).map_err(|cause| MountError {
            message: format!("failed to parse csv mounts: {cause}"),
            span: text.span,
            help: None,
        })?;
        let mut fields = Vec::with_capacity(split.len());
        for field in split {
            let span = place(field.range.clone());
            let (key, value) = match field.text.split_once('=') {
                Some((key, value)) => {
                    // A quoted field's bytes do not line up with its text: then the whole field stands for the value.
                    let exact = field.text.len() == field.range.len();
                    let value_span =
                        if exact { place(field.range.start + key.len() + 1..field.range.end) } else { span };
                    (key.to_lowercase(), Some(Spanned::new(value.to_owned(), value_span)))
                }
                None => (field.text.to_lowercase(), None),
            };
            if let ("from", Some(value)) = (key.as_str(), &value)
                && value.value.find('$').is_some_and(|at| at + 1 < value.value.len())
            {
                return Err(MountError {
                    message: "'from' doesn't support variable expansion, define alias stage instead".into(),
                    span: value.span,
                    help: Some("write `FROM $IMAGE AS name` and use `from=name`".into()),
                });
            }
            fields.push(MountField { text: Spanned::new(field.text, span), key, value });
        }
        Ok(Self { text, fields })
    }

    /// The same with every value replaced by what `expand` makes of it.
    ///
    /// # Errors
    /// The first error of `expand`.
    pub fn expanded<E>(&self, mut expand: impl FnMut(&Word) -> Result<String, E>) -> Result<Self, E> {
        let mut expanded = self.clone();
        for field in &mut expanded.fields {
            if let Some(value) = &mut field.value {
                value.value = expand(value)?;
            }
        }
        Ok(expanded)
    }

    /// What the fields mean.
    ///
    /// # Errors
    /// On unknown options and values, and options that do not fit the type.
    pub fn mount(&self) -> Result<Mount, MountError> {
        let mut mount = Mount::default();
        let mut access = None;
        for field in &self.fields {
            apply(field, &mut mount, &mut access)?;
        }
        let by_type = !matches!(mount.kind, MountType::Cache | MountType::Tmpfs);
        mount.read_only = access.unwrap_or(by_type);
        validate(&mount).map_err(|message| MountError { message, span: self.text.span, help: None })?;
        Ok(mount)
    }
}

/// Takes one field into `mount`; `read_only` is what `ro` and `rw` say.
fn apply(field: &MountField, mount: &mut Mount, read_only: &mut Option<bool>) -> Result<(), MountError> {
    let error = |message: String| MountError { message, span: field.text.span, help: None };
    let unexpected = |mount: &Mount| {
        error(format!("unexpected key '{}' for mount type '{}'", field.key, mount.kind.name()))
    };
    let key = field.key.as_str();
    let can_be_required = matches!(mount.kind, MountType::Secret | MountType::Ssh);
    let Some(value) = &field.value else {
        match key {
            "readonly" | "ro" => *read_only = Some(true),
            "readwrite" | "rw" => *read_only = Some(false),
            "required" if can_be_required => mount.required = true,
            "required" => return Err(unexpected(mount)),
            _ => {
                let message = format!("invalid field '{}' must be a key=value pair", field.text.value);
                return Err(MountError { help: suggest::help(key, KEYS), ..error(message) });
            }
        }
        return Ok(());
    };
    let text = value.value.as_str();
    let invalid = || error(format!("invalid value for {key}: {text}"));
    let flag = || go::parse_bool(text).ok_or_else(invalid);
    let number = |radix: u32| {
        go::parse_uint32(text, radix).ok_or_else(|| error(format!("invalid value {text} for {key}")))
    };
    match key {
        "type" => {
            let known = MountType::NAMES.iter().find(|(name, _)| *name == text.to_lowercase());
            mount.kind = known.map(|(_, kind)| *kind).ok_or_else(|| MountError {
                help: suggest::help(text, &MountType::NAMES.map(|(name, _)| name)),
                ..error(format!("unsupported mount type {}", go::quote(text)))
            })?;
        }
        "from" => text.clone_into(&mut mount.from),
        "source" | "src" => text.clone_into(&mut mount.source),
        "target" | "dst" | "destination" => text.clone_into(&mut mount.target),
        "readonly" | "ro" => *read_only = Some(flag()?),
        "readwrite" | "rw" => *read_only = Some(!flag()?),
        "required" if can_be_required => mount.required = flag()?,
        "size" if mount.kind == MountType::Tmpfs => {
            mount.size = Some(go::ram_in_bytes(text).ok_or_else(invalid)?);
        }
        "required" | "size" => return Err(unexpected(mount)),
        "id" => text.clone_into(&mut mount.id),
        "sharing" => {
            mount.sharing = Some(match text.to_lowercase().as_str() {
                "shared" => Sharing::Shared,
                "private" => Sharing::Private,
                "locked" => Sharing::Locked,
                _ => {
                    return Err(MountError {
                        help: suggest::help(text, &["shared", "private", "locked"]),
                        ..error(format!("unsupported sharing value {}", go::quote(text)))
                    });
                }
            });
        }
        "mode" => mount.mode = Some(number(8)?),
        "uid" => mount.uid = Some(number(10)?),
        "gid" => mount.gid = Some(number(10)?),
        "env" => mount.env = Some(text.to_owned()),
        _ => {
            let message = format!("unexpected key '{key}' in '{}'", field.text.value);
            return Err(MountError { help: suggest::help(key, KEYS), ..error(message) });
        }
    }
    Ok(())
}

/// Whether the options fit the type.
fn validate(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.name();
    if matches!(mount.kind, MountType::Bind | MountType::Tmpfs) {
        for (name, value) in [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)] {
            if value.is_some() {
                return Err(format!("{name} not allowed for \"{kind}\" type mounts"));
            }
        }
    }
    if mount.kind == MountType::Secret {
        if !mount.from.is_empty() {
            return Err("secret mount should not have a from".into());
        }
        if mount.sharing.is_some() {
            return Err("secret mount should not define sharing".into());
        }
        if mount.source.is_empty() && mount.target.is_empty() && mount.id.is_empty() {
            return Err("invalid secret mount. one of source, target required".into());
        }
        if !mount.source.is_empty() && !mount.id.is_empty() {
            return Err("both source and id can't be set".into());
        }
    }
    if mount.sharing.is_some() && mount.kind != MountType::Cache {
        return Err(format!("invalid cache sharing set for {kind} mount"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        parse_mount(text).unwrap_err().message
    }

    #[test]
    fn options_are_read_by_type() {
        let mount = parse_mount("type=cache,ID=x,target=/c,sharing=locked,mode=0700,uid=1,gid=2,ro").unwrap();
        assert_eq!((mount.kind, mount.id.as_str(), mount.target.as_str()), (MountType::Cache, "x", "/c"));
        assert_eq!((mount.mode, mount.uid, mount.gid), (Some(0o700), Some(1), Some(2)));
        assert_eq!((mount.sharing, mount.read_only), (Some(Sharing::Locked), true));
        assert!(parse_mount("target=/x").unwrap().read_only);
        assert!(!parse_mount("target=/x,rw").unwrap().read_only);
        assert!(!parse_mount("type=tmpfs,target=/x").unwrap().read_only);
        assert_eq!(parse_mount("type=tmpfs,target=/x,size=1k").unwrap().size, Some(1024));
    }

    #[test]
    fn wrong_options_are_told_in_buildkits_words() {
        for (text, message) in [
            ("type=blind", "unsupported mount type \"blind\""),
            ("target=/x,mode=0755", "mode not allowed for \"bind\" type mounts"),
            ("type=cache,target=/x,required", "unexpected key 'required' for mount type 'cache'"),
            ("type=cache,target=/x,size=1", "unexpected key 'size' for mount type 'cache'"),
            ("type=cache,sharing=mine", "unsupported sharing value \"mine\""),
            ("typ=cache", "unexpected key 'typ' in 'typ=cache'"),
            ("target=/x,z", "invalid field 'z' must be a key=value pair"),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            ("type=secret,id=a,source=b", "both source and id can't be set"),
            ("type=ssh,sharing=shared", "invalid cache sharing set for ssh mount"),
            ("type=cache,mode=9", "invalid value 9 for mode"),
            ("type=bind,ro=maybe", "invalid value for ro: maybe"),
            ("from=$x,target=/x", "'from' doesn't support variable expansion, define alias stage instead"),
            ("a\"b", "failed to parse csv mounts: bare \" in non-quoted field"),
        ] {
            assert_eq!(fails(text), message, "{text}");
        }
        assert_eq!(parse_mount("type=cahce").unwrap_err().help.unwrap(), "did you mean cache?");
    }

    #[test]
    fn a_field_is_pointed_at() {
        assert_eq!(parse_mount("type=cache,foo=1").unwrap_err().span, Span::new(11, 16));
    }
}
