//! Outlines, targets and check results of small files.

use std::collections::BTreeMap;

use kiln_core::SourceFile;

use super::{OutlineRequest, check, outline, targets};
use crate::ast::Dockerfile;

fn dockerfile(text: &str) -> Dockerfile {
    crate::parse(&SourceFile::new("Dockerfile", text)).dockerfile
}

fn outlined(text: &str, target: Option<&str>, build_args: &[(&str, &str)]) -> Option<super::Outline> {
    let build_args: BTreeMap<String, String> =
        build_args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let predefined = BTreeMap::from([("TARGETARCH".to_owned(), "amd64".to_owned())]);
    let request = OutlineRequest { target, build_args: &build_args, predefined: &predefined };
    outline(&dockerfile(text), request)
}

/// BuildKit's testOutlineRecursiveArgs.
#[test]
fn arguments_are_told_with_what_they_are_made_of() {
    let text = "\nARG FOO=123\nARG ABC=abc\nARG DEF=def\nARG FOO=${FOO}${ABC}\nARG BAR=${FOO}456\nARG FOO=${FOO}456${BAR}\n\
        FROM scratch\nARG FOO\nARG INFOO=123\nARG INBAR=${INFOO}456\nARG INFOO=${INFOO}456${INBAR}\n";
    let args = outlined(text, None, &[]).unwrap().args;
    let told: Vec<(&str, &str)> = args.iter().map(|arg| (arg.name.as_str(), arg.value.as_str())).collect();
    let wanted = [
        ("ABC", "abc"),
        ("BAR", "123abc456"),
        ("FOO", "123abc456123abc456"),
        ("INBAR", "123456"),
        ("INFOO", "123456123456"),
    ];
    assert_eq!(told, wanted);
}

const STAGES: &str = "# one sets the first\nARG one=1\nARG base=alpine\nFROM ${base} AS first\nARG unused=x\n\
    RUN --mount=type=secret,id=key,required --mount=type=ssh --mount=type=cache,target=/root/.cache true\n\
    # last is what ships\nFROM scratch AS last\nARG one\nARG TARGETARCH\nCOPY --from=first / /\n\
    RUN --mount=type=secret,target=/run/tok true\nFROM scratch AS alone\n";

#[test]
fn an_outline_has_what_the_needed_stages_use() {
    let outline = outlined(STAGES, Some("last"), &[("one", "2")]).unwrap();
    expect_test::expect![[r#"
        TARGET:      last
        DESCRIPTION: is what ships

        BUILD ARG   VALUE    DESCRIPTION
        base        alpine   
        unused      x        
        one         2        

        SECRET   REQUIRED
        key      true
        tok      

        SSH       REQUIRED
        default   
    "#]]
    .assert_eq(&outline.text());
    assert_eq!(outline.cache[0].id, "/root/.cache");
    let alone = outlined(STAGES, Some("ALONE"), &[]).unwrap();
    assert_eq!((alone.args.len(), alone.secrets.len()), (0, 0));
    assert_eq!(outlined(STAGES, Some("none"), &[]), None);
    assert_eq!(outlined("ARG x", None, &[]), None);
}

#[test]
fn an_outline_is_buildkits_json() {
    let text = "FROM scratch\nARG a=1\n";
    expect_test::expect![[r#"
        {
          "args": [
            {
              "name": "a",
              "value": "1",
              "location": {
                "ranges": [
                  {
                    "start": {
                      "line": 2
                    },
                    "end": {
                      "line": 2
                    }
                  }
                ]
              }
            }
          ],
          "sources": [
            "RlJPTSBzY3JhdGNoCkFSRyBhPTEK"
          ]
        }"#]]
    .assert_eq(&outlined(text, None, &[]).unwrap().json());
}

#[test]
fn targets_are_the_stages() {
    let targets = targets(&dockerfile(STAGES));
    expect_test::expect![[r#"
        TARGET            DESCRIPTION
        first             
        last              is what ships
        alone (default)   
    "#]]
    .assert_eq(&targets.text());
    let json: serde_json::Value = serde_json::from_str(&targets.json()).unwrap();
    assert_eq!(json["targets"][0]["base"], "${base}");
    assert_eq!(json["targets"][2]["default"], true);
    assert_eq!(json["targets"][1]["location"]["ranges"][0]["start"]["line"], 8);
}

#[test]
fn findings_are_shown_with_their_lines() {
    let file = dockerfile("FROM scratch AS Base\nCOPY a \\\n b\n");
    let findings = crate::lint::file(&file);
    let result = check(&file, &findings);
    expect_test::expect![[r#"
        Check complete, 1 warning has been found!

        WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
        Stage name 'Base' should be lowercase
        Dockerfile:1
        --------------------
           1 | >>> FROM scratch AS Base
           2 |     COPY a \
           3 |      b
        --------------------
    "#]]
    .assert_eq(&result.text());
    let json: serde_json::Value = serde_json::from_str(&result.json()).unwrap();
    assert_eq!(json["warnings"][0]["ruleName"], "StageNameCasing");
    assert_eq!(json["sources"][0]["language"], "Dockerfile");
    assert_eq!(json.get("buildError"), None);
    let clean = check(&dockerfile("FROM scratch\n"), &[]);
    assert!(clean.is_clean());
    assert_eq!(clean.text(), "Check complete, no warnings found.\n");
}
