//! `kiln imagetools`

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_cache::ScratchDir;
use kiln_core::{Digest, Platform, Reference};
use kiln_exporter::{Located, Room, copy_content};
use kiln_registry::{Client, Fetched};
use serde_json::{Value, json};

use super::{CommandError, Services, print};
use crate::args::{CreateArgs, ImageCopyArgs, ImagetoolsCommand, InspectRemoteArgs};
use crate::imagetools::{Annotations, Details, Source, combine, fetch, only, sources};

/// Works on images at registries.
///
/// # Errors
/// What the registry, or the way to it, refuses.
pub(crate) fn imagetools(command: &ImagetoolsCommand, services: &Services) -> Result<(), CommandError> {
    let runtime = services.runtime()?;
    match command {
        ImagetoolsCommand::Inspect(args) => runtime.block_on(inspect(args, services)),
        ImagetoolsCommand::Create(args) => runtime.block_on(create(args, services)),
        ImagetoolsCommand::Copy(args) => runtime.block_on(copy(args, services)),
    }
}

async fn inspect(args: &InspectRemoteArgs, services: &Services) -> Result<(), CommandError> {
    let client = services.client();
    let name: Reference = args.image.parse()?;
    if args.raw {
        let document = client.resolve(&name).await?;
        return print(&String::from_utf8_lossy(&document.bytes));
    }
    let source = fetch(client, &name).await?;
    match &args.format {
        None => print(&overview(client, &source).await?),
        Some(template) => print(&format!("{}\n", render(template, &Details::of(client, &source)).await?)),
    }
}

/// Buildx's view for people, and what refers to each image.
async fn overview(client: &Client, source: &Source) -> Result<String, CommandError> {
    let mut text = format!(
        "Name:      {}\nMediaType: {}\nDigest:    {}\n",
        source.name,
        source.media_type(),
        source.document.digest()
    );
    text += &referrers(client, source, &source.document.digest(), "").await;
    if source.is_index {
        text.push_str("\nManifests:\n");
        for manifest in source.manifests()? {
            let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let platform = &manifest["platform"];
            let mut known = [field(&platform["os"]), field(&platform["architecture"])].join("/");
            if let Some(variant) = platform["variant"].as_str() {
                known = format!("{known}/{variant}");
            }
            let _ = writeln!(
                text,
                "  Name:        {}@{}\n  MediaType:   {}\n  Platform:    {known}",
                source.name.name(),
                field(&manifest["digest"]),
                field(&manifest["mediaType"]),
            );
            if let Some(annotations) = manifest["annotations"].as_object().filter(|map| !map.is_empty()) {
                text.push_str("  Annotations:\n");
                for (key, value) in annotations {
                    let _ = writeln!(text, "    {key}: {}", field(value));
                }
            }
            if let Ok(digest) = field(&manifest["digest"]).parse() {
                text += &referrers(client, source, &digest, "  ").await;
            }
            text.push('\n');
        }
    }
    Ok(text)
}

/// What refers to a manifest. A registry that does not tell costs nobody the rest.
async fn referrers(client: &Client, source: &Source, digest: &Digest, indent: &str) -> String {
    let found = client.referrers(&source.name, digest).await.unwrap_or_default();
    let mut text = if found.is_empty() { String::new() } else { format!("{indent}Referrers:\n") };
    for referrer in found {
        let kind = referrer.artifact_type().as_ref().unwrap_or(referrer.media_type());
        let _ = writeln!(text, "{indent}  {}: {kind}", referrer.digest());
    }
    text
}

