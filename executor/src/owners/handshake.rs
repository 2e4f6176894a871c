//! What the sandbox's first process and its supervisor say to each other before the program starts.
//!
//! | from | message |
//! | --- | --- |
//! | first process | a byte: the root has been entered |
//! | supervisor | a failure as JSON, empty if there is none |
//! | first process | the listener |

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use super::filter;
use crate::sandbox::setup::{During, Failure, Setup};
use crate::sys::notify;

/// From here on the supervisor answers for this process and all that it starts.
pub(crate) fn submit(link: &OwnedFd) -> Setup<()> {
    let what = || "reach the recorder of owners".to_owned();
    rustix::net::send(link, &[1], SendFlags::NOSIGNAL).during(what)?;
    let mut text = vec![0; 4096];
    let (length, _) =
        rustix::io::retry_on_intr(|| rustix::net::recv(link, &mut text[..], RecvFlags::empty()))
            .during(what)?;
    match serde_json::from_slice(&text[..length]) {
        Ok(None) => {}
        Ok(Some(failure)) => return Err(failure),
        Err(_) => return Err(super::lost()),
    }
    let listener = notify::listen_to_system_calls(&filter::PROGRAM).during(|| {
        "listen to system calls to record owners (the kernel allows one listener, and another one may be there already)"
            .into()
    })?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let fds = [listener.as_fd()];
    let fits = beside.push(SendAncillaryMessage::ScmRights(&fds));
    debug_assert!(fits, "there is room for one");
    rustix::net::sendmsg(link, &[IoSlice::new(&[1])], &mut beside, SendFlags::NOSIGNAL).during(what)?;
    Ok(())
}

pub(super) fn wait_until_furnished(link: &OwnedFd) -> io::Result<()> {
    let (length, _) = rustix::io::retry_on_intr(|| rustix::net::recv(link, &mut [0; 1], RecvFlags::empty()))?;
    if length == 1 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

pub(super) fn tell(link: &OwnedFd, failure: Option<&Failure>) -> io::Result<()> {
    let text = serde_json::to_vec(&failure)?;
    rustix::net::send(link, &text, SendFlags::NOSIGNAL)?;
    Ok(())
}

pub(super) fn receive_listener(link: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(link, &mut [IoSliceMut::new(&mut byte)], &mut beside, RecvFlags::CMSG_CLOEXEC)
    })?;
    let received = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
