//! The parser against what BuildKit said to the Dockerfiles of the golden builds: which it refused to parse, why, and where.

use std::path::Path;

use kiln_core::{Severity, SourceFile};
use kiln_frontend::parse;
use serde_json::Value;

#[test]
fn the_same_files_are_refused_for_the_same_reason() {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
    let Ok(folder) = std::fs::read_dir(shared.join("golden")) else {
        eprintln!("skipped: ../shared is absent");
        return;
    };
    let (mut accepted, mut refused) = (0, 0);
    for entry in folder {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let Some(source) = source(shared, case) else { continue };
            let file = SourceFile::new("Dockerfile", source.as_str());
            let found = parse(&file).diagnostics;
            let first = found.iter().find(|d| d.severity == Severity::Error);
            let error = case["expect"]["error"].as_str().unwrap_or_default();
            let Some(rest) = error.strip_prefix("failed to solve: dockerfile parse error on line ") else {
                assert_eq!(first, None, "{}\n{source}", case["id"]);
                accepted += 1;
                continue;
            };
            let first = first.unwrap_or_else(|| panic!("{}: no error, wanted {error}", case["id"]));
            let (line, message) = rest.split_once(": ").unwrap();
            let help = first.help.as_ref().filter(|help| help.starts_with("did you mean"));
            let told = first.message.clone() + &help.map(|help| format!(" ({help})")).unwrap_or_default();
            assert_eq!(told, message, "{}", case["id"]);
            assert_eq!(file.position(first.span.start).0.to_string(), line, "{}", case["id"]);
            refused += 1;
        }
    }
    assert!(accepted > 500 && refused > 5, "{accepted} accepted, {refused} refused");
}

fn source(shared: &Path, case: &Value) -> Option<String> {
    let name = case["dockerfile"].as_str().unwrap_or("Dockerfile");
    let written = case["files"].as_array().into_iter().flatten().find(|f| f["path"] == name);
    if let Some(text) = written.and_then(|file| file["content"].as_str()) {
        return Some(text.to_owned());
    }
    let context = case["context"].as_str()?;
    let bytes = std::fs::read(shared.join("corpus").join(context).join(name)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
