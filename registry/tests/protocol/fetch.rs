//! Single files.

use kiln_registry::{Fault, FetchOutcome, FetchRequest, Validators};

use crate::server::{Server, Trouble, client, noise};

async fn server_with(content: &[u8]) -> (Server, FetchRequest) {
    let server = Server::start().await;
    server.shelf().blobs.insert("/file/f".to_owned(), content.to_vec().into());
    let url = format!("http://{}/file/f", server.address);
    (server, FetchRequest { url, known: Validators::default(), limit: 1 << 20, authorization: None })
}

#[tokio::test]
async fn a_file_is_fetched_once_and_then_known() {
    let (_server, mut request) = server_with(b"content").await;
    let FetchOutcome::Fetched { sink, size, validators, filename } =
        client().http().fetch(&request, Vec::new()).await.unwrap()
    else {
        panic!("it is new");
    };
    assert_eq!((sink.as_slice(), size, filename.as_deref()), (b"content".as_slice(), 7, Some("f.txt")));
    assert!(validators.etag.is_some() && validators.last_modified.is_some());
    request.known = validators;
    let again = client().http().fetch(&request, b"kept".to_vec()).await.unwrap();
    assert!(matches!(again, FetchOutcome::NotModified(sink) if sink == b"kept"));
}

#[tokio::test]
async fn a_broken_transfer_begins_anew() {
    let content = noise(500_000);
    let (server, request) = server_with(&content).await;
    server.trouble("GET", Trouble::CutAnswer(200_000));
    server.trouble("GET", Trouble::Answer(503, Vec::new(), String::new()));
    match client().http().fetch(&request, Vec::new()).await.unwrap() {
        FetchOutcome::Fetched { sink, .. } => assert!(sink == content),
        FetchOutcome::NotModified(_) => panic!("it is new"),
    }
}

#[tokio::test]
async fn limits_and_absence_are_said() {
    let (server, mut request) = server_with(&noise(1000)).await;
    request.limit = 999;
    let error = client().http().fetch(&request, Vec::new()).await.unwrap_err();
    assert!(matches!(*error.fault, Fault::TooLarge { limit: 999 }), "{error}");
    request.url = format!("http://user:hidden@{}/file/x?token=hidden", server.address);
    let error = client().http().fetch(&request, Vec::new()).await.unwrap_err();
    assert!(error.is_not_found() && !error.to_string().contains("hidden"), "{error}");
    request.url = "ftp://h/x".into();
    assert!(client().http().fetch(&request, Vec::new()).await.is_err());
}
