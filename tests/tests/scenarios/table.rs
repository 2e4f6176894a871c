//! Every scenario of the corpus and where it is tested.

use std::collections::BTreeSet;
use std::fs;

use kiln_tests::shared;
use serde_json::Value;

use Place::{Fails, Golden, LeftOut, Lint, Tested};

/// Where a scenario is tested.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// By the golden results: `builds_mean_what_buildkit_means`.
    Golden,
    /// By the golden results of checks.
    Lint,
    /// Here, by a test that passes.
    Tested(&'static str),
    /// Here, but kiln does not do it: the reason.
    Fails(&'static str),
    /// Nowhere: the reason.
    LeftOut(&'static str),
}

const CACHES: &str =
    "BuildKit's form of a cache in a registry, which kiln does not write; its store is its cache";
const GATEWAY: &str =
    "the protocol between BuildKit and frontends in containers; kiln's frontend is built in";
const ATTESTATIONS: &str = "attestations are no part of the Dockerfile language";
const DESCRIBE: &str =
    "the version of a call in BuildKit's protocol; the calls themselves are tested in `calls`";
const RECORDS: &str =
    "the daemon's records of past builds over its own protocol; the error itself is tested in `errors`";

const SCENARIOS: &[(&str, Place)] = &[
    ("add/testAddChecksum", Tested("url::what_add_fetches_has_the_given_checksum")),
    ("add/testAddInvalidChmod", Golden),
    ("add/testDockerfileAddArchiveThroughAbsoluteSymlink", Golden),
    ("add/testDockerfileAddArchiveWithImpliedParentDir", Golden),
    ("add/testDockerfileAddChownArchive", Golden),
    ("add/testDockerfileAddChownExpand", Golden),
    ("addgit/testAddGitChecksumCache", Tested("git::a_checksum_that_fits_runs_no_step_again")),
    (
        "addgit/testAddGitSHA1",
        Tested("git::add_takes_a_repository_by_branch_tag_and_commit_with_its_git_directory_if_asked"),
    ),
    ("addgit/testGitQueryString", Tested("git::the_query_of_an_added_repository_says_what_to_take")),
    ("args/testDefaultEnvWithArgs", Golden),
    ("args/testEmptyStringArgInEnv", Golden),
    ("args/testGlobalArgErrors", Golden),
    ("args/testMultiArgs", Golden),
    ("args/testQuotedMetaArgs", Golden),
    ("args/testTargetStageNameArg", Golden),
    ("cache/testCacheImportExport", LeftOut(CACHES)),
    ("cache/testCacheMountModeNoCache", Golden),
    ("cache/testCacheMultiPlatformImportExport", LeftOut(CACHES)),
    ("cache/testImageManifestCacheImportExport", LeftOut(CACHES)),
    ("cache/testImportExportReproducibleIDs", Golden),
    ("cache/testReproducibleIDs", Golden),
    ("check/testConsistentInstructionCasing", Lint),
    ("check/testCopyIgnoredFiles", Lint),
    ("check/testDefinitionDescription", Lint),
    ("check/testDuplicateStageName", Lint),
    ("check/testExposeInvalidFormat", Lint),
    ("check/testInvalidDefaultArgInFrom", Lint),
    ("check/testJSONArgsRecommended", Lint),
    ("check/testMaintainerDeprecated", Lint),
    ("check/testMultipleInstructionsDisallowed", Lint),
    ("check/testNoEmptyContinuation", Lint),
    ("check/testReservedStageName", Lint),
    ("check/testSecretsUsedInArgOrEnv", Lint),
    ("check/testStageName", Lint),
    ("check/testUnmatchedVars", Lint),
    ("check/testWarningsBeforeError", Lint),
    ("client/testFrontendInputs", LeftOut(GATEWAY)),
    ("client/testFrontendUseForwardedSolveResults", LeftOut(GATEWAY)),
    ("client/testGatewayBuiltinSyntaxSourceDockerfileV0", LeftOut(GATEWAY)),
    ("client/testNilContextInSolveGateway", LeftOut(GATEWAY)),
    ("cmd/testDefaultPathEnvOnWindows", LeftOut("needs an image of Windows")),
    ("cmd/testDefaultShellAndPath", Tested("platforms::shell_and_path_are_those_of_the_platform")),
    ("cmd/testIgnoreEntrypoint", Golden),
    ("cmd/testInvalidJSONCommands", Golden),
    ("copy/testCopyChmod", Golden),
    ("copy/testCopyFollowAllSymlinks", Golden),
    ("copy/testCopyInvalidChmod", Golden),
    ("copy/testCopyOverrideFiles", Golden),
    ("copy/testCopyRelative", Golden),
    ("copy/testCopySocket", Golden),
    ("copy/testCopyThroughSymlinkContext", Golden),
    ("copy/testCopyThroughSymlinkMultiStage", Golden),
    ("copy/testCopyUnicodePath", Golden),
    ("copy/testCopyVarSubstitution", Golden),
    (
        "copy/testCopyWildcardCache",
        Tested("graph::a_step_runs_again_only_when_a_file_that_its_wildcard_matches_changes"),
    ),
    ("copy/testCopyWildcards", Golden),
    ("copy/testEmptyDestDir", Golden),
    ("copy/testEmptyWildcard", Golden),
    ("core/testContextChangeDirToFile", Golden),
    ("core/testDockerfileCheckHostname", Golden),
    ("core/testDockerfileLowercase", Golden),
    ("core/testLabels", Golden),
    ("core/testNoSnapshotLeak", Golden),
    ("core/testStepNames", Golden),
    ("core/testSymlinkDestination", Golden),
    ("core/testSymlinkedDockerfile", Golden),
    ("dockerignore/testDockerignoreInvalid", Golden),
    ("dockerignore/testDockerignoreOverride", Golden),
    ("errors/testErrorsSourceMap", Tested("graph::an_error_shows_the_line_that_is_wrong")),
    ("exclude_patterns/testExcludedFilesOnCopy", Golden),
    (
        "export/testExportMultiPlatform",
        Tested("platforms::each_platform_has_a_directory_or_a_manifest_of_its_own"),
    ),
    ("export/testTarContext", Tested("remote::a_url_of_a_tar_is_a_context")),
    (
        "export/testTarContextExternalDockerfile",
        Tested("remote::a_tar_may_have_its_dockerfile_from_elsewhere"),
    ),
    ("git_http/testDockerfileFromGit", Tested("git::a_git_context_is_built_from_the_branch_in_its_url")),
    ("git_http/testDockerfileFromGitSHA256", Tested("git::a_repository_may_name_its_commits_by_sha256")),
    ("git_http/testHTTPDockerfile", Tested("remote::a_url_of_a_text_is_a_dockerfile_without_a_context")),
    ("heredoc/testHeredocIndent", Golden),
    ("heredoc/testRunBasicHeredoc", Golden),
    ("heredoc/testRunComplexHeredoc", Golden),
    ("heredoc/testRunFakeHeredoc", Golden),
    ("heredoc/testRunShebangHeredoc", Golden),
    ("history/testHistoryError", LeftOut(RECORDS)),
    ("history/testHistoryFinalizeTrace", LeftOut(RECORDS)),
    ("image/testDockerfileScratchConfig", Golden),
    ("image/testOCILayoutMultiname", Golden),
    ("mount/testCacheMountParallel", Golden),
    ("mount/testCacheMountSourceEscape", Golden),
    ("mount/testCacheMountUser", Golden),
    ("mount/testMountContext", Golden),
    ("mount/testMountFromError", Golden),
    ("mount/testMountInvalid", Golden),
    ("mount/testMountMetaArg", Golden),
    ("mount/testMountRWCache", Golden),
    ("mount/testMountTmpfsSize", Golden),
    ("multistage/testMultiStageImplicitFrom", Golden),
    ("multistage/testOutOfOrderStage", Tested("graph::a_stage_cannot_copy_from_one_that_comes_later")),
    (
        "namedcontext/testEagerNamedContextLookup",
        Tested("contexts::a_named_context_that_no_step_needs_is_not_looked_up"),
    ),
    (
        "namedcontext/testNamedFilteredContext",
        Tested("contexts::of_a_named_directory_only_what_steps_need_is_read"),
    ),
    (
        "namedcontext/testNamedImageContext",
        Tested("contexts::a_named_image_from_a_registry_takes_the_place_of_an_image_or_a_stage"),
    ),
    ("namedcontext/testNamedImageContextScratch", Golden),
    ("namedcontext/testNamedImageContextTimestamps", Golden),
    (
        "namedcontext/testNamedOCILayoutContext",
        Tested("contexts::a_layout_is_a_context_with_files_and_configuration"),
    ),
    (
        "namedcontext/testNamedOCILayoutContextExport",
        Tested("contexts::an_image_from_a_layout_is_exported_with_its_configuration"),
    ),
    ("onbuild/testOnBuildInheritedStageWithFrom", Golden),
    (
        "onbuild/testOnBuildNewDeps",
        Tested("graph::triggers_may_need_images_and_stages_that_the_dockerfile_does_not_name"),
    ),
    ("onbuild/testOnBuildWithCacheMount", Golden),
    ("onbuild/testOnBuildWithChildStage", Golden),
    ("outline/testOutlineDescribeDefinition", LeftOut(DESCRIBE)),
    (
        "outline/testOutlineRecursiveArgs",
        Tested("calls::outline_gives_arguments_the_values_they_have_in_the_end"),
    ),
    ("parents/testCopyParents", Golden),
    ("parents/testCopyRelativeParents", Golden),
    (
        "platform/testPlatformArgsImplicit",
        Tested("platforms::arguments_of_the_platform_need_no_declaration_before_the_first_stage"),
    ),
    (
        "platform/testPlatformWithOSVersion",
        Fails("kiln's platforms have no version of the operating system, which only Windows has"),
    ),
    ("provenance/testClientFrontendProvenance", LeftOut(ATTESTATIONS)),
    ("provenance/testCommandSourceMapping", LeftOut(ATTESTATIONS)),
    ("provenance/testDockerIgnoreMissingProvenance", LeftOut(ATTESTATIONS)),
    ("provenance/testDockerfileProvenanceInputProducer", LeftOut(ATTESTATIONS)),
    ("provenance/testDuplicateLayersProvenance", LeftOut(ATTESTATIONS)),
    ("provenance/testFrontendDeduplicateSources", LeftOut(ATTESTATIONS)),
    ("provenance/testGatewayProvenanceDifferentCallbackInputProducer", LeftOut(ATTESTATIONS)),
    ("provenance/testGatewayProvenanceSameCallbackInputProducer", LeftOut(ATTESTATIONS)),
    ("provenance/testGitProvenanceAttestation", LeftOut(ATTESTATIONS)),
    ("provenance/testGitProvenanceAttestationSHA256", LeftOut(ATTESTATIONS)),
    ("provenance/testMultiPlatformProvenance", LeftOut(ATTESTATIONS)),
    ("provenance/testProvenanceAttestation", LeftOut(ATTESTATIONS)),
    ("provenance/testProvenanceExportLocal", LeftOut(ATTESTATIONS)),
    ("provenance/testProvenanceExportLocalMultiPlatform", LeftOut(ATTESTATIONS)),
    ("provenance/testProvenanceExportLocalMultiPlatformNoSplit", LeftOut(ATTESTATIONS)),
    ("provenance/testSecretSSHProvenance", LeftOut(ATTESTATIONS)),
    (
        "resources/testCgroupParent",
        LeftOut("needs a control group that tests may make, with a limit of processes"),
    ),
    ("resources/testShmSize", Golden),
    (
        "rundevice/testDeviceRunEnv",
        LeftOut("needs a folder of device descriptions that the daemon is told of"),
    ),
    ("runnetwork/testRunDefaultNetwork", Golden),
    ("runnetwork/testRunHostNetwork", Tested("run::a_step_on_the_hosts_network_reaches_what_listens_there")),
    (
        "runsecurity/testInsecureDevicesWhitelist",
        LeftOut("needs packages of Alpine Linux and an image from the internet"),
    ),
    ("runsecurity/testRunSecurityInsecure", Tested("run::a_step_without_a_sandbox_needs_the_right_to_it")),
    ("sbom/testSBOMScannerImage", LeftOut(ATTESTATIONS)),
    ("secrets/testSecretAsEnviron", Golden),
    ("secrets/testSecretAsEnvironWithFileMount", Golden),
    (
        "source_date_epoch/testSourceDateEpochContextGit",
        Tested("epoch::the_time_of_a_git_context_is_its_commits"),
    ),
    (
        "source_date_epoch/testSourceDateEpochContextHTTPArchive",
        Tested("epoch::the_time_of_a_tar_over_http_is_its_newest_files"),
    ),
    (
        "source_date_epoch/testSourceDateEpochContextHTTPLastModified",
        Tested("epoch::the_time_of_a_tar_over_http_is_last_modified_where_the_server_tells"),
    ),
    ("source_date_epoch/testSourceDateEpochDockerfileDefaultInvalid", Golden),
    ("source_date_epoch/testSourceDateEpochDockerfileDefaultOverride", Golden),
    (
        "source_date_epoch/testSourceDateEpochNamedContextHTTPArchive",
        Tested("epoch::a_named_tar_gives_the_time_of_its_newest_file"),
    ),
    (
        "source_date_epoch/testSourceDateEpochNamedContextHTTPLastModified",
        Tested("epoch::a_named_tar_gives_last_modified_where_the_server_tells"),
    ),
    (
        "source_date_epoch/testSourceDateEpochStageHTTPArchive",
        Tested("epoch::a_stage_that_is_one_added_tar_gives_its_time"),
    ),
    ("source_date_epoch/testSourceDateEpochStageInvalid", Golden),
    (
        "ssh/testSSHSocketParams",
        Tested("run::the_agents_socket_has_the_owner_and_mode_that_the_step_asks_for"),
    ),
    ("targets/testTargetsDescribeDefinition", LeftOut(DESCRIBE)),
    (
        "workdir/testWorkdirCopyIgnoreRelative",
        Tested("graph::a_relative_path_of_copy_from_is_relative_to_the_root"),
    ),
    ("workdir/testWorkdirExists", Golden),
    ("workdir/testWorkdirSourceDateEpochReproducible", Golden),
];

/// The share of the scenarios that can run here which must pass, in percent.
const REQUIRED: usize = 90;

/// This program's own tests, as they stand in its sources.
const SOURCES: &[(&str, &str)] = &[
    ("contexts", include_str!("contexts.rs")),
    ("calls", include_str!("calls.rs")),
    ("epoch", include_str!("epoch.rs")),
    ("git", include_str!("git.rs")),
    ("graph", include_str!("graph.rs")),
    ("platforms", include_str!("platforms.rs")),
    ("remote", include_str!("remote.rs")),
    ("run", include_str!("run.rs")),
    ("url", include_str!("url.rs")),
];

fn is_a_test(name: &str) -> bool {
    let Some((module, function)) = name.split_once("::") else { return false };
    let source = SOURCES.iter().find(|(known, _)| *known == module);
    source.is_some_and(|(_, text)| text.contains(&format!("#[test]\nfn {function}()")))
}

/// The values of a field over the rows of a JSON file.
fn column(value: &Value, name: &str) -> BTreeSet<String> {
    let rows = value.as_array().expect("rows").iter();
    rows.map(|row| row[name].as_str().expect("a text").split(['#', '@']).next().unwrap_or("").to_owned())
        .collect()
}

#[test]
fn every_scenario_of_the_corpus_is_tested_or_left_out_for_a_reason() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("corpus/buildkit/integration");
    let mut unlisted: BTreeSet<String> = BTreeSet::new();
    for group in
        fs::read_dir(&folder).expect("list the corpus").flatten().filter(|entry| entry.path().is_dir())
    {
        for file in fs::read_dir(group.path()).expect("list the corpus").flatten() {
            let name = file.path().with_extension("");
            let id = name.strip_prefix(&folder).expect("below the corpus").to_string_lossy().into_owned();
            unlisted.insert(id);
        }
    }
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(shared.join(path)).expect("read")).expect("JSON")
    };
    let golden = column(&read("golden/buildkit-integration.json")["cases"], "id");
    let lint = column(&read("corpus/tables/buildkit/lint/check_cases.json"), "test");
    let (mut passing, mut failing) = (0, 0);
    for (id, place) in SCENARIOS {
        assert!(unlisted.remove(*id), "{id} is listed twice, or is no scenario");
        let test = id.split('/').next_back().unwrap_or(id);
        match place {
            Golden => assert!(golden.contains(*id), "{id} is not in golden"),
            Lint => assert!(lint.contains(test), "{id} is not among the checks"),
            Tested(name) => assert!(is_a_test(name), "{id}: there is no test {name}"),
            Fails(_) => failing += 1,
            LeftOut(_) => continue,
        }
        passing += usize::from(!matches!(place, Fails(_)));
    }
    assert!(unlisted.is_empty(), "scenarios that are not listed: {unlisted:#?}");
    assert!(passing * 100 >= (passing + failing) * REQUIRED, "{passing} pass, {failing} fail");
}
