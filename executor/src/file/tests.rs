//! What COPY, ADD and WORKDIR plan, on toy trees: BuildKit's behaviour as `golden/behaviour.md` lists it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use kiln_cache::{Attributes, FileContent, Kind, Timestamp};
use kiln_core::{Chmod, ContentHash, Copy, CopySource, FileAction, FileEdit, InlineFile, Unpack};

use super::tree::{Node, Tree};
use super::{FileError, Inputs, plan};

const NOW: Timestamp = Timestamp { seconds: 2_000_000_000, nanoseconds: 0 };

/// A tree from lines: `d 755 dir`, `f 644 file text`, `l link target`, `h name first`; `1:2` before the mode is an owner.
#[derive(Default)]
struct Toy(BTreeMap<PathBuf, Node>);

impl Toy {
    fn new(lines: &[&str]) -> Self {
        let mut toy = Self::default();
        for line in lines {
            let mut words: Vec<&str> = line.split(' ').collect();
            let (uid, gid) = match words[1].split_once(':') {
                Some((uid, gid)) => {
                    words.remove(1);
                    (uid.parse().unwrap(), gid.parse().unwrap())
                }
                None => (0, 0),
            };
            let mode = u32::from_str_radix(words[1], 8).unwrap_or(0o777);
            let mtime = Timestamp::seconds(1_234_567_890);
            let attributes = Attributes { mode, uid, gid, mtime, ..Attributes::default() };
            let (path, kind, same_as) = match words[0] {
                "d" => (words[2], Kind::Dir, None),
                "f" => {
                    let text = words.get(3).copied().unwrap_or("");
                    let hash = ContentHash::of(text.as_bytes());
                    let content = FileContent { size: text.len() as u64, hash };
                    (words[2], Kind::File(content), Some(PathBuf::from(words[2])))
                }
                "l" => (words[1], Kind::Symlink { target: words[2].into() }, None),
                "h" => {
                    let first = toy.0[Path::new(words[2])].clone();
                    toy.0.insert(words[1].into(), first);
                    continue;
                }
                other => panic!("{other}"),
            };
            for parent in Path::new(path).ancestors().skip(1) {
                let attributes = Attributes { mtime, ..Attributes::root(0o755) };
                let directory = Node { kind: Kind::Dir, attributes, same_as: None };
                toy.0.entry(parent.to_path_buf()).or_insert(directory);
            }
            toy.0.insert(path.into(), Node { kind, attributes, same_as });
        }
        let attributes = Attributes { mtime: Timestamp::seconds(1_234_567_890), ..Attributes::root(0o755) };
        toy.0.entry(PathBuf::new()).or_insert(Node { kind: Kind::Dir, attributes, same_as: None });
        toy
    }
}

impl Tree for Toy {
    fn node(&self, path: &Path) -> Option<Node> {
        self.0.get(path).cloned()
    }

    fn names(&self, directory: &Path) -> Vec<OsString> {
        let children = self.0.keys().filter(|path| path.parent() == Some(directory));
        children.map(|path| path.file_name().unwrap().to_owned()).collect()
    }

    fn open(&self, _path: &Path) -> io::Result<std::fs::File> {
        // No archives here, no account files: an empty file is neither.
        std::fs::File::open("/dev/null")
    }
}

fn copy(sources: &[&str], destination: &str) -> Copy {
    let path = |path: &&str| CopySource::Path { input: 1, path: (*path).to_owned(), required: false };
    Copy {
        sources: sources.iter().map(path).collect(),
        destination: destination.to_owned(),
        chown: None,
        chmod: None,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
    }
}

