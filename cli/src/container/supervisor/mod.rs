//! The process that looks after a container: starts it, keeps its log, answers whoever asks, starts it again.
//!
//! One thread, one loop that waits for whatever happens next. It runs in a process of its own for containers in the
//! background (`process`), which knows neither the store's index nor an async runtime and takes 3 MB; or in `kiln run`
//! itself for one in the foreground.

mod asked;
mod clock;
mod freezer;
mod health;
mod output;
mod process;
mod restart;
mod starter;
mod visit;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use kiln_executor::network::{Networks, PrivateNetwork};
use kiln_executor::sandbox::{Exit, Handle, Io, Running, Stream as Given};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::clock::since_start;
use self::freezer::Freezer;
pub(crate) use self::freezer::thaw_what_was_left;
use self::health::Schedule;
use self::output::{Output, Source};
pub(crate) use self::process::{from_command_line, spawn};
pub(crate) use self::starter::Starter;
use self::visit::{Refusal, Visit};
use super::bundle;
use super::config::Config;
use super::directory::{Container, Containers};
use super::error::ContainerError;
use super::id;
use super::log::{Log, Stream};
use super::protocol::{self, Answer};
use super::state::{Connected, HealthState, State, Status};
use crate::environment::{boot_id, now, rfc3339};

/// Somebody who speaks to the supervisor.
#[derive(Debug)]
struct Client {
    id: u64,
    socket: OwnedFd,
    /// Is to be told when the container has ended.
    waits: bool,
    /// Watches its output, and is told of its end when all of that is written.
    attached: bool,
    /// Gets the descriptor for its input.
    wants_stdin: bool,
    /// Asked for its start.
    starts: bool,
}

/// The container's process while it runs.
#[derive(Debug)]
struct Main {
    running: Running,
    handle: Handle,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    /// Whether the program is not executed yet.
    starting: bool,
    began: Duration,
}

/// A health check that runs.
#[derive(Debug)]
struct Check {
    running: Running,
    output: Option<OwnedFd>,
    text: Vec<u8>,
    started: String,
    until: Duration,
}

/// How it all ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// Nobody asked for its start.
    Idle,
    /// Docker's exit code, and why it did not start.
    NotStarted(u8, String),
    /// Its exit code, and whether it ran out of memory.
    Ended(i32, bool),
}

/// The terminal of this process, for a container in the foreground.
#[derive(Debug)]
pub(crate) struct Foreground {
    /// Given to the container as it stands.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) size: (u16, u16),
}

/// Looks after one container.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    containers: Containers,
    container: Container,
    config: Config,
    state: State,
    starter: Starter<'a>,
    networks: Networks,
    /// Lasts as long as the container runs.
    network: Option<PrivateNetwork>,
    listener: Option<OwnedFd>,
    lock: Option<File>,
    signals: OwnedFd,
    foreground: Option<Foreground>,
    /// Rows and columns of the container's terminal.
    window: (u16, u16),
    clients: Vec<Client>,
    last_client: u64,
    main: Option<Main>,
    output: Output,
    visits: Vec<Visit>,
    schedule: Option<Schedule>,
    check: Option<Check>,
    /// While it is paused.
    freezer: Option<Freezer>,
    /// When it is killed if it has not stopped.
    kill_at: Option<Duration>,
    /// When it is started again.
    restart_at: Option<Duration>,
    wait: Duration,
    outcome: Option<Outcome>,
    /// Whether much memory was used for something that is over.
    is_untidy: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
enum Event {
    Connection,
    Signal,
    Asked(u64),
    Executed,
    Report,
    Written(usize),
    Writable,
    VisitExecuted(usize),
    VisitReport(usize),
    CheckWrote,
    CheckReport,
}

