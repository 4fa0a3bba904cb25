//! Starting commands.

use crate::agent::{token, Agent, Source, Stream};
use crate::command::{Attachment, Command, Ending, Input, Output, Request};
use crate::failure::{errno_name, Failure};
use crate::kit::Pipe;
use crate::protocol::*;
use crate::recent::Recent;
use crate::spawn::{self, Identity, Launch, Stage};
use crate::sys::{self, PollFd, POLLIN};
use crate::tlv::{Fields, Tlvs};
use crate::tree::Tree;
use std::os::unix::io::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// How long a new command runs before it is looked at: the time of a short one under emulation.
const LINGER_US: u32 = 4000;

fn system(what: &str, error: std::io::Error) -> Failure {
    Failure::system("CommandNotStarted", what, &error)
}

fn open_terminal((rows, columns): (u16, u16), identity: Option<&Identity>) -> Result<Pipe, Failure> {
    let opened = sys::open_terminal().and_then(|(ours, theirs)| {
        sys::set_window(&ours, rows, columns)?;
        Ok(Pipe { ours, theirs })
    });
    let terminal = opened.map_err(|error| system("cannot open a terminal", error))?;
    if let Some(identity) = identity {
        // So that the command can open its terminal by name.
        let _ = sys::chown(terminal.theirs.as_raw_fd(), Some(identity.uid), None);
    }
    Ok(terminal)
}

impl Agent {
    pub fn exec(&mut self, stream: u32, fields: &Fields) -> Result<(), Failure> {
        let request = Request::parse(fields)?;
        if let Some(id) = &request.detached {
            self.admit_detached(id)?;
        }
        let account =
            self.accounts.find(request.user.as_deref().unwrap_or_else(|| self.guest.default_user()))?;
        let identity = self.guest.identity_for(&account);

        let no_pipe = |error| system("cannot make a pipe", error);
        let (terminal, stdin) = match (request.terminal, request.stdin) {
            (Some(size), _) => (Some(open_terminal(size, identity.as_ref())?), None),
            (None, true) => (None, Some(Pipe::to_command().map_err(no_pipe)?)),
            (None, false) => (None, None),
        };
        let kit = self.kits.take().map_err(|error| system("cannot make a cgroup and pipes", error))?;
        let [stdout, stderr] = kit.pipes;
        let stdin_fd = stdin.as_ref().map_or(self.null.as_raw_fd(), |pipe| pipe.theirs.as_raw_fd());
        let fds = match &terminal {
            Some(terminal) => [terminal.theirs.as_raw_fd(); 3],
            None => [stdin_fd, stdout.theirs.as_raw_fd(), stderr.theirs.as_raw_fd()],
        };

        let (timeout, grace, drain) = (request.timeout, request.grace, request.drain);
        let (keep, detached) = (request.keep, request.detached.clone());
        let program = request.program(&account, identity);
        let (pid, launch) = match spawn::spawn(program, fds, terminal.is_some(), &kit.tree) {
            Ok(started) => started,
            Err(error) => {
                self.kits.retire(kit.tree);
                return Err(system("cannot make a process", error));
            }
        };
        let mut command = self.new_command(pid, launch, kit.tree);
        command.terminal = terminal.is_some();
        command.input = match (&terminal, stdin) {
            (Some(_), _) => Some(Input { fd: None, registered: true, pending: Vec::new(), close: false }),
            (None, Some(pipe)) => {
                Some(Input { fd: Some(pipe.ours), registered: false, pending: Vec::new(), close: false })
            }
            (None, None) => None,
        };
        command.outputs = match terminal {
            Some(terminal) => {
                let mut output = Output::of(terminal.ours);
                output.recent = detached.as_ref().map(|_| Recent::default());
                [output, Output::default()]
            }
            None => [Output::of(stdout.ours), Output::of(stderr.ours)],
        };
        command.deadline = timeout.map(|timeout| self.now + timeout);
        command.grace = grace;
        command.drain = drain;
        command.keep = keep;
        command.attachment = Some(Attachment::new(stream));
        command.detached = detached;
        self.streams.insert(stream, Stream::Command(command.key));
        self.add_command(command);
        Ok(())
    }