/// The planned layer, one name a line: type, mode, owner if not root's, path, `@` if the time is the source's.
fn planned(base: &Toy, source: &Toy, actions: Vec<FileAction>) -> Result<Vec<String>, FileError> {
    let trees: [&dyn Tree; 2] = [base, source];
    let inputs = Inputs { base, scratch: base.0.len() <= 1, trees: &trees, now: NOW };
    let edit = FileEdit { actions, link: false, created: None };
    let spool = || Err(FileError::NoInput(99));
    let (entries, whiteouts) = plan(&edit, &inputs, &mut None, &spool)?.finish();
    let lines = entries.into_iter().map(|(path, planned)| {
        let (letter, rest) = match &planned.kind {
            Kind::Dir => ("d", "/".to_owned()),
            Kind::File(_) => ("f", String::new()),
            Kind::Symlink { target } => ("l", format!(" -> {}", target.display())),
            Kind::HardLink { to } => ("h", format!(" = {}", to.display())),
            other => panic!("{other:?}"),
        };
        let a = &planned.attributes;
        let owner = if (a.uid, a.gid) == (0, 0) { String::new() } else { format!(" {}:{}", a.uid, a.gid) };
        let time = if a.mtime == NOW { "" } else { " @" };
        format!("{letter} {:o}{owner} {}{rest}{time}", a.mode, path.display())
    });
    Ok(lines.chain(whiteouts.iter().map(|path| format!("w {}", path.display()))).collect())
}

#[track_caller]
fn check(base: &[&str], source: &[&str], copy: Copy, expected: &[&str]) {
    let lines = planned(&Toy::new(base), &Toy::new(source), vec![FileAction::Copy(copy)]);
    assert_eq!(lines.unwrap(), expected);
}

