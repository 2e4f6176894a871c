//! Names and ids that are used as paths somewhere: they climb, begin with a dash, or hold what paths cannot.

use std::fs;

use serde_json::json;

use crate::outside::{Attacked, SECRET};

#[test]
fn ids_of_secrets_agents_contexts_and_stages_are_no_paths() {
    for attacked in Attacked::each() {
        let env = &attacked.env;
        env.write("token", "x");
        let source = env.path("token").display().to_string();
        for id in
            ["../../outside/victim", "/etc/kiln-made", "-rf", ".", "a b", "x\u{0}y".trim_end_matches('\0')]
        {
            let quoted = id.replace('\0', "");
            let secret = format!("id={quoted},src={source}");
            attacked.build_with(
                &format!("FROM busybox\nRUN --mount=type=secret,id={quoted} ls -R /run; true\n"),
                ["--secret", &secret],
            );
            attacked.build(&format!("FROM busybox AS \"{quoted}\"\nRUN true\n"));
            attacked.build_with("FROM busybox\n", ["--target", &quoted]);
            attacked.build_with("FROM busybox\n", ["--build-context", &format!("{quoted}={source}")]);
        }
        assert!(!std::path::Path::new("/etc/kiln-made").exists());
        // Without a target, a secret's id names its file: below /run/secrets, whatever it says.
        let secret = format!("id=../../../etc/passwd,src={source}");
        let outcome = attacked.build_with(
            "FROM busybox\nRUN --mount=type=secret,id=../../../etc/passwd cat /etc/passwd | grep root:\n",
            ["--secret", &secret],
        );
        assert!(!std::path::Path::new("/run/secrets").exists(), "{outcome}");
    }
}

#[test]
fn names_of_images_are_no_paths() {
    for attacked in Attacked::each() {
        let outside = attacked.outside();
        for name in [
            "../../outside/made",
            "/outside",
            "..",
            "a/../../b",
            "-x",
            "--root=/",
            "a:../../x",
            "a@sha256:../../../x",
            &format!("x{outside}"),
        ] {
            attacked.kiln(&["tag", "busybox", name]);
            attacked.kiln(&["run", "--rm", "--pull=never", "--", name, "true"]);
            attacked.kiln(&["inspect", "--", name]);
            attacked.kiln(&["rmi", "--", name]);
            attacked.build(&format!("FROM {name}\nRUN true\n"));
            attacked.build_with("FROM busybox\n", [&format!("--tag={name}")]);
        }
        attacked.kiln(&["run", "--rm", "busybox", "true"]).success();
    }
}

/// Digests in a layout name its blobs, and nothing else.
#[test]
fn digests_of_a_layout_are_no_paths() {
    for attacked in Attacked::each() {
        let (env, outside) = (&attacked.env, attacked.outside());
        for digest in [
            format!("sha256:../../../../../../../../../../..{outside}/secret"),
            format!("sha256:{outside}/secret"),
            "../..:../../outside/secret".to_owned(),
            "sha256:".to_owned(),
            format!("sha512:{}", "0".repeat(128)),
            format!("sha256:{}", "0".repeat(64)),
        ] {
            let descriptor = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": SECRET.len() + 1,
                "annotations": {"org.opencontainers.image.ref.name": "latest"}});
            let index = json!({"schemaVersion": 2, "manifests": [descriptor]}).to_string();
            env.write("layout/index.json", index)
                .write("layout/oci-layout", "{\"imageLayoutVersion\": \"1.0.0\"}");
            fs::create_dir_all(env.path("layout/blobs/sha256")).expect("mkdir");
            let layout = env.path("layout").display().to_string();
            attacked
                .build_with(
                    "FROM hostile\nRUN true\n",
                    ["--build-context", &format!("hostile=oci-layout://{layout}:latest")],
                )
                .failure(1);
            attacked.kiln(&["load", "-i", &layout]).failure(1);
            // A blob that is a link out of the layout.
            if digest.ends_with("00") && digest.starts_with("sha256") {
                let blob = env.path("layout/blobs/sha256").join("0".repeat(64));
                let _ = fs::remove_file(&blob);
                std::os::unix::fs::symlink(format!("{outside}/secret"), &blob).expect("symlink");
                attacked.kiln(&["load", "-i", &layout]).failure(1);
            }
        }
    }
}

/// A registry's answer names blobs; `docker save` tars name files.
#[test]
fn files_that_a_saved_image_names_are_its_own() {
    for attacked in Attacked::each() {
        let (env, outside) = (&attacked.env, attacked.outside());
        for config in [
            format!("../../../../../../..{outside}/secret"),
            format!("{outside}/secret"),
            "../outside/secret".to_owned(),
            "link".to_owned(),
        ] {
            let manifest =
                json!([{"Config": config, "RepoTags": ["evil:latest"], "Layers": [config]}]).to_string();
            let tar = crate::hostile_tar::HostileTar::new()
                .symlink("link", &format!("{outside}/secret"))
                .file("manifest.json", &manifest)
                .bytes();
            env.write("saved.tar", tar);
            attacked.kiln(&["load", "-i", &env.path("saved.tar").display().to_string()]).failure(1);
        }
    }
}
