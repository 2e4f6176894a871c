//! How long the frontend takes, beside what it may take: `make bench-frontend`. Medians of this thread's
//! processor time, which other work on the machine hardly changes; nothing here waits.

use std::fmt::Write as _;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kiln_core::pattern::{Ignore, Matched};
use kiln_core::{ContentHash, Diagnostics, ImageConfig, ImageLocator, Platform, SourceFile};
use kiln_frontend::{
    ImageResolver, ImageWanted, Lowered, Options, ResolveError, ResolvedImage, lower, parse, plan, resolve,
};
use rustix::time::{ClockId, clock_gettime};

/// Every image is there.
struct Images;

impl ImageResolver for Images {
    async fn resolve(&self, wanted: Vec<ImageWanted>) -> Vec<Result<ResolvedImage, ResolveError>> {
        let found = |wanted: &ImageWanted| ResolvedImage {
            locator: ImageLocator::Store { id: ContentHash::of(b"image") },
            name: wanted.name.to_string(),
            config: ImageConfig::for_platform(&wanted.platform),
        };
        wanted.iter().map(|wanted| Ok(found(wanted))).collect()
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the images are there at once"),
    }
}

fn build(text: &str) -> Result<Lowered, Diagnostics> {
    let file = SourceFile::new("Dockerfile", text);
    let parsed = parse(&file);
    if !parsed.is_sound() {
        return Err(Diagnostics { file, items: parsed.diagnostics });
    }
    let mut options = Options::for_platform(Platform::new("linux", "amd64", ""));
    options.all_stages = true;
    let stages = plan(&parsed.dockerfile, &options)?;
    let bases = ready(resolve(&stages, &Images))?;
    lower(&stages, &bases)
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The median of what `work` takes.
fn median(runs: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let begin = processor_time();
            work();
            processor_time() - begin
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn show(what: &str, time: Duration, bar: Duration) {
    let verdict = if time <= bar { "" } else { "  TOO LONG" };
    println!("{what:<58} {:>9.2} ms of {:>6} ms{verdict}", time.as_secs_f64() * 1e3, bar.as_millis());
}

fn lines(head: &str, count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(format!("{head}\n"), |mut text, n| {
        let _ = writeln!(text, "{}", line(n));
        text
    })
}

/// A Dockerfile of a thousand lines as people write them: stages, arguments, packages, copies.
fn thousand_lines() -> String {
    let stage = |n: usize| {
        format!(
            "FROM debian:12 AS s{n}\nARG VERSION=1.{n}\nENV HOME=/root \\\n    LANG=C.UTF-8 \\\n    TAG=$VERSION-${{VERSION:-none}}\n\
             WORKDIR /src/$VERSION\n# what is needed to build\n\
             RUN --mount=type=cache,target=/root/.cache apt-get update && \\\n    apt-get install -y $PACKAGES && \\\n    rm -rf /var/lib\n\
             COPY --chown=1:1 a*.c b/ ./\nCOPY --from=debian:12 /etc/os-release /etc/\n\
             RUN <<EOF\nmake -j$(nproc)\nmake install\nEOF\nLABEL version=$VERSION maintainer=\"a b\"\nEXPOSE 80 443/udp\nCMD [\"run\", \"it\"]"
        )
    };
    let text = lines("# syntax=docker/dockerfile:1", 1000, stage);
    text.split_inclusive('\n').take(1000).collect()
}

fn patterns() -> String {
    lines("", 200, |n| match n % 5 {
        0 => format!("dir{n}/build"),
        1 => format!("**/*.o{n}"),
        2 => format!("src/*/gen{n}*"),
        3 => format!("!src/a{n}/**/keep.txt"),
        _ => format!("**/node_modules{n}/**"),
    })
}

/// What a folder matched, entered from the root as a walk does.
fn enter(ignore: &Ignore, folder: &str) -> Matched {
    let ends = folder.match_indices('/').map(|(end, _)| end).chain([folder.len()]);
    ends.fold(Matched::default(), |matched, end| ignore.enter(&matched, &folder[..end]).1)
}

fn main() {
    let millis = Duration::from_millis;
    let text = thousand_lines();
    assert!(build(&text).is_ok(), "it is sound");
    show("parse, plan and lower 1,000 lines", median(101, || drop(black_box(build(&text)))), millis(5));

    let text = patterns();
    let folders: Vec<String> = (0..500).map(|n| format!("src/a{}/b{}", n % 97, n % 13)).collect();
    let files: Vec<(usize, String)> =
        (0..10_000).map(|n| (n / 20, format!("{}/file{n}.c", folders[n / 20]))).collect();
    let walked = median(21, || {
        let ignore = Ignore::parse(&text).expect("they are patterns");
        let entered: Vec<Matched> = folders.iter().map(|folder| enter(&ignore, folder)).collect();
        black_box(files.iter().filter(|(at, path)| ignore.decide_in(&entered[*at], path).excluded).count());
    });
    show("10,000 files in 500 folders, 200 ignore patterns: a walk", walked, millis(50));
    let alone = median(21, || {
        let ignore = Ignore::parse(&text).expect("they are patterns");
        black_box(files.iter().filter(|(_, path)| ignore.decide(path).excluded).count());
    });
    show("the same, each path by itself", alone, millis(200));

    let large = [
        ("100,000 stages", lines("", 100_000, |n| format!("FROM busybox AS s{n}"))),
        (
            "100,000 stages on each other",
            lines("FROM busybox AS s0", 100_000, |n| format!("FROM s{n} AS s{}", n + 1)),
        ),
        ("10 MB of comments", lines("FROM scratch", 500_000, |_| "# nothing to see he".to_owned())),
        ("10 MB of COPY", lines("FROM scratch", 100_000, |n| format!("COPY {n:0>42} {n:0>42} /a/{n:0>8}/"))),
        ("10 MB of one RUN", format!("FROM x\nRUN a {}", "\\\n && b c d e f g h".repeat(600_000))),
        ("10 MB of pairs", format!("FROM x\nENV {}a=b", "aaaaaaaa=b \\\n".repeat(800_000))),
        ("10 MB of heredocs", format!("FROM x\n{}", "COPY <<A <<B /x\nA\nB\n".repeat(500_000))),
        ("10 MB of relative WORKDIR", lines("FROM scratch", 500_000, |_| "WORKDIR aaaaaaaaaaa".to_owned())),
        ("10 MB of errors", lines("FROM scratch", 500_000, |_| "FORM abcdefgh ijklm".to_owned())),
        ("a line of 1 MB", format!("FROM x\nRUN {}\n", "a".repeat(1 << 20))),
        ("30,000 ${ within each other", format!("FROM x\nWORKDIR {}\n", "${a:-\\\n".repeat(30_000))),
    ];
    for (what, text) in large {
        let mut said = String::new();
        let time = median(3, || {
            said = build(&text).err().map(|e| format!(": {:.60}", e.to_string())).unwrap_or_default();
        });
        show(&format!("{what}{said}"), time, millis(1000));
    }
}