    /// A command that was just started, without anybody who reads it or waits for it yet.
    pub fn new_command(&mut self, pid: i32, launch: Box<Launch>, tree: Tree) -> Command {
        self.last_command = self.last_command.wrapping_add(1);
        Command {
            key: self.last_command,
            pid,
            tree: Some(tree),
            launch: Some(launch),
            watched: false,
            not_started: None,
            outputs: Default::default(),
            input: None,
            terminal: false,
            started_at: self.now,
            deadline: None,
            grace: Duration::from_millis(0),
            drain: Duration::from_millis(0),
            keep: false,
            exit: None,
            ending: Ending::No,
            took_strays: false,
            timed_out: false,
            cancelled: false,
            quiet_since: self.now,
            attachment: None,
            detached: None,
            hook: None,
            over_at: None,
            wake_at: None,
        }
    }

    pub fn add_command(&mut self, command: Command) {
        self.by_pid.insert(command.pid, command.key);
        self.fresh.push(command.key);
        self.commands.insert(command.key, command);
    }

    /// Gives commands that were just started the CPU for a moment before anything of them is looked at. Most are over
    /// by then, and all of it (began, output, end) is one wake-up of this loop and one write to the host.
    pub fn linger(&mut self, port: RawFd) {
        if self.fresh.is_empty() {
            return;
        }
        let fd = |fd| PollFd { fd, events: POLLIN, revents: 0 };
        let mut fds = [fd(self.signals.as_raw_fd()), fd(port)];
        sys::poll_us(&mut fds, LINGER_US);
        self.now = Instant::now();
        if fds[0].revents != 0 {
            self.on_children();
        }
        for key in std::mem::take(&mut self.fresh) {
            self.watch_outputs(key);
            self.look_at_launch(key);
            self.settle(key);
        }
    }

    /// Has the kernel tell of the outputs of a command that was not over at once.
    fn watch_outputs(&mut self, key: u32) {
        let command = match self.commands.get_mut(&key) {
            Some(command) if !command.watched => command,
            _ => return,
        };
        command.watched = true;
        let mut failed = None;
        for (channel, source) in [(0, Source::Stdout), (1, Source::Stderr)] {
            if let Some(fd) = &command.outputs[channel].fd {
                let events = if command.terminal { sys::EPOLLIN | sys::EPOLLOUT } else { sys::EPOLLIN };
                let token = token(source, key);
                let events = events | sys::EPOLLET;
                failed =
                    sys::epoll_add(self.epoll.as_raw_fd(), fd.as_raw_fd(), events, token).err().or(failed);
            }
        }
        if let Some(error) = failed {
            // Without its events nothing of it could be told: it ends here, and its stream with it.
            command.not_started = Some(system("cannot watch the command", error));
            command.cancelled = true;
            command.kill();
        }
    }

    /// Whether the child has begun its program by now, has failed to, or has died before.
    pub fn look_at_launch(&mut self, key: u32) {
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        let outcome = match &command.launch {
            Some(launch) if !launch.is_under_way() => launch.failure(),
            _ => return,
        };
        command.launch = None;
        if let Some((stage, errno)) = outcome {
            let what = match stage {
                Stage::Prepare => "cannot set up the process",
                Stage::User => "cannot become the user",
                Stage::Directory => "cannot enter the working directory",
                Stage::Program => "cannot run the program",
            };
            let message = format!("{what}: {}", errno_name(errno));
            command.not_started = Some(Failure::with_errno("CommandNotStarted", message, errno));
            command.cancelled = true;
            command.kill();
        } else if !command.cancelled {
            if let Some(attachment) = &command.attachment {
                let tlvs = Tlvs::new().u32(TAG_PID, command.pid as u32);
                self.outbox.push(FRAME_OPENED, 0, attachment.stream, tlvs.as_slice());
            }
            // Output may have come before.
            self.pump(key, 0);
            self.pump(key, 1);
        }
    }
}
