//! Blobs that are sent while they are made.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex};

use kiln_core::Digest;
use kiln_registry::{BlobSource, Fault, Pushed};

use crate::server::{Notes, Server, Trouble, client, noise};

const SIZE: usize = 12_000_000;

/// What is made so far.
#[derive(Default)]
struct Making {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Making {
    fn add(&self, bytes: &[u8]) {
        self.state.lock().unwrap().0.extend_from_slice(bytes);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

struct Source(Arc<Making>);

struct Reader(Arc<Making>, usize);

impl BlobSource for Source {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Reader(Arc::clone(&self.0), offset as usize)))
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock().unwrap();
        while state.0.len() == self.1 && !state.1 {
            state = self.0.changed.wait(state).unwrap();
        }
        let count = buffer.len().min(state.0.len() - self.1);
        buffer[..count].copy_from_slice(&state.0[self.1..][..count]);
        self.1 += count;
        Ok(count)
    }
}

fn made(content: &[u8]) -> Arc<Making> {
    let making = Arc::new(Making::default());
    making.add(content);
    making.end();
    making
}

/// Pushes what is made already.
async fn push(server: &Server, content: &[u8]) -> Result<Pushed, kiln_registry::RegistryError> {
    let whole = (Digest::of(content), content.len() as u64);
    let source = Arc::new(Source(made(content)));
    let pushed =
        client().push_growing(&server.reference("a"), "layer 1", source, async { Some(whole) }).await?;
    assert_eq!(pushed.0, whole.0);
    assert!(server.shelf().blobs[&whole.0.to_string()] == content);
    Ok(pushed.1)
}

fn count(asked: &[String], what: &str) -> usize {
    asked.iter().filter(|line| line.starts_with(what)).count()
}

#[tokio::test]
async fn a_blob_goes_out_before_it_is_whole() {
    let server = Server::start().await;
    let content = noise(SIZE);
    let making = Arc::new(Making::default());
    let (tell, told) = tokio::sync::oneshot::channel();
    let pushing = {
        let (reference, source) = (server.reference("a"), Arc::new(Source(Arc::clone(&making))));
        tokio::spawn(async move {
            client().push_growing(&reference, "layer 1", source, async { told.await.ok() }).await
        })
    };
    making.add(&content[..SIZE / 2]);
    while server.shelf().taken < SIZE as u64 / 2 {
        tokio::task::yield_now().await;
    }
    making.add(&content[SIZE / 2..]);
    making.end();
    tell.send((Digest::of(&content), SIZE as u64)).unwrap();
    let (digest, pushed) = pushing.await.unwrap().unwrap();
    assert_eq!((digest, pushed), (Digest::of(&content), Pushed::Uploaded));
    assert!(server.shelf().blobs[&digest.to_string()] == content);
    let asked = server.asked();
    assert_eq!((count(&asked, "POST"), count(&asked, "PATCH"), count(&asked, "PUT")), (1, 1, 1), "{asked:?}");
}

#[tokio::test]
async fn what_turns_out_to_be_there_is_not_sent_to_its_end() {
    let server = Server::start().await;
    let content = noise(SIZE);
    server.blob(&content);
    let making = Arc::new(Making::default());
    making.add(&content[..1000]);
    let whole = (Digest::of(&content), SIZE as u64);
    let source = Arc::new(Source(Arc::clone(&making)));
    let pushed =
        client().push_growing(&server.reference("a"), "layer 1", source, async { Some(whole) }).await;
    making.end();
    assert_eq!(pushed.unwrap().1, Pushed::Existed);
    assert_eq!(count(&server.asked(), "DELETE"), 1);
}

#[tokio::test]
async fn a_cut_is_gone_on_from_if_the_registry_keeps_what_it_has() {
    let server = Server::start().await;
    for _ in 0..2 {
        server.trouble("PATCH", Trouble::CutUpload { after: 4_000_000, keep: true });
    }
    assert_eq!(push(&server, &noise(SIZE)).await.unwrap(), Pushed::Uploaded);
    let taken = server.shelf().taken;
    assert!(taken < SIZE as u64 + 3_000_000, "{taken} bytes for {SIZE}");
}

#[tokio::test]
async fn a_registry_that_forgets_gets_pieces_and_one_that_wants_lengths_gets_them() {
    let refused = |status| Trouble::Answer(status, Vec::new(), String::new());
    for trouble in [
        Trouble::CutUpload { after: 8_000_000, keep: false },
        refused(411),
        refused(413),
        refused(400),
        refused(500),
        refused(429),
    ] {
        let server = Server::start().await;
        server.trouble("PATCH", trouble);
        assert_eq!(push(&server, &noise(SIZE)).await.unwrap(), Pushed::Uploaded);
    }
}

#[tokio::test]
async fn a_blob_that_cannot_be_made_is_given_up() {
    let server = Server::start().await;
    let source = Arc::new(Source(made(&noise(SIZE))));
    let pushed = client().push_growing(&server.reference("a"), "layer 1", source, async { None }).await;
    assert!(matches!(*pushed.unwrap_err().fault, Fault::Source(_)));
    assert!(server.shelf().blobs.is_empty());
}

#[tokio::test]
async fn a_registry_that_does_not_let_in_says_so_before_anything_is_made() {
    let server = Server::start().await;
    server.trouble("POST", Trouble::Answer(403, Vec::new(), String::new()));
    let notes = Arc::new(Notes::default());
    let source = Arc::new(Source(Arc::default()));
    let never = std::future::pending();
    let client = client().watched(Arc::<Notes>::clone(&notes));
    let error = client.push_growing(&server.reference("a"), "layer 1", source, never).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("push layer 1 to {}/a: ", server.address)), "{error}");
    assert!(notes.retries.lock().unwrap().is_empty());
}
