//! The valid and invalid specifications of the OCI runtime specification's own tests.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::bundle::{Bundle, Profile, Tree};
use super::plan::{Given, Stdio};
use super::{SandboxError, translate};

/// Why kiln does not take this text, if it does not.
fn refusal(text: &str) -> Option<String> {
    let spec: Spec = match serde_json::from_str(text) {
        Ok(spec) => spec,
        Err(error) => return Some(error.to_string()),
    };
    let root = Tree::Directory("/".into());
    let bundle = Bundle { spec, root, grafts: Vec::new(), profile: Profile::Default };
    match translate::plan(&bundle, Stdio::Streams([Given::No; 3])) {
        Ok(_) => None,
        Err(SandboxError::Spec(reason)) => Some(reason),
        Err(other) => Some(other.to_string()),
    }
}

fn each(folder: &str, check: impl Fn(&str, &str)) {
    let top =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/runtime-spec/schema/test/config");
    let Ok(files) = std::fs::read_dir(top.join(folder)) else {
        eprintln!("skipped: the corpus is absent");
        return;
    };
    for file in files.flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap();
        check(&file.file_name().to_string_lossy(), &text);
    }
}

#[test]
fn invalid_specifications_are_refused_with_a_reason() {
    each("bad", |name, text| {
        let reason = refusal(text).unwrap_or_else(|| panic!("{name} was taken"));
        assert!(!reason.is_empty(), "{name}");
    });
}

/// They are for other machines, or have no process or no namespaces of their own: the reason names what is missing.
#[test]
fn valid_specifications_are_taken_or_refused_by_the_name_of_what_kiln_does_not_do() {
    each("good", |name, text| {
        let Some(reason) = refusal(text) else { return };
        let words = ["process", "namespace", "solaris", "zos", "linux.netDevices", "hooks"];
        assert!(words.iter().any(|word| reason.contains(word)), "{name}: {reason}");
    });
}

#[test]
fn what_is_not_carried_out_is_refused_by_name() {
    let base = |more: &str| {
        format!(
            r#"{{"ociVersion": "1.2.0", "root": {{"path": "rootfs"}}, "process": {{"args": ["sh"], "cwd": "/", "user": {{"uid": 0, "gid": 0}}}} {more}}}"#
        )
    };
    let linux = |more: &str| {
        base(&format!(r#", "linux": {{"namespaces": [{{"type": "mount"}}, {{"type": "pid"}}] {more}}}"#))
    };
    assert_eq!(refusal(&linux("")), None);
    for (text, word) in [
        (base(""), "namespace"),
        (base(r#", "hooks": {"prestart": [{"path": "/bin/true"}]}"#), "hooks"),
        (linux(r#", "rootfsPropagation": "shared""#), "linux.rootfsPropagation"),
        (linux(r#", "mountLabel": "x""#), "linux.mountLabel"),
        (linux(r#", "personality": {"domain": "LINUX32"}"#), "linux.personality"),
        (linux(r#", "intelRdt": {"closID": "x"}"#), "linux.intelRdt"),
        (linux(r#", "resources": {"unified": {"memory.high": "1"}}"#), "linux.resources.unified"),
        (linux(r#", "resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}"#), "hugepageLimits"),
    ] {
        let reason = refusal(&text).unwrap_or_else(|| panic!("{text} was taken"));
        assert!(reason.contains(word), "{word}: {reason}");
    }
}
