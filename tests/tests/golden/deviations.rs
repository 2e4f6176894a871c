//! Where kiln differs from the golden results, and may.

/// On purpose: a case, the aspect in which kiln differs from BuildKit, and the reason that a user would accept.
const ON_PURPOSE: &[(&str, &str, &str)] = &[
    ("conformance#10 copy nested file to different root name", "run output", LINKS),
    ("conformance#14 copy directory to root without explicit slash", "run output", LINKS),
    ("conformance#2 copy file to root", "run output", LINKS),
    ("conformance#8 copy folder with dot contents to higher level", "run output", LINKS),
    ("conformance#9 copy root file to different root name", "run output", LINKS),
    ("bud/copy-parents/Containerfile-hardlinks", "ok", PARENTS),
    ("conformance#83 copy--parents-all-directories", "ok", PARENTS),
    ("conformance#88 copy--parents-directory-limit-parents-unknown-count-parent-directories", "ok", PARENTS),
    ("conformance#41 stage-container-as-source-plus-hardlinks", "files", OLDER),
    ("conformance#41 stage-container-as-source-plus-hardlinks", "layers", OLDER),
    ("conformance#82 copy--parents-dir-with-links", "files", OLDER),
    ("conformance#82 copy--parents-dir-with-links", "layers", OLDER),
    ("bud/multiarch/Dockerfile", "error line", RACE),
    ("bud/namespaces/Containerfile", "error line", RACE),
    ("bud/use-layers/Dockerfile.multistage-copy", "error line", RACE),
    (
        "buildkit/lint/check_cases#22",
        "warnings",
        "kiln points at the empty line itself, BuildKit at the last line of the instruction",
    ),
    ("source_date_epoch/testSourceDateEpochStageInvalid", "error line", EPOCH),
    ("source_date_epoch/testSourceDateEpochStageInvalid@target=mysource", "error line", EPOCH),
    ("moby/TestBuildMultiStageUnusedArg", "warnings", "kiln says which build arguments nothing takes"),
];

const PARENTS: &str =
    "BuildKit does not find a directory that is written `./` or `./x/./` with --parents; kiln copies it";
const OLDER: &str = "a link to a file of an older layer is a copy in the layer, and kiln's later steps read what the layer has";
const EPOCH: &str = "kiln points at the instruction that the stage may not have, BuildKit at the stage";
const RACE: &str = "several steps fail side by side, and whichever is first is told";

/// Deviations that are there in some runs only.
const IN_SOME_RUNS: [&str; 2] = [LINKS, RACE];

/// Whether a deviation for this reason may be absent.
pub(crate) fn may_be_absent(why: &str) -> bool {
    IN_SOME_RUNS.contains(&why)
}

const LINKS: &str =
    "files that a step copies share their bytes with the layer they come from, so `ls -l` counts two links";

/// Results that say something of the machine where golden was made, not of the builder: they are not compared.
const OF_THE_MACHINE: &[(&str, &str, &str)] = &[
    ("args/testEmptyStringArgInEnv", "*", TRACING),
    ("args/testEmptyStringArgInEnv@target=build", "*", TRACING),
    ("conformance#37 ci-pipeline-modified", "*", TRACING),
    ("moby/TestBuildMultiStageArg", "*", TRACING),
    ("source_date_epoch/testSourceDateEpochStageInvalid", "error line", EPOCH),
    ("source_date_epoch/testSourceDateEpochStageInvalid@target=mysource", "error line", EPOCH),
    ("moby/TestBuildMultiStageUnusedArg", "*", TRACING),
    ("moby/TestBuildEnv", "*", TRACING),
    ("moby/TestBuildAddDirContentToExistingDir", "*", CHOWN),
    ("moby/TestBuildAddDirContentToRoot", "*", CHOWN),
    ("moby/TestBuildAddWholeDirToRoot", "*", CHOWN),
    ("moby/TestBuildCopyDirContentToExistDir", "*", CHOWN),
    ("moby/TestBuildCopySingleFileToExistDir", "*", CHOWN),
    ("moby/TestBuildCopySingleFileToNonExistDir", "*", CHOWN),
    ("moby/TestBuildCopyWholeDirToRoot", "*", CHOWN),
    ("kaniko/Dockerfile_test_mv_add", "run output", "prints inode numbers and the time of the base image"),
];

const TRACING: &str = "the step stores its environment, and that daemon's tracing had added variables to it";
const CHOWN: &str = "busybox 1.38 refuses `chown user.group`, older ones, as on Debian 12, take it";

fn find(list: &[(&str, &str, &'static str)], id: &str, aspect: &str) -> Option<&'static str> {
    let fits = |part: &str| part == "*" || part == aspect;
    list.iter().find(|(case, part, _)| *case == id && fits(part)).map(|(_, _, why)| *why)
}

/// The reason why a case may differ in an aspect, if it may.
pub(crate) fn on_purpose(id: &str, aspect: &str) -> Option<&'static str> {
    find(ON_PURPOSE, id, aspect)
}

/// Whether an aspect of a case depends on the machine.
pub(crate) fn of_the_machine(id: &str, aspect: &str) -> bool {
    find(OF_THE_MACHINE, id, aspect).is_some()
}
