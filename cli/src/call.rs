//! `--check` and `--call`: what a Dockerfile says of itself, without building it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use kiln_core::{Diagnostics, Platform};
use kiln_frontend as frontend;
use kiln_frontend::Lowered;
use kiln_frontend::call::{OutlineRequest, check, outline, targets};

use crate::build::frontend_options;
use crate::commands::print;
use crate::contexts::Contexts;
use crate::error::CommandError;
use crate::request::{BuildRequest, Call, CallFormat};
use crate::resolver::Offline;
use crate::source::BuildSource;
use crate::wiring::Services;

/// Answers a call and prints the answer.
///
/// # Errors
/// A Dockerfile that cannot be parsed.
pub(crate) fn call(
    request: &BuildRequest,
    source: &BuildSource,
    services: &Services,
) -> Result<ExitCode, CommandError> {
    let parsed = frontend::parse(&source.dockerfile);
    if !parsed.is_sound() {
        return Err(Diagnostics { file: source.dockerfile.clone(), items: parsed.diagnostics }.into());
    }
    let file = &parsed.dockerfile;
    let answer = |format: CallFormat, text: String, json: String| match format {
        CallFormat::Text => text,
        CallFormat::Json => json,
    };
    match request.call {
        Call::Build => Ok(ExitCode::SUCCESS),
        Call::Check(format) => {
            let failed = |item| Diagnostics { file: source.dockerfile.clone(), items: vec![item] };
            let argument = request.build_args.get("BUILDKIT_DOCKERFILE_CHECK").map(String::as_str);
            let checks = frontend::lint::Checks::of(file, argument).map_err(failed)?;
            let mut findings = frontend::lint::file(file);
            findings.extend(lowered(request, source, services)?.warnings);
            findings.sort_by_key(|finding| finding.span.start);
            let result = check(file, &checks.keep(file, findings));
            print(&answer(format, result.text(), result.json()))?;
            Ok(if result.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Call::Outline(format) => {
            let host = Platform::host();
            let predefined = BTreeMap::from([
                ("TARGETPLATFORM".to_owned(), host.to_string()),
                ("BUILDPLATFORM".to_owned(), host.to_string()),
            ]);
            let asked = OutlineRequest {
                target: request.target.as_deref(),
                build_args: &request.build_args,
                predefined: &predefined,
            };
            let result = outline(file, asked).ok_or_else(|| {
                CommandError::Usage(format!(
                    "there is no stage `{}`",
                    request.target.as_deref().unwrap_or_default()
                ))
            })?;
            print(&answer(format, result.text(), result.json()))?;
            Ok(ExitCode::SUCCESS)
        }
        Call::Targets(format) => {
            let result = targets(file);
            print(&answer(format, result.text(), result.json()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The build as far as it goes without the network: base images that this machine does not know count as empty. All stages, unless
/// one was asked for.
///
/// # Errors
/// What is wrong with the Dockerfile.
pub(crate) fn lowered(
    request: &BuildRequest,
    source: &BuildSource,
    services: &Services,
) -> Result<Lowered, CommandError> {
    let parsed = frontend::parse(&source.dockerfile);
    if !parsed.is_sound() {
        return Err(Diagnostics { file: source.dockerfile.clone(), items: parsed.diagnostics }.into());
    }
    let contexts = Contexts::open(source, &request.contexts)?;
    let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    let mut options = frontend_options(request, &contexts, platform);
    options.all_stages = request.target.is_none() && request.call != Call::Build;
    let stages = frontend::plan(&parsed.dockerfile, &options)?;
    let resolver = Offline { store: &services.store };
    let bases = services.runtime()?.block_on(frontend::resolve(&stages, &resolver))?;
    Ok(frontend::lower(&stages, &bases)?)
}