impl<'a> Supervisor<'a> {
    /// Becomes the supervisor of a container that nobody else looks after.
    pub(crate) fn new(
        (containers, container, config): (Containers, Container, Config),
        lock: File,
        (starter, networks): (Starter<'a>, Networks),
        signals: OwnedFd,
        foreground: Option<Foreground>,
    ) -> Result<Self, ContainerError> {
        let listener = protocol::listen(&container.path)
            .map_err(ContainerError::file("listen on", container.path.join("socket")))?;
        let window = foreground.as_ref().map_or((24, 80), |foreground| foreground.size);
        let output = Output::new(Log::new(&container.path, config.log));
        let state = State { boot: boot_id(), ..State::new() };
        Ok(Self {
            containers,
            container,
            config,
            state,
            starter,
            networks,
            network: None,
            listener: Some(listener),
            lock: Some(lock),
            signals,
            foreground,
            window,
            clients: Vec::new(),
            last_client: 0,
            main: None,
            output,
            visits: Vec::new(),
            schedule: None,
            check: None,
            freezer: None,
            kill_at: None,
            restart_at: None,
            wait: restart::FIRST_WAIT,
            outcome: None,
            is_untidy: false,
        })
    }

    /// Starts the container in the foreground and stays until it has ended.
    pub(crate) fn run(mut self) -> Outcome {
        self.start();
        self.attend()
    }

    /// Serves `client`, and whoever comes, until there is no container any more.
    pub(crate) fn serve(mut self, client: OwnedFd) -> Outcome {
        self.accept(client);
        self.attend()
    }

    fn attend(mut self) -> Outcome {
        loop {
            if self.outcome.is_some() {
                // What was too much to be taken at the container's end.
                self.output.drain();
            }
            let active = self.main.is_some() || self.restart_at.is_some();
            let unheard = self.clients.iter().any(|client| client.attached);
            if !active
                && self.output.is_done()
                && !unheard
                && (self.outcome.is_some() || self.clients.is_empty())
            {
                return self.outcome.unwrap_or(Outcome::Idle);
            }
            // From the last: what an event takes away does not renumber those before it.
            let is_untidy = std::mem::take(&mut self.is_untidy);
            for event in self.next(is_untidy).into_iter().rev() {
                self.perform(event);
            }
            self.keep_time();
            self.tell_attached();
        }
    }

    /// Waits for what happens next. `is_untidy`: gives memory back first, as the last thing before it waits, so that
    /// little of it comes back meanwhile.
    fn next(&self, is_untidy: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut waiting = Vec::new();
        let mut add = |event, fd, flags| {
            events.push(event);
            waiting.push(PollFd::from_borrowed_fd(fd, flags));
        };
        add(Event::Signal, self.signals.as_fd(), PollFlags::IN);
        if let Some(listener) = &self.listener {
            add(Event::Connection, listener.as_fd(), PollFlags::IN);
        }
        for client in &self.clients {
            add(Event::Asked(client.id), client.socket.as_fd(), PollFlags::IN);
        }
        if let Some(main) = &self.main {
            add(Event::Report, main.running.reports(), PollFlags::IN);
        }
        if !self.output.is_full() {
            for (index, source) in self.output.sources.iter().enumerate() {
                add(Event::Written(index), source.fd.as_fd(), PollFlags::IN);
            }
        }
        for sink in self.output.pending() {
            add(Event::Writable, sink, PollFlags::OUT);
        }
        for (index, visit) in self.visits.iter().enumerate() {
            add(Event::VisitReport(index), visit.running.reports(), PollFlags::IN);
            if let Some(executed) = visit.running.executed() {
                add(Event::VisitExecuted(index), executed, PollFlags::IN);
            }
        }
        if let Some(check) = &self.check {
            add(Event::CheckReport, check.running.reports(), PollFlags::IN);
            if let Some(output) = &check.output {
                add(Event::CheckWrote, output.as_fd(), PollFlags::IN);
            }
        }
        // Last, and so the first to be looked at: what it writes, it writes after it was started.
        if let Some(executed) = self.main.as_ref().and_then(|main| main.running.executed()) {
            add(Event::Executed, executed, PollFlags::IN);
        }
        let timeout = self.deadline().map(|at| {
            let left = at.saturating_sub(since_start());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) }
        });
        if is_untidy {
            kiln_executor::waiting::give_memory_back();
        }
        if rustix::io::retry_on_intr(|| poll(&mut waiting, timeout.as_ref())).is_err() {
            return Vec::new();
        }
        let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
        events.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(event, _)| event).collect()
    }

    fn deadline(&self) -> Option<Duration> {
        let is_watched = self.check.is_none() && self.freezer.is_none();
        let due = self.schedule.as_ref().filter(|_| is_watched).map(|schedule| schedule.next);
        let check = self.check.as_ref().map(|check| check.until);
        [self.kill_at, self.restart_at, due, check].into_iter().flatten().min()
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::Connection => self.connection(),
            Event::Signal => self.signals(),
            Event::Asked(client) => self.asked(client),
            Event::Executed => self.executed(),
            Event::Report => self.report(),
            Event::Written(index) => self.output.read(index),
            Event::Writable => self.output.write_what_fits(),
            Event::VisitExecuted(index) => self.visit_executed(index),
            Event::VisitReport(index) => self.visit_report(index),
            Event::CheckWrote => self.check_wrote(),
            Event::CheckReport => self.check_report(),
        }
    }

    fn keep_time(&mut self) {
        let now = since_start();
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            if let Some(main) = &self.main {
                main.handle.kill();
            }
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.state.restarts += 1;
            self.start();
        }
        self.look_at_health(now);
    }

    /// Starts the container's process.
    fn start(&mut self) {
        let started = self.try_start();
        match started {
            Ok(mut running) => {
                let handle = running.handle();
                let copy = |fd: &Option<OwnedFd>| fd.as_ref().and_then(|fd| fd.try_clone().ok());
                let terminal = running.terminal.take();
                let outputs = [
                    (terminal.as_ref().and_then(|fd| fd.try_clone().ok()), Stream::Out),
                    (running.stdout.take(), Stream::Out),
                    (running.stderr.take(), Stream::Err),
                ];
                for (fd, stream) in outputs {
                    self.output.sources.extend(fd.map(|fd| Source { fd, stream }));
                }
                let stdin = running.stdin.take().or_else(|| copy(&terminal));
                self.state.pid = handle.pid().unwrap_or(0);
                let main = Main { running, handle, stdin, terminal, starting: true, began: since_start() };
                self.main = Some(main);
            }
            Err(error) => self.ended(Err(error)),
        }
    }

    fn try_start(&mut self) -> Result<Running, Refusal> {
        let mut process = self.config.process.clone();
        let names =
            [self.container.name(), id::short(&self.container.id).to_owned(), process.hostname.clone()];
        let network = (&self.networks, &self.containers);
        (self.network, self.state.network) = self
            .config
            .networking
            .start(network, names, &mut process)
            .map_err(|error| (125, crate::report::chain(&error)))?;
        let io = if self.config.process.terminal {
            let (rows, columns) = self.window;
            Io::Terminal { rows, columns }
        } else {
            let stdin = match &mut self.foreground {
                Some(foreground) => foreground.stdin.take().map_or(Given::Null, Given::Given),
                None if self.config.open_stdin => Given::Pipe,
                None => Given::Null,
            };
            Io::Streams { stdin, stdout: Given::Pipe, stderr: Given::Pipe }
        };
        let bundle = bundle::bundle(&self.container, &self.config, &process);
        let running = bundle.and_then(|bundle| self.starter.start(&bundle, io));
        let running = running.map_err(|error| visit::refusal(&error))?;
        if self.foreground.is_some() {
            for limit in running.passed_over() {
                eprintln!("warning: not limited: {limit}");
            }
        }
        if let Some(foreground) = &self.foreground
            && self.output.sinks.is_empty()
        {
            for (fd, stream) in [(&foreground.stdout, Stream::Out), (&foreground.stderr, Stream::Err)] {
                if let Ok(fd) = fd.try_clone() {
                    self.output.watch(stream, fd, None);
                }
            }
        }
        Ok(running)
    }

    /// The program was executed, or the attempt failed.
    fn executed(&mut self) {
        let Some(main) = &mut self.main else { return };
        match main.running.settle() {
            Ok(true) => {}
            // The report of its end follows.
            Ok(false) => return,
            Err(error) => return self.ended(Err(visit::refusal(&error))),
        }
        main.starting = false;
        self.state.status = Status::Running;
        self.state.started = rfc3339(now());
        self.state.error.clear();
        self.state.exit_code = 0;
        if let Some(health) = &self.config.health {
            self.schedule = Some(Schedule::begin(health, since_start()));
            self.state.health = Some(HealthState { status: "starting".to_owned(), ..HealthState::default() });
        }
        self.write_state();
        self.tell_started();
        self.is_untidy = self.foreground.is_none();
    }

    fn report(&mut self) {
        let Some(main) = &mut self.main else { return };
        match main.running.hear() {
            Ok(None) => {}
            Ok(Some(exit)) => self.ended(Ok(exit)),
            Err(error) => self.ended(Err(visit::refusal(&error))),
        }
    }

    /// The container has ended, or could not be started.
    fn ended(&mut self, end: Result<Exit, Refusal>) {
        // An end may be heard of before the execution that came before it.
        if end.is_ok() && self.main.as_ref().is_some_and(|main| main.starting) {
            self.executed();
        }
        let main = self.main.take();
        self.freezer = None;
        self.output.drain();
        self.end_visits();
        (self.kill_at, self.schedule, self.check) = (None, None, None);
        self.state.pid = 0;
        self.state.finished = rfc3339(now());
        if let Some(health) = &mut self.state.health {
            "unhealthy".clone_into(&mut health.status);
        }
        let began = main.as_ref().map(|main| main.began);
        drop(main);
        self.network = None;
        self.state.network = Connected::default();
        match end {
            Ok(exit) => {
                self.state.exit_code = exit.code();
                self.state.out_of_memory = exit.out_of_memory;
                if self.is_to_restart(exit.code()) {
                    return self.restart_later(began);
                }
                self.state.status = Status::Exited;
                self.finish(Outcome::Ended(exit.code(), exit.out_of_memory));
            }
            Err((code, message)) => {
                self.state.exit_code = i32::from(code);
                self.state.error.clone_from(&message);
                self.state.status = if self.state.restarts == 0 { Status::Created } else { Status::Exited };
                self.finish(Outcome::NotStarted(code, message));
            }
        }
    }

    /// There is nothing more to look after: writes down how it ended, and lets others know, in this order.
    fn finish(&mut self, outcome: Outcome) {
        let failed = match &outcome {
            Outcome::NotStarted(code, message) => Some((*code, message.clone())),
            _ => None,
        };
        if self.config.auto_remove {
            self.listener = None;
            // What cannot be removed is found by `kiln rm`.
            let _ = super::removal::remove(&self.containers, &self.container, &self.config);
        } else {
            // First: whoever is not heard any more reads there how it ended.
            self.write_state();
            self.listener = None;
            let _ = std::fs::remove_file(self.container.path.join("socket"));
        }
        self.lock = None;
        self.outcome = Some(outcome);
        if let Some((code, message)) = failed {
            for client in self.clients.iter_mut().filter(|client| client.starts) {
                let answer = Answer::Failed { code, message: message.clone() };
                let _ = protocol::send(&client.socket, &answer, &[]);
                (client.starts, client.attached) = (false, false);
            }
        }
        let code = self.state.exit_code;
        self.tell_waiting(code);
    }

    fn write_state(&self) {
        // A full disk must not end the container; the state is written again at its next change.
        let _ = self.container.write_state(&self.state);
    }
}