/// A template with `{{json .Field}}` and `{{.Field}}` in it.
async fn render(template: &str, details: &Details<'_>) -> Result<String, CommandError> {
    if template == "json" {
        return Ok(serde_json::to_string_pretty(&details.field("").await?)?);
    }
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) = after.split_once("}}").ok_or_else(|| {
            CommandError::Usage(format!("--format `{template}`: there is no }}}} for every {{{{"))
        })?;
        text.push_str(before);
        match inside.trim().strip_prefix("json ") {
            Some(path) => text.push_str(&serde_json::to_string_pretty(&details.field(path.trim()).await?)?),
            None => match details.field(inside.trim()).await? {
                Value::String(plain) => text.push_str(&plain),
                other => text.push_str(&other.to_string()),
            },
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

async fn create(args: &CreateArgs, services: &Services) -> Result<(), CommandError> {
    let client = services.client();
    let tags: Vec<Reference> = args.tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>()?;
    let mut names = sources(&args.sources, &args.files, tags.first())?;
    if args.append {
        let tag = tags.first().ok_or_else(|| CommandError::Usage("--append needs --tag".to_owned()))?;
        names.insert(0, tag.clone());
    }
    if names.is_empty() {
        return Err(CommandError::Usage("name at least one image to make the new one of".to_owned()));
    }
    if tags.is_empty() && !args.dry_run {
        return Err(CommandError::Usage("what is the new image called? give --tag, or --dry-run".to_owned()));
    }
    let platforms = platforms(&args.platforms)?;
    let mut found = Vec::new();
    for name in &names {
        let mut source = fetch(client, name).await?;
        source.document = only(source.document, &platforms)?;
        found.push(source);
    }
    let document = combine(&found, &annotations(&args.annotations)?, args.prefer_index)?;
    if args.dry_run {
        return print(&format!("{}\n", String::from_utf8_lossy(&document.bytes)));
    }
    put(client, &found, &document, &tags, services).await?;
    if let Some(path) = &args.metadata_file {
        let names: Vec<String> = tags.iter().map(ToString::to_string).collect();
        let metadata = json!({
            "containerimage.descriptor": &document.descriptor,
            "containerimage.digest": document.digest().to_string(),
            "image.name": names.join(","),
        });
        let failed =
            |cause| CommandError::File { verb: "write", what: "metadata file", path: path.clone(), cause };
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(&metadata)?)).map_err(failed)?;
    }
    print(&format!("{}\n", document.digest()))
}

/// Copies an image with all its platforms from one registry to another.
///
/// # Errors
/// What a registry, or the way to it, refuses.
pub(crate) fn copy_image(
    from: &Reference,
    to: &Reference,
    quiet: bool,
    services: &Services,
) -> Result<(), CommandError> {
    let digest = services.runtime()?.block_on(carry(from, to, &[], services))?;
    if quiet {
        return Ok(());
    }
    print(&format!("{to}: digest: {digest}\n"))
}

async fn copy(args: &ImageCopyArgs, services: &Services) -> Result<(), CommandError> {
    let (from, to): (Reference, Reference) = (args.source.parse()?, args.target.parse()?);
    let digest = carry(&from, &to, &platforms(&args.platforms)?, services).await?;
    print(&format!("{to}: digest: {digest}\n"))
}

/// Copies what a name leads to, or its part for some platforms, to another name.
async fn carry(
    from: &Reference,
    to: &Reference,
    platforms: &[Platform],
    services: &Services,
) -> Result<Digest, CommandError> {
    let client = services.client();
    let mut source = fetch(client, from).await?;
    source.document = only(source.document, platforms)?;
    let document = source.document.clone();
    put(client, std::slice::from_ref(&source), &document, std::slice::from_ref(to), services).await?;
    Ok(document.digest())
}

/// Brings what `found` names to every tag's repository, and the document under the tags.
async fn put(
    client: &Client,
    found: &[Source],
    document: &Fetched,
    tags: &[Reference],
    services: &Services,
) -> Result<(), CommandError> {
    let room: Arc<dyn Room> = Arc::new(StoreRoom(services.store.scratch_dir()?));
    for tag in tags {
        for source in found {
            let located = Located { from: source.name.clone(), document: source.document.clone() };
            copy_content(client, &located, tag, &room).await?;
        }
        client.push_manifest(tag, document.descriptor.media_type().as_ref(), &document.bytes).await?;
    }
    Ok(())
}

/// A directory of the store that goes with the command.
struct StoreRoom(ScratchDir);

impl Room for StoreRoom {
    fn file(&self, digest: &Digest) -> io::Result<PathBuf> {
        // Two documents may want one blob at a time.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(self.0.path().join(format!("{number}-{}", digest.to_string().replace(':', "-"))))
    }
}

fn platforms(typed: &[String]) -> Result<Vec<Platform>, CommandError> {
    typed.iter().map(|text| Ok(text.parse()?)).collect()
}

/// `[index:]K=V`. Manifests stay as they are, so only an index can be annotated.
fn annotations(typed: &[String]) -> Result<Annotations, CommandError> {
    let one = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| CommandError::Usage(format!("--annotation `{text}`: expected K=V")))?;
        match key.split_once(':') {
            Some(("index", key)) => Ok((key.to_owned(), value.to_owned())),
            Some((kind, _)) if kind.starts_with("manifest") => Err(CommandError::Usage(format!(
                "--annotation `{text}`: the manifests keep their digests, only the index can be annotated"
            ))),
            _ => Ok((key.to_owned(), value.to_owned())),
        }
    };
    typed.iter().map(one).collect()
}
