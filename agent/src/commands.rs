//! Commands in the loop: starting, moving their bytes, ending them, and the detached ones between attachments.

use crate::agent::{token, Agent, Source, Stream, TURN};
use crate::command::{Attachment, Command, Ending, Input, Output, Request};
use crate::failure::{errno_name, Failure, EAGAIN};
use crate::protocol::*;
use crate::kit::Pipe;
use crate::spawn::{self, Stage};
use crate::sys::{self, PollFd, POLLIN};
use crate::timers::Timer;
use crate::tlv::{Fields, Tlvs};
use std::os::unix::io::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// Detached commands that run at once: each may hold 256 KiB of output in the agent.
const MAX_DETACHED: usize = 256;
/// Ends of detached commands that are kept, and for how long.
const KEPT_ENDS: usize = 64;
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// Children reaped before others get their turn.
const REAP_TURN: usize = 32;
/// How long a new command runs before it is looked at: the time of a short one under emulation.
const LINGER_US: u32 = 3000;
/// Grants of stdin credit are collected up to this.
const GRANT: u32 = INITIAL_CREDIT / 4;

fn system(what: &str, error: std::io::Error) -> Failure {
    Failure::system("CommandNotStarted", what, &error)
}

impl Agent {
    pub fn exec(&mut self, stream: u32, fields: &Fields) -> Result<(), Failure> {
        let request = Request::parse(fields)?;
        if let Some(id) = &request.detached {
            self.admit_detached(id)?;
        }
        let account = self.accounts.find(request.user.as_deref().unwrap_or_else(|| self.guest.default_user()))?;
        let identity = self.guest.identity_for(&account);

        let kit = self.kits.take().map_err(|e| system("cannot make a cgroup and pipes", e))?;
        let [stdout, stderr] = kit.pipes;
        let mut outputs = [Output::default(), Output::default()];
        let mut input = None;
        let terminal = request.terminal.is_some();
        let stdin_pipe;
        let slave;
        let fds;
        if let Some((rows, columns)) = request.terminal {
            let (master, other) = sys::open_terminal().map_err(|e| system("cannot open a terminal", e))?;
            sys::set_window(&master, rows, columns).map_err(|e| system("cannot size a terminal", e))?;
            if let Some(identity) = &identity {
                // So that the command can open its terminal by name.
                let _ = sys::chown(other.as_raw_fd(), Some(identity.uid), None);
            }
            fds = [other.as_raw_fd(); 3];
            slave = Some(other);
            stdin_pipe = None;
            outputs[0].fd = Some(master);
            input = Some(Input { fd: None, registered: true, pending: Vec::new(), close: false });
        } else {
            slave = None;
            let mut stdin_fd = self.null.as_raw_fd();
            if request.stdin {
                let pipe = Pipe::to_command().map_err(|e| system("cannot make a pipe", e))?;
                stdin_fd = pipe.theirs.as_raw_fd();
                let fd = Some(pipe.ours);
                input = Some(Input { fd, registered: false, pending: Vec::new(), close: false });
                stdin_pipe = Some(pipe.theirs);
            } else {
                stdin_pipe = None;
            }
            fds = [stdin_fd, stdout.theirs.as_raw_fd(), stderr.theirs.as_raw_fd()];
            outputs[0].fd = Some(stdout.ours);
            outputs[1].fd = Some(stderr.ours);
        }

        let now = self.now;
        let (timeout, grace, drain) = (request.timeout, request.grace, request.drain);
        let (keep, detached) = (request.keep, request.detached.clone());
        let program = request.program(&account, identity);
        let (pid, launch) = match spawn::spawn(program, fds, terminal, &kit.tree) {
            Ok(started) => started,
            Err(error) => {
                self.kits.retire(kit.tree);
                return Err(system("cannot make a process", error));
            }
        };
        // The command's ends are the child's alone from here on.
        drop((stdin_pipe, slave, stdout.theirs, stderr.theirs));

        self.last_command = self.last_command.wrapping_add(1);
        let key = self.last_command;
        let command = Command {
            key,
            pid,
            tree: Some(kit.tree),
            launch: Some(launch),
            watched: false,
            not_started: None,
            outputs,
            input,
            terminal,
            started_at: now,
            deadline: timeout.map(|timeout| now + timeout),
            grace,
            drain,
            keep,
            exit: None,
            ending: Ending::No,
            timed_out: false,
            cancelled: false,
            quiet_since: now,
            attachment: Some(Attachment::new(stream)),
            detached,
            over_at: None,
            wake_at: None,
        };
        self.by_pid.insert(pid, key);
        self.streams.insert(stream, Stream::Command(key));
        self.commands.insert(key, command);
        self.fresh.push(key);
        Ok(())
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
                failed = sys::epoll_add(self.epoll.as_raw_fd(), fd.as_raw_fd(), events, token).err().or(failed);
            }
        }
        if let Some(error) = failed {
            // Without its events nothing of it could be told: it ends here, and its stream with it.
            command.not_started = Some(system("cannot watch the command", error));
            command.cancelled = true;
            command.kill();
        }
    }

    fn admit_detached(&mut self, id: &str) -> Result<(), Failure> {
        self.prune_ends();
        let same = |command: &&Command| command.detached.as_deref() == Some(id);
        if let Some(command) = self.commands.values().find(same) {
            if command.over_at.is_none() {
                return Err(Failure::invalid(format!("DETACHED_ID {id} is in use by a running command")));
            }
            // A new command takes over the id of one that has ended.
            let key = command.key;
            self.let_go_of_end(key);
        }
        let running = self.commands.values().filter(|c| c.detached.is_some() && c.over_at.is_none());
        if running.count() >= MAX_DETACHED {
            return Err(Failure::new("AtCapacity", format!("{MAX_DETACHED} detached commands are running")));
        }
        Ok(())
    }

    /// Whether the child has begun its program by now, has failed to, or has died before.
    fn look_at_launch(&mut self, key: u32) {
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
            command.not_started = Some(Failure { code: "CommandNotStarted", message, errno: Some(errno) });
            command.cancelled = true;
            command.kill();
        } else if let (Some(attachment), false) = (&command.attachment, command.cancelled) {
            let tlvs = Tlvs::new().u32(TAG_PID, command.pid as u32);
            self.outbox.push(FRAME_OPENED, 0, attachment.stream, tlvs.as_slice());
            // Output may have come before.
            self.pump(key, 0);
            self.pump(key, 1);
        }
    }

    /// Takes in children that have ended, ours and orphans. True when there may be more: a fork bomb leaves orphans
    /// faster than they can be reaped, and must not keep the loop from its other work.
    pub fn reap(&mut self) -> bool {
        let mut reaped = 0;
        while reaped < REAP_TURN {
            let (pid, status) = match sys::reap() {
                Some(child) => child,
                None => break,
            };
            reaped += 1;
            if let Some(key) = self.by_pid.remove(&pid) {
                self.now = Instant::now();
                if let Some(command) = self.commands.get_mut(&key) {
                    command.exit = Some((status, self.now.saturating_duration_since(command.started_at)));
                    command.quiet_since = self.now;
                }
                self.look_at_launch(key);
                self.settle(key);
            }
        }
        let ending = |c: &&Command| matches!(c.ending, Ending::Killing | Ending::Terminating { .. });
        let keys: Vec<u32> = self.commands.values().filter(ending).map(|c| c.key).collect();
        for key in keys {
            self.settle(key);
        }
        if self.commands.values().any(|command| command.over_at.is_some()) {
            self.maintain_later();
        }
        reaped == REAP_TURN
    }

    pub fn output_readable(&mut self, key: u32, channel: usize) {
        if let Some(command) = self.commands.get_mut(&key) {
            command.outputs[channel].readable = true;
            self.pump(key, channel);
            self.settle(key);
        }
    }

    /// Moves what can be moved, and looks whether the command is over.
    pub fn pump_command(&mut self, key: u32) {
        self.pump(key, 0);
        self.pump(key, 1);
        self.settle(key);
    }

    /// Moves output: to the host while it grants credit, to what is retained while no host is there, else away.
    fn pump(&mut self, key: u32, channel: usize) {
        let command = match self.commands.get_mut(&key) {
            // Output of a program goes out after the word that it runs.
            Some(command) if command.launch.is_none() => command,
            _ => return,
        };
        let mut moved = 0;
        let output = &mut command.outputs[channel];
        output.withheld = false;
        loop {
            let has_more = !output.backlog.is_empty() || (output.readable && output.fd.is_some());
            if !has_more {
                break;
            }
            if moved >= TURN {
                self.ready.push(key);
                break;
            }
            let mut limit = self.scratch.len();
            let to_host = if command.cancelled { None } else { command.attachment.as_mut() };
            if let Some(attachment) = &to_host {
                limit = limit.min(attachment.credit[channel] as usize);
                if limit == 0 {
                    output.withheld = true;
                    command.quiet_since = self.now;
                    break;
                }
                if self.outbox.is_full() {
                    self.stalled = true;
                    output.withheld = true;
                    command.quiet_since = self.now;
                    break;
                }
            }
            let count;
            let from_backlog = !output.backlog.is_empty() && to_host.is_some();
            if from_backlog {
                count = output.backlog.len().min(limit);
                self.scratch[..count].copy_from_slice(&output.backlog[..count]);
                output.backlog.drain(..count);
            } else {
                let fd = match &output.fd {
                    Some(fd) if output.readable => fd.as_raw_fd(),
                    _ => break,
                };
                count = match sys::read(fd, &mut self.scratch[..limit]) {
                    // A terminal whose last user has gone answers EIO.
                    Ok(0) => 0,
                    Ok(count) => count,
                    Err(error) if sys::errno_of(&error) == EAGAIN => {
                        output.readable = false;
                        break;
                    }
                    Err(_) => 0,
                };
                if count == 0 {
                    output.fd = None;
                    output.readable = false;
                    break;
                }
                command.quiet_since = self.now;
            }
            moved += count;
            let bytes = &self.scratch[..count];
            if let Some(attachment) = to_host.filter(|_| command.over_at.is_none() || from_backlog) {
                attachment.credit[channel] -= count as u32;
                self.outbox.push(FRAME_DATA, channel as u8, attachment.stream, bytes);
            } else if !command.cancelled && command.over_at.is_none() {
                output.retained.push(bytes);
            }
        }
    }

    pub fn pump_stdin(&mut self, key: u32) {
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        let watch = command.pump_input();
        if let Some(attachment) = &mut command.attachment {
            if attachment.owed >= GRANT {
                let grant = std::mem::take(&mut attachment.owed);
                attachment.allowance += grant;
                self.outbox.push(FRAME_WINDOW, CHANNEL_MAIN, attachment.stream, &grant.to_le_bytes());
            }
        }
        if let Some(fd) = watch {
            let (events, token) = (sys::EPOLLOUT | sys::EPOLLET, token(Source::Stdin, key));
            if sys::epoll_add(self.epoll.as_raw_fd(), fd, events, token).is_err() {
                // Nothing would say when there is room again; the command sees the end of its input instead.
                command.input = None;
            }
        }
    }

    pub fn command_window(&mut self, key: u32, channel: u8, bytes: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            if let Some(attachment) = &mut command.attachment {
                if let Some(credit) = attachment.credit.get_mut(usize::from(channel)) {
                    *credit = credit.saturating_add(bytes);
                }
            }
            self.pump_command(key);
        }
    }

    pub fn command_control(&mut self, key: u32, control: u8, fields: &Fields) {
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        match control {
            CONTROL_SIGNAL => {
                if let (Ok(Some(signal)), Some(tree)) = (fields.u32(TAG_SIGNAL), &command.tree) {
                    if sys::is_signal(signal) {
                        tree.signal(signal as i32);
                    }
                }
            }
            CONTROL_RESIZE => {
                if let (Ok(Some((rows, columns))), Some(fd), true) =
                    (fields.pty(TAG_PTY), &command.outputs[0].fd, command.terminal)
                {
                    let _ = sys::set_window(fd, rows, columns);
                }
            }
            _ => {}
        }
    }

    /// RESET: the command ends with everything of it; a detached one is only let go.
    pub fn give_up_command(&mut self, key: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            if command.detached.is_some() && command.not_started.is_none() && command.launch.is_none() {
                self.detach(key, Failure::cancelled());
            } else {
                command.cancelled = true;
                command.kill();
                self.settle(key);
            }
        }
    }

    /// The stream went away without a word (SYNC, or a closed port).
    pub fn drop_command(&mut self, key: u32, _stream: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            if command.detached.is_some() {
                command.keep_backlog();
            } else {
                command.cancelled = true;
                command.kill();
            }
            command.attachment = None;
            self.pump_command(key);
        }
    }

    /// Ends the stream of a detached command, which goes on.
    fn detach(&mut self, key: u32, why: Failure) {
        if let Some(command) = self.commands.get_mut(&key) {
            command.keep_backlog();
            if let Some(attachment) = command.attachment.take() {
                self.streams.remove(&attachment.stream);
                self.answer(attachment.stream, Err(why));
            }
            self.pump_command(key);
        }
    }

    pub fn attach(&mut self, stream: u32, fields: &Fields) -> Result<(), Failure> {
        self.prune_ends();
        let id = fields.require_text(TAG_DETACHED_ID)?;
        let same = |command: &&Command| command.detached.as_deref() == Some(id) && !command.cancelled;
        let key = match self.commands.values().find(same) {
            Some(command) => command.key,
            None => return Err(Failure::new("CommandNotFound", format!("no detached command {id:?}"))),
        };
        self.detach(key, Failure::new("Cancelled", "another client attached"));
        if let Some(command) = self.commands.get_mut(&key) {
            let tlvs = Tlvs::new().u32(TAG_PID, command.pid as u32);
            for output in &mut command.outputs {
                output.backlog = output.retained.take();
            }
            command.attachment = Some(Attachment::new(stream));
            if command.launch.is_none() {
                self.outbox.push(FRAME_OPENED, 0, stream, tlvs.as_slice());
            }
            self.streams.insert(stream, Stream::Command(key));
            self.pump_command(key);
        }
        Ok(())
    }

    pub fn list_detached(&mut self, stream: u32) {
        self.prune_ends();
        self.outbox.push(FRAME_OPENED, 0, stream, b"");
        for command in self.commands.values().filter(|command| !command.cancelled) {
            if let Some(id) = &command.detached {
                let running = command.over_at.is_none();
                let mut tlvs = Tlvs::new()
                    .bytes(TAG_DETACHED_ID, id.as_bytes())
                    .u32(TAG_PID, command.pid as u32)
                    .u8(TAG_RUNNING, u8::from(running));
                if !running {
                    tlvs = command.exit_tlvs(tlvs);
                }
                self.outbox.push(FRAME_DATA, CHANNEL_MAIN, stream, &tlvs.record());
            }
        }
        self.outbox.push(FRAME_EOF, CHANNEL_MAIN, stream, b"");
        self.answer(stream, Ok(Tlvs::new()));
    }

    pub fn command_timer(&mut self, key: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            if command.wake_at.map_or(false, |at| at <= self.now) {
                command.wake_at = None;
            }
            self.look_at_launch(key);
            self.settle(key);
        }
    }

    /// Brings a command as far towards its end as it can come now.
    pub fn settle(&mut self, key: u32) {
        let now = self.now;
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        if command.over_at.is_none() && command.deadline.map_or(false, |at| at <= now) {
            if command.ending == Ending::No && (command.exit.is_none() || command.keep) {
                command.timed_out = true;
                command.terminate(now);
            }
        }
        match command.ending {
            Ending::Terminating { kill_at } if kill_at <= now => command.kill(),
            Ending::Terminating { .. } if command.exit.is_some() && !command.is_alive() => {
                command.ending = Ending::Gone;
            }
            // Again and again, until nobody is left.
            Ending::Killing => command.kill(),
            Ending::No if command.exit.is_some() && (!command.keep || command.cancelled) => command.kill(),
            _ => {}
        }
        if command.ending == Ending::Gone && command.exit.is_some() && command.over_at.is_none() {
            // What the pipes still hold, then they are closed, also when somebody outside the command has their ends.
            for channel in 0..2 {
                if let Some(command) = self.commands.get_mut(&key) {
                    command.outputs[channel].readable = true;
                    self.pump(key, channel);
                }
            }
        }
        self.finish_if_over(key);
        self.schedule(key);
    }

    fn finish_if_over(&mut self, key: u32) {
        let now = self.now;
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        if command.over_at.is_none() {
            if command.exit.is_none() {
                return;
            }
            let gone = command.ending == Ending::Gone;
            if command.cancelled {
                if gone {
                    self.remove_command(key);
                }
                return;
            }
            let waiting = command.outputs.iter().any(|o| o.withheld || (o.readable && o.fd.is_some()));
            let over = if gone {
                !waiting
            } else {
                let quiet = now.saturating_duration_since(command.quiet_since) >= command.drain;
                command.keep
                    && command.ending == Ending::No
                    && (command.outputs_closed() || (quiet && !waiting))
            };
            if !over {
                return;
            }
            if gone {
                for output in &mut command.outputs {
                    output.fd = None;
                }
                command.input = None;
            }
        }
        // Retained output goes before the end; an attachment may still owe credit for it.
        if command.outputs.iter().any(|output| command.attachment.is_some() && !output.backlog.is_empty()) {
            return;
        }
        if command.over_at.is_none() {
            command.over_at = Some(now);
            if command.detached.is_some() {
                self.prune_ends();
            }
        }
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        if let Some(mut attachment) = command.attachment.take() {
            let stream = attachment.stream;
            for channel in 0..2u8 {
                if !std::mem::replace(&mut attachment.ended[usize::from(channel)], true) {
                    self.outbox.push(FRAME_EOF, channel, stream, b"");
                }
            }
            let tlvs = command.exit_tlvs(Tlvs::new());
            self.streams.remove(&stream);
            self.outbox.push(FRAME_RESULT, 0, stream, tlvs.as_slice());
        }
        if command.ending == Ending::Gone {
            if let Some(tree) = command.tree.take() {
                self.kits.retire(tree);
                self.refill_due = true;
                self.maintain_later();
            }
        }
        if let Some(command) = self.commands.get(&key) {
            if command.detached.is_none() && command.tree.is_none() {
                self.commands.remove(&key);
            }
        }
    }

    /// A command that was given up or never ran, and of which nothing is left.
    fn remove_command(&mut self, key: u32) {
        if let Some(mut command) = self.commands.remove(&key) {
            if let Some(attachment) = command.attachment.take() {
                self.streams.remove(&attachment.stream);
                let why = command.not_started.take().unwrap_or_else(Failure::cancelled);
                self.answer(attachment.stream, Err(why));
            }
            if let Some(tree) = command.tree.take() {
                self.kits.retire(tree);
                self.maintain_later();
            }
        }
    }

    fn schedule(&mut self, key: u32) {
        let now = self.now;
        if let Some(command) = self.commands.get_mut(&key) {
            // EOF is told as soon as it is known, not only with the result.
            if let (Some(attachment), true) = (&mut command.attachment, command.launch.is_none()) {
                for channel in 0..2 {
                    let output = &command.outputs[channel];
                    let open = output.fd.is_some() || !output.backlog.is_empty();
                    if !open && !command.cancelled && !std::mem::replace(&mut attachment.ended[channel], true) {
                        self.outbox.push(FRAME_EOF, channel as u8, attachment.stream, b"");
                    }
                }
            }
            if let Some(at) = command.next_wake(now) {
                if command.wake_at.map_or(true, |set| at < set || set <= now) {
                    command.wake_at = Some(at);
                    self.timers.set(at, Timer::Command(key));
                }
            }
        }
    }

    /// Commands that are over while processes of theirs live on (`keep`): forgets those that have gone since.
    pub fn look_after_leftovers(&mut self) {
        let over = |c: &&Command| c.over_at.is_some() && c.tree.is_some();
        let keys: Vec<u32> = self.commands.values().filter(over).map(|c| c.key).collect();
        for key in keys {
            if let Some(command) = self.commands.get_mut(&key) {
                if command.is_alive() {
                    continue;
                }
                command.ending = Ending::Gone;
                for output in &mut command.outputs {
                    output.fd = None;
                }
                command.input = None;
                let tree = command.tree.take();
                if command.detached.is_none() {
                    self.commands.remove(&key);
                }
                if let Some(tree) = tree {
                    self.kits.retire(tree);
                }
            }
        }
    }

    /// Drops the ends of detached commands that are too old or too many.
    fn prune_ends(&mut self) {
        let now = self.now;
        let mut ends: Vec<(Instant, u32)> = self
            .commands
            .values()
            .filter(|command| command.detached.is_some() && command.attachment.is_none())
            .filter_map(|command| command.over_at.map(|at| (at, command.key)))
            .collect();
        ends.sort_unstable();
        let surplus = ends.len().saturating_sub(KEPT_ENDS);
        for (index, (at, key)) in ends.into_iter().enumerate() {
            if index < surplus || now.saturating_duration_since(at) >= KEPT_FOR {
                self.let_go_of_end(key);
            }
        }
    }

    /// Forgets a detached command that has ended; processes it left behind go on.
    fn let_go_of_end(&mut self, key: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            command.detached = None;
            for output in &mut command.outputs {
                output.backlog = Vec::new();
                output.retained.take();
            }
            if command.tree.is_none() {
                self.commands.remove(&key);
            }
        }
    }
}

impl Command {
    /// What was to be sent to a client that left is retained for the next.
    fn keep_backlog(&mut self) {
        for output in &mut self.outputs {
            let backlog = std::mem::take(&mut output.backlog);
            output.retained.push(&backlog);
        }
    }
}
