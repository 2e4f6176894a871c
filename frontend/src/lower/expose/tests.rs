use serde_json::Value;

use super::parse;

#[test]
fn ports_are_read_as_in_the_references_table() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/tables/buildkit/convert/expose.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: ../shared is absent");
        return;
    };
    let rows: Value = serde_json::from_str(&text).expect("the corpus is JSON");
    for row in rows.as_array().unwrap() {
        let mut ports = Vec::new();
        let mut error = None;
        for written in row["input"].as_array().unwrap() {
            match parse(written.as_str().unwrap()) {
                Ok(exposed) => {
                    let range = exposed.first..=exposed.last;
                    ports.extend(range.map(|port| format!("{port}/{}", exposed.protocol)));
                }
                Err(message) => error = Some(message),
            }
        }
        assert_eq!(error.is_some(), row["error"].as_bool().unwrap(), "{row} {error:?}");
        if let (Some(error), Some(expected)) = (&error, row["error_equals"].as_str()) {
            assert_eq!(error, expected, "{row}");
        }
        if let Some(expected) = row["expected"].as_array() {
            ports.sort();
            let mut expected: Vec<&str> = expected.iter().map(|port| port.as_str().unwrap()).collect();
            expected.sort_unstable();
            assert_eq!(ports, expected, "{row}");
        }
    }
}
