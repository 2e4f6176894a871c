//! Speaking to the supervisor of a container that runs.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::directory::Container;
use super::error::ContainerError;
use super::protocol::{self, Answer, Ask};

/// A connection to a supervisor.
#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    pub(crate) socket: OwnedFd,
}

impl Client {
    /// Speaks to the supervisor of a container.
    ///
    /// # Errors
    /// [`ContainerError::NotRunning`] if it has none.
    pub(crate) fn connect(container: &Container) -> Result<Self, ContainerError> {
        let name = container.name();
        if !container.state()?.status.is_active() {
            return Err(ContainerError::NotRunning(name));
        }
        match protocol::connect(&container.path) {
            Ok(socket) => Ok(Self { name, socket }),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Err(ContainerError::NotRunning(name))
            }
            Err(cause) => Err(ContainerError::Supervisor { name, cause }),
        }
    }

    /// Speaks on a socket that is there already.
    pub(crate) fn on(container: &Container, socket: OwnedFd) -> Self {
        Self { name: container.name(), socket }
    }

    /// Asks, without waiting for the answer.
    pub(crate) fn ask(&self, ask: &Ask, fds: &[BorrowedFd<'_>]) -> Result<(), ContainerError> {
        protocol::send(&self.socket, ask, fds).map_err(|cause| self.failed(cause))
    }

    /// The next answer; refusals are errors.
    pub(crate) fn hear(&self) -> Result<(Answer, Vec<OwnedFd>), ContainerError> {
        match protocol::receive::<Answer>(&self.socket) {
            Ok(Some((Answer::Failed { code, message }, _))) => Err(ContainerError::Refused { code, message }),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.failed(io::Error::other("it has ended"))),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// Asks and hears the answer.
    pub(crate) fn call(&self, ask: &Ask) -> Result<(Answer, Vec<OwnedFd>), ContainerError> {
        self.ask(ask, &[])?;
        self.hear()
    }

    /// Asks for something whose answer is that the container has ended, and gives its exit code.
    pub(crate) fn until_exit(&self, ask: &Ask) -> Result<i32, ContainerError> {
        self.ask(ask, &[])?;
        loop {
            if let (Answer::Exited { code }, _) = self.hear()? {
                return Ok(code);
            }
        }
    }

    fn failed(&self, cause: io::Error) -> ContainerError {
        ContainerError::Supervisor { name: self.name.clone(), cause }
    }
}
