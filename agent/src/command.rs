//! One command: what it was asked to be, what is known of it, and how its bytes move.

use crate::failure::{Failure, EAGAIN};
use crate::hooks::Hook;
use crate::protocol::*;
use crate::recent::Recent;
use crate::retained::Retained;
use crate::spawn::{Launch, Program};
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use crate::tree::Tree;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// What EXEC asks for, checked.
pub struct Request {
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
    pub cwd: Option<Vec<u8>>,
    pub user: Option<String>,
    pub stdin: bool,
    pub terminal: Option<(u16, u16)>,
    pub timeout: Option<Duration>,
    pub grace: Duration,
    pub drain: Duration,
    pub keep: bool,
    pub detached: Option<String>,
}

const DEFAULT_GRACE_MS: u64 = 2000;
const DEFAULT_DRAIN_MS: u64 = 100;
/// A year; longer is for ever, and keeps sums of instants in range.
const LONGEST_MS: u64 = 365 * 24 * 3600 * 1000;

/// How soon it is looked again whether a program has begun.
const LAUNCH_LOOK: Duration = Duration::from_millis(2);

fn millis(value: u64) -> Duration {
    Duration::from_millis(value.min(LONGEST_MS))
}

impl Request {
    pub fn parse(fields: &Fields) -> Result<Request, Failure> {
        let clean = |tag: u16, value: &[u8]| {
            if value.contains(&0) {
                Err(Failure::invalid(format!("{} contains a NUL byte", tag_name(tag))))
            } else {
                Ok(value.to_vec())
            }
        };
        let list = |tag| fields.all(tag).map(|value| clean(tag, value)).collect::<Result<Vec<_>, _>>();
        let mut argv = list(TAG_ARGV)?;
        match fields.bytes(TAG_SHELL) {
            Some(_) if !argv.is_empty() => return Err(Failure::invalid("ARGV and SHELL exclude each other")),
            Some(line) => argv = vec![b"/bin/sh".to_vec(), b"-c".to_vec(), clean(TAG_SHELL, line)?],
            None if argv.is_empty() => return Err(Failure::invalid("ARGV is missing")),
            None => {}
        }
        let env = list(TAG_ENV)?;
        if env.iter().any(|entry| entry.iter().position(|&byte| byte == b'=').unwrap_or(0) == 0) {
            return Err(Failure::invalid("ENV must be NAME=VALUE"));
        }
        let cwd = match fields.bytes(TAG_CWD) {
            Some(_) => Some(fields.path(TAG_CWD)?.to_vec()),
            None => None,
        };
        let detached = fields.text(TAG_DETACHED_ID)?.map(str::to_string);
        if let Some(id) = &detached {
            check_id(id)?;
        }
        Ok(Request {
            argv,
            env,
            cwd,
            user: fields.text(TAG_USER)?.map(str::to_string),
            stdin: fields.flag(TAG_STDIN)?,
            terminal: fields.pty(TAG_PTY)?,
            timeout: fields.u64(TAG_TIMEOUT_MS)?.map(millis),
            grace: millis(fields.u64(TAG_GRACE_MS)?.unwrap_or(DEFAULT_GRACE_MS)),
            drain: millis(fields.u64(TAG_DRAIN_MS)?.unwrap_or(DEFAULT_DRAIN_MS)),
            keep: fields.flag(TAG_BACKGROUND)?,
            detached,
        })
    }

    /// The program as `spawn` takes it. The strings were checked for NUL.
    pub fn program(
        self,
        account: &crate::account::Account,
        identity: Option<crate::spawn::Identity>,
    ) -> Program {
        let mut env = self.env;
        crate::spawn::complete_env(&mut env, &account.name, &account.home, self.terminal.is_some());
        let candidates = crate::spawn::candidates(&self.argv[0], &env);
        let strings = |list: Vec<Vec<u8>>| list.iter().filter_map(|item| sys::c_path(item).ok()).collect();
        let cwd = self.cwd.as_deref().unwrap_or(account.home.as_bytes());
        Program {
            candidates: strings(candidates),
            argv: strings(self.argv),
            env: strings(env),
            cwd: sys::c_path(cwd).unwrap_or_default(),
            cwd_is_default: self.cwd.is_none(),
            identity,
        }
    }
}

/// `[a-z0-9][a-z0-9-]{0,62}`
fn check_id(id: &str) -> Result<(), Failure> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (1..=63).contains(&id.len())
        && id.bytes().all(|byte| plain(byte) || byte == b'-')
        && id.bytes().next().map_or(false, plain);
    if fits {
        Ok(())
    } else {
        Err(Failure::invalid("DETACHED_ID must be [a-z0-9][a-z0-9-]{0,62}"))
    }
}

