//! A web server on loopback: pages with validators, directories of files, and a record of what was asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a path answers.
#[derive(Clone, Default)]
pub(crate) struct Page {
    pub(crate) body: Vec<u8>,
    /// Header lines: `ETag: "1"`. A validator among them is honoured.
    pub(crate) headers: Vec<String>,
    /// Answers with a redirection there.
    pub(crate) moved: Option<String>,
    /// Answers only who shows this `Authorization`.
    pub(crate) authorization: Option<String>,
}

#[derive(Default)]
struct Site {
    pages: BTreeMap<String, Page>,
    folders: BTreeMap<String, PathBuf>,
    asked: Vec<String>,
}

/// A running server; it ends with the test's process.
pub(crate) struct Web {
    address: String,
    site: Arc<Mutex<Site>>,
}

impl Web {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address").to_string();
        let site = Arc::new(Mutex::new(Site::default()));
        let shared = Arc::clone(&site);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let site = Arc::clone(&shared);
                std::thread::spawn(move || answer(&stream, &site));
            }
        });
        Self { address, site }
    }

    fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `http://127.0.0.1:40123/path`; the path begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers `path` with a body and header lines.
    pub(crate) fn page<const N: usize>(&self, path: &str, body: impl Into<Vec<u8>>, headers: [&str; N]) {
        let page = Page { body: body.into(), headers: headers.map(str::to_owned).into(), ..Page::default() };
        self.site().pages.insert(path.to_owned(), page);
    }

    /// Answers `path` with a body if the request has this `Authorization`.
    pub(crate) fn guarded(&self, path: &str, body: &str, authorization: &str) {
        let authorization = Some(authorization.to_owned());
        let page = Page { body: body.into(), authorization, ..Page::default() };
        self.site().pages.insert(path.to_owned(), page);
    }

    /// Sends who asks for `path` to another URL.
    pub(crate) fn moved(&self, path: &str, to: &str) {
        let page = Page { moved: Some(to.to_owned()), ..Page::default() };
        self.site().pages.insert(path.to_owned(), page);
    }

    /// Serves the files of a directory below `path`.
    pub(crate) fn folder(&self, path: &str, dir: PathBuf) {
        self.site().folders.insert(path.to_owned(), dir);
    }

    /// What was asked since the last time: `GET /foo 200`.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.site().asked)
    }
}

impl Site {
    fn find(&self, path: &str) -> Option<Page> {
        if let Some(page) = self.pages.get(path) {
            return Some(page.clone());
        }
        let (prefix, dir) = self.folders.iter().find(|(prefix, _)| path.starts_with(&***prefix))?;
        let body = fs::read(dir.join(path[prefix.len()..].trim_start_matches('/'))).ok()?;
        Some(Page { body, ..Page::default() })
    }
}

fn answer(stream: &TcpStream, site: &Mutex<Site>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(first) = lines.next() {
        let headers: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
        let path = target.split('?').next().unwrap_or(target);
        let mut site = site.lock().unwrap_or_else(PoisonError::into_inner);
        let page = site.find(path);
        let status = match &page {
            None => "404 Not Found",
            Some(page) if !may_see(page, &headers) => "401 Unauthorized",
            Some(page) if page.moved.is_some() => "302 Found",
            Some(page) if is_known(page, &headers) => "304 Not Modified",
            Some(_) => "200 OK",
        };
        site.asked.push(format!("{method} {target} {}", &status[..3]));
        drop(site);
        let Page { body, headers, moved, .. } = page.unwrap_or_default();
        let mut reply = format!("HTTP/1.1 {status}\r\n");
        for line in headers.iter().cloned().chain(moved.map(|to| format!("Location: {to}"))) {
            reply += &format!("{line}\r\n");
        }
        let body = if status.starts_with("200") { body } else { Vec::new() };
        if !status.starts_with("304") {
            reply += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut out = stream;
        let sent = out.write_all(format!("{reply}\r\n").as_bytes());
        let all = if method == "HEAD" { sent } else { sent.and_then(|()| out.write_all(&body)) };
        if all.is_err() {
            return;
        }
    }
}

/// Whether the client has shown what the page asks for.
fn may_see(page: &Page, asked: &[String]) -> bool {
    let shown = asked.iter().find_map(|line| {
        let (field, value) = line.split_once(": ")?;
        field.eq_ignore_ascii_case("authorization").then_some(value)
    });
    page.authorization.as_deref().is_none_or(|wanted| shown == Some(wanted))
}

/// Whether the client has the page already, by its ETag or else its time.
fn is_known(page: &Page, asked: &[String]) -> bool {
    let value = |lines: &[String], name: &str| {
        let mut fields = lines.iter().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let pair = |theirs: &str, ours: &str| Some((value(asked, theirs)?, value(&page.headers, ours)?));
    match pair("if-none-match", "etag").or_else(|| pair("if-modified-since", "last-modified")) {
        Some((theirs, ours)) => theirs.split(", ").any(|tag| tag == ours) || theirs == ours,
        None => false,
    }
}
