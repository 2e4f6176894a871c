//! CVE-2023-26054: credentials in a URL reach a log, the history, the image or a file of metadata.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use kiln_tests::Image;

use crate::outside::Attacked;

const PASSWORD: &str = "hunter2-in-a-url";

/// A server that answers everything with `ok`, or with 404 below `/missing`; it ends with the test's process.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap_or(0);
            let missing = String::from_utf8_lossy(&request[..n]).contains("/missing");
            let status = if missing { "404 Not Found" } else { "200 OK" };
            // Who hangs up needs no answer.
            let _ = stream.write_all(
                format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").as_bytes(),
            );
        }
    });
    address
}

#[test]
fn a_password_in_a_url_is_shown_and_kept_nowhere() {
    let address = serve();
    for attacked in Attacked::each() {
        let env = &attacked.env;
        for (number, url) in [
            format!("http://user:{PASSWORD}@{address}/file"),
            format!("http://{PASSWORD}@{address}/file"),
            format!("http://user:{PASSWORD}@{address}/missing"),
            format!("http://user:{PASSWORD}@{address}/repo.git#main"),
            format!("https://user:{PASSWORD}@127.0.0.1:1/file"),
        ]
        .into_iter()
        .enumerate()
        {
            env.file("Dockerfile", format!("FROM busybox\nADD {url} /x/\n"));
            let layout = env.path(&format!("home/layout{number}"));
            let output = format!("--output=type=oci,tar=false,dest={}", layout.display());
            let metadata = env.path(&format!("home/metadata{number}"));
            let metadata_file = format!("--metadata-file={}", metadata.display());
            for mode in ["--progress=plain", "--progress=rawjson"] {
                let context = env.path("context").display().to_string();
                let outcome = env
                    .kiln(["build", "--no-cache", mode, &output, &metadata_file, "--tag=app", &context])
                    .run();
                assert!(!outcome.text().contains(PASSWORD), "{outcome}");
            }
            if layout.join("index.json").exists() {
                let image = Image::layout(&layout);
                assert!(
                    !image.config.to_string().contains(PASSWORD)
                        && !image.manifest.to_string().contains(PASSWORD)
                );
                assert!(!std::fs::read_to_string(&metadata).expect("metadata").contains(PASSWORD));
            }
            let context = attacked.kiln(&["build", "--progress=plain", &url]);
            assert!(!context.text().contains(PASSWORD), "{context}");
        }
        for command in [&["history"][..], &["inspect", "app"], &["images"], &["du", "-v"]] {
            let outcome = attacked.kiln(command);
            assert!(!outcome.text().contains(PASSWORD), "{outcome}");
        }
        let found = Command::new("grep").args(["-rlaF", PASSWORD]).arg(env.store()).output().expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "files of the store that keep it");
    }
}