#[track_caller]
fn check_error(base: &[&str], source: &[&str], copy: Copy, expected: &str) {
    let error = planned(&Toy::new(base), &Toy::new(source), vec![FileAction::Copy(copy)]).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn the_top_directory_gets_the_time_but_not_the_mode_of_the_source() {
    let source = ["d 700 app", "d 711 app/sub", "f 4755 app/sub/tool x", "l app/link sub/tool"];
    check(
        &[],
        &source,
        copy(&["app"], "/srv"),
        &["d 755 srv/ @", "l 777 srv/link -> sub/tool @", "d 711 srv/sub/ @", "f 4755 srv/sub/tool @"],
    );
    // One that is there keeps mode and owner.
    let filled = ["d 700 app", "f 644 app/x y"];
    check(&["d 3:4 750 srv"], &filled, copy(&["app"], "/srv/"), &["d 750 3:4 srv/ @", "f 644 srv/x @"]);
    // Its time alone is no change, as BuildKit's differ has it.
    check(&["d 3:4 750 srv"], &source[..1], copy(&["app"], "/srv/"), &[]);
}

#[test]
fn parents_are_made_and_those_that_are_there_are_listed_as_they_are() {
    check(
        &["d 5:5 2775 opt"],
        &["f 644 f"],
        copy(&["f"], "/opt/a/b/"),
        &["d 2775 5:5 opt/", "d 755 opt/a/", "d 755 opt/a/b/", "f 644 opt/a/b/f @"],
    );
}

#[test]
fn owner_and_mode_go_to_new_parents_too() {
    let mut edit = copy(&["f"], "/h/i/j");
    edit.chmod = Some(Chmod::Octal(0o600));
    edit.chown = Some("77".into());
    check(&[], &["f 4755 f"], edit, &["d 600 77:77 h/", "d 600 77:77 h/i/", "f 600 77:77 h/i/j @"]);
    let mut edit = copy(&["d"], "/out");
    edit.chmod = Some(Chmod::Octal(0o1644));
    check(&[], &["d 755 d", "f 755 d/f"], edit, &["d 644 out/ @", "f 1644 out/f @"]);
    let mut edit = copy(&["d"], "/out/");
    edit.chmod = Some(Chmod::Symbolic("u=rwX,go=".into()));
    check(
        &[],
        &["d 755 d", "f 644 d/f", "f 755 d/x"],
        edit,
        &["d 755 out/ @", "f 600 out/f @", "f 700 out/x @"],
    );
}

#[test]
fn several_sources_need_no_slash() {
    check(&[], &["f 644 a", "f 600 b"], copy(&["a", "b"], "/x"), &["f 600 x @"]);
    check(
        &[],
        &["f 644 a/1", "f 600 b/2"],
        copy(&["a", "b"], "/x"),
        &["d 755 x/ @", "f 644 x/1 @", "f 600 x/2 @"],
    );
    check_error(&[], &["f 644 a", "f 600 b/2"], copy(&["a", "b"], "/x"), "cannot copy to non-directory: /x");
}

#[test]
fn links_at_the_destination_are_followed_below_it_replaced() {
    check(
        &["l lib usr/lib", "d 755 usr/lib"],
        &["f 644 f"],
        copy(&["f"], "/lib/"),
        &["d 755 usr/ @", "d 755 usr/lib/", "f 644 usr/lib/f @"],
    );
    check(&["l conf /etc/real"], &["f 644 f"], copy(&["f"], "/conf"), &["d 755 etc/", "f 644 etc/real @"]);
    check(
        &["l srv/link ../etc", "d 755 etc"],
        &["f 644 d/link"],
        copy(&["d"], "/srv"),
        &["d 755 srv/ @", "f 644 srv/link @"],
    );
    check_error(
        &["l srv/link ../etc", "d 755 etc"],
        &["f 644 d/link/f"],
        copy(&["d"], "/srv"),
        "cannot copy to non-directory: /srv/link",
    );
    check_error(
        &["d 755 srv/name"],
        &["f 644 d/name"],
        copy(&["d"], "/srv"),
        "cannot replace to directory /srv/name with file",
    );
}

#[test]
fn a_link_out_of_the_root_leads_to_the_root() {
    check(&["l out ../../../../etc"], &["f 644 f"], copy(&["f"], "/out/"), &["d 755 etc/", "f 644 etc/f @"]);
    check_error(&["l a b", "l b a"], &["f 644 f"], copy(&["f"], "/a/"), "too many links");
}

#[test]
fn sources_that_are_links_are_followed_links_in_directories_are_kept() {
    check(&[], &["f 600 real", "l given real"], copy(&["given"], "/"), &["f 600 given @"]);
    check(
        &[],
        &["f 600 real", "l any1 real", "l any2 real"],
        copy(&["any*"], "/d/"),
        &["d 755 d/", "f 600 d/any1 @", "f 600 d/any2 @"],
    );
    check_error(&[], &["l dangling nowhere"], copy(&["dang*"], "/"), "\"/dangling\": not found");
}

#[test]
fn a_wildcard_may_match_nothing_a_name_may_not() {
    check(&[], &["f 644 a"], copy(&["*.txt", "a"], "/d/"), &["d 755 d/", "f 644 d/a @"]);
    check_error(&[], &["f 644 a"], copy(&["b"], "/d/"), "\"/b\": not found");
    check(&[], &["f 644 a*", "f 644 ab"], copy(&["/a\\*"], "/d/"), &["d 755 d/", "f 644 d/a* @"]);
    check(&[], &["f 644 a", "f 644 b"], copy(&["[!a]"], "/d/"), &["d 755 d/", "f 644 d/a @"]);
    check(&[], &["f 644 a", "f 644 b"], copy(&["[^a]"], "/d/"), &["d 755 d/", "f 644 d/b @"]);
}

#[test]
fn hard_links_are_kept_within_one_directory_only() {
    let source = ["f 644 d/one x", "h d/two d/one"];
    check(&[], &source, copy(&["d"], "/"), &["f 644 one @", "h 644 two = one @"]);
    check(&[], &source, copy(&["d/one", "d/two"], "/e/"), &["d 755 e/", "f 644 e/one @", "f 644 e/two @"]);
    // A first name that is overwritten afterwards hands its content on.
    let source = ["f 644 d/one x", "h d/two d/one", "h d/zwei d/one", "f 600 e/one y"];
    check(&[], &source, copy(&["d", "e"], "/"), &["f 600 one @", "f 644 two @", "h 644 zwei = two @"]);
}

#[test]
fn parents_are_rebuilt_from_the_pivot_on() {
    let source = ["d 700 x", "d 711 x/y", "f 644 x/y/a.txt", "f 644 x/y/b.md", "d 755 x/z"];
    let parents = |path: &str| Copy { parents: true, ..copy(&[path], "/p/") };
    check(
        &[],
        &source,
        parents("x/y/*.txt"),
        &["d 755 p/ @", "d 700 p/x/", "d 711 p/x/y/", "f 644 p/x/y/a.txt @"],
    );
    check(
        &[],
        &source,
        parents("x/./y"),
        &["d 755 p/ @", "d 711 p/y/ @", "f 644 p/y/a.txt @", "f 644 p/y/b.md @"],
    );
    check(
        &[],
        &source,
        parents("**/*.md"),
        &["d 755 p/ @", "d 700 p/x/", "d 711 p/x/y/", "f 644 p/x/y/b.md @"],
    );
    check(&[], &source, parents("/./x/z"), &["d 755 p/ @", "d 700 p/x/", "d 755 p/x/z/ @"]);
    check_error(&[], &source, parents("x/nosuch"), "\"/x/nosuch\": not found");
}

#[test]
fn excluded_files_stay_out_and_exceptions_come_back() {
    let source = ["f 644 app/a.txt", "f 644 app/sub/b.txt", "f 644 app/sub/c.md", "d 755 app/empty"];
    let exclude = |patterns: &[&str]| Copy {
        exclude: patterns.iter().map(|p| (*p).to_owned()).collect(),
        ..copy(&["app"], "/")
    };
    check(&[], &source, exclude(&["**/*.txt"]), &["d 755 empty/ @", "d 755 sub/ @", "f 644 sub/c.md @"]);
    check(
        &[],
        &source,
        exclude(&["sub", "empty", "!sub/c.md"]),
        &["f 644 a.txt @", "d 755 sub/", "f 644 sub/c.md @"],
    );
}

#[test]
fn copies_from_stages_keep_their_owners() {
    check(&[], &["f 65:66 644 test"], copy(&["/test"], "/test"), &["f 644 65:66 test @"]);
}

#[test]
fn a_heredoc_is_a_file_of_now() {
    let file = InlineFile { path: "script".into(), data: b"echo".to_vec(), mode: 0o644 };
    let inline = |destination: &str| Copy {
        sources: vec![CopySource::Inline(file.clone())],
        chmod: Some(Chmod::Octal(0o755)),
        ..copy(&[], destination)
    };
    check(&[], &[], inline("/bin/"), &["d 755 bin/", "f 755 bin/script"]);
    check(&[], &[], inline("/run"), &["f 755 run"]);
}

#[test]
fn a_working_directory_belongs_to_its_user() {
    let make = |path: &str, owner: &str| {
        vec![FileAction::MakeDir { path: path.into(), owner: owner.into(), mode: 0o755 }]
    };
    let (empty, base) = (Toy::new(&[]), Toy::new(&["d 1:1 700 work", "f 644 file"]));
    assert_eq!(
        planned(&base, &empty, make("/work/w/x", "12")).unwrap(),
        ["d 700 1:1 work/", "d 755 12:12 work/w/", "d 755 12:12 work/w/x/"]
    );
    assert_eq!(planned(&base, &empty, make("/work", "12")).unwrap(), Vec::<String>::new());
    assert!(planned(&base, &empty, make("/file/x", "")).is_err());
    assert!(
        planned(&empty, &empty, make("/x", "name"))
            .unwrap_err()
            .to_string()
            .contains("invalid user index: -1")
    );
}

#[test]
fn the_content_of_a_copy_leaves_times_and_the_rest_out() {
    let edit = |sources: &[&str]| FileEdit {
        actions: vec![FileAction::Copy(copy(sources, "/d/"))],
        link: false,
        created: None,
    };
    let content = |tree: &Toy, sources: &[&str]| super::content(&edit(sources), 1, tree).unwrap();
    let tree = Toy::new(&["f 644 a one", "f 644 b two"]);
    let other = Toy::new(&["f 644 a one", "f 644 b other", "f 644 c three"]);
    assert_eq!(content(&tree, &["a"]), content(&other, &["a"]));
    assert_ne!(content(&tree, &["b"]), content(&other, &["b"]));
    assert_ne!(content(&tree, &["*"]), content(&other, &["*"]));
    let mut later = Toy::new(&["f 644 a one", "f 644 b two"]);
    later.0.get_mut(Path::new("a")).unwrap().attributes.mtime = NOW;
    assert_eq!(content(&tree, &["*"]), content(&later, &["*"]));
    assert_ne!(content(&tree, &["a"]), content(&Toy::new(&["f 600 a one"]), &["a"]));
    assert!(super::content(&edit(&["zz"]), 1, &tree).is_err());
}