/// How far the end of a command's processes has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nobody wants it to end.
    No,
    /// TERM was sent; KILL follows.
    Terminating {
        kill_at: Instant,
    },
    Killing,
    /// Nothing of it is alive.
    Gone,
}

/// The host's side of a command: the stream it talks on.
pub struct Attachment {
    pub stream: u32,
    pub credit: [u32; 2],
    /// What the host may still send to stdin.
    pub allowance: u32,
    /// Of stdin, consumed but not yet granted again.
    pub owed: u32,
    pub ended: [bool; 2],
}

impl Attachment {
    pub fn new(stream: u32) -> Self {
        Attachment {
            stream,
            credit: [INITIAL_CREDIT; 2],
            allowance: INITIAL_CREDIT,
            owed: 0,
            ended: [false; 2],
        }
    }
}

/// One of stdout and stderr, or a terminal.
#[derive(Default)]
pub struct Output {
    pub fd: Option<OwnedFd>,
    /// The kernel said there may be something; it says so once.
    pub readable: bool,
    /// Bytes of before the attachment, to be sent first.
    pub backlog: Vec<u8>,
    pub retained: Retained,
    /// Of a detached terminal, in place of `retained`.
    pub recent: Option<Recent>,
    /// There is something to send, and the host grants no credit.
    pub withheld: bool,
}

impl Output {
    pub fn of(fd: OwnedFd) -> Output {
        Output { fd: Some(fd), ..Output::default() }
    }
}

/// stdin, while it is open.
pub struct Input {
    /// `None` on a terminal, whose one descriptor is the first output's.
    pub fd: Option<OwnedFd>,
    pub registered: bool,
    pub pending: Vec<u8>,
    pub close: bool,
}

pub struct Command {
    pub key: u32,
    pub pid: i32,
    pub tree: Option<Tree>,
    /// Kept for the child, which uses it until it has begun its program.
    pub launch: Option<Box<Launch>>,
    /// Its outputs are in epoll.
    pub watched: bool,
    /// Why it could not be started.
    pub not_started: Option<Failure>,
    pub outputs: [Output; 2],
    pub input: Option<Input>,
    pub terminal: bool,
    pub started_at: Instant,
    pub deadline: Option<Instant>,
    pub grace: Duration,
    pub drain: Duration,
    pub keep: bool,
    /// Wait status of the main process, and how long it ran.
    pub exit: Option<(i32, Duration)>,
    pub ending: Ending,
    /// What had got out of its tree was looked for.
    pub took_strays: bool,
    pub timed_out: bool,
    /// The host gave up: nothing is sent any more but the end.
    pub cancelled: bool,
    /// Since when no byte came, or could not be taken.
    pub quiet_since: Instant,
    pub attachment: Option<Attachment>,
    pub detached: Option<String>,
    /// A worker waits for its end.
    pub hook: Option<Hook>,
    /// Its result is out (or, when detached, kept): what is left of it are processes in the background.
    pub over_at: Option<Instant>,
    pub wake_at: Option<Instant>,
}

impl Command {
    /// The TLVs of its end.
    pub fn exit_tlvs(&self, tlvs: Tlvs) -> Tlvs {
        let (status, duration) = self.exit.unwrap_or_default();
        let signal = status & 0x7f;
        let code = if signal == 0 { (status >> 8) & 0xff } else { 128 + signal };
        let tlvs = tlvs.u32(TAG_EXIT_CODE, code as u32);
        let tlvs = if signal == 0 { tlvs } else { tlvs.u32(TAG_SIGNAL, signal as u32) };
        tlvs.u8(TAG_TIMED_OUT, u8::from(self.timed_out))
            .u64(TAG_DURATION_US, duration.as_micros() as u64)
            .u64(TAG_DROPPED, self.outputs.iter().map(|output| output.retained.dropped()).sum())
    }

    pub fn is_alive(&self) -> bool {
        self.ending != Ending::Gone && self.tree.as_ref().map_or(false, |tree| !tree.is_empty())
    }

    pub fn outputs_closed(&self) -> bool {
        self.outputs.iter().all(|output| output.fd.is_none())
    }

    /// Sends TERM (or, without grace, KILL) to all of it.
    pub fn terminate(&mut self, now: Instant) {
        if self.ending != Ending::No {
            return;
        }
        if self.grace == Duration::from_millis(0) {
            self.kill();
        } else if let Some(tree) = &self.tree {
            tree.signal(sys::SIGTERM);
            self.ending = Ending::Terminating { kill_at: now + self.grace };
        }
    }

    /// Nothing that it ever started may live on.
    pub fn must_die(&self) -> bool {
        self.timed_out || self.cancelled
    }

