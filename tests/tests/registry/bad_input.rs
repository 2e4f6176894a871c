//! Registries and images that lie: one clear error each, which names what lied and says what to do, and nothing kept.

use std::io::Write as _;

use kiln_tests::{Outcome, TestEnv, sha256};
use serde_json::json;

use crate::liar::{CONFIG, INDEX, Liar, MANIFEST, TAR, tar_of};

/// Pulls, and requires that it fails with these words and what was asked, and that the store is as if nothing had been.
#[track_caller]
fn refused<const N: usize>(liar: &Liar, name: &str, words: [&str; N]) -> Outcome {
    let env = TestEnv::new();
    let failed = env.kiln(["pull", name]).run().failure(1);
    let failed = failed.says(words).says([&format!("{}/app", liar.address), "help: "]);
    nothing_is_left(&env);
    failed
}

#[track_caller]
fn nothing_is_left(env: &TestEnv) {
    env.kiln(["fsck"]).run().success();
    assert_eq!(env.kiln(["images", "--quiet"]).run().success().stdout(), "");
    for place in ["tmp", "layers"] {
        let left = std::fs::read_dir(env.store().join(place)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "in {place}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("write to memory");
    encoder.finish().expect("write to memory")
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says() {
    let liar = Liar::start();
    let manifest = liar.image("1", &[liar.layer(b"content")]);
    let wanted = sha256(b"another");
    liar.say(&format!("manifests/{wanted}"), MANIFEST, manifest.to_string());
    let name = format!("{}/app@{wanted}", liar.address);
    refused(&liar, &name, [&format!("instead of {wanted}"), "damages the content"]);
}

#[test]
fn an_index_that_lies_about_the_size_of_an_image() {
    let liar = Liar::start();
    let manifest = liar.image("1", &[liar.layer(b"content")]);
    let mut entry = liar.document("1", MANIFEST, &manifest);
    entry["size"] = 7.into();
    liar.document("2", INDEX, &json!({"schemaVersion": 2, "manifests": [entry]}));
    refused(&liar, &liar.name("2"), ["where the manifest says 7"]);
}

#[test]
fn a_layer_that_is_longer_or_shorter_than_its_descriptor_says() {
    for lie in [-1_i64, 1] {
        let liar = Liar::start();
        let (mut layer, id) = liar.layer(b"content");
        let digest = layer["digest"].as_str().expect("a digest").to_owned();
        layer["size"] = (layer["size"].as_i64().expect("a number") + lie).into();
        liar.image("1", &[(layer, id)]);
        refused(&liar, &liar.name("1"), [&digest, "bytes where the manifest says"]);
    }
}

#[test]
fn blobs_with_another_digest() {
    for kind in [TAR, CONFIG] {
        let liar = Liar::start();
        let layer = liar.layer(b"content");
        let mut manifest = liar.image("1", std::slice::from_ref(&layer));
        let blob = if kind == TAR { &layer.0 } else { &manifest["config"] };
        let (digest, size) = (blob["digest"].as_str().expect("a digest").to_owned(), &blob["size"]);
        let other = vec![b' '; size.as_u64().expect("a size").try_into().expect("small")];
        let liar = Liar::start();
        liar.say(&format!("blobs/{digest}"), "application/octet-stream", other);
        // The rest is as it should be.
        liar.layer(b"content");
        if kind == TAR {
            manifest = liar.image("1", &[layer]);
        } else {
            liar.document("1", MANIFEST, &manifest);
        }
        let _ = manifest;
        refused(&liar, &liar.name("1"), [&digest, "sent content with digest", "damages the content"]);
    }
}

#[test]
fn a_layer_that_unpacks_to_something_else() {
    let liar = Liar::start();
    let (layer, _) = liar.layer(b"content");
    let digest = layer["digest"].as_str().expect("a digest").to_owned();
    liar.image("1", &[(layer, sha256(b"another"))]);
    refused(&liar, &liar.name("1"), [&digest, &sha256(b"another"), "push it again"]);
}

#[test]
fn documents_of_another_kind_than_they_claim() {
    let liar = Liar::start();
    let manifest = liar.image("1", &[liar.layer(b"content")]);
    // Behind the name of another kind, in another kind's envelope, both at once, as another one's part.
    liar.say("manifests/2", INDEX, manifest.to_string());
    refused(&liar, &liar.name("2"), ["unexpected media type", "is an image manifest"]);
    let mut both = manifest.clone();
    both["manifests"] = json!([]);
    liar.say("manifests/3", MANIFEST, both.to_string());
    refused(&liar, &liar.name("3"), ["it has both layers and manifests"]);
    let mut entry = liar.document("1", MANIFEST, &manifest);
    entry["mediaType"] = INDEX.into();
    liar.document("4", INDEX, &json!({"schemaVersion": 2, "manifests": [entry]}));
    refused(&liar, &liar.name("4"), ["the index announced another kind of manifest"]);
    liar.say("manifests/5", MANIFEST, "{}");
    refused(&liar, &liar.name("5"), ["schemaVersion is not 2"]);
    let mut artifact = manifest.clone();
    artifact["config"]["mediaType"] = "application/vnd.example.chart".into();
    liar.document("6", MANIFEST, &artifact);
    refused(&liar, &liar.name("6"), ["application/vnd.example.chart", "not a container image"]);
    let mut odd = manifest;
    odd["layers"][0]["digest"] = "md5:00".into();
    liar.document("7", MANIFEST, &odd);
    refused(&liar, &liar.name("7"), ["md5"]);
}

/// What a layer's media type says of its compression is passed over: the first bytes know better. Nonsense is told.
#[test]
fn a_layer_that_is_no_archive() {
    let liar = Liar::start();
    let noise: Vec<u8> = (0..4000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    let layer = liar.blob(TAR, &noise);
    let digest = layer["digest"].as_str().expect("a digest").to_owned();
    liar.image("1", &[(layer, digest.clone())]);
    refused(&liar, &liar.name("1"), ["unpack layer", &digest, "push it again"]);
    let mut cut = gzip(&tar_of(&noise));
    cut.truncate(cut.len() / 2);
    let layer = liar.blob(&format!("{TAR}+gzip"), &cut);
    let digest = layer["digest"].as_str().expect("a digest").to_owned();
    liar.image("2", &[(layer, digest.clone())]);
    refused(&liar, &liar.name("2"), ["unpack layer", &digest, "push it again"]);
    let (mut honest, id) = liar.layer(b"content");
    honest["mediaType"] = format!("{TAR}+zstd").into();
    liar.image("3", &[(honest, id)]);
    TestEnv::new().kiln(["pull", &liar.name("3")]).run().success();
}

#[test]
fn a_manifest_of_more_than_four_megabytes() {
    let liar = Liar::start();
    let mut manifest = liar.image("1", &[liar.layer(b"content")]);
    manifest["annotations"] = json!({"padding": "x".repeat(4 << 20)});
    liar.document("2", MANIFEST, &manifest);
    refused(
        &liar,
        &liar.name("2"),
        ["pull manifest of", "larger than the limit of 4194304 bytes", "annotations"],
    );
}

#[test]
fn an_index_that_refers_to_itself() {
    let liar = Liar::start();
    let digest = sha256(b"whatever it is");
    let entry = json!({"mediaType": INDEX, "digest": digest, "size": 300,
                       "platform": {"os": "linux", "architecture": "amd64"}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    for name in ["1", &digest] {
        liar.say(&format!("manifests/{name}"), INDEX, index.to_string());
    }
    refused(&liar, &liar.name("1"), [&format!("instead of {digest}")]);
    // Without the lie about the digest it takes ever more of them.
    liar.image("image", &[liar.layer(b"content")]);
    let mut inner = liar.document("deep", INDEX, &json!({"schemaVersion": 2, "manifests": []}));
    for _ in 0..6 {
        inner = liar.document("deep", INDEX, &json!({"schemaVersion": 2, "manifests": [inner]}));
    }
    liar.document("deepest", INDEX, &json!({"schemaVersion": 2, "manifests": [inner]}));
    refused(&liar, &liar.name("deepest"), ["the index refers to itself or nests deeper than 4 indexes"]);
}

/// A few kilobytes that would be hundreds of gigabytes: a file that says so of itself, and an archive without an end.
#[test]
fn layers_that_would_fill_the_disk() {
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").expect("a short name");
    header.set_size(300 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let zeros = vec![0; 32 << 20];
    let large = [header.as_bytes().as_slice(), &zeros].concat();
    let mut endless = tar_of(b"content");
    (0..3).for_each(|_| endless.extend_from_slice(&zeros));
    for (tar, limit) in [(large, "274877906944 bytes"), (endless, "its end by more than 67108864 bytes")] {
        let zstd = zstd::encode_all(tar.as_slice(), 3).expect("write to memory");
        for (kind, blob) in [("gzip", gzip(&tar)), ("zstd", zstd)] {
            assert!(blob.len() < 1_000_000, "{}", blob.len());
            let liar = Liar::start();
            let layer = liar.blob(&format!("{TAR}+{kind}"), &blob);
            let digest = layer["digest"].as_str().expect("a digest").to_owned();
            liar.image("1", &[(layer, sha256(&tar))]);
            let told = format!("the archive grows beyond {limit}");
            refused(&liar, &liar.name("1"), ["unpack layer", &digest, &told, "to fill disks"]);
        }
    }
}

/// A tag that is moved while it is pulled: all comes from the image that it led to first.
#[test]
fn a_tag_that_moves_while_it_is_read() {
    let liar = Liar::start();
    let [first, second] = ["one", "two"].map(|text| liar.image(text, &[liar.layer(text.as_bytes())]));
    for image in [&first, &second] {
        liar.say("manifests/1", MANIFEST, image.to_string());
    }
    let env = TestEnv::new();
    let digest = sha256(first.to_string().as_bytes());
    env.kiln(["pull", &liar.name("1")]).run().success().says([&digest]);
    let out = env.path("out").display().to_string();
    env.kiln(["build", "--output", &out, "-"]).stdin(format!("FROM {}\n", liar.name("1"))).run().success();
    assert_eq!(std::fs::read_to_string(env.path("out/file")).expect("the file"), "one");
    env.kiln(["pull", &liar.name("1")]).run().success().says([&sha256(second.to_string().as_bytes())]);
    // The image behind the tag has gone by the time that its index was read.
    let liar = Liar::start();
    let gone = json!({"mediaType": MANIFEST, "digest": digest, "size": 100,
                      "platform": {"os": "linux", "architecture": "amd64"}});
    liar.document("1", INDEX, &json!({"schemaVersion": 2, "manifests": [gone]}));
    refused(&liar, &liar.name("1"), [&format!("pull manifest {digest} of"), "not found", "check the name"]);
}

#[test]
fn a_web_page_in_the_place_of_a_registry() {
    let liar = Liar::start();
    liar.say("manifests/1", "text/html; charset=utf-8", "<html>please log in</html>");
    refused(&liar, &liar.name("1"), ["answered with text/html", "which no registry does", "a login page"]);
    let (layer, id) = liar.layer(b"content");
    let digest = layer["digest"].as_str().expect("a digest").to_owned();
    liar.image("2", &[(layer, id)]);
    liar.forget(&format!("blobs/{digest}"));
    liar.say(&format!("blobs/{digest}"), "text/html", "<html>please log in</html>");
    refused(&liar, &liar.name("2"), [&digest, "text/html", "a login page"]);
}
