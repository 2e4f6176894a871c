//! Images of many layers: more than are worth stacking, and more than overlayfs can stack.

use std::collections::BTreeMap;

use kiln_tests::{Random, TestEnv, settle};

/// Steps that make, change and remove files, each of which first looks whether it finds what those before it left.
fn dockerfile(steps: u64, random: &mut Random) -> String {
    let mut text = "FROM busybox\nWORKDIR /w\n".to_owned();
    let mut files: BTreeMap<String, u64> = BTreeMap::new();
    for step in 0..steps {
        let expected: String = files.iter().map(|(name, content)| format!("{name}={content} ")).collect();
        let look = "$(for f in $(find . -type f | sort); do printf '%s=%s ' ${f#./} $(cat $f); done)";
        let name = format!("{}/{}", random.below(4), random.below(4));
        let (directory, _) = name.split_once('/').expect("two parts");
        let change = match random.below(4) {
            0 => {
                files.retain(|file, _| !file.starts_with(&format!("{directory}/")));
                format!("rm -rf {directory}")
            }
            1 => {
                files.remove(&name);
                format!("rm -f {name}")
            }
            2 => {
                files.retain(|file, _| !file.starts_with(&format!("{directory}/")));
                files.insert(name.clone(), step);
                format!("rm -rf {directory} && mkdir {directory} && echo {step} > {name}")
            }
            _ => {
                files.insert(name.clone(), step);
                format!("mkdir -p {directory} && echo {step} > {name}")
            }
        };
        text.push_str(&format!("RUN test \"{look}\" = \"{expected}\" && {change}\n"));
    }
    text
}

#[test]
fn many_steps_show_the_same_files_as_few() {
    for env in TestEnv::each() {
        env.busybox();
        env.file("Dockerfile", dockerfile(130, &mut Random::new()));
        env.build(["--tag=tall"]).success();
        env.kiln(["run", "--rm", "tall", "true"]).run().success();
        super::is_sound(&env);
    }
}

#[test]
fn an_image_of_more_layers_than_can_be_stacked_is_built_and_runs() {
    let env = TestEnv::new();
    env.busybox();
    let mut text = "FROM busybox\n".to_owned();
    for n in 0..520 {
        env.file(&format!("f{n}"), format!("{n}"));
        text.push_str(&format!("COPY f{n} /d/\n"));
    }
    env.file("Dockerfile", format!("{text}RUN test $(ls /d | wc -l) = 520 && cat /d/f0 /d/f519 > /both\n"));
    env.build(["--tag=tall"]).success();
    env.kiln(["run", "--rm", "tall", "cat", "/both", "/d/f77"]).run().success().says(["051977"]);
    env.file("Dockerfile", "FROM tall\nRUN rm /d/f1 && test $(ls /d | wc -l) = 519\n").build([]).success();
    settle(&env.store());
    super::is_sound(&env);
    // What was flattened is no part of any image, and goes.
    env.kiln(["prune", "-a", "-f"]).run().success();
    env.kiln(["run", "--rm", "tall", "cat", "/both"]).run().success().says(["0519"]);
}