    /// Kills all of it, unless nothing lives.
    pub fn kill(&mut self) {
        if self.ending == Ending::Gone {
            return;
        }
        if let (true, false, Some(tree)) = (self.must_die(), self.took_strays, &self.tree) {
            self.took_strays = true;
            tree.take_strays();
        }
        match &self.tree {
            Some(tree) if !tree.is_empty() => {
                tree.kill();
                self.ending = Ending::Killing;
            }
            // A child that was just cloned may not have got into its tree yet.
            _ if self.exit.is_none() => {
                let _ = sys::kill(self.pid, sys::SIGKILL);
                self.ending = Ending::Killing;
            }
            _ => self.ending = Ending::Gone,
        }
    }

    /// When it must be looked at again.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        match self.ending {
            Ending::Terminating { kill_at } => return Some(kill_at),
            Ending::Killing => return Some(now + Duration::from_millis(20)),
            Ending::Gone => return None,
            Ending::No => {}
        }
        if self.over_at.is_some() {
            return None;
        }
        let drained = match self.exit {
            Some(_) if !self.outputs.iter().any(|output| output.withheld) => {
                Some(self.quiet_since + self.drain)
            }
            _ => None,
        };
        // Longer and longer: a program that is not begun at once waits for a file system, perhaps for ever.
        let age = now.saturating_duration_since(self.started_at) / 4;
        let begun = self.launch.as_ref().map(|_| now + age.max(LAUNCH_LOOK));
        [self.deadline, drained, begun].into_iter().flatten().min()
    }

    /// Takes bytes for stdin. A command without one has them dropped.
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.input {
            Some(input) if !input.close => input.pending.extend_from_slice(bytes),
            _ => self.consumed(bytes.len()),
        }
    }

    fn consumed(&mut self, bytes: usize) {
        if let Some(attachment) = &mut self.attachment {
            attachment.owed = attachment.owed.saturating_add(bytes as u32);
        }
    }

    /// Writes what stdin takes now. Answers the descriptor to watch when it is full and not watched yet.
    pub fn pump_input(&mut self) -> Option<i32> {
        let terminal = self.outputs[0].fd.as_ref().map(|fd| fd.as_raw_fd());
        let input = self.input.as_mut()?;
        let fd = match (&input.fd, terminal) {
            (Some(fd), _) => fd.as_raw_fd(),
            (None, Some(fd)) if self.terminal => fd,
            _ => -1,
        };
        let mut done = 0;
        let mut broken = fd < 0;
        while done < input.pending.len() && !broken {
            match sys::write(fd, &input.pending[done..]) {
                Ok(count) => done += count,
                Err(error) if sys::errno_of(&error) == EAGAIN => break,
                Err(_) => broken = true,
            }
        }
        if broken {
            done = input.pending.len();
        }
        input.pending.drain(..done);
        let mut watch = None;
        if broken || (input.close && input.pending.is_empty()) {
            self.input = None;
        } else if !input.pending.is_empty() && !input.registered {
            input.registered = true;
            watch = Some(fd);
        }
        self.consumed(done);
        watch
    }

    /// No more comes for stdin.
    pub fn end_input(&mut self) {
        let end = match (&self.outputs[0].fd, self.terminal) {
            (Some(fd), true) => Some(sys::end_of_file_character(fd)),
            _ => None,
        };
        if let Some(input) = &mut self.input {
            input.pending.extend(end);
            input.close = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tlvs: Tlvs) -> Result<Request, Failure> {
        Request::parse(&Fields::parse(tlvs.as_slice()).unwrap())
    }

    #[test]
    fn a_command_is_argv_or_a_shell_line() {
        assert_eq!(parse(Tlvs::new().bytes(TAG_SHELL, b"a b")).unwrap().argv[2], b"a b");
        assert!(parse(Tlvs::new()).is_err());
        assert!(parse(Tlvs::new().bytes(TAG_SHELL, b"x").bytes(TAG_ARGV, b"y")).is_err());
        assert!(parse(Tlvs::new().bytes(TAG_ARGV, b"a\0b")).is_err());
    }

    #[test]
    fn fields_of_a_command_are_checked() {
        let base = || Tlvs::new().bytes(TAG_ARGV, b"true");
        for id in ["", "-a", "A", "a_b", &"a".repeat(64)] {
            assert!(parse(base().bytes(TAG_DETACHED_ID, id.as_bytes())).is_err(), "{id}");
        }
        assert!(parse(base().bytes(TAG_DETACHED_ID, b"a-1")).is_ok());
        assert!(parse(base().bytes(TAG_ENV, b"=x")).is_err());
        assert!(parse(base().bytes(TAG_ENV, b"x")).is_err());
        assert!(parse(base().bytes(TAG_CWD, b"relative")).is_err());
        assert!(parse(base().u64(TAG_TIMEOUT_MS, u64::MAX)).is_ok());
    }
}
