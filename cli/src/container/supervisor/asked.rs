//! What clients ask of a supervisor, and what they are told; signals are asked the same way.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use kiln_executor::sandbox::{Io, Stream as Given};
use rustix::net::SocketFlags;
use rustix::termios::{Winsize, tcsetwinsize};

use super::clock::since_start;
use super::freezer::Freezer;
use super::health::OUTPUT;
use super::visit::{self, Visit};
use super::{Check, Client, Outcome, Supervisor};
use crate::container::log::Stream;
use crate::container::protocol::{self, Answer, Ask, ExecAsk};
use crate::container::signal;
use crate::container::state::{HealthResult, Status};
use crate::environment::{now, rfc3339};
use crate::terminal;

impl Supervisor<'_> {
    pub(super) fn connection(&mut self) {
        let Some(listener) = &self.listener else { return };
        if let Ok(socket) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            self.accept(socket);
        }
    }

    pub(super) fn accept(&mut self, socket: OwnedFd) {
        self.last_client += 1;
        let id = self.last_client;
        self.clients.push(Client {
            id,
            socket,
            waits: false,
            attached: false,
            wants_stdin: false,
            starts: false,
        });
    }

    pub(super) fn asked(&mut self, id: u64) {
        let Some(index) = self.clients.iter().position(|client| client.id == id) else { return };
        match protocol::receive::<Ask>(&self.clients[index].socket) {
            Ok(Some((ask, fds))) => self.answer(id, ask, fds),
            // It is gone, or does not speak as kiln does.
            Ok(None) | Err(_) => {
                self.clients.remove(index);
                self.output.forget(Some(id));
                self.is_untidy = self.foreground.is_none();
                // A process that nobody waits for any more goes on.
                for visit in self.visits.iter_mut().filter(|visit| visit.client == Some(id)) {
                    visit.client = None;
                }
            }
        }
    }

    fn tell(&self, id: Option<u64>, answer: &Answer, fds: &[std::os::fd::BorrowedFd<'_>]) {
        if let Some(client) = self.clients.iter().find(|client| Some(client.id) == id) {
            // One that is gone is noticed where it is heard.
            let _ = protocol::send(&client.socket, answer, fds);
        }
    }

    fn client(&mut self, id: u64) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    fn answer(&mut self, id: u64, ask: Ask, fds: Vec<OwnedFd>) {
        let refuse = |message: &str| Answer::Failed { code: 1, message: message.to_owned() };
        match ask {
            Ask::Start { window } => {
                self.window = window;
                if let Some(client) = self.client(id) {
                    client.starts = true;
                }
                self.start();
            }
            Ask::Signal(number) => self.send_signal(id, number),
            Ask::Stop { signal, seconds } => {
                if let Some(client) = self.client(id) {
                    client.waits = true;
                }
                self.state.stopped = true;
                self.stop(signal, seconds);
            }
            Ask::Wait => {
                if let Some(client) = self.client(id) {
                    client.waits = true;
                }
            }
            Ask::Attach { stdin } => self.attach(id, stdin, fds),
            Ask::Resize { rows, columns } => {
                self.resize(rows, columns);
                self.tell(Some(id), &Answer::Done, &[]);
            }
            Ask::Exec(ask) => self.visit(id, &ask, fds),
            Ask::Root => match self.root() {
                Ok(root) => self.tell(Some(id), &Answer::Done, &[root.as_fd()]),
                Err(message) => self.tell(Some(id), &refuse(&message), &[]),
            },
            Ask::Top => {
                let text = crate::container::processes::table(self.state.pid);
                self.tell(Some(id), &Answer::Text(text), &[]);
            }
            Ask::Usage => {
                let usage = crate::container::usage::of(self.state.pid);
                let answer = match serde_json::to_string(&usage) {
                    Ok(text) => Answer::Text(text),
                    Err(error) => refuse(&error.to_string()),
                };
                self.tell(Some(id), &answer, &[]);
                self.is_untidy = self.foreground.is_none();
            }
            Ask::Pause(pause) => {
                let answer = match self.pause(pause) {
                    Ok(()) => Answer::Done,
                    Err(message) => refuse(&message),
                };
                self.tell(Some(id), &answer, &[]);
            }
        }
    }

    fn send_signal(&mut self, id: u64, number: i32) {
        let Some(main) = &self.main else {
            let answer = Answer::Failed { code: 1, message: "the container is not running".to_owned() };
            return self.tell(Some(id), &answer, &[]);
        };
        let answer = match main.handle.signal(number) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed { code: 1, message: format!("send signal {number}: {error}") },
        };
        if number == signal::KILL || number == self.config.stop_signal {
            self.state.stopped = true;
        }
        if number == signal::KILL && self.state.status == Status::Paused {
            // What is frozen does not even end.
            let _ = self.pause(false);
        }
        self.tell(Some(id), &answer, &[]);
    }

    /// Stops the container; whoever waits is told when it has.
    fn stop(&mut self, signal: Option<i32>, seconds: Option<i64>) {
        let signal = signal.unwrap_or(self.config.stop_signal);
        let seconds = seconds.unwrap_or(self.config.stop_timeout);
        match &self.main {
            Some(main) => {
                // It may have ended.
                let _ = main.handle.signal(signal);
                if self.state.status == Status::Paused {
                    let _ = self.pause(false);
                }
                self.kill_at =
                    u64::try_from(seconds).ok().map(|wait| since_start() + Duration::from_secs(wait));
            }
            None => {
                if self.restart_at.take().is_some() {
                    self.state.status = Status::Exited;
                    let code = self.state.exit_code;
                    self.finish(Outcome::Ended(code, self.state.out_of_memory));
                } else {
                    let code = self.state.exit_code;
                    self.tell_waiting(code);
                }
            }
        }
    }

    fn attach(&mut self, id: u64, stdin: bool, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        for stream in [Stream::Out, Stream::Err] {
            if let Some(fd) = fds.next() {
                self.output.watch(stream, fd, Some(id));
            }
        }
        if let Some(client) = self.client(id) {
            (client.attached, client.wants_stdin) = (true, stdin);
        }
        if self.main.is_some() {
            self.hand_over_stdin(id);
        }
    }

    /// Answers a client with the descriptor that its keys go to, if it wanted one.
    fn hand_over_stdin(&mut self, id: u64) {
        let Some(client) = self.clients.iter().find(|client| client.id == id) else { return };
        let wants = client.wants_stdin && self.config.open_stdin;
        let Some(main) = &mut self.main else { return };
        let is_terminal = main.terminal.is_some();
        let stdin = match (wants, self.config.stdin_once && !is_terminal) {
            (true, true) => main.stdin.take(),
            (true, false) => main.stdin.as_ref().and_then(|fd| fd.try_clone().ok()),
            (false, _) => None,
        };
        let fds: Vec<_> = stdin.iter().map(AsFd::as_fd).collect();
        self.tell(Some(id), &Answer::Done, &fds);
    }

    pub(super) fn resize(&mut self, ws_row: u16, ws_col: u16) {
        self.window = (ws_row, ws_col);
        if let Some(terminal) = self.main.as_ref().and_then(|main| main.terminal.as_ref()) {
            // It may have ended.
            let _ = tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
        }
    }

    fn root(&self) -> Result<OwnedFd, String> {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let path = format!("/proc/{}/root", self.state.pid);
        rustix::fs::open(path, flags, rustix::fs::Mode::empty())
            .map_err(|error| format!("open the container's root: {error}"))
    }

    fn pause(&mut self, pause: bool) -> Result<(), String> {
        let name = self.container.name();
        match (pause, self.state.status) {
            (true, Status::Paused) => return Err(format!("container {name} is already paused")),
            (false, Status::Paused) => {
                self.freezer = None;
                self.state.status = Status::Running;
            }
            (true, Status::Running) => {
                let frozen = Freezer::freeze(self.state.pid, &self.container.path);
                self.freezer =
                    Some(frozen.map_err(|error| format!("cannot pause container {name}: {error}"))?);
                self.state.status = Status::Paused;
            }
            (true, _) => return Err(format!("container {name} is not running")),
            (false, _) => return Err(format!("container {name} is not paused")),
        }
        self.write_state();
        Ok(())
    }

    fn visit(&mut self, id: u64, ask: &ExecAsk, fds: Vec<OwnedFd>) {
        if self.state.status == Status::Paused {
            let name = self.container.name();
            let message = format!("container {name} is paused, unpause the container before exec");
            return self.tell(Some(id), &Answer::Failed { code: 1, message }, &[]);
        }
        let started = match self.main.as_ref().filter(|main| !main.starting) {
            Some(main) => visit::bundle(&self.config, self.state.pid, ask).and_then(|bundle| {
                self.starter
                    .enter(&main.running, &bundle, visit::streams(ask, fds))
                    .map_err(|error| visit::visit_refusal(&error))
            }),
            None => Err((1, "the container is not running".to_owned())),
        };
        match started {
            Ok(running) => {
                let client = Some(id);
                self.visits.push(Visit { running, client, starting: true, detach: ask.detach });
            }
            Err((code, message)) => self.tell(Some(id), &Answer::Failed { code, message }, &[]),
        }
    }

    pub(super) fn visit_executed(&mut self, index: usize) {
        let Some(visit) = self.visits.get_mut(index) else { return };
        if !matches!(visit.running.settle(), Ok(true)) {
            // The report of its end follows, or the launcher is gone and all ends.
            return;
        }
        visit.starting = false;
        let (client, terminal) = (visit.client, visit.running.terminal.take());
        if visit.detach {
            visit.client = None;
            return self.tell(client, &Answer::Done, &[]);
        }
        let fds: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
        self.tell(client, &Answer::Done, &fds);
    }

    pub(super) fn visit_report(&mut self, index: usize) {
        let Some(visit) = self.visits.get_mut(index) else { return };
        let end = match visit.running.hear() {
            Ok(None) => return,
            Ok(Some(exit)) => Ok(exit),
            Err(error) => Err(error),
        };
        if visit.starting && end.is_ok() {
            self.visit_executed(index);
        }
        let visit = self.visits.remove(index);
        self.is_untidy = self.foreground.is_none();
        let answer = match end {
            Ok(exit) => Answer::Exited { code: exit.code() },
            Err(error) => {
                let (code, message) = visit::visit_refusal(&error);
                Answer::Failed { code, message }
            }
        };
        self.tell(visit.client, &answer, &[]);
    }

    /// The container's end is the end of all that runs in it.
    pub(super) fn end_visits(&mut self) {
        for visit in std::mem::take(&mut self.visits) {
            self.tell(visit.client, &Answer::Exited { code: 128 + signal::KILL }, &[]);
        }
    }

    pub(super) fn tell_started(&mut self) {
        let ids: Vec<u64> =
            self.clients.iter().filter(|client| client.starts).map(|client| client.id).collect();
        for id in ids {
            if let Some(client) = self.client(id) {
                client.starts = false;
            }
            self.hand_over_stdin(id);
        }
    }

    pub(super) fn tell_waiting(&mut self, code: i32) {
        for client in self.clients.iter_mut().filter(|client| client.waits) {
            client.waits = false;
            let _ = protocol::send(&client.socket, &Answer::Exited { code }, &[]);
        }
    }

    /// Tells those who watched that it has ended, once they have been sent all of it.
    pub(super) fn tell_attached(&mut self) {
        let Some(outcome) = &self.outcome else { return };
        let code = match outcome {
            Outcome::Ended(code, _) => *code,
            Outcome::NotStarted(code, _) => i32::from(*code),
            Outcome::Idle => 0,
        };
        for client in self.clients.iter_mut().filter(|client| client.attached) {
            if self.output.is_flushed(Some(client.id)) {
                client.attached = false;
                self.output.forget(Some(client.id));
                let _ = protocol::send(&client.socket, &Answer::Exited { code }, &[]);
            }
        }
    }

    pub(super) fn signals(&mut self) {
        let mut numbers = [0; 16];
        let Ok(n) = rustix::io::read(&self.signals, &mut numbers) else { return };
        for number in numbers[..n].iter().map(|&number| i32::from(number)) {
            match (&self.foreground, &self.main) {
                (Some(_), _) if number == signal::WINDOW => {
                    let (rows, columns) = terminal::size();
                    self.resize(rows, columns);
                }
                // It may have ended.
                (Some(_), Some(main)) => drop(main.handle.signal(number)),
                (Some(_), None) => {}
                (None, _) if number == signal::TERM => {
                    // The machine is shut down, most likely.
                    self.state.stopped = true;
                    self.stop(None, None);
                }
                (None, _) => {}
            }
        }
    }

    pub(super) fn look_at_health(&mut self, at: Duration) {
        if let Some(check) = &self.check {
            if check.until <= at {
                let seconds = self.config.health.as_ref().map_or(0, |health| health.timeout) / 1000;
                let output = format!("Health check exceeded timeout ({seconds}s)");
                self.checked(-1, Some(output));
            }
            return;
        }
        if self.state.status == Status::Paused {
            return;
        }
        let is_due = self.schedule.as_ref().is_some_and(|schedule| schedule.next <= at);
        let (true, Some(main), Some(health)) = (is_due, &self.main, &self.config.health) else { return };
        let ask = ExecAsk { command: health.command.clone(), ..ExecAsk::default() };
        let started = rfc3339(now());
        let until = at + Duration::from_millis(health.timeout);
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let entered = visit::bundle(&self.config, self.state.pid, &ask).ok().zip(pipe.ok()).and_then(
            |(bundle, (read, write))| {
                let copy = write.try_clone().ok()?;
                let io = Io::Streams {
                    stdin: Given::Null,
                    stdout: Given::Given(write),
                    stderr: Given::Given(copy),
                };
                Some((self.starter.enter(&main.running, &bundle, io).ok()?, read))
            },
        );
        match entered {
            Some((running, output)) => {
                self.check = Some(Check { running, output: Some(output), text: Vec::new(), started, until });
            }
            None => {
                if let Some(schedule) = &mut self.schedule {
                    schedule.after(health, at, true);
                }
            }
        }
    }

    pub(super) fn check_wrote(&mut self) {
        let Some(check) = &mut self.check else { return };
        let Some(output) = &check.output else { return };
        let mut buffer = [0; OUTPUT];
        match rustix::io::read(output, &mut buffer) {
            Ok(0) | Err(_) => check.output = None,
            Ok(n) => {
                let room = OUTPUT - check.text.len().min(OUTPUT);
                check.text.extend_from_slice(&buffer[..n.min(room)]);
            }
        }
    }

    pub(super) fn check_report(&mut self) {
        let Some(check) = &mut self.check else { return };
        match check.running.hear() {
            Ok(None) => {}
            Ok(Some(exit)) => {
                let code = exit.code();
                // What it wrote last.
                self.check_wrote();
                self.checked(code, None);
            }
            Err(error) => {
                let (code, message) = visit::visit_refusal(&error);
                self.checked(i32::from(code), Some(message));
            }
        }
    }

    fn checked(&mut self, exit_code: i32, output: Option<String>) {
        // A check that took too long is killed by being dropped.
        let (Some(check), Some(schedule), Some(health)) =
            (self.check.take(), &mut self.schedule, &self.config.health)
        else {
            return;
        };
        let output = output.unwrap_or_else(|| String::from_utf8_lossy(&check.text).into_owned());
        let result = HealthResult { start: check.started, end: rfc3339(now()), exit_code, output };
        let state = self.state.health.get_or_insert_default();
        schedule.note(health, state, result, since_start());
        self.write_state();
    }
}
