//! `kiln build`

use std::process::ExitCode;
use std::sync::Arc;

use kiln_core::{Diagnostic, Event, Progress, Severity, Span};
use kiln_executor::Look;
use tokio::signal::unix::{SignalKind, signal};

use super::{CommandError, Services, print};
use crate::args::BuildArgs;
use crate::args::OnFailureAction;
use crate::build::build as build_images;
use crate::call;
use crate::explain::{self, Explained, Explanations};
use crate::history::{self, Journal};
use crate::look::ShellLook;
use crate::mend;
use crate::outputs::{self, Finished};
use crate::progress::{ProgressMode, Reporter};
use crate::request::{BuildRequest, Call};
use crate::source::BuildSource;

/// Builds an image and writes its outputs.
///
/// # Errors
/// What is wrong with the command line or the Dockerfile, or the first step that failed.
pub(crate) fn build(args: &BuildArgs, services: &Services) -> Result<ExitCode, CommandError> {
    let request = BuildRequest::new(args, &services.environment)?;
    let source = BuildSource::open(&request, services)?;
    if request.call != Call::Build {
        return call::call(&request, &source, services);
    }
    let reporter = Arc::new(Reporter::start(request.progress, &services.environment, "Building"));
    let journal = Arc::new(Journal::new(Arc::clone(&reporter) as _));
    let progress: Arc<dyn Progress> = Arc::clone(&journal) as _;
    tell_ignored(args, &progress);
    let on_failure = args.on_failure.map(|OnFailureAction::Shell| {
        Arc::new(ShellLook::after_failure(Arc::clone(&reporter), &services.environment)) as Arc<dyn Look>
    });
    let explanations = Explanations::new(request.explain);
    let finished = services.runtime()?.block_on(async {
        tokio::select! {
            finished = build_and_export(&request, &source, services, &progress, &explanations, on_failure.as_ref()) => finished,
            () = interrupted() => Err(CommandError::Interrupted),
        }
    });
    reporter.close();
    let explained = explanations.take();
    if request.explain {
        tell(&explained, request.progress);
    }
    let (about, model) = journal.close(&services.store, &request, &source, &explained, &finished);
    if let Some(path) = &request.timeline {
        let written = std::fs::write(path, history::page(&about, &model));
        let fail = |cause| CommandError::File { verb: "write", what: "timeline", path: path.clone(), cause };
        written.map_err(fail)?;
    }
    let finished = finished?;
    outputs::write_files(&request, &finished, &explained, services)?;
    if request.quiet && !request.outputs.iter().any(crate::output::Output::takes_stdout) {
        print(&format!("{}\n", finished.id(services)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Docker's options that change what a build means there, and nothing here.
fn tell_ignored(args: &BuildArgs, progress: &Arc<dyn Progress>) {
    let mut ignored = Vec::new();
    if args.squash.as_ref().is_some_and(|value| value.as_deref() != Some("false")) {
        ignored.push(
            "--squash changes nothing, as with BuildKit: COPY what is wanted into a last stage of its own",
        );
    }
    if !args.security_opt.is_empty() {
        ignored.push("--security-opt changes nothing in a build: --allow with RUN --security=insecure widens the sandbox");
    }
    for message in ignored {
        let diagnostic =
            Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message, Span::default()) };
        progress.emit(Event::Warning { diagnostic, file: None });
    }
}

async fn build_and_export(
    request: &BuildRequest,
    source: &BuildSource,
    services: &Services,
    progress: &Arc<dyn Progress>,
    explanations: &Explanations,
    on_failure: Option<&Arc<dyn Look>>,
) -> Result<Finished, CommandError> {
    // What was written to standard output cannot be taken back.
    let is_repeatable = !request.outputs.iter().any(crate::output::Output::takes_stdout);
    let mut times = 0;
    loop {
        let once = async {
            let built = build_images(request, source, services, progress, explanations, on_failure).await?;
            outputs::export(request, built, services, progress).await
        };
        match once.await {
            Err(error)
                if is_repeatable
                    && times < mend::TIMES
                    && mend::mend(&error, &services.store, progress).await =>
            {
                times += 1;
            }
            ended => return ended,
        }
    }
}

/// Prints why each step ran: beside the progress, and as the progress is.
fn tell(explained: &[Explained], mode: ProgressMode) {
    for build in explained {
        match mode {
            ProgressMode::Rawjson => eprintln!("{}", serde_json::json!({ "explanation": build })),
            _ => eprint!("{}", explain::text(build)),
        }
    }
}

/// Ctrl-C, or a request to end.
pub(super) async fn interrupted() {
    let stream = |kind| signal(kind).ok();
    let (mut interrupt, mut terminate) = (stream(SignalKind::interrupt()), stream(SignalKind::terminate()));
    let wait = async |stream: &mut Option<tokio::signal::unix::Signal>| match stream {
        Some(stream) => drop(stream.recv().await),
        // A signal that cannot be listened to has its usual effect.
        None => std::future::pending().await,
    };
    tokio::select! {
        () = wait(&mut interrupt) => {}
        () = wait(&mut terminate) => {}
    }
}
