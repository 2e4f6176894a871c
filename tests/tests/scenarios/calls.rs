//! Questions about a Dockerfile: outline, targets, check.

use kiln_tests::TestEnv;
use serde_json::{Value, json};

use crate::corpus::Scenario;

/// Asks, and reads the answer.
fn call(dockerfile: &str, words: &[&str]) -> Value {
    let env = TestEnv::new();
    env.file("Dockerfile", dockerfile);
    let context = env.path("context").display().to_string();
    env.kiln(["build", "--progress=plain"].iter().chain(words).copied().chain([&*context]))
        .run()
        .success()
        .json()
}

/// Some fields of each item of a list.
fn pick(list: &Value, names: &[&str]) -> Vec<Value> {
    let items = list.as_array().unwrap_or_else(|| panic!("a list: {list}"));
    items.iter().map(|item| names.iter().map(|name| item[*name].clone()).collect()).collect()
}

#[test]
fn outline_gives_arguments_the_values_they_have_in_the_end() {
    let Some(scenario) = Scenario::read("outline/testOutlineRecursiveArgs") else { return };
    let outline = call(scenario.dockerfile(), &["--call=outline,format=json"]);
    let wanted = [
        json!(["ABC", "abc"]),
        json!(["BAR", "123abc456"]),
        json!(["FOO", "123abc456123abc456"]),
        json!(["INBAR", "123456"]),
        json!(["INFOO", "123456123456"]),
    ];
    assert_eq!(pick(&outline["args"], &["name", "value"]), wanted, "{outline:#}");
}

#[test]
fn outline_lists_what_a_target_takes() {
    let dockerfile = r#"ARG inherited=inherited1
ARG inherited2=inherited2

# target defines build target
FROM scratch AS target
COPY --from=first /foo /

# first is first
FROM scratch AS first
# myarg is an argument
ARG myarg=value
ARG inherited
RUN --mount=type=secret,id=first,required=true --mount=type=secret,id=second --mount=type=ssh \
    --mount=type=cache,id=kept,target=/c foo
FROM scratch AS other
ARG unseen
"#;
    let outline =
        call(dockerfile, &["--call=outline,format=json", "--target=first", "--build-arg=myarg=mine"]);
    assert_eq!((&outline["name"], &outline["description"]), (&json!("first"), &json!("is first")));
    let args = pick(&outline["args"], &["name", "description", "value"]);
    assert_eq!(
        args,
        [json!(["inherited", null, "inherited1"]), json!(["myarg", "is an argument", "mine"])],
        "{outline:#}"
    );
    assert_eq!(
        pick(&outline["secrets"], &["name", "required"]),
        [json!(["first", true]), json!(["second", null])]
    );
    assert_eq!(pick(&outline["ssh"], &["name"]), [json!(["default"])]);
    assert_eq!(pick(&outline["cache"], &["ID"]), [json!(["kept"])]);
}

#[test]
fn targets_lists_the_stages_and_says_which_is_the_default() {
    let dockerfile = "# build builds\n# it\nFROM scratch AS first\nCOPY Dockerfile Dockerfile\n\n\
                      FROM scratch AS second\nCOPY --from=first Dockerfile Dockerfile\n\n\
                      # only for release\nFROM second AS release\nFROM scratch\n";
    let targets = call(dockerfile, &["--call=targets,format=json"]);
    let wanted = [
        json!(["first", null, null, "scratch"]),
        json!(["second", null, null, "scratch"]),
        json!(["release", null, null, "second"]),
        json!([null, true, null, "scratch"]),
    ];
    assert_eq!(pick(&targets["targets"], &["name", "default", "platform", "base"]), wanted, "{targets:#}");
}

#[test]
fn check_lists_each_warning_with_its_rule_and_place() {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch as x\nMAINTAINER me\n");
    let context = env.path("context").display().to_string();
    let outcome = env.kiln(["build", "--call=check,format=json", &context]).run();
    let check = outcome.json();
    let warnings = pick(&check["warnings"], &["ruleName"]);
    assert_eq!(warnings, [json!(["FromAsCasing"]), json!(["MaintainerDeprecated"])], "{check:#}");
    let line = &check["warnings"][1]["location"]["ranges"][0]["start"]["line"];
    assert_eq!(line, &json!(2), "{check:#}");
}
