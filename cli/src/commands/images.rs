//! `kiln images`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_cache::StoredImage;
use kiln_core::pattern::wildcard;
use kiln_core::{Digest, Reference};
use serde_json::{Value, json};

use super::{CommandError, Services, print};
use crate::args::ImagesArgs;
use crate::environment::now_seconds;
use crate::progress::size;
use crate::request::pairs::has_label;
use crate::request::{UsageError, fitting};
use crate::table::age;
use crate::{local, pushed, template};

/// Lists images, those that came last first: a row a name.
///
/// # Errors
/// If the store cannot be read, or a filter or format cannot be understood.
pub(crate) fn images(args: &ImagesArgs, services: &Services) -> Result<(), CommandError> {
    let mut filters =
        args.filter.iter().map(|text| Filter::parse(text, services)).collect::<Result<Vec<_>, _>>()?;
    filters.extend(args.name.clone().map(Filter::Reference));
    let mut rows = Vec::new();
    for image in services.store.index().images()? {
        let names: Vec<Option<Reference>> = match image.names.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| name.parse().ok()).collect(),
        };
        for name in names {
            let mut fits = true;
            for filter in &filters {
                fits = fits && filter.fits(&image, name.as_ref())?;
            }
            if fits {
                rows.push(row(&image, name.as_ref(), args.no_trunc, services)?);
            }
        }
    }
    if args.quiet {
        return print(
            &rows.iter().filter_map(|row| row["ID"].as_str()).map(|id| format!("{id}\n")).collect::<String>(),
        );
    }
    let mut columns = vec![
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ];
    if args.digests {
        columns.insert(2, ("Digest", "DIGEST"));
    }
    print(&template::list(&args.format, &columns, &rows)?)
}

fn row(
    image: &StoredImage,
    name: Option<&Reference>,
    in_full: bool,
    services: &Services,
) -> Result<Value, CommandError> {
    const NONE: &str = "<none>";
    let id = local::image_id(&services.store, &image.record)?;
    let (repository, tag) = match name {
        Some(name) => {
            let tag = name.tag_or_latest().unwrap_or(NONE).to_owned();
            (name.familiar_name(), tag)
        }
        None => (NONE.to_owned(), NONE.to_owned()),
    };
    let digest = match name {
        Some(name) => pushed::digest(&services.store, image, name)?,
        None => None,
    };
    let made = made(image);
    let created = made.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    let time = humantime::format_rfc3339_seconds(made).to_string().replace('T', " ").replace('Z', "");
    Ok(json!({
        "Repository": repository,
        "Tag": tag,
        "ID": if in_full { id.to_string() } else { id.hex()[..12].to_owned() },
        "Digest": digest.map_or(NONE.to_owned(), |digest: Digest| digest.to_string()),
        // As Go prints times.
        "CreatedAt": format!("{time} +0000 UTC"),
        "CreatedSince": age(now_seconds() - created),
        "Size": size(super::image_size(&services.store, &image.record)?),
        "Platform": image.record.config.platform().to_string(),
    }))
}

/// When it was made; of an image whose configuration does not say, when it came.
fn made(image: &StoredImage) -> SystemTime {
    let said = image.record.config.created.as_deref().and_then(|at| humantime::parse_rfc3339_weak(at).ok());
    said.unwrap_or_else(|| UNIX_EPOCH + Duration::from_secs(u64::try_from(image.record.created).unwrap_or(0)))
}

/// What `--filter` asks for.
enum Filter {
    Dangling(bool),
    Label(String),
    /// A pattern of names.
    Reference(String),
    Before(SystemTime),
    Since(SystemTime),
    Until(SystemTime),
}

impl Filter {
    fn parse(text: &str, services: &Services) -> Result<Self, CommandError> {
        let wrong = |why: &str| CommandError::from(UsageError::value("filter", text, why));
        let made_of = |name: &str| Ok::<_, CommandError>(made(&local::find(&services.store, name)?));
        match text.split_once('=') {
            Some(("dangling", "true" | "1")) => Ok(Self::Dangling(true)),
            Some(("dangling", "false" | "0")) => Ok(Self::Dangling(false)),
            Some(("dangling", _)) => Err(wrong("expected true or false")),
            Some(("label", label)) => Ok(Self::Label(label.to_owned())),
            Some(("reference", pattern)) => Ok(Self::Reference(pattern.to_owned())),
            Some(("before", name)) => Ok(Self::Before(made_of(name)?)),
            Some(("since", name)) => Ok(Self::Since(made_of(name)?)),
            Some(("until", time)) => fitting::until(time)
                .map(Self::Until)
                .ok_or_else(|| wrong("expected a time, or how long ago it was")),
            _ => Err(wrong("expected dangling=…, label=…, reference=…, before=…, since=… or until=…")),
        }
    }

    /// Whether an image has it under this name.
    fn fits(&self, image: &StoredImage, name: Option<&Reference>) -> Result<bool, CommandError> {
        Ok(match self {
            Self::Dangling(wanted) => name.is_none() == *wanted,
            Self::Label(label) => has_label(&image.record.config.config.labels, label),
            Self::Before(time) => made(image) < *time,
            Self::Since(time) => made(image) > *time,
            Self::Until(time) => made(image) <= *time,
            Self::Reference(pattern) => match name {
                Some(name) => is_called(name, pattern)?,
                None => false,
            },
        })
    }
}

/// Whether a pattern fits the name as people write it, with its tag or without, or in full.
fn is_called(name: &Reference, pattern: &str) -> Result<bool, CommandError> {
    let tagged = name.with_tag(name.tag_or_latest().unwrap_or("latest"));
    for text in [tagged.familiar(), name.familiar_name(), tagged.to_string(), name.name()] {
        let fits = wildcard::matches(pattern, &text);
        if fits
            .map_err(|error| CommandError::from(UsageError::value("filter", pattern, &error.to_string())))?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
